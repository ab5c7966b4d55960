//! Keys, hostile content, and a server that goes away.

use brigade_config::KeyHash;
use brigade_rehearsal::{Script, Simulator};
use serde_json::json;

use crate::{
    browser::Browser,
    server::{Server, client},
};

/// Markup, a control sequence of terminals, characters without width, and one that turns the direction of text.
const HOSTILE: &str =
    "<script>document.title='owned'</script><img src=x onerror=alert(1)>\u{1b}[31mred\u{200b}\u{202e}desrever";

async fn hostile_provider() -> brigade_rehearsal::RunningSimulator {
    let call =
        json!({ "when": { "turn": 0 }, "answer": { "tool_calls": [{ "name": "rm<b>-rf", "arguments": "{}" }] } });
    let rules = json!({ "rule": [call, { "answer": { "text": HOSTILE } }] });
    let script = Script::from_toml(&toml::to_string(&rules).unwrap()).unwrap();
    Simulator::builder().script(script).strict(false).build().serve_locally().await.unwrap()
}

fn config(url: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[providers.sim]\nkind = \"compatible\"\nbase_url = \"{url}/v1\"\n\
         [models.mini]\nprovider = \"sim\"\nmodel = \"gpt-5-mini\"\n[agents.clerk]\nmodel = \"mini\"\n\
         workers = [{{ agent = \"helper\" }}]\n[agents.helper]\nmodel = \"mini\"\npurpose = \"Helps.\"\n"
    )
}

async fn start_run(server: &Server, key: Option<&str>) {
    let body = json!({ "agent": "clerk", "task": "Hello.", "user": HOSTILE, "session_id": HOSTILE });
    let request = client().post(format!("{}/v1/runs", server.url)).body(body.to_string());
    let request = request.header("content-type", "application/json");
    let request = key.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn hostile_content_is_shown_as_text() {
    let Some(browser) = Browser::open("console hostile content", 1360, 800).await else { return };
    let provider = hostile_provider().await;
    let server = Server::configured(&config(&provider.base_url()));
    start_run(&server, None).await;
    browser.go(&format!("{}/console", server.url)).await;
    browser.click(".runs a", "clerk").await;
    browser.sees("called a tool that it does not have: rm<b>-rf").await;
    browser.sees("⟨200B⟩⟨202E⟩desrever").await;
    browser.click(".tabs a", "Answer").await;
    browser
        .sees("<script>document.title='owned'</script><img src=x onerror=alert(1)>␛[31mred⟨200B⟩⟨202E⟩desrever")
        .await;
    assert_eq!(browser.eval("document.querySelectorAll('main script, main img').length").await, json!(0));
    assert_ne!(browser.eval("document.title").await, json!("owned"));
    browser.assert_clean(&server.url, &[]).await;
}

#[tokio::test]
async fn a_key_is_asked_for_and_kept_in_the_tab_only() {
    let Some(browser) = Browser::open("console keys", 1360, 800).await else { return };
    let provider = hostile_provider().await;
    let hash = |key: &str| KeyHash::of(key).to_string();
    let keys = format!(
        "[keys.web]\nhash = \"{}\"\nscopes = [\"run\", \"read\"]\n[keys.crm]\nhash = \"{}\"\n",
        hash("brg_web"),
        hash("brg_crm"),
    );
    let server = Server::configured(&format!("{}{keys}", config(&provider.base_url())));
    for key in ["brg_web", "brg_crm"] {
        start_run(&server, Some(key)).await;
    }
    browser.go(&format!("{}/console", server.url)).await;
    browser.sees("This server needs an API key").await;
    browser.write("#key", "brg_web").await;
    browser.click("button", "open").await;
    browser.until("document.querySelectorAll('.runs tbody tr').length === 1").await;
    assert_eq!(browser.eval("localStorage.length").await, json!(0));
    assert_eq!(browser.eval("document.cookie").await, json!(""));
    browser.click("button", "forget key").await;
    browser.sees("This server needs an API key").await;
    browser.assert_clean(&server.url, &["401"]).await;
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_the_last_runs_on_the_page() {
    let Some(browser) = Browser::open("console offline", 1360, 800).await else { return };
    let provider = hostile_provider().await;
    let server = Server::configured(&config(&provider.base_url()));
    browser.go(&format!("{}/console", server.url)).await;
    browser.sees("No runs yet.").await;
    start_run(&server, None).await;
    browser.until("document.querySelectorAll('.runs tbody tr').length === 1").await;
    drop(server);
    browser.sees("The server does not answer. This is the last that it sent.").await;
    assert_eq!(browser.eval("document.querySelectorAll('.runs tbody tr').length").await, json!(1));
}
