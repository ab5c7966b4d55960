//! The program that compares real providers with the simulator, against simulators with and without faults.
#![cfg(test)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    thread,
};

use brigade_rehearsal::{CallRecord, SimulatorBuilder};
use brigade_scenarios::live_simulator;
use serde_json::Value;

/// What the program did.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    report: Value,
    calls: Vec<CallRecord>,
}

impl Ran {
    /// The checks of the trial in this dialect.
    fn check(&self, dialect: &str, name: &str) -> &Value {
        let trials = self.report["trials"].as_array().unwrap();
        let trial = trials.iter().find(|trial| trial["dialect"] == dialect).unwrap();
        trial["checks"].as_array().unwrap().iter().find(|check| check["check"] == name).unwrap()
    }

    fn results(&self, dialect: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let trials = self.report["trials"].as_array().unwrap();
        let trial = trials.iter().find(|trial| trial["dialect"] == dialect).unwrap();
        trial["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| (text(&check["check"]), text(&check["result"])))
            .collect()
    }
}

const DIALECTS: [&str; 3] = ["chat", "responses", "anthropic"];

fn in_dialects(dialects: &[&'static str]) -> Vec<&'static str> {
    let server = ["--base-url", "{url}", "--model", "llama3.2", "--embedding-model", "nomic-embed-text"];
    server.into_iter().chain(dialects.iter().flat_map(|dialect| ["--dialect", *dialect])).collect()
}

/// Runs the program while a simulator is served. `{url}` in arguments and variables is its address.
fn run(simulator: SimulatorBuilder, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = simulator.build().serve_locally().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.json");
        let filled = |text: &str| text.replace("{url}", &format!("{}/v1", running.base_url()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade-live"));
        // No Ollama listens on the discard port.
        command.env_clear().env("OLLAMA_HOST", "127.0.0.1:9").arg("--report").arg(&report);
        command.args(arguments.iter().map(|argument| filled(argument)));
        command.envs(variables.iter().map(|(name, value)| (*name, filled(value))));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        running.call_log().wait_until_idle().await;
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
            report: std::fs::read(report).map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap()),
            calls: running.call_log().calls(),
        }
    })
}

#[test]
fn every_check_passes_in_each_dialect_at_the_simulator() {
    let ran = run(live_simulator("").unwrap(), &in_dialects(&DIALECTS), &[]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    for dialect in DIALECTS {
        for (check, result) in ran.results(dialect) {
            let expected = if check == "embeddings" && dialect != "chat" { "not offered" } else { "ok" };
            assert_eq!(result, expected, "{dialect}, {check}: {}", ran.out);
        }
    }
    assert!(ran.out.contains("free"), "a server on this machine costs nothing: {}", ran.out);
}

/// A fault, the check that notices it, its result, and what the report says.
struct Case {
    fault: &'static str,
    check: &'static str,
    result: &'static str,
    says: &'static str,
    dialects: &'static [&'static str],
}

const fn case(fault: &'static str, check: &'static str, result: &'static str, says: &'static str) -> Case {
    Case { fault, check, result, says, dialects: &DIALECTS }
}

const CASES: [Case; 14] = [
    case("match = { stream = true }\ndo = { usage = \"none\" }", "streamed usage", "differs", "by our own estimate"),
    case("do = { usage = \"none\" }", "usage", "differs", "\"fact\":\"usage\",\"found\":\"absent\""),
    case("do = { usage = \"zero\" }", "usage", "differs", "implausible, 0 where we count about"),
    case("do = { usage = \"implausible\" }", "streamed usage", "differs", "output tokens"),
    case(
        "match = { last_user_contains = \"weather in Paris\", stream = false, call = 1 }\ndo = { say = \"duplicate_keys\" }",
        "tool call",
        "differs",
        "JSON that does not match the schema",
    ),
    case(
        "match = { last_user_contains = \"weather in Paris\", stream = true, call = 1 }\ndo = { say = \"nan_arguments\" }",
        "streamed tool call",
        "differs",
        "not JSON",
    ),
    case(
        "match = { last_user_contains = \"weather in Paris\", call = 1 }\ndo = { say = \"empty\" }",
        "tool call",
        "differs",
        "tool calls\",\"found\":\"0",
    ),
    case(
        "match = { last_user_contains = \"inhabitants\" }\ndo = { say = \"fenced_text\" }",
        "JSON schema",
        "differs",
        "JSON between Markdown fences, or prose",
    ),
    case(
        "match = { last_user_contains = \"about a pelican\", stream = true }\nat = { after_deltas = 3 }\ndo = { then = \"close\" }",
        "streamed chat",
        "failed",
        "",
    ),
    Case {
        dialects: &["chat"],
        ..case(
            "match = { stream = true }\ndo = { markers = \"no_done\" }",
            "streamed chat",
            "differs",
            "end_marker_missing",
        )
    },
    case(
        "match = { last_user_contains = \"Count from one\" }\ndo = { say = \"empty\" }",
        "cancellation",
        "differs",
        "complete before it could be cancelled",
    ),
    case("match = { model = \"brigade-no-such-model\" }", "unknown model", "differs", "accepted and answered"),
    Case {
        dialects: &["chat"],
        ..case(
            "match = { last_user_contains = \"Basel\" }\ndo = { status = 404 }",
            "embeddings",
            "not offered",
            "HTTP 404",
        )
    },
    Case {
        dialects: &["chat"],
        ..case("match = { last_user_contains = \"Basel\" }\ndo = { body = \"{}\" }", "embeddings", "failed", "")
    },
];

#[test]
fn each_fault_is_noticed_by_its_check() {
    for Case { fault, check, result, says, dialects } in CASES {
        let faults = format!("[[fault]]\nid = \"the fault\"\n{fault}\n");
        // A simulator for each dialect, because faults count calls of all of them.
        for dialect in dialects {
            let ran = run(live_simulator(&faults).unwrap(), &in_dialects(&[dialect]), &[]);
            let found = ran.check(dialect, check);
            assert_eq!(found["result"], result, "{fault}\n{dialect}: {}", ran.out);
            assert!(found.to_string().contains(says), "{fault}\n{dialect}: {found}");
            let has_failed = ran.results(dialect).iter().any(|(_, result)| result == "failed");
            assert_eq!(ran.code, i32::from(has_failed), "{fault}\n{}", ran.out);
        }
    }
}

#[test]
fn a_parameter_that_is_accepted_differs() {
    let ran = run(live_simulator("").unwrap().strict(false), &in_dialects(&DIALECTS), &[]);
    for dialect in DIALECTS {
        let found = ran.check(dialect, "refused parameter");
        assert!(found.to_string().contains("accepted and answered"), "{dialect}: {found}");
    }
    assert_eq!(ran.code, 0, "a difference is not a failure");
}

#[test]
fn the_cap_holds_by_what_the_simulator_bills() {
    const NANO_PER_TOKEN: u64 = 100_000;
    let mut calls = Vec::new();
    for (cap, nano) in [("0", 0), ("0.05", 50_000_000), ("0.40", 400_000_000), ("100", 100_000_000_000)] {
        let arguments: Vec<&str> =
            in_dialects(&DIALECTS).into_iter().chain(["--price", "100,100", "--max-usd", cap]).collect();
        let ran = run(live_simulator("").unwrap(), &arguments, &[]);
        let billed: u64 = ran.calls.iter().map(|call| call.usage.input + call.usage.output).sum();
        assert!(billed * NANO_PER_TOKEN <= nano, "{cap}: {billed} tokens\n{}", ran.out);
        let has_all = ran.out.contains("not run");
        assert_eq!(has_all, cap != "100", "{}", ran.out);
        assert_eq!(ran.code, 0, "{}", ran.out);
        calls.push(ran.calls.len());
    }
    assert_eq!(calls[0], 0, "without money no call is made");
    assert!(calls.is_sorted() && calls[2] > 0, "{calls:?}");
}

#[test]
fn the_announced_cost_is_not_exceeded() {
    let variables = [("OPENAI_API_KEY", "sk-not-a-real-key"), ("OPENAI_BASE_URL", "{url}")];
    let ran = run(live_simulator("").unwrap(), &[], &variables);
    assert_eq!(ran.code, 0, "{}", ran.out);
    let dollars = |before: &str| {
        let (_, rest) = ran.out.split_once(before).unwrap();
        let number: String = rest.chars().take_while(|it| it.is_ascii_digit() || *it == '.').collect();
        number.trim_end_matches('.').parse::<f64>().unwrap()
    };
    let (announced, spent) = (dollars("At most $"), dollars("Spent $"));
    assert!(spent > 0.0 && spent <= announced && announced < 0.05, "{spent} of {announced}");
    assert!(ran.out.contains("openai chat, gpt-5-nano") && ran.out.contains("openai responses, gpt-5-nano"));
}

#[test]
fn without_a_key_or_a_server_it_says_how_to_get_one() {
    let ran = run(live_simulator("").unwrap(), &[], &[]);
    assert_eq!((ran.code, ran.calls.len()), (3, 0), "{}", ran.out);
    for hint in ["ollama pull", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "--base-url"] {
        assert!(ran.out.contains(hint), "{hint}: {}", ran.out);
    }
}

#[test]
fn options_that_cannot_be_used_say_what_to_do() {
    for (arguments, hint) in [
        (vec!["--provider", "opnai"], "use one of openai"),
        (vec!["--provider", "openai"], "OPENAI_API_KEY"),
        (vec!["--provider", "vllm"], "--model"),
        (vec!["--provider", "azure", "--model", "m"], "AZURE_OPENAI_API_KEY"),
        (vec!["--base-url", "http://127.0.0.1:9/v1"], "--model"),
        (vec!["--base-url", "https://llm.example.com/v1", "--model", "m"], "--price"),
        (vec!["--base-url", "{url}", "--model", "m", "--key-env", "NOT_SET"], "NOT_SET"),
        (vec!["--base-url", "nonsense", "--model", "m", "--price", "1,1"], "is not a base URL"),
    ] {
        let ran = run(live_simulator("").unwrap(), &arguments, &[]);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.out);
        assert!(ran.out.contains(hint), "{arguments:?}: {}", ran.out);
    }
}

