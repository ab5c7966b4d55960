use std::path::Path;

use brigade_observability::PriceBook;
use serde_json::Value;

use super::*;

mod documents;

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
        ("[server]\nmax_runs = 0", "11:12"),
        ("[server]\nmax_body = \"0 B\"", "11:12"),
        ("[server]\nprobe_every = \"0s\"", "11:15"),
        ("recall = { context_tokens = 0 }", "10:29"),
        ("[recall]\nmax_notes = 0", "11:13"),
        ("[retention]\nsessions = \"0s\"", "11:12"),
        ("[retention]\nruns = \"0s\"", "11:8"),
        ("context_tokens = 0", "10:18"),
        ("[retention]\nanswers = \"0s\"", "11:11"),
    ] {
        let problem = problem(&format!("{MINIMAL}{line}\n"));
        assert!(problem.starts_with(&format!("brigade.toml:{location}: this must be greater than zero")), "{problem}");
    }
}

#[test]
fn a_policy_with_which_no_call_could_succeed_is_refused() {
    for (policy, name) in [
        ("retry = { attempts = 0 }", "retry.attempts"),
        ("retry = { attempts_billed = 0 }", "retry.attempts_billed"),
        ("timeouts = { first_delta = \"0s\" }", "timeouts.first_delta"),
        ("timeouts = { first_delta_reasoning = \"0s\" }", "timeouts.first_delta_reasoning"),
        ("timeouts = { idle = \"0s\" }", "timeouts.idle"),
        ("timeouts = { attempt = \"0s\" }", "timeouts.attempt"),
        ("limits = { requests_per_minute = 0 }", "limits.requests_per_minute"),
        ("limits = { input_tokens_per_minute = 0 }", "limits.input_tokens_per_minute"),
        ("limits = { output_tokens_per_minute = 0 }", "limits.output_tokens_per_minute"),
        ("limits = { tokens_per_minute = 0 }", "limits.tokens_per_minute"),
        ("limits = { requests_per_day = 0 }", "limits.requests_per_day"),
        ("limits = { tokens_per_day = 0 }", "limits.tokens_per_day"),
        ("limits = { burst_percent = 0 }", "limits.burst_percent"),
        ("breaker = { failures_in_row = 0 }", "breaker.failures_in_row"),
        ("breaker = { failed_percent = 0 }", "breaker.failed_percent"),
        ("breaker = { window = \"0s\" }", "breaker.window"),
        ("hedge_after = \"0s\"", "hedge_after"),
    ] {
        let problem = problem(&format!("{MINIMAL}[models.mini.policy]\n{policy}\n"));
        assert!(problem.contains(&format!("`{name}` must be greater than zero")), "{policy}: {problem}");
    }
}

#[test]
fn a_time_limit_is_refused_where_there_is_no_run() {
    let key = format!("[keys.web]\nhash = \"{}\"\nbudget = {{ wall = \"5m\" }}", KeyHash::of("brg_1"));
    for (lines, path) in [("[budget]\nwall = \"5m\"", "budget.wall"), (key.as_str(), "keys.web.budget.wall")] {
        let problem = problem(&format!("{MINIMAL}{lines}\n"));
        assert!(problem.contains(&format!("`{path}` has no effect")), "{problem}");
    }
}

#[test]
fn a_file_that_cannot_be_used_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        LoadedConfig::from_file(&path).unwrap_err().to_string()
    };
    let latin = [MINIMAL.as_bytes(), b"purpose = \"Caf\xe9\"\n"].concat();
    assert!(
        error("latin.toml", Some(&latin)).ends_with("latin.toml:10: this line is not UTF-8; save the file as UTF-8")
    );
    for start in [b"\xff\xfe[\0", b"\xfe\xff\0["] {
        assert!(error("wide.toml", Some(start)).contains("wide.toml is UTF-16, but the configuration must be UTF-8"));
    }
    assert!(error("none.toml", None).contains("`brigade init"));
    std::fs::create_dir(folder.path().join("folder.toml")).unwrap();
    let message = error("folder.toml", None);
    assert!(message.contains("must be a file that this user may read") && !message.contains("init"), "{message}");
    std::fs::write(folder.path().join("marked.toml"), ["\u{feff}", MINIMAL].concat()).unwrap();
    assert!(LoadedConfig::from_file(&folder.path().join("marked.toml")).is_ok());
}

