//! The official Python and JavaScript clients, and other clients of `OpenAI`'s APIs, against the binary.
//!
//! They are installed from their registries below the target folder, once. Without a network or an interpreter
//! the test is skipped and reports that.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use brigade_core::testing::skip_test;
use serde_json::json;
use tokio::process::Command;

use crate::support::{Server, config, hash_of, scripted};

/// Fixed versions, so that a failure is not caused by a new release.
const PYTHON_PACKAGE: &str = "openai==3.54.0";
const NODE_PACKAGE: &str = "openai@7.57.0";
const AI_SDK_PACKAGES: [&str; 2] = ["ai@7.0.173", "@ai-sdk/openai@4.0.118"];
const CODEX_PACKAGE: &str = "@openai/codex@0.171.0";

/// A download of a few MiB through a slow proxy.
const INSTALLING: Duration = Duration::from_mins(2);

/// The clients' requests take a second or two.
const ASKING: Duration = Duration::from_mins(1);

/// An agent that answers, one without budget, and a stream that breaks on demand.
const SCRIPT: &str = r#"
[[rule]]
when = { last_user_contains = "Use a tool.", turn = 0, tools = true }
answer = { tool_calls = [{ name = "look", arguments = '{"place":"Paris"}' }] }
[[rule]]
answer = { text = "It is sunny in Paris today.", usage = { input = 120, output = 30 } }
"#;
const FAULTS: &str = r#"
[[fault]]
id = "breaks"
match = { last_user_contains = "Break." }
at = { after_deltas = 3 }
do = { sse_error = "overloaded", then = "close" }

[[fault]]
id = "slow"
match = { last_user_contains = "Be slow." }
do = { stall = "10m" }

[[fault]]
id = "down"
match = { last_user_contains = "Be down." }
do = { status = 503 }
"#;
const PAUPER: &str = "[agents.pauper]\nmodel = \"mini\"\nbudget = { usd = \"0.000001\" }\n";

#[tokio::test]
async fn the_official_python_client_works() {
    match python().await {
        Ok(program) => all_is_as_expected(Command::new(program).arg(beside("openai_client.py"))).await,
        Err(reason) => skip("OpenAI Python", &reason),
    }
}

#[tokio::test]
async fn the_official_javascript_client_works() {
    match javascript("openai_client.mjs", "openai-node", &[NODE_PACKAGE]).await {
        Ok(script) => all_is_as_expected(Command::new("node").arg(script)).await,
        Err(reason) => skip("OpenAI JavaScript", &reason),
    }
}

#[tokio::test]
async fn the_ai_sdk_works() {
    match javascript("ai_sdk_client.mjs", "ai-sdk", &AI_SDK_PACKAGES).await {
        Ok(script) => all_is_as_expected(Command::new("node").arg(script)).await,
        Err(reason) => skip("AI SDK", &reason),
    }
}

/// Codex calls its tool for a shell, and then is content.
const CODEX_SCRIPT: &str = r#"
[[rule]]
when = { last_user_contains = "Look.", turn = 0, tools = true }
answer = { text = "Let me look.", tool_calls = [{ name = "exec_command", arguments = '{"cmd":"echo seen > seen.txt"}' }] }
[[rule]]
answer = { text = "I saw it." }
"#;