#[test]
fn a_provider_that_cannot_be_used_at_all_is_given_up_with_a_reason() {
    let openai = [("OPENAI_API_KEY", "sk-not-a-real-key"), ("OPENAI_BASE_URL", "{url}")];
    let refused = [("OPENAI_API_KEY", "sk-not-a-real-key"), ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")];
    for (fault, variables, says) in [
        ("do = { status = 401 }", openai, "is the key in OPENAI_API_KEY right"),
        ("do = { status = 200, html_bytes = 5000 }", openai, "HTML"),
        ("", refused, "does a server run at http://127.0.0.1:9/v1?"),
    ] {
        let fault = if fault.is_empty() { String::new() } else { format!("[[fault]]\nid = \"the fault\"\n{fault}\n") };
        let ran = run(live_simulator(&fault).unwrap(), &["--provider", "openai"], &variables);
        assert_eq!(ran.code, 1, "{}", ran.out);
        assert!(ran.out.contains(says), "{says}: {}", ran.out);
        assert!(!ran.out.contains("sk-not-a-real-key") && !ran.report.to_string().contains("sk-not-a-real-key"));
        assert!(ran.calls.len() <= 2, "one call for each dialect at most: {}", ran.out);
        assert_eq!(ran.check("chat", "tool call")["result"], "not run");
    }
}

#[test]
fn a_vendors_key_is_not_sent_to_another_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..length]).to_lowercase()
    });
    let variables = [("OPENAI_API_KEY", "sk-not-a-real-key")];
    let ran = run(live_simulator("").unwrap(), &["--base-url", &url, "--model", "m"], &variables);
    let request = server.join().unwrap();
    assert!(request.starts_with("get /v1/models") && !request.contains("sk-not-a-real-key"), "{request}");
    assert!(ran.code == 1 && ran.out.contains("--key-env"), "{}", ran.out);
}

#[test]
fn the_report_can_be_markdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.md");
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade-live"));
    command.env_clear().args(["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--report"]).arg(&path);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("| account | failed |") && text.contains("- account, failed: no connection"), "{text}");
}