#[test]
fn variables_that_look_like_overrides_are_pointed_out() {
    let warnings = |name: &str| {
        let text = format!("{MINIMAL}# {{ env = \"BRIGADE_SERVER_SECRET\" }}\n");
        let variables = [(name.to_owned(), "x".to_owned())];
        LoadedConfig::parse(Path::new("brigade.toml"), &text, variables).unwrap().ignored_variables
    };
    for (name, meant) in [
        ("BRIGADE_SERVER_LISTEN", "BRIGADE__SERVER__LISTEN"),
        ("BRIGADE_SERVER__LISTEN", "BRIGADE__SERVER__LISTEN"),
        ("BRIGADE_SERVER_MAX_RUNS", "BRIGADE__SERVER__MAX_RUNS"),
        ("BRIGADE_SERVR_LISTEN", "BRIGADE__SERVER__LISTEN"),
        ("BRIGADE_LISTEN", "BRIGADE__SERVER__LISTEN"),
        ("BRIGADE_STORE", "BRIGADE__STORE"),
        ("BRIGADE_LOG_LEVEL", "BRIGADE__LOG__LEVEL"),
        ("brigade__log__level", "BRIGADE__LOG__LEVEL"),
        ("BRIGADE_BUDGET_USD", "BRIGADE__BUDGET__USD"),
    ] {
        let expected = format!("the environment variable `{name}` has no effect; did you mean `{meant}`?");
        assert_eq!(warnings(name), [expected]);
    }
    for name in [
        "BRIGADE_CONFIG",
        "BRIGADE_SERVER_SECRET",
        "BRIGADE_SERVICE_HOST",
        "BRIGADE_SERVICE_PORT_HTTP",
        "BRIGADE_PORT",
        "BRIGADE_PORT_8080_TCP_ADDR",
        "BRIGADE_API_KEY",
        "BRIGADE_TOKEN",
        "BRIGADE_URL",
        "BRIGADE_HOME",
        "BRIGADE_VERSION",
        "BRIGADE_IMAGE",
        "PATH",
    ] {
        assert_eq!(warnings(name), [] as [&str; 0], "{name}");
    }
}

fn lints(text: &str) -> Vec<String> {
    lint::lint(&parse(text).unwrap().config, &PriceBook::bundled()).iter().map(ToString::to_string).collect()
}

#[test]
fn sections_that_nothing_uses_are_pointed_out() {
    let text = format!(
        r#"{MINIMAL}workers = ["helper"]
tools = ["used"]
[agents.helper]
model = "mini"
exposed = false
[agents.hermit]
model = "mini"
exposed = false
[providers.groq]
[models.spare]
provider = "openai"
model = "gpt-5-nano"
[tools.used]
description = "Looks."
input = {{ type = "object", properties = {{ id = {{ type = "string" }}, note = {{ type = "string" }} }} }}
http = {{ url = "https://a.test/{{id}}" }}
[tools.unused]
description = "Looks."
http = {{ url = "https://a.test/" }}
"#
    );
    let found = lints(&text);
    for expected in [
        "tools.unused is not a tool of any agent",
        "models.spare is not the model or a fallback of anything",
        "providers.groq has no model",
        "agents.hermit is neither exposed nor a worker",
        "tools.used does not send `note`: a GET request has no body",
    ] {
        assert!(found.iter().any(|lint| lint.starts_with(expected)), "{expected} is not in {found:#?}");
    }
    let unexpected = ["tools.used is", "models.mini is", "providers.openai has no model", "agents.helper is"];
    assert!(!found.iter().any(|lint| unexpected.iter().any(|start| lint.starts_with(start))), "{found:#?}");
}

