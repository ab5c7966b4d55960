//! Configured tools, called by a scripted model.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::Redirect,
    routing::get,
};
use brigade_rehearsal::RunningSimulator;

use tokio::task::JoinSet;

use crate::support::{BRIGADE, Server, config, json_of, question, scripted};

/// A model that calls `lookup` with these arguments, and then repeats the result.
async fn model(arguments: &str) -> RunningSimulator {
    let script = format!(
        r#"
[[rule]]
when = {{ turn = 0 }}
answer = {{ tool_calls = [{{ name = "lookup", arguments = '{arguments}' }}] }}
[[rule]]
answer = {{ text = "It says: {{{{tool_results}}}}" }}
"#
    );
    scripted(&script, "").await
}

/// A configuration in which `clerk` has the tool `lookup`.
fn with_tool(model: &RunningSimulator, tool: &str) -> String {
    let config = config(model).replace("[agents.clerk]", "[agents.clerk]\ntools = [\"lookup\"]");
    format!(
        "{config}\n[tools.lookup]\ndescription = \"Looks a word up.\"\ninput = {{ type = \"object\", properties = {{ word = {{ type = \"string\" }} }} }}\n{tool}\n"
    )
}

async fn answer(config: &str) -> String {
    let server = Server::start(config);
    let (status, body) = json_of(server.post("/v1/chat/completions", &question("Look it up."))).await;
    assert_eq!(status, 200, "{body}");
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// A local server that counts requests.
struct Target {
    port: u16,
    visits: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

async fn target() -> Target {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, visits) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&visits);
    let count = axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
        counted.fetch_add(1, Ordering::Relaxed);
        next.run(request)
    });
    let router = Router::new()
        .route("/words/{word}", get(|Path(word): Path<String>| async move { format!("<{word}>") }))
        .route("/trace", get(|headers: HeaderMap| async move { format!("{:?}", headers.get("traceparent")) }))
        .route("/long", get(|| async { "x".repeat(1 << 20) }))
        .route("/broken", get(|| async { (StatusCode::NOT_FOUND, "no such word") }))
        .route("/metadata", get(|| async { Redirect::temporary("http://169.254.169.254/latest/meta-data") }))
        .layer(count);
    let serving = JoinSet::from_iter([async move { axum::serve(listener, router).await.unwrap() }]);
    Target { port, visits, _serving: serving }
}

