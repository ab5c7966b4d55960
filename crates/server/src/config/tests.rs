use std::path::Path;

use super::*;

const MINIMAL: &str = r#"
[providers.openai]

[models.mini]
provider = "openai"
model = "gpt-5-mini"

[agents.clerk]
model = "mini"
"#;

fn parse(text: &str) -> Result<Loaded, String> {
    Loaded::parse(Path::new("brigade.toml"), text, []).map_err(|error| error.to_string())
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
fn an_unknown_key_is_an_error_with_its_place_and_a_suggestion() {
    let text = MINIMAL.replace("model = \"mini\"", "modle = \"mini\"");
    insta::assert_snapshot!(problem(&text), @r#"
    brigade.toml:9:1: there is no key `modle` here; did you mean `model`?
        modle
        ^
    "#);
}

#[test]
fn a_name_that_leads_nowhere_is_an_error_with_its_place_and_a_suggestion() {
    let text = MINIMAL.replace("model = \"mini\"", "model = \"minni\"");
    insta::assert_snapshot!(problem(&text), @r#"
    brigade.toml:9:9: there is no model `minni`; did you mean `mini`?
        model = "minni"
                ^
    "#);
}

#[test]
fn a_literal_secret_is_an_error_that_does_not_repeat_it() {
    let text = MINIMAL.replace("[providers.openai]", "[providers.openai]\napi_key = \"sk-canary\"");
    let problem = problem(&text);
    assert!(problem.starts_with("brigade.toml:3:11: a secret must not stand in the configuration"), "{problem}");
}

#[test]
fn a_line_with_a_secret_is_not_shown() {
    let tool = "[tools.x]\ndescription = \"X.\"\n[tools.x.http]\nurl = \"https://example.com\"\n";
    for slip in ["secret_headers = { authorization = \"Bearer canary\" }", "toke = \"canary\""] {
        let problem = problem(&format!("{MINIMAL}{tool}{slip}\n"));
        assert!(problem.starts_with("brigade.toml:14:") && !problem.contains("canary"), "{problem}");
    }
}

#[test]
fn numbers_that_would_switch_something_off_are_errors() {
    for (slip, place) in [
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
        let problem = problem(&format!("{MINIMAL}{slip}\n"));
        assert!(problem.starts_with(&format!("brigade.toml:{place}: this must be more than nothing")), "{problem}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_that_says_what_to_write() {
    for (slip, told) in [
        ("[server]\nmax_body = 5", "expected a size such as \"512 KiB\" or \"4 MiB\""),
        ("[server]\nlisten = \"localhost:8080\"", "write one such as \"127.0.0.1:8080\""),
        ("budget = { usd = 0.5 }", "expected an amount of US dollars in quotes, such as \"0.50\""),
        ("budget = { per = \"days\" }", "there is no choice `days` here; did you mean `day`?"),
        ("[agents.\"a/b\"]\nmodel = \"mini\"", "`a/b` cannot be the name of an agent"),
    ] {
        let problem = problem(&format!("{MINIMAL}{slip}\n"));
        assert!(problem.contains(told), "{problem}");
    }
}

#[test]
fn tools_of_other_servers_are_refused_with_what_to_write_instead() {
    let text = format!("{MINIMAL}[tools.x]\ndescription = \"X.\"\nmcp = {{ url = \"https://example.com\" }}\n");
    let problem = problem(&text);
    assert!(problem.starts_with("brigade.toml:12:7: tools of MCP servers cannot be used yet"), "{problem}");
}

#[test]
fn yaml_says_the_same_with_the_same_errors() {
    let text = "
providers:
  openai: {}
models:
  mini: { provider: openai, model: gpt-5-mini }
agents:
  clerk:
    model: mini
    budget: { usd: \"0.50\", wall: 5m }
";
    for name in ["brigade.yaml", "brigade.yml"] {
        let parse = |text: &str| Loaded::parse(Path::new(name), text, []).map_err(|error| error.to_string());
        let loaded = parse(text).unwrap();
        assert_eq!(loaded.config.agents["clerk"].budget.wall.unwrap().as_secs(), 300);
        assert!(
            loaded
                .values
                .iter()
                .any(|value| value.key == "agents.clerk.model" && value.origin == format!("{name}:8:12"))
        );
        let problem = |from: &str, to: &str| parse(&text.replace(from, to)).unwrap_err();
        let unknown = problem("    model: mini", "    modle: mini");
        assert_eq!(
            unknown,
            format!("{name}:8:5: there is no key `modle` here; did you mean `model`?\n        modle\n        ^")
        );
        let nowhere = problem("    model: mini", "    model: minni");
        assert_eq!(
            nowhere,
            format!(
                "{name}:8:12: there is no model `minni`; did you mean `mini`?\n        model: minni\n               ^"
            )
        );
        let secret = problem("openai: {}", "openai: { api_key: sk-canary }");
        assert!(
            secret.starts_with(&format!("{name}:3:22: a secret must not stand")) && !secret.contains("canary"),
            "{secret}"
        );
        assert!(problem("usd: \"0.50\"", "usd: 0.50").starts_with(&format!("{name}:9:20: ")));
        assert!(problem("agents:", "agents").starts_with(&format!("{name}:")));
    }
}

#[test]
fn agents_that_work_for_each_other_are_an_error() {
    let text = format!(
        "{MINIMAL}workers = [{{ agent = \"critic\" }}]\n[agents.critic]\nmodel = \"mini\"\nworkers = [{{ agent = \"clerk\" }}]\n"
    );
    assert!(problem(&text).contains("`clerk` works for itself, by way of `critic`"), "{}", problem(&text));
}

#[test]
fn the_environment_goes_before_the_file_and_its_mistakes_name_the_variable() {
    let parse = |name: &str, value: &str| {
        Loaded::parse(Path::new("brigade.toml"), MINIMAL, [(name.to_owned(), value.to_owned())])
    };
    let loaded = parse("BRIGADE__SERVER__LISTEN", "127.0.0.1:9000").unwrap();
    assert_eq!(loaded.config.server.listen.port(), 9000);
    assert_eq!((&*loaded.values[4].key, &*loaded.values[4].origin), ("server.listen", "BRIGADE__SERVER__LISTEN"));
    let loaded = parse("BRIGADE__SERVER__MAX_RUNS", "7").unwrap();
    assert_eq!(loaded.config.server.max_runs, 7);
    let error = |name: &str, value: &str| parse(name, value).unwrap_err().to_string();
    assert_eq!(
        error("BRIGADE__SERVER__LISTNE", "127.0.0.1:9000"),
        "BRIGADE__SERVER__LISTNE: there is no key `listne` here; did you mean `listen`?"
    );
    assert!(error("BRIGADE__SERVER__LISTEN", "here").starts_with("BRIGADE__SERVER__LISTEN: "));
    assert_eq!(
        error("BRIGADE__AGENTS__CLERK__MODEL", "minni"),
        "BRIGADE__AGENTS__CLERK__MODEL: there is no model `minni`; did you mean `mini`?"
    );
    let workers = error("BRIGADE__AGENTS__CLERK__WORKERS", "[{ agnet = \"clerk\" }]");
    assert!(workers.starts_with("BRIGADE__AGENTS__CLERK__WORKERS: there is no key `agnet`"), "{workers}");
}

#[test]
fn a_mistake_in_the_file_keeps_its_place_below_the_environment() {
    let text = MINIMAL.replace("model = \"mini\"", "model = \"minni\"");
    let variables = [("BRIGADE__SERVER__MAX_RUNS".to_owned(), "7".to_owned())];
    let error = Loaded::parse(Path::new("brigade.toml"), &text, variables).unwrap_err().to_string();
    assert!(error.starts_with("brigade.toml:9:9: "), "{error}");
}

#[test]
fn policies_and_budgets_are_read_with_their_units() {
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