#[tokio::test]
async fn codex_runs_its_own_tools_and_stops_at_a_spent_budget() {
    let folder = match installed("codex", &[CODEX_PACKAGE]).await {
        Ok(folder) => folder,
        Err(reason) => return skip("Codex", &reason),
    };
    let provider = scripted(CODEX_SCRIPT, "").await;
    let server = Server::start(&format!("{}{PAUPER}", config(&provider)));
    let home = tempfile::tempdir().unwrap();
    let ask = async |model: &str| {
        let settings = format!(
            "model = {model:?}\nmodel_provider = \"brigade\"\n[model_providers.brigade]\nname = \"brigade\"\n\
             base_url = \"{}/v1\"\nwire_api = \"responses\"\n",
            server.url
        );
        std::fs::write(home.path().join("config.toml"), settings).unwrap();
        let mut codex = Command::new(folder.join("node_modules/.bin/codex"));
        codex.args(["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "Look."]);
        codex.current_dir(home.path()).env("CODEX_HOME", home.path()).env("NO_PROXY", "127.0.0.1");
        run(&mut codex, ASKING).await
    };
    assert_eq!(ask("clerk").await, Ok(()));
    assert_eq!(provider.call_log().totals().arrived, 2, "it sends the result of its tool");
    assert_eq!(std::fs::read_to_string(home.path().join("seen.txt")).unwrap(), "seen\n");
    let refused = ask("pauper").await.unwrap_err();
    assert!(refused.contains("Quota exceeded"), "{refused}");
    let log = server.log_with("pauper brigade_core::run: started").await;
    assert_eq!(log.matches("pauper brigade_core::run: started").count(), 1, "it does not try again: {log}");
}

/// Runs a client against two servers: one that answers, and one that refuses as many requests as it can.
async fn all_is_as_expected(client: &mut Command) {
    let provider = scripted(SCRIPT, FAULTS).await;
    let once = "[models.mini.policy.retry]\nattempts = 1\n";
    let open = Server::start(&format!("{}{PAUPER}{once}", config(&provider)));
    let full = config(&provider).replace("[server]", "[server]\nmax_runs = 1\nlongest_wait = \"0s\"");
    let [reader, runner] = ["reader", "runner"].map(|name| {
        let scope = if name == "reader" { "read" } else { "run" };
        format!("[keys.{name}]\nhash = \"sha256:{}\"\nscopes = [\"{scope}\"]\n", hash_of(&format!("brg_{name}")))
    });
    let strict = Server::start(&format!("{full}{reader}{runner}"));
    // Another run holds the only place.
    let held = strict.post("/v1/runs", &json!({ "agent": "clerk", "task": "Be slow.", "background": true }));
    assert!(held.bearer_auth("brg_runner").send().await.unwrap().status().is_success());
    let told = run(client.args([&open.url, &strict.url]).env("NO_PROXY", "127.0.0.1"), ASKING).await;
    assert!(told.is_ok(), "{}", told.unwrap_err());
}

/// An interpreter with the package installed.
async fn python() -> Result<PathBuf, String> {
    let folder = below_target("openai-python");
    let (program, done) = (folder.join("bin/python"), folder.join(PYTHON_PACKAGE));
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), INSTALLING).await?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout=10", "--retries=1"];
        run(Command::new(&program).args(pip).arg(PYTHON_PACKAGE), INSTALLING).await?;
        std::fs::write(done, "").map_err(|error| error.to_string())?;
    }
    Ok(program)
}

/// A script in the folder of its packages.
async fn javascript(script: &str, folder: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = installed(folder, packages).await?;
    // Node resolves packages relative to the script.
    std::fs::copy(beside(script), folder.join(script)).map_err(|error| error.to_string())?;
    Ok(folder.join(script))
}

/// A folder with these packages.
async fn installed(folder: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = below_target(folder);
    let done = folder.join(packages.join("+").replace('/', "-"));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    run(Command::new("node").arg("--version"), INSTALLING).await?;
    if !done.exists() {
        let install =
            ["install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=1", "--loglevel=error"];
        run(Command::new("npm").args(install).arg("--prefix").arg(&folder).args(packages), INSTALLING).await?;
        std::fs::write(done, "").map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

/// Runs a program to its end. The error is its last output.
async fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(limit, output).await {
        Ok(Ok(Output { status, .. })) if status.success() => Ok(()),
        Ok(Ok(Output { stderr, stdout, .. })) => {
            let said = if stderr.is_empty() { stdout } else { stderr };
            Err(format!("{name}: {}", String::from_utf8_lossy(&said).trim_end()))
        }
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name} took longer than {} s", limit.as_secs())),
    }
}

fn below_target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve").join(name)
}

fn skip(language: &str, reason: &str) {
    let reason = reason.lines().last().unwrap_or_default();
    skip_test("clients", &format!("the {language} client cannot be installed: {reason}"));
}
