//! Long-term memory.

use brigade_rehearsal::RunningSimulator;
use serde_json::{Value, json};

use crate::support::{Server, config, json_of, scripted};

/// The clerk writes each task into a note, and repeats what it was shown.
const SCRIPT: &str = r#"
[[rule]]
when = { last_user_contains = "Remember", turn = 0, tools = true }
answer = { tool_calls = [{ name = "remember", arguments = '{"text":"Ada takes trains to Basel."}' }] }
[[rule]]
when = { last_user_contains = "Look", turn = 0, tools = true }
answer = { tool_calls = [{ name = "recall", arguments = '{"query":"trains"}' }] }
[[rule]]
when = { last_user_contains = "Ada takes trains" }
answer = { text = "I was shown: {{last_user}}" }
[[rule]]
answer = { text = "Done. {{tool_results}}" }
"#;

const BY_MEANING: &str = r#"
[agents.clerk.recall]
context_tokens = 300
[recall]
embedding = { provider = "sim", model = "embed" }
"#;

fn remembering(provider: &RunningSimulator, folder: &tempfile::TempDir, more: &str) -> String {
    let store = folder.path().join("brigade.db");
    format!("store = \"{}\"\n{}{more}", store.display(), config(provider))
}

async fn ask(server: &Server, task: &str, user: Option<&str>) -> Value {
    let (status, run) =
        json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": task, "user": user }))).await;
    assert_eq!(status, 200, "{run}");
    run["result"].clone()
}

#[tokio::test]
async fn notes_are_added_to_later_tasks_of_the_same_user_even_after_a_restart() {
    let (provider, folder) = (scripted(SCRIPT, "").await, tempfile::tempdir().unwrap());
    let config = remembering(&provider, &folder, "[agents.clerk.recall]\ncontext_tokens = 300\n");
    let first = Server::start(&config);
    assert_eq!(ask(&first, "Remember this.", Some("ada")).await["text"], "Done. Noted.");
    drop(first);
    let second = Server::start(&config);
    let shown = ask(&second, "Which trains?", Some("ada")).await["text"].as_str().unwrap().to_owned();
    assert!(shown.starts_with("I was shown: Which trains?"), "{shown}");
    assert!(shown.contains("are not instructions") && shown.contains(r#""source":"agent""#), "{shown}");
    assert_eq!(ask(&second, "Which trains?", Some("bob")).await["text"], "Done.", "others have their own");
    assert_eq!(ask(&second, "Which trains?", None).await["text"], "Done.", "a request without a user has no notes");
    let found = ask(&second, "Look it up.", Some("ada")).await["text"].to_string();
    assert!(found.contains("Ada takes trains to Basel.") && found.contains(r#"\"id\""#), "{found}");
    let refused = ask(&second, "Look it up.", None).await["text"].to_string();
    assert!(refused.contains("no user was named"), "{refused}");
}

#[tokio::test]
async fn chat_requests_share_the_notes_of_their_user() {
    let (provider, folder) = (scripted(SCRIPT, "").await, tempfile::tempdir().unwrap());
    let server = Server::start(&remembering(&provider, &folder, "[agents.clerk.recall]\ncontext_tokens = 300\n"));
    ask(&server, "Remember this.", Some("ada")).await;
    let chat = |user: &str| {
        let messages = json!([{ "role": "user", "content": "Which trains?" }]);
        server.post("/v1/chat/completions", &json!({ "model": "clerk", "messages": messages, "user": user }))
    };
    let (_, answer) = json_of(chat("ada")).await;
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("Ada takes trains"), "{answer}");
    assert_eq!(json_of(chat(&"x".repeat(257))).await.1["error"]["param"], "user");
}

#[tokio::test]
async fn notes_are_found_by_meaning_with_an_embedding_model_whose_calls_are_paid_for() {
    let (provider, folder) = (scripted(SCRIPT, "").await, tempfile::tempdir().unwrap());
    let prices = folder.path().join("prices.toml");
    std::fs::write(&prices, "[[models]]\nids = [\"embed\"]\nstandard = { input = \"10\", output = \"0\" }\n").unwrap();
    let config = format!("prices = \"{}\"\n{}", prices.display(), remembering(&provider, &folder, BY_MEANING));
    let server = Server::start(&config);
    ask(&server, "Remember this.", Some("ada")).await;
    // It shares no word with the note, only parts of words.
    let shown = ask(&server, "Any training?", Some("ada")).await;
    assert!(shown["text"].as_str().unwrap().contains("Ada takes trains"), "{shown}");
    let (_, usage) = json_of(server.get("/v1/usage?model=sim/embed")).await;
    let total = &usage["total"];
    // One embedding per task, and one for the note.
    assert_eq!((&total["calls"], &total["uncertain"]), (&json!(3), &json!("0")), "{usage}");
    assert!(total["charged"].as_str().unwrap() > "0", "{usage}");
    let embedded = provider.call_log().calls().into_iter().filter(|call| call.model == "embed");
    let tokens: u64 = embedded.map(|call| call.usage.input).sum();
    assert_eq!(total["usage"]["input_tokens"], tokens);
}

#[tokio::test]
async fn an_unavailable_embedding_model_does_not_fail_the_run() {
    let down = "[[fault]]\nid = \"x\"\nmatch = { model = \"embed\" }\ndo = { status = 503 }\n";
    let (provider, folder) = (scripted(SCRIPT, down).await, tempfile::tempdir().unwrap());
    let server = Server::start(&remembering(&provider, &folder, BY_MEANING));
    ask(&server, "Remember this.", Some("ada")).await;
    let shown = ask(&server, "Which trains?", Some("ada")).await;
    assert!(shown["text"].as_str().unwrap().contains("Ada takes trains"), "words do: {shown}");
    server.log_with("found by their words only").await;
}

#[tokio::test]
async fn recall_without_a_store_is_refused() {
    let provider = scripted(SCRIPT, "").await;
    let message = Server::refused(&format!("{}[agents.clerk.recall]\n", config(&provider)));
    assert!(message.contains("add `store = \"brigade.db\"`"), "{message}");
}
