//! The page about `brigade.toml`, from its JSON Schema.

use serde_json::{Map, Value};

const INTRODUCTION: &str = "# Configuration

All keys of `brigade.toml`. `brigade check` checks a file, `brigade config show --origin` prints each value with the place where it
was set, and `brigade config schema` prints the JSON Schema from which this page is made, for editors.

Environment variables override the file: `BRIGADE__SERVER__LISTEN=127.0.0.1:9000` sets `server.listen`. Durations are written as
`\"30s\"` or `\"5m\"`, sizes as `\"4 MiB\"`, money as a decimal in quotes, `\"0.50\"`. A key that is not known is an error, with a
suggestion. Secrets are never in the file: write where to read them.

";

/// The sections in the order of the page, with their titles. Types that are not listed follow by name.
const ORDER: [(&str, &str); 21] = [
    ("ProviderConfig", "[providers.NAME]"),
    ("ModelConfig", "[models.NAME]"),
    ("AgentConfig", "[agents.NAME]"),
    ("WorkerConfig", "A worker of an agent"),
    ("BudgetConfig", "A budget"),
    ("ToolConfig", "[tools.NAME]"),
    ("HttpConfig", "[tools.NAME.http]"),
    ("CommandConfig", "[tools.NAME.command]"),
    ("McpConfig", "[mcp.NAME]"),
    ("ServerConfig", "[server]"),
    ("LogConfig", "[log]"),
    ("KeyConfig", "[keys.NAME]"),
    ("Retention", "[retention]"),
    ("RecallConfig", "[recall]"),
    ("EmbeddingConfig", "The embedding of notes"),
    ("AgentRecallConfig", "[agents.NAME.recall]"),
    ("ApprovalsConfig", "[approvals]"),
    ("ApproveConfig", "approve"),
    ("FailurePolicy", "on_failure"),
    ("SecretSource", "A secret"),
    ("TextSource", "A text"),
];

/// Writes the page.
pub(crate) fn page(schema: &Value) -> String {
    let empty = Map::new();
    let types = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    let mut page = INTRODUCTION.to_owned();
    page.push_str("## The file\n\n");
    page.push_str(&table(schema, types));
    let listed = ORDER.iter().map(|(name, title)| (*name, *title));
    let others = types.keys().map(String::as_str).filter(|name| !ORDER.iter().any(|(listed, _)| listed == name));
    for (name, title) in listed.chain(others.map(|name| (name, name))) {
        let Some(kind) = types.get(name) else { continue };
        let is_shown = kind.get("properties").is_some() || is_listed(name);
        if is_shown {
            let heading =
                if title.contains(['[', '_']) || title == "approve" { format!("`{title}`") } else { title.to_owned() };
            page.extend([format!("## {heading}\n\n{}\n\n{}", description(kind), table(kind, types))]);
        }
    }
    page
}

fn is_listed(name: &str) -> bool {
    ORDER.iter().any(|(listed, _)| *listed == name)
}

/// The keys of a section, or the forms of a value.
fn table(kind: &Value, types: &Map<String, Value>) -> String {
    let mut rows = Vec::new();
    if let Some(forms) = forms(kind) {
        rows.extend(forms.iter().map(|form| format!("| {} | {} |", form_name(form, types), cell(&description(form)))));
        return format!("| form | what it means |\n|---|---|\n{}\n\n", rows.join("\n"));
    }
    add_rows("", kind, types, &mut rows);
    format!("| key | type | default | what it is |\n|---|---|---|---|\n{}\n\n", rows.join("\n"))
}

fn add_rows(prefix: &str, kind: &Value, types: &Map<String, Value>, rows: &mut Vec<String>) {
    let required: Vec<&str> =
        kind.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, key) in kind.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if key.get("properties").is_some() {
            // A table without a type of its own, such as a policy.
            add_rows(&format!("{path}."), key, types, rows);
            continue;
        }
        let default = match key.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => String::new(),
            Some(Value::String(text)) if text.is_empty() => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let text = cell(&description(key));
        rows.push(format!("| `{path}` | {} | {default} | {text} |", type_name(key, types)));
    }
}