#[tokio::test]
async fn an_http_tool_returns_the_body_and_encodes_its_arguments() {
    let (target, model) = (target().await, model(r#"{"word": "a/../b?c"}"#).await);
    let tool = format!("http = {{ url = \"http://127.0.0.1:{}/words/{{word}}\", allow_private = true }}", target.port);
    assert_eq!(answer(&with_tool(&model, &tool)).await, "It says: <a/../b?c>");
}

#[tokio::test]
async fn the_trace_is_sent_only_if_configured() {
    let (target, model) = (target().await, model("{}").await);
    let tool =
        |more| format!("http = {{ url = \"http://127.0.0.1:{}/trace\", allow_private = true{more} }}", target.port);
    assert_eq!(answer(&with_tool(&model, &tool(""))).await, "It says: None");
    let message = answer(&with_tool(&model, &tool(", propagate_trace = true"))).await;
    assert!(message.starts_with("It says: Some(\"00-"), "{message}");
}

#[tokio::test]
async fn a_long_body_is_cut_and_an_error_status_is_reported() {
    let target = target().await;
    let model = model("{}").await;
    let http = |path| format!("http = {{ url = \"http://127.0.0.1:{}/{path}\", allow_private = true }}", target.port);
    let long = answer(&with_tool(&model, &format!("max_output = \"1 KiB\"\n{}", http("long")))).await;
    assert!(long.len() < 1_200 && long.ends_with("[cut here: the answer is longer]"), "{}", long.len());
    let broken = answer(&with_tool(&model, &http("broken"))).await;
    assert!(broken.contains("the server answered 404 Not Found: no such word"), "{broken}");
}

#[tokio::test]
async fn r33_private_addresses_are_not_reached_by_name_address_or_redirect() {
    let (target, model) = (target().await, model("{}").await);
    let by_name = format!("http = {{ url = \"http://localhost:{}/words/x\" }}", target.port);
    let message = answer(&with_tool(&model, &by_name)).await;
    assert!(message.contains("requests to localhost are denied"), "{message}");
    assert_eq!(target.visits.load(Ordering::Relaxed), 0);
    let redirected = format!("http = {{ url = \"http://127.0.0.1:{}/metadata\", allow_private = true }}", target.port);
    let message = answer(&with_tool(&model, &redirected)).await;
    assert!(
        message.contains("requests to 169.254.169.254 are denied: the address is a cloud metadata service"),
        "{message}"
    );
    let by_address = with_tool(&model, &format!("http = {{ url = \"http://127.0.0.1:{}/words/x\" }}", target.port));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("brigade.toml"), by_address).unwrap();
    let output = Command::new(BRIGADE).arg("check").current_dir(folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("requests to 127.0.0.1 are denied"));
}

#[tokio::test]
async fn a_program_runs_without_a_shell_and_with_an_empty_environment() {
    let model = model(r#"{"word": "$HOME; id"}"#).await;
    let tool = "command = { argv = [\"/bin/echo\", \"word:\", \"{word}\"] }";
    let config = with_tool(&model, tool).replace("[server]", "[server]\ncommands = true");
    assert_eq!(answer(&config).await, "It says: word: $HOME; id");
    let config = with_tool(&model, "command = { argv = [\"/usr/bin/env\"], environment = { A = \"b\" } }");
    assert_eq!(answer(&config.replace("[server]", "[server]\ncommands = true")).await, "It says: A=b");
}

#[tokio::test]
async fn a_program_that_fails_hangs_or_gets_an_option_is_reported_to_the_model() {
    let enabled = |config: String| config.replace("[server]", "[server]\ncommands = true");
    let dashed = model(r#"{"word": "--version"}"#).await;
    let message = answer(&enabled(with_tool(&dashed, "command = { argv = [\"/bin/echo\", \"{word}\"] }"))).await;
    assert!(message.contains("must not start with a dash"), "{message}");
    let message = answer(&enabled(with_tool(&dashed, "command = { argv = [\"/bin/false\"] }"))).await;
    assert!(message.contains("the program ended with exit status: 1"), "{message}");
    let slow = "timeout = \"100ms\"\ncommand = { argv = [\"/bin/sleep\", \"60\"] }";
    let message = answer(&enabled(with_tool(&dashed, slow))).await;
    assert!(message.contains("did not answer within 100ms"), "{message}");
}

#[tokio::test]
async fn programs_run_only_if_allowed() {
    let model = model("{}").await;
    let folder = tempfile::tempdir().unwrap();
    let config = with_tool(&model, "command = { argv = [\"/bin/echo\"] }");
    std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
    let output = Command::new(BRIGADE).arg("check").current_dir(folder.path()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("server.commands = true"), "{message}");
}

/// Scenario R25.
#[tokio::test]
async fn the_stop_reason_is_in_the_answer_the_log_and_the_metrics() {
    let model =
        scripted("[[rule]]\nanswer = { tool_calls = [{ name = \"invented_{{turn}}\", arguments = '{}' }] }", "").await;
    let tool = "http = { url = \"https://example.com/\" }";
    let server = Server::start(&with_tool(&model, tool));
    let (status, body) = json_of(server.post("/v1/chat/completions", &question("Look it up."))).await;
    assert_eq!((status, &body["choices"][0]["finish_reason"]), (200, &"stop".into()), "{body}");
    assert_eq!(body["brigade"]["stop"], "unknown_tool_limit");
    assert!(body["brigade"]["notice"].as_str().unwrap().contains("the last one `invented_2`"), "{body}");
    server.log_with("unknown_tool_limit").await;
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let mut runs = metrics.lines().filter(|line| line.starts_with("brigade_runs_total{"));
    assert!(runs.any(|line| line.contains("unknown_tool_limit") && line.ends_with(" 1")), "{metrics}");
    assert!(!metrics.contains("invented"), "names that a model invents are not labels");
}
