//! What outlives the server where a file is configured for it.

use serde_json::{Value, json};

use crate::support::{Server, config, json_of, provider, question, scripted};

/// Stops a server as an orchestrator does.
async fn stop(mut server: Server) {
    server.signal("-TERM");
    assert!(server.exit().await.success(), "{}", server.log());
}

fn stored(config: &str, folder: &tempfile::TempDir) -> String {
    format!("store = \"{}\"\n{config}", folder.path().join("brigade.db").display())
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart() {
    let script = r#"
[[rule]]
when = { turn = 0 }
answer = { text = "Pleased to meet you." }
[[rule]]
answer = { text = "You are Ada." }
"#;
    let (provider, folder) = (scripted(script, "").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    let mut answers = Vec::new();
    for text in ["I am Ada.", "Who am I?"] {
        let server = Server::start(&config);
        let body = json!({ "agent": "clerk", "task": text, "session_id": "one" });
        let (_, run) = json_of(server.post("/v1/runs", &body)).await;
        answers.push(run["result"]["text"].clone());
        stop(server).await;
    }
    assert_eq!(Value::Array(answers), json!(["Pleased to meet you.", "You are Ada."]));
}

#[tokio::test]
async fn what_was_spent_today_counts_after_a_restart() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    // Enough for one call, but not for the least that a second one may have to cost.
    let budget = "[budget]\nusd = \"0.0006\"\nper = \"day\"\n";
    let config = stored(&(config(&provider) + budget), &folder);
    let ask = async |server: &Server| json_of(server.post("/v1/chat/completions", &question("Hello?"))).await.0;
    let first = Server::start(&config);
    assert_eq!(ask(&first).await, 200);
    stop(first).await;
    let second = Server::start(&config);
    assert_eq!(ask(&second).await, 402, "{}", second.log());
    assert_eq!(provider.truth().totals().arrived, 1);
}

#[tokio::test]
async fn a_store_that_is_something_else_is_refused_and_left_alone() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let path = folder.path().join("brigade.db");
    std::fs::write(&path, "my diary, which is no database").unwrap();
    let output = Server::refused(&stored(&config(&provider), &folder));
    assert!(output.contains("the store") && output.contains("brigade.db"), "{output}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my diary, which is no database");
}
