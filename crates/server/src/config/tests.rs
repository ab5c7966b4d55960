use std::path::Path;

use serde_json::Value;

use super::*;

const MINIMAL: &str = r#"
[providers.openai]

[models.mini]
provider = "openai"
model = "gpt-5-mini"

[agents.clerk]
model = "mini"
"#;

fn parse(text: &str) -> Result<LoadedConfig, String> {
    LoadedConfig::parse(Path::new("brigade.toml"), text, []).map_err(|error| error.to_string())
}

fn problem(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn a_minimal_file_is_enough() {
    let config = parse(MINIMAL).unwrap().config;
    assert!(config.agents["clerk"].exposed);
    assert!(config.server.listen.ip().is_loopback());
}

#[test]
fn an_unknown_key_is_reported_with_its_location_and_a_suggestion() {
    let text = MINIMAL.replace("model = \"mini\"", "modle = \"mini\"");
    insta::assert_snapshot!(problem(&text), @r#"
    brigade.toml:9:1: unknown key `modle`; did you mean `model`?
        modle
        ^
    "#);
}

#[test]
fn a_dangling_reference_is_reported_with_its_location_and_a_suggestion() {
    let text = MINIMAL.replace("model = \"mini\"", "model = \"minni\"");
    insta::assert_snapshot!(problem(&text), @r#"
    brigade.toml:9:9: there is no model `minni`; did you mean `mini`?
        model = "minni"
                ^
    "#);
}

#[test]
fn a_literal_secret_is_reported_without_repeating_it() {
    let text = MINIMAL.replace("[providers.openai]", "[providers.openai]\napi_key = \"sk-canary\"");
    let problem = problem(&text);
    assert!(problem.starts_with("brigade.toml:3:11: a secret must not be written in the configuration"), "{problem}");
}

#[test]
fn a_line_with_a_secret_is_not_shown() {
    let tool = "[tools.x]\ndescription = \"X.\"\n[tools.x.http]\nurl = \"https://example.com\"\n";
    for line in ["secret_headers = { authorization = \"Bearer canary\" }", "toke = \"canary\""] {
        let problem = problem(&format!("{MINIMAL}{tool}{line}\n"));
        assert!(problem.starts_with("brigade.toml:14:") && !problem.contains("canary"), "{problem}");
    }
}

#[test]
fn limits_of_zero_are_refused() {
    for (line, location) in [
        ("turns = 0", "10:9"),
        ("parallel = 0", "10:12"),
        ("max_output_tokens = 0", "10:21"),
        ("budget = { usd = \"-1\" }", "10:18"),
        ("budget = { wall = \"0s\" }", "10:19"),
        ("workers = [{ agent = \"other\", timeout = \"0s\" }]", "10:41"),
        ("[server]\nkept_runs = 0", "11:13"),
        ("[server]\nprobe_every = \"0s\"", "11:15"),
        ("recall = { context_tokens = 0 }", "10:29"),
        ("[recall]\nmax_notes = 0", "11:13"),
        ("[retention]\nsessions = \"0s\"", "11:12"),
        ("[retention]\nruns = \"0s\"", "11:8"),
    ] {
        let problem = problem(&format!("{MINIMAL}{line}\n"));
        assert!(problem.starts_with(&format!("brigade.toml:{location}: this must be greater than zero")), "{problem}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_what_to_write() {
    for (line, message) in [
        ("[server]\nmax_body = 5", "expected a size such as \"512 KiB\" or \"4 MiB\""),
        ("[server]\nlisten = \"localhost:8080\"", "write one such as \"127.0.0.1:8080\""),
        ("budget = { usd = 0.5 }", "expected an amount of US dollars in quotes, such as \"0.50\""),
        ("budget = { per = \"days\" }", "unknown choice `days`; did you mean `day`?"),
        ("[agents.\"a/b\"]\nmodel = \"mini\"", "`a/b` is not a valid name of an agent"),
    ] {
        let problem = problem(&format!("{MINIMAL}{line}\n"));
        assert!(problem.contains(message), "{problem}");
    }
}

#[test]
fn mcp_tools_are_refused_with_what_to_write_instead() {
    let text = format!("{MINIMAL}[tools.x]\ndescription = \"X.\"\nmcp = {{ url = \"https://example.com\" }}\n");
    let problem = problem(&text);
    assert!(problem.starts_with("brigade.toml:12:7: tools of MCP servers are not supported yet"), "{problem}");
}

#[test]
fn a_yaml_file_is_refused_with_what_to_do() {
    for name in ["brigade.yaml", "brigade.yml"] {
        let error = LoadedConfig::from_file(Path::new(name)).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{name} is a YAML file, but the configuration must be TOML; convert it, or start with `brigade init`"
            )
        );
    }
}

#[test]
fn every_default_in_the_schema_has_the_type_of_its_field() {
    fn check(node: &Value, root: &Value, path: &str) {
        let resolved = node["$ref"].as_str().map_or(node, |reference| root.pointer(&reference[1..]).unwrap());
        if let (Some(default), Some(types)) = (node.get("default"), resolved.get("type")) {
            let name = match default {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            let types = types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]);
            assert!(types.iter().any(|known| known == name), "{path}: {default} is not of type {types:?}");
        }
        let (fields, items) = (node.as_object().into_iter().flatten(), node.as_array().into_iter().flatten());
        fields.for_each(|(name, field)| check(field, root, &format!("{path}/{name}")));
        items.enumerate().for_each(|(index, item)| check(item, root, &format!("{path}/{index}")));
    }
    let schema = LoadedConfig::schema().to_value();
    assert_eq!(schema["$defs"]["Retention"]["properties"]["events"]["default"], "30days");
    check(&schema, &schema, "");
}

#[test]
fn web_pages_are_named_by_their_origin() {
    let with = |origins: &str| format!("{MINIMAL}[server]\ncors_origins = {origins}\n");
    assert!(parse(&with(r#"["https://app.example"]"#)).is_ok());
    let problem_of = |origins: &str| problem(&with(origins));
    assert!(problem_of(r#"["https://app.example/"]"#).contains("without a path"));
    assert!(problem_of(r#"["*"]"#).contains("which needs keys"));
}

#[test]
fn a_cycle_of_agents_is_refused() {
    let text = format!(
        "{MINIMAL}workers = [{{ agent = \"critic\" }}]\n[agents.critic]\nmodel = \"mini\"\nworkers = [{{ agent = \"clerk\" }}]\n"
    );
    assert!(problem(&text).contains("`clerk` is its own worker through `critic`"), "{}", problem(&text));
}

#[test]
fn environment_variables_override_the_file_and_their_errors_name_the_variable() {
    let parse = |name: &str, value: &str| {
        LoadedConfig::parse(Path::new("brigade.toml"), MINIMAL, [(name.to_owned(), value.to_owned())])
    };
    let loaded = parse("BRIGADE__SERVER__LISTEN", "127.0.0.1:9000").unwrap();
    assert_eq!(loaded.config.server.listen.port(), 9000);
    assert_eq!((&*loaded.values[4].key, &*loaded.values[4].origin), ("server.listen", "BRIGADE__SERVER__LISTEN"));
    let loaded = parse("BRIGADE__SERVER__MAX_RUNS", "7").unwrap();
    assert_eq!(loaded.config.server.max_runs, 7);
    let error = |name: &str, value: &str| parse(name, value).unwrap_err().to_string();
    assert_eq!(
        error("BRIGADE__SERVER__LISTNE", "127.0.0.1:9000"),
        "BRIGADE__SERVER__LISTNE: unknown key `listne`; did you mean `listen`?"
    );
    assert!(error("BRIGADE__SERVER__LISTEN", "here").starts_with("BRIGADE__SERVER__LISTEN: "));
    assert_eq!(
        error("BRIGADE__AGENTS__CLERK__MODEL", "minni"),
        "BRIGADE__AGENTS__CLERK__MODEL: there is no model `minni`; did you mean `mini`?"
    );
    let workers = error("BRIGADE__AGENTS__CLERK__WORKERS", "[{ agnet = \"clerk\" }]");
    assert!(workers.starts_with("BRIGADE__AGENTS__CLERK__WORKERS: unknown key `agnet`"), "{workers}");
}

#[test]
fn an_error_in_the_file_keeps_its_location_under_overrides() {
    let text = MINIMAL.replace("model = \"mini\"", "model = \"minni\"");
    let variables = [("BRIGADE__SERVER__MAX_RUNS".to_owned(), "7".to_owned())];
    let error = LoadedConfig::parse(Path::new("brigade.toml"), &text, variables).unwrap_err().to_string();
    assert!(error.starts_with("brigade.toml:9:9: "), "{error}");
}

#[test]
fn policies_and_budgets_are_parsed_with_their_units() {
    let text = format!(
        r#"{MINIMAL}
budget = {{ usd = "0.50", turns = 24, wall = "5m" }}
[models.mini.policy]
timeouts = {{ first_delta = "20s" }}
retry = {{ attempts = 2 }}
"#
    );
    let config = parse(&text).unwrap().config;
    assert_eq!(config.models["mini"].policy.timeouts.first_delta.as_secs(), 20);
    assert_eq!(config.models["mini"].policy.retry.attempts, 2);
    let budget = config.agents["clerk"].budget.to_core();
    assert_eq!((budget.usd.unwrap().limit.to_string(), budget.wall.unwrap().as_secs()), ("$0.5000".to_owned(), 300));
}