#[test]
fn names_addresses_and_commands_that_cannot_be_used_are_refused() {
    let command = |lines: &str| format!("[tools.t]\ndescription = \"Runs.\"\n[tools.t.command]\n{lines}");
    for (lines, expected) in [
        ("[models.x]\nprovider = \"openai\"\nmodel = \" \"".to_owned(), "`models.x.model` is empty"),
        ("[providers.\"a/b\"]\nkind = \"openai\"".to_owned(), "\"a/b\" is not a valid name of a provider"),
        ("[providers.\"a\\nb\"]\nkind = \"openai\"".to_owned(), "is not a valid name of a provider"),
        (
            "[server]\nlisten = \"127.0.0.1:9\"\nmetrics_listen = \"127.0.0.1:9\"".to_owned(),
            "`server.metrics_listen` is 127.0.0.1:9, like `server.listen`",
        ),
        (command("argv = [\"\"]"), "the tool `t`: its program is empty"),
        (command("argv = [\"ls\", \"a\\u0000\"]"), "the tool `t`: an element of `argv` has a zero byte"),
        (command("argv = [\"ls\"]\nenvironment = { \"A=B\" = \"x\" }"), "\"A=B\" cannot be the name"),
        (command("argv = [\"ls\"]\nenvironment = { \"\" = \"x\" }"), "\"\" cannot be the name"),
    ] {
        let problem = problem(&format!("{MINIMAL}{lines}\n"));
        assert!(problem.contains(expected), "{lines}: {problem}");
    }
    let both_free = "[server]\nlisten = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"";
    assert!(parse(&format!("{MINIMAL}{both_free}\n")).is_ok());
}

#[test]
fn settings_without_an_effect_are_pointed_out() {
    let hash = KeyHash::of("brg_1");
    for (lines, expected) in [
        (format!("[keys.a]\nhash = \"{hash}\"\nscopes = []"), "keys.a has no scopes"),
        (format!("[keys.a]\nhash = \"{hash}\"\nburst = 5"), "keys.a has a `burst` without `requests_per_minute`"),
        ("exposed = false".to_owned(), "agents has no exposed agent"),
        (
            "[tools.t]\ndescription = \"D.\"\ninput = { properties = { id = {} } }\n[tools.t.http]\n\
             url = \"https://a.test/{id}\"\nheaders = { x-id = \"{id}\" }"
                .to_owned(),
            "tools.t sends the header `x-id` as it is written",
        ),
    ] {
        let found = lints(&format!("{MINIMAL}{lines}\n"));
        assert!(found.iter().any(|lint| lint.starts_with(expected)), "{expected} is not in {found:#?}");
    }
    let found = lints(&format!("{MINIMAL}[keys.a]\nhash = \"{hash}\"\nburst = 5\nrequests_per_minute = 60\n"));
    assert!(!found.iter().any(|lint| lint.starts_with("keys.") || lint.starts_with("agents has")), "{found:#?}");
}

#[test]
fn a_wrong_value_of_approve_says_what_to_write() {
    let tool = |line: &str| toml::from_str::<ToolConfig>(&format!("description = \"Pays.\"\n{line}"));
    for wrong in ["true", "\"sometimes\"", "{ if = {} }", "{}", "{ when = {}, unless = {} }"] {
        let error = tool(&format!("approve = {wrong}")).unwrap_err().to_string();
        assert!(error.contains("when"), "{wrong}: {error}");
        assert!(error.contains("`\"always\"`") || wrong.starts_with('{'), "{wrong}: {error}");
    }
    for (right, expected) in [("never", ApproveConfig::Never), ("always", ApproveConfig::Always)] {
        let tool = tool(&format!("approve = \"{right}\"\nin_doubt = \"tell_model\"")).unwrap();
        assert_eq!((tool.approve, tool.in_doubt), (expected, InDoubtConfig::TellModel));
    }
    let tool = tool("approve = { when = { required = [\"a\"] } }").unwrap();
    assert!(matches!(tool.approve, ApproveConfig::When(schema) if schema.contains_key("required")));
    assert_eq!(tool.in_doubt, InDoubtConfig::Ask);
}

