//! The commands of the README.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{BRIGADE, Server};

const README: &str = include_str!("../../../../README.md");

/// The port in the README. The tests replace it, because another process may use it.
const PORT: &str = "8080";

/// The shell commands of a section, block by block, without comments.
fn blocks(section: &str) -> Vec<Vec<String>> {
    let (_, rest) = README.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split_once("\n## ").map_or(rest, |(section, _)| section);
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let commands = |block: &str| -> Vec<String> {
        let block = block.replace("\\\n", " ");
        block.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    blocks.map(commands).collect()
}

/// Runs a command in a shell that finds `brigade` in its path.
async fn shell(command: &str, folder: &std::path::Path) -> Output {
    let programs = std::path::Path::new(BRIGADE).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", command]).current_dir(folder).env("PATH", path.unwrap());
    shell.env("NO_PROXY", "127.0.0.1").env_remove("ANTHROPIC_API_KEY").env_remove("OPENAI_API_KEY");
    tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_first_steps_work_as_printed() {
    if std::net::TcpStream::connect("127.0.0.1:11434").is_ok() {
        brigade_core::testing::skip_test("README, first steps", "Ollama listens here, and might have no model");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [install, steps @ ..] = &blocks("Use the binary")[0][..] else { panic!("no steps") };
    assert!(install.starts_with("cargo install --locked --path crates/server "), "{install}");
    assert_eq!(steps.len(), 3);
    for step in steps {
        let output = shell(step, folder.path()).await;
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_example_configurations_pass_the_check_without_warnings() {
    for name in ["files.toml", "memory.toml", "production.toml", "support.toml"] {
        let file = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let check = ["check", "--no-secrets", "--deny-warnings", "--config", &file];
        let output = Command::new(BRIGADE).args(check).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_supervisor_in_toml_passes_a_strict_check() {
    let (_, rest) = README.split_once("```toml\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("brigade.toml");
    std::fs::write(&file, rest.split_once("```").unwrap().0).unwrap();
    let output =
        Command::new(BRIGADE).args(["check", "--no-secrets", "--deny-warnings", "--config"]).arg(file).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_walk_with_curl_works_as_printed() {
    if Command::new("curl").arg("--version").output().is_err() {
        brigade_core::testing::skip_test("README, curl", "curl is not installed");
        return;
    }
    let blocks = blocks("Use the binary");
    assert_eq!(blocks[1], ["brigade serve --demo"]);
    let server = Server::start_demo(&[]);
    let (_, port) = server.url.rsplit_once(':').unwrap();
    let mut outputs = Vec::new();
    for command in &blocks[2] {
        assert!(command.contains(&format!("http://127.0.0.1:{PORT}/")), "{command}");
        let output = shell(&command.replace(PORT, port), std::path::Path::new(".")).await;
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        outputs.push(String::from_utf8(output.stdout).unwrap());
    }
    let [answer, run, usage, metrics] = &outputs[..] else { panic!("{} commands", outputs.len()) };
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("Stay on SQS"), "{answer}");
    assert!(answer["usage"]["total_tokens"].is_u64() && answer["brigade"]["cost_usd"].is_string(), "{answer}");
    assert!(answer["brigade"]["trace_id"].is_string(), "{answer}");
    let run: Value = serde_json::from_str(run).unwrap();
    assert_eq!((&run["status"], &run["result"]["stop"]), (&"ended".into(), &"finished".into()), "{run}");
    let usage: Value = serde_json::from_str(usage).unwrap();
    assert!(usage["data"].as_array().unwrap().iter().all(|line| line["agent"] == "desk"), "{usage}");
    assert!(metrics.lines().all(|line| line.contains("brigade_cost_usd_total")), "{metrics}");
    assert!(metrics.contains("brigade_cost_usd_total{"), "{metrics}");
}
