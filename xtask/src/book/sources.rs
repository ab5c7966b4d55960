//! Reference pages that are read from the sources: metrics, events, error codes. The names and their documentation are in
//! one place each, in a form that is simple enough to be read without compiling.

/// The metrics, from the file that defines them.
pub(crate) fn metrics(source: &str) -> String {
    let mut page = "# Metrics\n\n`GET /metrics` has these metrics in the format of Prometheus. In a program they come from `Metrics` of \
        `brigade-observability`. The names of agents, tools and models are labels only if they are configured, so that a model \
        cannot invent series. The server uses the newest names of OpenTelemetry; a program can choose the older ones with \
        `MetricsConfig`.\n\n| metric | labels | what it is |\n|---|---|---|\n"
        .to_owned();
    let code = source.split("/// The upper bounds of the buckets").next().unwrap_or_default();
    for definition in code.split(" = metric(").flat_map(|rest| rest.split(" =\n    metric(")).skip(1) {
        let body = definition.split(");").next().unwrap_or_default();
        let strings: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
        let Some((name, rest)) = strings.split_first() else { continue };
        // A metric that shares the help of another one is its older name.
        let Some((help, labels)) = rest.split_last().filter(|_| !body.contains(".help")) else { continue };
        let shared = [
            ("CALL", "gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model, error_type"),
            ("TOKENS", "gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model"),
        ];
        let constant = shared.iter().find(|(constant, _)| body.contains(&format!("{constant},")));
        let labels = constant.map_or_else(|| labels.join(", "), |(_, labels)| (*labels).to_owned());
        let name = name.replace("_nano_usd_", "_usd_");
        page.extend([format!("| `{name}` | {} | {} |\n", code_list(&labels), cell(help))]);
    }
    page
}

fn code_list(names: &str) -> String {
    let names: Vec<String> =
        names.split(", ").filter(|name| !name.is_empty()).map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The error codes, from the macro that lists them.
pub(crate) fn errors(source: &str) -> String {
    let mut page = "# Error codes\n\nAn error response has a stable name in `error.code`, for programs, and a sentence in \
        `error.message`, for people: what is wrong, why, and what to do next. `x-request-id` finds it in the log. New codes may \
        be added. [Why a run stopped](why-a-run-stopped.md) is about runs that end with an answer.\n\n| code | what it means |\n|---|---|\n"
        .to_owned();
    let list = source.split_once("error_codes! {\n").map(|(_, rest)| rest).unwrap_or_default();
    for line in list.lines().take_while(|line| *line != "}") {
        if let [_, name, _, meaning, ..] = line.split('"').collect::<Vec<_>>()[..] {
            page.extend([format!("| `{name}` | {} |\n", cell(meaning))]);
        }
    }
    page
}

/// The events, from the documentation of the enum.
pub(crate) fn events(source: &str) -> String {
    let mut page = "# Events\n\nEverything that happens in a run is an event. A program receives them as an `Observer`; with the server \
        they are in the file that `log.events` names, one JSON object per line, and at `GET /v1/runs/{id}/events`. An event has \
        its name in `event`; times are in microseconds (`elapsed_us`, `waited_us`, `delay_us`). No prompt, answer or argument is in \
        an event of a file or a store. `brigade trace` shows the events of a run as a tree.\n\n| event | what happened |\n|---|---|\n"
        .to_owned();
    let list = source.split_once("pub enum Event {\n").map(|(_, rest)| rest).unwrap_or_default();
    let (mut documentation, mut is_skipped) = (Vec::new(), false);
    for line in list.lines().take_while(|line| *line != "}") {
        let Some(line) = line.strip_prefix("    ") else { continue };
        if let Some(text) = line.strip_prefix("/// ") {
            documentation.push(text);
        } else if line == "#[serde(skip)]" {
            is_skipped = true;
        } else if line.starts_with(|first: char| first.is_ascii_uppercase()) {
            let name: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
            let only = if is_skipped { " Only for observers: it has no JSON form." } else { "" };
            let text = without_links(&documentation.join(" "));
            page.extend([format!("| `{}` | {}{only} |\n", snake_case(&name), cell(&text))]);
            documentation.clear();
            is_skipped = false;
        }
    }
    page
}

/// Documentation without links to items: the names stay.
fn without_links(text: &str) -> String {
    let text = text.replace("[`", "`").replace("`]", "`").replace("Event::", "");
    let mut parts = text.split("`(crate::");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "`" + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// The names of the stop reasons.
pub(crate) fn stop_reasons(source: &str) -> Vec<String> {
    let arms = source.lines().filter(|line| line.trim_start().starts_with("Self::") && line.contains("=> \""));
    arms.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// The paths of the HTTP API.
pub(crate) fn routes(source: &str) -> Vec<String> {
    source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Text that can stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_with_labels_and_help() {
        let source = "pub(crate) const A: Metric<1> =\n    metric(\"a_total\", [\"agent\"], \"Counts.\");\n\
            pub(crate) const B: Metric<3> = metric(\n    \"b_seconds\",\n    TOKENS,\n    \"Time.\",\n);\n\
            pub(crate) const C: Metric<3> = metric(\"c\", TOKENS, B.help);\n\
            pub(crate) const D: Metric<0> = metric(\"d\", [], \"Nothing.\");\n/// The upper bounds of the buckets\nmetric(\"x\")";
        let page = metrics(source);
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let tokens = "`gen_ai_operation_name`, `gen_ai_provider_name`, `gen_ai_request_model`";
        let second = format!("| `b_seconds` | {tokens} | Time. |");
        assert_eq!(rows, ["| `a_total` | `agent` | Counts. |", &second, "| `d` |  | Nothing. |"]);
    }

    #[test]
    fn events_are_read_with_their_documentation() {
        let source = "pub enum Event {\n    /// It began,\n    /// not [`Event::RunEnded`] or [`x`](crate::y).\n    RunStarted,\n    /// It ended.\n    RunEnded {\n        \
            /// A field.\n        stop: u8,\n    },\n    /// A piece.\n    #[serde(skip)]\n    Delta(Delta),\n}\n";
        let page = events(source);
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let expected = [
            "| `run_started` | It began, not `RunEnded` or `x`. |",
            "| `run_ended` | It ended. |",
            "| `delta` | A piece. Only for observers: it has no JSON form. |",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn codes_reasons_and_routes_are_read() {
        let codes = errors("error_codes! {\n    NotJson = \"not_json\": \"It is not JSON.\",\n}\nfn a() {\"x\" \"y\"}");
        assert!(codes.ends_with("|---|---|\n| `not_json` | It is not JSON. |\n"), "{codes}");
        assert_eq!(stop_reasons("    Self::MaxTurns => \"max_turns\",\n    Self::X,\n"), ["max_turns"]);
        assert_eq!(routes("a.route(\"/v1/runs\", get(b)).route(\"/metrics\", c)"), ["/v1/runs", "/metrics"]);
    }
}