#[test]
fn tools_of_clients_beside_tools_with_effects_are_pointed_out() {
    let tool = |effect: &str| {
        format!(
            "[tools.pay]\ndescription = \"Pays.\"\neffect = \"{effect}\"\nhttp = {{ url = \"https://a.test/pay\" }}\n"
        )
    };
    for (agent, effect, is_found, accepts) in [
        ("tools = [\"pay\"]\nclient_tools = \"accept\"\n", "once", true, true),
        ("tools = [\"pay\"]\nclient_tools = \"accept\"\n", "repeatable", false, true),
        ("tools = [\"pay\"]\n", "once", false, false),
        ("client_tools = \"refuse\"\n", "once", false, false),
        ("", "once", false, true),
    ] {
        let text = format!("{MINIMAL}{agent}{}", tool(effect));
        let found = lints(&text);
        assert_eq!(found.iter().any(|lint| lint.contains("accepts tools of clients")), is_found, "{text}{found:#?}");
        let config = parse(&text).unwrap().config;
        assert!(config.agents.values().all(|agent| agent.accepts_client_tools() == accepts), "{text}");
    }
}

#[test]
fn keys_whose_calls_no_key_may_approve_are_pointed_out() {
    let key =
        |name: &str, more: &str| format!("[keys.{name}]\nhash = \"{}\"\n{more}\n", KeyHash::of(&format!("brg_{name}")));
    let tool = "tools = [\"pay\"]\n[tools.pay]\ndescription = \"Pays.\"\napprove = \"always\"\n\
                http = { url = \"https://a.test/pay\" }\n";
    let lead = "scopes = [\"approve\"]";
    let own = "scopes = [\"run\", \"approve\"]";
    for (keys, four_eyes, is_found) in [
        (key("desk", "") + &key("lead", lead), false, true),
        (key("desk", "") + &key("lead", "scopes = [\"approve\"]\napproves = [\"desk\"]"), true, false),
        (key("desk", own), false, false),
        (key("desk", own), true, true),
        (String::new(), false, false),
    ] {
        let text = format!("store = \"a.db\"\n{MINIMAL}{tool}[approvals]\nfour_eyes = {four_eyes}\n{keys}");
        let found = lints(&text);
        let expected = "keys.desk has runs whose calls no key may approve";
        assert_eq!(found.iter().any(|lint| lint.starts_with(expected)), is_found, "{text}{found:#?}");
    }
}

#[test]
fn a_webhook_needs_a_secret_and_an_encrypted_address_which_is_shown_without_its_query() {
    let parsed = |section: &str| parse(&format!("{MINIMAL}[approvals]\n{section}"));
    let secret = "webhook_secret = { env = \"S\" }\n";
    for (section, expected) in [
        ("webhook = \"https://a.test/\"\n".to_owned(), "needs `approvals.webhook_secret`"),
        (secret.to_owned(), "needs `approvals.webhook`"),
        (format!("webhook = \"http://a.test/\"\n{secret}"), "without encryption"),
        ("webhook = \"https://a.test/\"\nwebhook_secret = \"whsec_x\"\n".to_owned(), "env"),
    ] {
        let error = parsed(&section).unwrap_err();
        assert!(error.contains(expected) && !error.contains("whsec_x"), "{error}");
    }
    assert!(parsed(&format!("webhook = \"http://10.0.0.1/\"\nwebhook_allow_private = true\n{secret}")).is_ok());
    let loaded = parsed(&format!("webhook = \"https://a.test/x?token=canary\"\n{secret}")).unwrap();
    assert!(!format!("{:?}", loaded.values).contains("canary"), "{:?}", loaded.values);
}

