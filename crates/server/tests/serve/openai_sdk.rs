//! `OpenAI`'s own Python client.

use std::process::{Command, Stdio};

use crate::support::{Server, config, provider};

/// Where the package is not installed in the default interpreter, this names another one.
const PYTHON: &str = "OPENAI_SDK_PYTHON";

#[tokio::test]
async fn the_vendors_own_client_finds_everything_where_it_expects_it() {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let has_client = Command::new(&python).args(["-c", "import openai"]).stderr(Stdio::null()).status();
    if !has_client.is_ok_and(|status| status.success()) {
        println!("skipped: `{python}` has no package `openai`; {PYTHON} may name an interpreter that has");
        return;
    }
    let provider = provider("It is sunny in Paris today.").await;
    let server = Server::start(&config(&provider));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serve/openai_sdk.py");
    let mut client = Command::new(python);
    client.args([script, &server.url]).env("NO_PROXY", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