/// The alternatives of a value, without null.
fn forms(kind: &Value) -> Option<Vec<&Value>> {
    let forms = kind.get("oneOf").or_else(|| kind.get("anyOf"))?.as_array()?;
    Some(forms.iter().filter(|form| form.get("type").and_then(Value::as_str) != Some("null")).collect())
}

fn form_name(form: &Value, types: &Map<String, Value>) -> String {
    if let Some(value) = form.get("const") {
        return format!("`{value}`");
    }
    match form.get("properties").and_then(Value::as_object) {
        Some(keys) => {
            let keys: Vec<String> = keys.keys().map(|key| format!("{key} = …")).collect();
            format!("`{{ {} }}`", keys.join(", "))
        }
        None => type_name(form, types),
    }
}

fn type_name(key: &Value, types: &Map<String, Value>) -> String {
    if let Some(name) = key.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        let Some(kind) = types.get(name) else { return name.to_owned() };
        let title = ORDER.iter().find(|(listed, _)| *listed == name).map_or(name, |(_, title)| title);
        if kind.get("properties").is_some() || is_listed(name) {
            return format!("[{}](#{})", title.replace(['[', ']'], ""), anchor(title));
        }
        return match forms(kind) {
            Some(forms) => forms.iter().map(|form| form_name(form, types)).collect::<Vec<_>>().join(", "),
            None => simple_type(kind),
        };
    }
    if let Some(forms) = forms(key) {
        return forms.iter().map(|form| type_name(form, types)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(items) = key.get("items") {
        return format!("list of {}", type_name(items, types));
    }
    if let Some(values) = key.get("additionalProperties").filter(|values| values.is_object()) {
        return format!("table of {}", type_name(values, types));
    }
    simple_type(key)
}

fn simple_type(key: &Value) -> String {
    if let Some(values) = key.get("enum").and_then(Value::as_array) {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    let kinds: Vec<&str> = match key.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        _ => vec![],
    };
    let name = |kind: &str| match kind {
        "string" => "text",
        "integer" => "whole number",
        "number" => "number",
        "boolean" => "true or false",
        "object" => "table",
        _ => "value",
    };
    kinds.first().map_or("value", |kind| name(kind)).to_owned()
}

/// The first paragraph. Examples in Rust are for programs.
fn description(kind: &Value) -> String {
    let text = kind.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split("\n\n").next().unwrap_or_default().replace("\"`", "\"").replace("`\"", "\"").replace('\n', " ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The anchor of a heading, as mdBook makes it.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_types_defaults_and_links() {
        let schema = serde_json::json!({
            "properties": {
                "budget": { "$ref": "#/$defs/BudgetConfig", "description": "Limits." },
                "tools": { "type": "array", "items": { "type": "string" }, "default": [], "description": "a | b" },
                "when": { "$ref": "#/$defs/When" },
                "policy": { "properties": { "retry": { "properties": { "attempts": { "type": "integer", "default": 3 } } } } },
            },
            "required": ["when"],
            "$defs": {
                "BudgetConfig": { "description": "Spending.", "properties": { "usd": { "type": ["string", "null"] } } },
                "When": { "oneOf": [{ "const": "always", "description": "Each." }, { "const": "never" }] },
            },
        });
        let page = page(&schema);
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let expected = [
            "| `budget` | [A budget](#a-budget) |  | Limits. |",
            "| `policy.retry.attempts` | whole number | `3` |  |",
            "| `tools` | list of text |  | a \\| b |",
            "| `when` | `\"always\"`, `\"never\"` | required |  |",
            "| `usd` | text |  |  |",
        ];
        assert_eq!(rows.len(), expected.len(), "{rows:?}");
        for row in expected {
            assert!(rows.contains(&row), "{row} is not in {rows:?}");
        }
        assert!(page.contains("## A budget\n\nSpending.\n\n| key |"), "{page}");
    }
}