#[test]
fn base_urls_that_look_wrong_are_pointed_out() {
    let advice = |kind: &str, url: &str| {
        let provider =
            format!("[providers.openai]\nkind = \"{kind}\"\nbase_url = \"{url}\"\napi_key = {{ env = \"K\" }}");
        let found = lints(&MINIMAL.replace("[providers.openai]", &provider));
        found.into_iter().find(|lint| lint.starts_with("providers.openai")).unwrap_or_default()
    };
    for (kind, url, expected) in [
        (
            "openai",
            "https://api.openai.com/v1/responses",
            "ends in `/responses`, to which `/chat/completions` is added",
        ),
        ("compatible", "https://a.test/v1/completions", "ends in `/completions`"),
        ("compatible", "https://a.test/v1/models/", "ends in `/models`"),
        ("compatible", "https://a.test/v1/embeddings", "ends in `/embeddings`"),
        ("openai_responses", "https://a.test/v1/chat/completions", "to which `/responses` is added"),
        ("anthropic", "https://a.test/v1/chat/completions", "to which `/messages` is added"),
        ("compatible", "https://a.test/v1/v1", "where a part is there twice"),
        ("compatible", "https://a.test//v1", "where a part is there twice"),
        ("compatible", "https://a.test/api", "most servers want `/api/v1`"),
        ("vllm", "http://gpu.example.com:8000/v1", "sends its key to gpu.example.com:8000 without encryption"),
        ("vllm", "http://8.8.8.8/v1", "sends its key to 8.8.8.8 without encryption"),
    ] {
        assert!(advice(kind, url).contains(expected), "{kind} {url}: {}", advice(kind, url));
    }
    for (kind, url) in [
        ("openai", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://api.openai.com"),
        ("anthropic", "https://a.test/v1/messages"),
        ("anthropic", "https://a.test/anthropic"),
        ("azure", "https://r.openai.azure.com/openai/deployments/mini?api-version=2024-10-21"),
        ("compatible", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("compatible", "https://a.test/api/v3/"),
        ("vllm", "http://127.0.0.1:8000/v1"),
        ("vllm", "http://[::1]:8000/v1"),
        ("vllm", "http://10.0.0.7:8000/v1"),
        ("vllm", "http://gpu-7:8000/v1"),
        ("vllm", "http://vllm.models.svc:8000/v1"),
    ] {
        assert_eq!(advice(kind, url), "", "{kind} {url}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_what_to_write() {
    for (line, message) in [
        ("[server]\nmax_body = 5", "expected a size such as \"512 KiB\" or \"4 MiB\""),
        ("[server]\nlisten = \"localhost:8080\"", "write an address with a port, such as \"127.0.0.1:8080\""),
        ("budget = { usd = 0.5 }", "expected an amount of US dollars in quotes, such as \"0.50\""),
        ("budget = { per = \"days\" }", "unknown choice `days`; did you mean `day`?"),
        ("[agents.\"a/b\"]\nmodel = \"mini\"", "`a/b` is not a valid name of an agent"),
        ("budget = { wall = 5 }", "expected a duration with its unit, such as \"5s\"; found `5`"),
        ("budget = { per = 5 }", "expected a string"),
        ("budget = \"0.50\"", "expected a map; found a string"),
        ("temperature = \"warm\"", "expected a number; found a string"),
        ("temperature = nan", "expected a number from 0 to 2"),
        ("temperature = 2.1", "expected a number from 0 to 2"),
        ("budget = { wrap_up_percent = 100 }", "expected a number from 0 to 99"),
        ("budget = { wrap_up_percent = 255 }", "expected a number from 0 to 99"),
        ("[models.mini]\ntemperature = -inf", "this is there twice, first in line 4"),
        ("turns = 5.5", "expected a whole number from 0 to 4294967295; found `5.5`"),
        ("workers = [1]", "expected a map; found `1`"),
        ("workers = [\"clerk\"]", "`clerk` is its own worker; name another agent, or remove it"),
        ("output_schema = 5", "expected a path in quotes; found `5`"),
        ("instructions = 5", "expected text, or `{ file = \"PATH\" }`"),
        ("purpose = nothing", "text must be in quotes"),
        (
            "[server]\nlisten = 8080",
            "expected an address with a port in quotes, such as \"127.0.0.1:8080\"; found `8080`",
        ),
        ("[models.other]\nprovider = \"openai\"", "the key `model` is missing; add it"),
    ] {
        let problem = problem(&format!("{MINIMAL}{line}\n"));
        assert!(problem.contains(message), "{problem}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_shown_with_the_line_of_the_first() {
    for (lines, expected) in [
        ("turns = 1\nmodel = \"x\"", "brigade.toml:11:1: this is there twice, first in line 9; remove one of the two"),
        ("[agents.other]\nmodel = \"x\"\n  model=\"y\"", "brigade.toml:12:3: this is there twice, first in line 11; "),
        ("[agents.clerk]", "brigade.toml:10:9: this is there twice, first in line 8; "),
        ("budget.usd = \"1\"\nbudget.usd = \"2\"", "brigade.toml:11:8: this is there twice, first in line 10; "),
        ("budget = { usd = \"1\", usd = \"2\" }", "brigade.toml:10:23: this is there twice; remove one"),
    ] {
        let problem = problem(&format!("{MINIMAL}{lines}\n"));
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn a_value_in_the_wrong_place_is_not_repeated() {
    for line in ["secret_headers = \"canary\"", "headers = \"canary\"", "allow_private = \"canary\""] {
        let problem =
            problem(&format!("[tools.x]\ndescription = \"X.\"\n[tools.x.http]\nurl = \"https://a.test\"\n{line}\n"));
        assert!(!problem.lines().next().unwrap().contains("canary"), "{problem}");
    }
}

#[test]
fn the_highest_cost_of_a_run_says_which_limit_it_comes_from() {
    let cost_of = |text: String| {
        let config = parse(&text).unwrap().config;
        worst_case::WorstCase::estimate(&config, &config.agents["clerk"], &PriceBook::bundled()).to_string()
    };
    let cost = |lines: &str| cost_of(format!("{MINIMAL}{lines}\n"));
    for (lines, expected) in [
        ("budget = { usd = \"0.50\" }", "a run with its workers costs at most $0.5000, its budget; without it $"),
        ("budget = { usd = \"5000\" }", "; its budget of $5000.0000 allows more"),
        ("budget = { usd = \"0.50\", soft = true }", "; it has no budget in dollars"),
        ("", "; it has no budget in dollars"),
    ] {
        assert!(cost(lines).contains(expected), "{}", cost(lines));
    }
    let unpriced = MINIMAL.replace("gpt-5-mini", "unheard-of");
    let cost = |lines: &str| cost_of(format!("{unpriced}{lines}\n"));
    assert!(cost("").starts_with("the cost of a run is unbounded"), "{}", cost(""));
    assert!(cost("budget = { usd = \"0.50\" }").ends_with("at most $0.5000, its budget, apart from unpriced models"));
}

#[test]
fn headers_and_variables_are_read_from_the_environment_or_a_file_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
    let text = r#"
store = "postgres://user:planted@db.test:6432/brigade?sslmode=planted"
[providers.openai]
base_url = "https://user:planted@gateway.test/v1?key=planted&api-version=1"
headers = { x-literal = "planted", x-env = { env = "PATH" }, x-file = { file = "token" } }
[tools.count]
description = "Counts."
[tools.count.command]
argv = ["wc"]
environment = { LITERAL = "planted", TOKEN = { file = "token" } }
[tools.look]
description = "Looks."
[tools.look.http]
url = "https://a.test/look?word={word}&token=planted"
headers = { x-literal = "planted" }
"#;
    let loaded = LoadedConfig::parse("brigade.toml".as_ref(), text, []).unwrap();
    let headers = &loaded.config.providers["openai"].headers;
    let read = |name: &str| headers[name].read(folder.path()).unwrap();
    assert_eq!((read("x-literal"), read("x-file")), ("planted".to_owned(), "from-a-file".to_owned()));
    assert!(!read("x-env").is_empty());
    let command = loaded.config.tools["count"].command.as_ref().unwrap();
    assert_eq!(command.environment["TOKEN"].read(folder.path()).unwrap(), "from-a-file");
    let origins: Vec<String> = loaded.origins().unwrap().iter().map(|value| value.value.to_string()).collect();
    let shown = format!("{} {} {headers:?} {command:?}", toml::to_string(&loaded.table).unwrap(), origins.join(" "));
    assert!(!shown.contains("planted"), "{shown}");
    assert_eq!(loaded.config.store_address().map(|address| address.contains("planted")), Some(true));
    for kept in [
        "[hidden]@gateway.test/v1?key=[hidden]&api-version=1",
        "[hidden]@db.test:6432/brigade",
        "look?word={word}&token=[hidden]",
        "token",
    ] {
        assert!(shown.contains(kept), "{kept} is not in {shown}");
    }
}

#[test]
fn a_model_that_would_be_asked_twice_is_refused() {
    for (fallbacks, message) in [
        (r#"["mini"]"#, "`mini` is its own fallback"),
        (r#"["other", "mini"]"#, "`mini` is its own fallback"),
        (r#"["other", "other"]"#, "`other` is a fallback of `mini` twice"),
    ] {
        let model = format!("[models.mini]\nfallbacks = {fallbacks}\n");
        let text =
            MINIMAL.replace("[models.mini]\n", &model) + "[models.other]\nprovider = \"openai\"\nmodel = \"o3\"\n";
        let problem = problem(&text);
        assert!(problem.contains(message), "{problem}");
    }
}

#[test]
fn a_worker_may_be_written_as_its_name() {
    let text = MINIMAL.replace("[agents.", "[agents.critic]\nmodel = \"mini\"\n[agents.");
    let loaded = LoadedConfig::parse("brigade.toml".as_ref(), &format!("{text}workers = [\"critic\"]\n"), []).unwrap();
    let workers = loaded.config.agents.values().flat_map(|agent| &agent.workers);
    assert_eq!(workers.map(|worker| worker.agent.as_ref().as_str()).collect::<Vec<_>>(), ["critic"]);
    let problem = problem(&format!("{text}workers = [\"critik\"]\n"));
    assert!(problem.contains("there is no agent `critik`; did you mean `critic`?"), "{problem}");
}

#[test]
fn settings_that_a_model_refuses_and_a_chain_of_one_model_are_pointed_out() {
    let text = r#"
[providers.openai]
[providers.anthropic]
[models.mini]
provider = "openai"
model = "gpt-5-mini"
temperature = 0.2
fallbacks = ["again", "opus"]
[models.again]
provider = "openai"
model = "gpt-5-mini"
[models.opus]
provider = "anthropic"
model = "claude-opus-4-7"
[models.sonnet]
provider = "anthropic"
model = "claude-sonnet-4-5"
temperature = 1.2
[agents.clerk]
model = "mini"
temperature = 0.5
"#;
    let config = LoadedConfig::parse("brigade.toml".as_ref(), text, []).unwrap().config;
    let lints: Vec<String> = lint::lint(&config, &PriceBook::bundled()).iter().map(ToString::to_string).collect();
    for expected in [
        "models.mini sets `temperature`, which gpt-5-mini refuses: its requests leave it out",
        "models.sonnet sets `temperature` higher than claude-sonnet-4-5 takes: its requests have the highest value",
        "models.mini falls back to `again`, which is the same model at the same account",
        "agents.clerk sets `temperature`, which gpt-5-mini refuses: its requests leave it out",
        "agents.clerk sets `temperature`, which claude-opus-4-7 refuses: its requests leave it out",
    ] {
        assert!(lints.iter().any(|lint| lint == expected), "{expected} is not in {lints:#?}");
    }
}

#[test]
fn an_mcp_server_inside_a_tool_is_refused_with_what_to_write_instead() {
    let text = format!("{MINIMAL}[tools.x]\ndescription = \"X.\"\nmcp = {{ url = \"https://example.com\" }}\n");
    let problem = problem(&text);
    assert!(problem.starts_with("brigade.toml:12:7: an MCP server has a section of its own"), "{problem}");
}

#[test]
fn an_agent_names_tools_of_mcp_servers_that_are_offered() {
    let server = "[mcp.git]\ncommand = [\"git-mcp\"]\ntools = [\"get_*\", \"push\"]\napprove = [\"push\"]\n";
    let with = |tools: &str| format!("store = \"a.db\"\n{MINIMAL}tools = {tools}\n{server}");
    for (tools, asks) in [("[\"git__get_issue\"]", false), ("[\"git__push\"]", true), ("[\"git__*\"]", true)] {
        let loaded = parse(&with(tools)).unwrap();
        assert_eq!(loaded.config.asks_for_approvals(), asks, "{tools}");
    }
    let unlisted = problem(&with("[\"git__drop\"]"));
    assert!(unlisted.contains("the MCP server `git` offers no tool `drop`; add it to `mcp.git.tools`"), "{unlisted}");
    assert!(problem(&with("[\"gti__push\"]")).contains("there is no tool `gti__push`"));
}

#[test]
fn mistakes_in_the_section_of_an_mcp_server_are_found() {
    let section = |lines: &str| problem(&format!("{MINIMAL}[mcp.lab]\n{lines}\n"));
    let tools = "tools = [\"*\"]";
    for (lines, expected) in [
        (tools.to_owned(), "set either `command` or `url`"),
        (format!("command = [\"a\"]\nurl = \"https://a.test\"\n{tools}"), "exclude each other"),
        (format!("command = [\" \"]\n{tools}"), "its program is empty"),
        (format!("command = [\"a\", \"\\u0000\"]\n{tools}"), "has a zero byte"),
        (format!("command = [\"a\"]\nheaders = {{ x = \"1\" }}\n{tools}"), "`headers` belong to a `url`"),
        (format!("url = \"https://a.test\"\nenvironment = {{ X = \"1\" }}\n{tools}"), "belong to a `command`"),
        (format!("command = [\"a\"]\nenvironment = {{ \"X=\" = \"1\" }}\n{tools}"), "environment variable"),
        ("command = [\"a\"]\ntools = []".to_owned(), "`tools` is empty"),
        (format!("command = [\"a\"]\ncall_timeout = \"0s\"\n{tools}"), "greater than zero"),
    ] {
        let problem = section(&lines);
        assert!(problem.contains(expected), "{lines}: {problem}");
    }
    let name = problem(&format!("{MINIMAL}[mcp.a__b]\ncommand = [\"a\"]\n{tools}\n"));
    assert!(name.contains("without `__`"), "{name}");
}

#[test]
fn secrets_of_mcp_servers_are_never_printed_and_unused_servers_are_found() {
    let text = format!(
        "{MINIMAL}[mcp.one]\ncommand = [\"a\"]\nenvironment = {{ TOKEN = \"s3cret\" }}\ntools = [\"*\"]\n\
         [mcp.two]\nurl = \"https://user:s3cret@a.test/?key=s3cret\"\nheaders = {{ x = \"s3cret\" }}\ntools = [\"*\"]\n"
    );
    let loaded = parse(&text).unwrap();
    let printed = format!("{:?} {} {:?}", loaded.config.mcp["one"], loaded.table, loaded.values);
    assert!(!printed.contains("s3cret"), "{printed}");
    let lints: Vec<String> =
        lint::lint(&loaded.config, &PriceBook::bundled()).iter().map(ToString::to_string).collect();
    assert!(lints.iter().any(|lint| lint.starts_with("mcp.two has no tool that an agent uses: add `two__TOOL`")));
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
