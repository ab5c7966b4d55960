//! `examples/production.toml`, with a simulated provider.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Server, eventually, json_of, question, scripted};

const CONFIG: &str = include_str!("../../../../examples/production.toml");

const SCRIPT: &str = r#"
[[rule]]
when = { system_contains = "Plan the work", turn = 0 }
answer.tool_calls = [
    { name = "researcher", arguments = '{"task":"Find facts."}' },
    { name = "estimator", arguments = '{"task":"Estimate costs."}' },
]
[[rule]]
when = { system_contains = "Plan the work" }
answer = { text = "Verdict: {{tool_results}}" }
"#;

#[tokio::test]
async fn production_toml_serves_the_team() {
    let provider = scripted(SCRIPT, "").await;
    let (url, v1) = (provider.base_url(), format!("{}/v1", provider.base_url()));
    let variables = [
        ("BRIGADE__SERVER__LISTEN", "127.0.0.1:0"),
        ("BRIGADE__PROVIDERS__OPENAI__BASE_URL", &v1),
        ("BRIGADE__PROVIDERS__ANTHROPIC__BASE_URL", &url),
        ("BRIGADE__TOOLS__SEARCH__HTTP__SECRET_HEADERS", "{}"),
    ];
    let server = Server::start_with(CONFIG, &variables);
    server.until_ready().await;
    let mut body = question("Should we move?");
    body["model"] = "desk".into();
    let (status, answer) = json_of(server.post("/v1/chat/completions", &body)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("Verdict:"), "{answer}");
    let trace = answer["brigade"]["trace_id"].as_str().unwrap();
    let log = server.log_with("(desk $").await;
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_runs = log.iter().filter(|line| line["target"].as_str().unwrap().starts_with("brigade_core"));
    let of_runs: Vec<_> = of_runs.inspect(|line| assert_eq!(line["trace_id"], trace, "{line}")).collect();
    for agent in ["desk", "desk/researcher", "desk/estimator"] {
        assert!(of_runs.iter().any(|line| line["agent"] == agent && line["event"] == "run_ended"), "{of_runs:?}");
    }
    let (_, metrics) = json_of(server.get("/metrics")).await;
    assert!(
        metrics.as_str().unwrap().contains(r#"brigade_runs_total{agent="desk",outcome="finished"} 1"#),
        "{metrics}"
    );
    let events = Path::new(&server.config_path()).with_file_name("events.jsonl");
    let is_complete = || fs::read_to_string(&events).unwrap_or_default().contains("run_ended").then_some(());
    eventually("the events are written", is_complete).await;
}
