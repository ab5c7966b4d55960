//! The commands besides `serve` and `demo`.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{BRIGADE, Server, config, provider, scripted};

/// A folder with this configuration.
fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
    folder
}

async fn brigade(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(BRIGADE);
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("ANTHROPIC_API_KEY").env_remove("OPENAI_API_KEY");
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    tokio::task::spawn_blocking(|| process.wait_with_output()).await.unwrap().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn an_invalid_configuration_is_refused_with_location_reason_and_suggestion() {
    let provider = provider("Hello.").await;
    let right = config(&provider);
    let cases = [
        (
            right.replace("purpose =", "porpose ="),
            "brigade.toml:16:1: unknown key `porpose`; did you mean `purpose`?",
        ),
        (right.replace("model = \"mini\"", "model = \"maxi\""), "there is no model `maxi`; expected one of `mini`"),
        (
            right.replace("kind = \"compatible\"", "kind = \"olama\""),
            "unknown kind of provider `olama`; did you mean `ollama`?",
        ),
        (
            right.replace("kind = \"compatible\"", "kind = \"compatible\"\napi_key = \"sk-canary\""),
            "a secret must not be written in the configuration",
        ),
        (right.replace("[server]", "[server]\ndrain = \"soon\""), "brigade.toml:3:9: "),
        (right.replace("[server]", "[server"), "brigade.toml:2:"),
        (right.replace("[server]", "[budget]\nusd = 0.5\n[server]"), "brigade.toml:3:7: "),
        (right.replace("[server]", "[log]\nlevel = \"in=fo=\"\n[server]"), "`log.level`: "),
        (
            right.replace("[agents.clerk]", "[tools.\"a b\"]\ndescription = \"\"\nhttp = { url = \"https://example.com\" }\n[agents.clerk]\ntools = [\"a b\"]"),
            "error: the agent clerk cannot run: `a b` cannot be the name of a tool; use 1 to 64 of A-Z, a-z, 0-9, _ and -\n",
        ),
        (
            right.replace("You are a clerk.\"", "You are a clerk.\"\nworkers = [{ agent = \"clerk\" }]"),
            "`clerk` is its own worker; name another agent, or remove it",
        ),
    ];
    for (config, expected) in cases {
        let output = brigade(folder(&config).path(), &["check"], "").await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "expected {expected}\n{}", stderr(&output));
        assert!(!stderr(&output).contains("sk-canary"));
    }
    let output = brigade(tempfile::tempdir().unwrap().path(), &["check"], "").await;
    assert!(stderr(&output).contains("`brigade init brigade.toml` writes one"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_valid_but_risky_configuration_gets_warnings() {
    let provider = provider("Hello.").await;
    let folder = folder(&config(&provider));
    let output = brigade(folder.path(), &["check"], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: agents.clerk has no budget in dollars"), "{}", stderr(&output));
    assert!(stdout(&output).contains("clerk: a run with its workers costs at most $"), "{}", stdout(&output));
    assert!(!brigade(folder.path(), &["check", "--deny-warnings"], "").await.status.success());
}

#[tokio::test]
async fn a_dry_run_calls_no_model_and_includes_workers() {
    let provider = provider("Hello.").await;
    let desk = r#"
[agents.desk]
model = "mini"
workers = [{ agent = "clerk", max_calls = 1 }]
budget = { usd = "0.25", model_calls = 1000 }

[agents.usual]
model = "mini"
workers = [{ agent = "clerk" }]
"#;
    let folder = folder(&(config(&provider) + desk));
    let cost = async |agent: &str| {
        let output = brigade(folder.path(), &["run", agent, "Go.", "--dry-run"], "").await;
        assert!(output.status.success(), "{}", stderr(&output));
        let stdout = stdout(&output);
        let cost = stdout.rsplit('$').next().and_then(|rest| rest.split([' ', ';', '\n']).next()).unwrap().to_owned();
        (cost.parse::<f64>().unwrap(), stdout)
    };
    let ((clerk, _), (desk, stdout)) = (cost("clerk").await, cost("desk").await);
    assert!((desk - 2.0 * clerk).abs() < 0.001, "a desk with one call of a clerk costs two clerks: {stdout}");
    assert!(stdout.contains("at most $0.2500, its budget"), "{stdout}");
    let (usual, stdout) = cost("usual").await;
    assert!((usual - clerk * 100.0 / 75.0).abs() < 0.001, "a hundred calls, where a clerk can make 75: {stdout}");
    assert_eq!(provider.call_log().totals().arrived, 0);
}

#[tokio::test]
async fn a_run_from_the_command_line_can_be_traced() {
    let provider = provider("It is done.").await;
    let folder = folder(&config(&provider));
    let output = brigade(folder.path(), &["run", "clerk", "Do it.", "--events", "events.jsonl"], "").await;
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "It is done.\n"), "{}", stderr(&output));
    let trace = stderr(&output).trim().rsplit(' ').next().unwrap().to_owned();
    let tree = brigade(folder.path(), &["trace", &trace], "").await;
    assert!(stdout(&tree).contains("clerk · finished · 1 turn"), "{}{}", stdout(&tree), stderr(&tree));
    let output = brigade(folder.path(), &["run", "clerk", "-", "--json"], "Do it.").await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["text"], &report["stop"]), (&"It is done.".into(), &"finished".into()));
    assert_eq!(report["cost"]["total"]["cost"], "0.00009");
}

#[tokio::test]
async fn the_exit_code_shows_how_a_run_ended() {
    let provider = provider("Never asked.").await;
    let tight = format!("{}budget = {{ usd = \"0.0000001\" }}\n", config(&provider));
    let output = brigade(folder(&tight).path(), &["run", "clerk", "Do it."], "").await;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("note: "), "{}", stderr(&output));
    let failing = scripted("", "[[fault]]\nid = \"x\"\nmatch = {}\ndo = { status = 401 }\n").await;
    let output = brigade(folder(&config(&failing)).path(), &["run", "clerk", "Do it."], "").await;
    assert_eq!(output.status.code(), Some(1));
    let output = brigade(folder(&tight).path(), &["run", "unknown", "Do it."], "").await;
    assert!(stderr(&output).contains("there is no agent `unknown`; the agents are: clerk"), "{}", stderr(&output));
    assert_eq!(brigade(folder(&tight).path(), &["run"], "").await.status.code(), Some(2));
}

#[tokio::test]
async fn init_writes_a_valid_configuration_and_overwrites_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = brigade(folder.path(), &["init"], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let printed = stdout(&output);
    assert!(printed.starts_with("Wrote brigade.toml for ") && printed.contains(" check\n"), "{printed}");
    assert!(printed.contains(" run assistant \"Say hello.\"\n"), "{printed}");
    let output = brigade(folder.path(), &["init", "other.toml"], "").await;
    assert!(stdout(&output).contains(" check --config other.toml\n"), "{}", stdout(&output));
    let output = brigade(folder.path(), &["check", "--deny-warnings", "--no-secrets"], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!brigade(folder.path(), &["init"], "").await.status.success());
}

#[tokio::test]
async fn without_a_key_the_first_steps_use_the_simulator() {
    if std::net::TcpStream::connect("127.0.0.1:11434").is_ok() {
        brigade_core::testing::skip_test("brigade init", "Ollama listens here, and is preferred to the simulator");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = brigade(folder.path(), &["init"], "").await;
    assert!(stdout(&output).contains("a simulator, as no key and no Ollama were found"), "{}", stdout(&output));
    let output = brigade(folder.path(), &["doctor"], "").await;
    assert!(output.status.success() && stdout(&output).contains("✓ simulator: reachable"), "{}", stdout(&output));
    let output = brigade(folder.path(), &["check", "--deny-warnings"], "").await;
    assert!(output.status.success() && stdout(&output).contains("at most $0.5000, its budget"), "{}", stderr(&output));
    let output = brigade(folder.path(), &["run", "assistant", "Say hello."], "").await;
    assert!(
        output.status.success() && stdout(&output).contains("Say hello."),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    assert!(stderr(&output).contains("`simulator` is a simulator"), "{}", stderr(&output));
    // The store of `init` has the run and its cost.
    let summary = stderr(&output);
    let (_, trace) = summary.trim().rsplit_once("trace ").unwrap();
    let output = brigade(folder.path(), &["trace", trace], "").await;
    assert!(output.status.success() && stdout(&output).contains("assistant"), "{}{}", stdout(&output), stderr(&output));
}

#[tokio::test]
async fn runs_from_the_command_line_share_a_daily_budget() {
    let provider = provider("Hello.").await;
    // A little more than the maximum cost of the shortest useful answer.
    let budget = "store = \"brigade.db\"\n[budget]\nusd = \"0.0008\"\nper = \"day\"\n";
    let folder = folder(&format!("{budget}{}", config(&provider)));
    for answered in 0..40 {
        let output = brigade(folder.path(), &["run", "clerk", "Do it."], "").await;
        assert_eq!(provider.call_log().totals().arrived, if output.status.success() { answered + 1 } else { answered });
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
            assert!(answered > 1 && stderr(&output).contains("0.000800"), "{answered}: {}", stderr(&output));
            return;
        }
    }
    panic!("the budget of the day is never used up");
}

#[tokio::test]
async fn with_a_key_in_the_environment_the_first_steps_use_its_provider() {
    for (variable, account, path) in [("ANTHROPIC_API_KEY", "ANTHROPIC", ""), ("OPENAI_API_KEY", "OPENAI", "/v1")] {
        let provider = provider("Hello from afar.").await;
        let folder = tempfile::tempdir().unwrap();
        // Only the vendor's address differs from a real setup.
        let address = (format!("BRIGADE__PROVIDERS__{account}__BASE_URL"), format!("{}{path}", provider.base_url()));
        let steps = [&["init"][..], &["check", "--deny-warnings"], &["run", "assistant", "Say hello."]];
        for (number, step) in steps.into_iter().enumerate() {
            let mut command = Command::new(BRIGADE);
            command.args(step).current_dir(folder.path());
            command.env_remove("ANTHROPIC_API_KEY").env_remove("OPENAI_API_KEY").env(variable, "sk-canary");
            if number > 0 {
                command.env(&address.0, &address.1);
            }
            let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
            assert!(output.status.success(), "{step:?}: {}", stderr(&output));
            assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("canary"), "{step:?}");
            if number == 2 {
                assert_eq!(stdout(&output), "Hello from afar.\n");
            }
        }
        assert_eq!(provider.call_log().totals().arrived, 1);
        assert!(!std::fs::read_to_string(folder.path().join("brigade.toml")).unwrap().contains("canary"));
    }
}

#[tokio::test]
async fn with_two_keys_in_the_environment_both_providers_are_configured() {
    let folder = tempfile::tempdir().unwrap();
    let brigade = |arguments: &[&str], openai: Option<&str>| {
        let mut command = Command::new(BRIGADE);
        command.args(arguments).current_dir(folder.path()).env_remove("CARGO_MANIFEST_DIR");
        command.env("ANTHROPIC_API_KEY", "sk-one").env_remove("OPENAI_API_KEY");
        // Nothing listens there.
        command.env("BRIGADE__PROVIDERS__ANTHROPIC__BASE_URL", "http://127.0.0.1:1");
        command.envs(openai.map(|key| ("OPENAI_API_KEY", key))).output().unwrap()
    };
    let output = brigade(&["init"], Some("sk-two"));
    assert!(
        stdout(&output).starts_with("Wrote brigade.toml for Anthropic and OpenAI. Next:\n  /"),
        "{}",
        stdout(&output)
    );
    let output = brigade(&["check", "--deny-warnings"], Some("sk-two"));
    assert!(stdout(&output).contains("1 agent, 2 models, 2 providers, 0 warnings"), "{}", stderr(&output));
    let doctor = brigade(&["doctor"], None);
    let found = stdout(&doctor);
    for expected in [
        "✗ anthropic: no connection to 127.0.0.1:1; check",
        "onnection refused",
        "✗ openai: the provider `openai`: `api_key`: the environment variable `OPENAI_API_KEY` is not set; export it",
    ] {
        assert!(!doctor.status.success() && found.contains(expected), "{expected} is not in {found}");
    }
}

#[tokio::test]
async fn an_empty_task_is_refused_with_an_example() {
    let provider = provider("Never asked.").await;
    let folder = folder(&config(&provider));
    for (arguments, input, example) in [
        (&["run", "clerk", ""][..], "", "run clerk \"Say hello.\"`"),
        (&["run", "clerk", "  "], "", "run clerk \"Say hello.\"`"),
        (&["run", "clerk", "-"], " \n", "run clerk \"Say hello.\"`"),
        (&["demo", ""], "", "demo \"Should we move our queue from SQS to Kafka?\"`"),
    ] {
        let output = brigade(folder.path(), arguments, input).await;
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(" is empty; write one, such as `") && message.contains(example), "{message}");
    }
    assert_eq!(provider.call_log().totals().arrived, 0);
}

#[tokio::test]
async fn what_serve_refuses_is_refused_by_check_too() {
    let provider = provider("Hello.").await;
    let open = config(&provider).replace("127.0.0.1:0", "0.0.0.0:0");
    for (config, expected) in [
        ("", "there are no agents; add one with `ApiBuilder::agent`, or to the configuration as `[agents.NAME]`"),
        (&*open, "no keys are configured, so anybody could spend your money; listen on 127.0.0.1, or add the section"),
    ] {
        let output = brigade(folder(config).path(), &["check"], "").await;
        assert!(!output.status.success() && stderr(&output).contains(expected), "{}", stderr(&output));
        let message = Server::refused(config);
        assert!(message.contains(expected), "{message}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (
            &["serve", "--config", "nope.toml"][..],
            "cannot read nope.toml; `brigade init nope.toml` writes one; the default is ./brigade.toml: No such file",
        ),
        (&["serve", "--demo", "--listen", "0.0.0.0"], "write an IP address with a port, such as 127.0.0.1:8080"),
        (&["simulate", "--listen", "localhost:1"], "write an IP address with a port, such as 127.0.0.1:8080"),
        (&["serve", "--demo", "--listen", "0.0.0.0:0"], "(`--demo` has none; `brigade init` writes one)"),
        (&["serve", "--port", "9000"], "one option; write `--listen 127.0.0.1:8080`"),
        (&["serve", "-p", "9000"], "one option; write `--listen 127.0.0.1:8080`"),
        (&["serve", "--demo", "--host", "0.0.0.0"], "one option; write `--listen 127.0.0.1:8080`"),
        (&["serve", "--bind", "0.0.0.0:80"], "one option; write `--listen 127.0.0.1:8080`"),
        (&["simulate", "--port", "9000"], "one option; write `--listen 127.0.0.1:8080`"),
    ] {
        let output = brigade(folder.path(), arguments, "").await;
        assert!(!output.status.success() && stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn any_configuration_can_be_tried_with_the_simulator() {
    let config = include_str!("../../../../examples/production.toml");
    let folder = folder(&config.replace("127.0.0.1:8080", "127.0.0.1:0"));
    for arguments in [
        &["check", "--simulate", "--deny-warnings"][..],
        &["doctor", "--simulate"],
        &["run", "desk", "Say hello.", "--simulate"],
    ] {
        let mut command = Command::new(BRIGADE);
        command.args(arguments).current_dir(folder.path()).env("SEARCH_TOKEN", "any");
        command.env_remove("ANTHROPIC_API_KEY").env_remove("OPENAI_API_KEY");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        if arguments[0] == "run" {
            assert_eq!(stdout(&output), "You said: Say hello.\n");
        }
    }
}

#[tokio::test]
async fn a_run_in_the_store_and_in_a_file_of_events_is_listed_once() {
    let provider = provider("Hello.").await;
    let folder = folder(&format!("store = \"brigade.db\"\n[log]\nevents = \"e.jsonl\"\n{}", config(&provider)));
    for _ in 0..3 {
        assert!(brigade(folder.path(), &["run", "clerk", "Go."], "").await.status.success());
    }
    let state = tempfile::tempdir().unwrap();
    for (limit, listed) in [("2", 2), ("9", 3)] {
        let mut command = Command::new(BRIGADE);
        command.args(["trace", "--limit", limit]).current_dir(folder.path()).env("XDG_STATE_HOME", state.path());
        let list = stdout(&command.output().unwrap());
        let ids: std::collections::BTreeSet<_> = list.lines().skip(1).filter_map(|line| line.get(..8)).collect();
        assert_eq!((list.lines().count() - 1, ids.len()), (listed, listed), "{list}");
    }
}

#[tokio::test]
async fn a_call_that_a_budget_refuses_says_what_to_change() {
    let provider = provider("Never asked.").await;
    let tight = format!("{}budget = {{ usd = \"0.0001\" }}\n", config(&provider));
    let unpriced = tight.replace("gpt-5-mini", "unheard-of");
    for (config, refusals, expected) in [
        (&tight, 1, "the money budget of clerk does not cover the next call: $0.0005"),
        (&tight, 1, "; raise it, shorten the prompt, or lower `max_output_tokens`"),
        (&unpriced, 0, "the file that `prices` names, or set `unpriced = \"warn\"` in its `[models.…]` section"),
    ] {
        let output = brigade(folder(config).path(), &["run", "clerk", "Do it."], "").await;
        let message = stderr(&output);
        assert!(output.status.code() == Some(3) && message.contains(expected), "{message}");
        assert_eq!(message.matches("refused: ").count(), refusals, "{message}");
        assert_eq!(message.matches("\ndegraded: ").count(), 0, "the note says it already: {message}");
        let output = brigade(folder(config).path(), &["run", "clerk", "Do it.", "--json"], "").await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["cost"]["total"]["cost"], "0", "nothing was charged");
    }
}

#[tokio::test]
async fn doctor_probes_each_account_without_a_model_call() {
    let provider = provider("Hello.").await;
    let folder = folder(&config(&provider));
    let output = brigade(folder.path(), &["doctor"], "").await;
    assert!(output.status.success() && stdout(&output).contains("✓ sim: reachable"), "{}", stdout(&output));
    assert_eq!(provider.call_log().totals().arrived, 0);
    provider.shutdown().await;
    let output = brigade(folder.path(), &["doctor"], "").await;
    assert!(!output.status.success() && stdout(&output).contains("✗ sim: "), "{}", stdout(&output));
}

#[tokio::test]
async fn config_prints_the_configuration_and_its_schema() {
    let provider = provider("Hello.").await;
    let folder = folder(&config(&provider));
    let output = brigade(folder.path(), &["config", "schema"], "").await;
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["agents"]["additionalProperties"]["$ref"], "#/$defs/AgentConfig");
    assert_eq!(schema["additionalProperties"], false);
    let output = brigade(folder.path(), &["config", "show"], "").await;
    assert!(stdout(&output).contains("[agents.clerk]"), "{}", stdout(&output));
}

#[tokio::test]
async fn config_show_origin_prints_where_each_value_was_set() {
    let provider = provider("Hello.").await;
    let folder = folder(&config(&provider));
    let mut command = Command::new(BRIGADE);
    command.args(["config", "show", "--origin"]).current_dir(folder.path()).env("BRIGADE__SERVER__MAX_RUNS", "7");
    let shown = stdout(&command.output().unwrap());
    for line in [
        "agents.clerk.model = \"mini\"  # brigade.toml:15:9",
        "server.listen = \"127.0.0.1:0\"  # brigade.toml:3:10",
        "server.max_runs = 7  # BRIGADE__SERVER__MAX_RUNS",
        "server.max_body = \"4 MiB\"  # default",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line}:\n{shown}");
    }
}

#[tokio::test]
async fn a_yaml_configuration_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("team.yaml"), "agents: {}").unwrap();
    let output = brigade(folder.path(), &["check", "--config", "team.yaml"], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("team.yaml is a YAML file, but the configuration must be TOML"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn a_new_key_is_printed_once_with_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let output = brigade(folder.path(), &["keys", "new", "app"], "").await;
    let key = stdout(&output).trim().to_owned();
    assert!(key.starts_with("brg_") && key.len() == 68, "{key}");
    assert!(stderr(&output).contains("hash = \"sha256:") && !stderr(&output).contains(&key));
    let output = brigade(folder.path(), &["completions", "bash"], "").await;
    assert!(stdout(&output).contains("brigade"));
    let refused = brigade(folder.path(), &["keys", "new", "bad name!"], "").await;
    assert_eq!((refused.status.code(), stdout(&refused)), (Some(1), String::new()));
    assert!(stderr(&refused).contains("`bad name!` is not a valid name of a key"), "{}", stderr(&refused));
}

/// Scenario R31.
#[tokio::test]
async fn an_answer_cannot_control_the_terminal() {
    let answer = r#"answer = { text = "red \u001b[31m and\u0007 \u009bgone" }"#;
    let provider = scripted(&format!("[[rule]]\n{answer}"), "").await;
    let output = brigade(folder(&config(&provider)).path(), &["run", "clerk", "Do it."], "").await;
    assert_eq!(stdout(&output), "red [31m and gone\n");
}

/// Runs a command whose output goes nowhere.
fn unread(
    folder: &Path,
    arguments: &[&str],
    redirect: impl Fn(&mut Command, std::io::PipeWriter),
) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(BRIGADE);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    redirect(&mut command, writer);
    let process = command.spawn().unwrap();
    drop(command);
    let output = process.wait_with_output().unwrap();
    (output.status.code(), stderr(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_output_is_not_read_ends_quietly() {
    let provider = provider("Hello.").await;
    let folder = folder(&config(&provider));
    let commands: [&[&str]; 10] = [
        &["config", "schema"],
        &["config", "show"],
        &["config", "show", "--origin"],
        &["check"],
        &["doctor"],
        &["completions", "bash"],
        &["keys", "new", "app"],
        &["run", "clerk", "Go."],
        &["run", "clerk", "Go.", "--json"],
        &["run", "clerk", "Go.", "--dry-run"],
    ];
    for arguments in commands {
        let to_stdout = |command: &mut Command, writer: std::io::PipeWriter| {
            command.stdout(writer);
        };
        let (code, said) = unread(folder.path(), arguments, to_stdout);
        assert!(code == Some(0) && !said.contains("panicked"), "{arguments:?}: {code:?} {said}");
        let to_stderr = |command: &mut Command, writer: std::io::PipeWriter| {
            command.stderr(writer);
        };
        assert_eq!(unread(folder.path(), arguments, to_stderr).0, Some(0), "{arguments:?} without standard error");
        if Path::new("/dev/full").exists() {
            let full = |command: &mut Command, _| {
                command.stdout(std::fs::File::create("/dev/full").unwrap());
            };
            let (code, said) = unread(folder.path(), arguments, full);
            assert!(
                code == Some(1) && said.contains("cannot write to standard output"),
                "{arguments:?}: {code:?} {said}"
            );
        }
    }
}

#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn a_run_says_that_spans_need_another_build() {
    let provider = provider("Hello.").await;
    let (folder, state) = (folder(&config(&provider)), tempfile::tempdir().unwrap());
    let mut command = Command::new(BRIGADE);
    command.args(["run", "clerk", "Hello?"]).current_dir(folder.path()).env("XDG_STATE_HOME", state.path());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success() && stdout(&output).contains("Hello."), "{}", stderr(&output));
    assert!(stderr(&output).contains("built without the feature `otlp`"), "{}", stderr(&output));
}

#[tokio::test]
async fn options_and_files_that_would_be_ignored_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["serve", "--demo", "--config", "x.toml"][..], "cannot be used with"),
        (&["serve", "--demo", "--simulate"], "cannot be used with"),
        (&["trace", "--store", "a.db", "--events", "b.jsonl"], "cannot be used with"),
        (&["trace", "--store", "a.db", "--config", "x.toml"], "cannot be used with"),
        (&["trace", "--events", "b.jsonl", "--config", "x.toml"], "cannot be used with"),
        (&["simulate", "--demo", "--script", "x.toml"], "cannot be used with"),
        (&["run", "desk", "Hi.", "--dry-run", "--json"], "cannot be used with"),
        (&["config", "show", "--simulate"], "unexpected argument"),
        (&["prices", "--simulate"], "unexpected argument"),
        (&["store", "check", "--simulate"], "unexpected argument"),
        (&["runs", "--simulate"], "unexpected argument"),
        (&["trace", "--simulate"], "unexpected argument"),
        (&["prices", "--config", "none.toml"], "cannot read none.toml"),
        (&["trace", "--config", "none.toml"], "cannot read none.toml"),
        (&["store", "prune", "--store", "a.db", "--config", "none.toml"], ""),
    ] {
        let output = brigade(folder.path(), arguments, "").await;
        let stderr = stderr(&output);
        assert!(!output.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn all_missing_secrets_and_files_are_named_at_once_and_what_needs_none_is_checked_without_secrets() {
    let config = r#"
[server]
commands = true
[providers.openai]
[providers.lab]
kind = "compatible"
base_url = "https://lab.test/v1"
headers = { x-team = { env = "BRIGADE_NO_TEAM" } }
api_key = { file = "none.key" }
[models.mini]
provider = "openai"
model = "gpt-5-mini"
fallbacks = ["own"]
[models.own]
provider = "lab"
model = "own"
[tools.look]
description = "Looks."
input = { type = "object", properties = { id = { type = "string" } } }
[tools.look.http]
url = "https://a.test/{id}"
secret_headers = { authorization = { env = "BRIGADE_NO_TOKEN" } }
[tools.count]
description = "Counts."
[tools.count.command]
argv = ["wc"]
environment = { TOKEN = { env = "BRIGADE_NO_COUNT" } }
[agents.clerk]
model = "mini"
tools = ["look", "count"]
"#;
    let files = r#"
[agents.desk]
model = "mini"
instructions = { file = "desk.md" }
workers = [{ agent = "critic" }]
[agents.critic]
model = "mini"
instructions = { file = "critic.md" }
output_schema = "critic.json"
"#;
    let output = brigade(folder(&[config, files].concat()).path(), &["check"], "").await;
    let message = stderr(&output);
    assert!(message.contains("error: 8 secrets and files cannot be read:\n"), "{message}");
    for expected in [
        "the provider `openai`: `api_key` is not set, and the environment variable `OPENAI_API_KEY` is not set; export it",
        "the provider `lab`: the header `x-team`: the environment variable `BRIGADE_NO_TEAM` is not set",
        "the provider `lab`: `api_key`: cannot read none.key",
        "the tool `look`: the header `authorization`: the environment variable `BRIGADE_NO_TOKEN` is not set",
        "the tool `count`: the variable `TOKEN`: the environment variable `BRIGADE_NO_COUNT` is not set",
        "the agent `desk`: `instructions`: cannot read desk.md: No such file",
        "the agent `critic`: `instructions`: cannot read critic.md: No such file",
        "the agent `critic`: `output_schema`: cannot read critic.json: No such file",
    ] {
        assert!(message.contains(expected), "{expected} is not in {message}");
    }
    let output = brigade(folder(config).path(), &["check", "--no-secrets"], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let wrong = config.replace("{id}", "{ID}");
    let output = brigade(folder(&wrong).path(), &["check", "--no-secrets"], "").await;
    let message = stderr(&output);
    let expected =
        "the tool `look`: the placeholder `{ID}` is not an argument of the tool; add `ID` to the `properties`";
    assert!(!output.status.success() && message.contains(expected), "{message}");
}

#[tokio::test]
async fn doctor_and_the_command_line_point_out_what_is_not_an_api_and_what_has_no_effect() {
    let page = axum::Router::new().fallback(|| async { axum::response::Html("<!doctype html><p>Welcome</p>") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async { axum::serve(listener, page).await });
    let simulator = provider("Hello.").await;
    let text = config(&simulator).replace(&format!("{}/v1", simulator.base_url()), &format!("http://{address}/v1"));
    let output = brigade(folder(&text).path(), &["doctor"], "").await;
    let found = stdout(&output);
    assert!(
        !output.status.success() && found.contains("✗ sim: something answers at its `base_url`, but not an API"),
        "{found}"
    );

    let folder = folder(&config(&simulator));
    let mut command = Command::new(BRIGADE);
    command.arg("check").current_dir(folder.path()).env("BRIGADE_SERVER_LISTEN", "127.0.0.1:9");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let expected = "warning: the environment variable `BRIGADE_SERVER_LISTEN` has no effect; did you mean \
                    `BRIGADE__SERVER__LISTEN`?";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[cfg(unix)]
#[tokio::test]
async fn a_variable_that_is_not_text_breaks_no_command() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = folder(&config(&provider("Hello.").await));
    let bytes = || std::ffi::OsString::from_vec(vec![0xff, 0xfe]);
    for (name, is_fatal) in [("ANY", false), ("BRIGADE__SERVER__LISTEN", true)] {
        let mut command = Command::new(BRIGADE);
        command.arg("check").current_dir(folder.path()).env(name, bytes());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let expected = if is_fatal { Some(1) } else { Some(0) };
        assert_eq!(output.status.code(), expected, "{name}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_script_is_explained_and_requests_without_a_rule_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let run = |script: &'static str| {
        std::fs::write(folder.path().join("script.toml"), script).unwrap();
        brigade(folder.path(), &["simulate", "--until-stdin-closes", "--script", "script.toml"], "")
    };
    for (script, expected) in [
        ("[[rule]]\nwehn = {}\n", "script.toml:2:1: unknown key `wehn`; did you mean `when`?"),
        ("[[rule]]\nwhen = 5\n", "script.toml:2:8: expected a map; found `5`"),
        ("[[rule]]\nanswer = { stop = \"done\" }\n", "unknown choice `done`"),
        ("[[rule]]\nwhen = { turn = -1 }\n", "expected a whole number, 0 or more; found `-1`"),
        ("[[rule]\n", "script.toml:1:"),
    ] {
        let message = stderr(&run(script).await);
        assert!(message.contains(expected), "{message}");
        for word in ["struct", "usize", "enum", "RequestMatcher", "ScriptedAnswer"] {
            assert!(!message.contains(word), "{message}");
        }
    }
    let help = stdout(&brigade(folder.path(), &["simulate", "--help"], "").await);
    let example = |title: &str| {
        let (_, text) = help.split_once(title).unwrap();
        text.lines().take_while(|line| line.starts_with("  ")).map(str::trim).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(brigade_rehearsal::Script::from_toml(&example("echoed:\n")).unwrap().rules.len(), 2, "{help}");
    assert_eq!(brigade_rehearsal::FaultPlan::from_toml(&example("has faults:\n")).unwrap().faults.len(), 1, "{help}");

    let script = "[[rule]]\nwhen = { model = \"other\" }\nanswer = { text = \"Yes.\" }\n";
    std::fs::write(folder.path().join("script.toml"), script).unwrap();
    let mut process = Command::new(BRIGADE)
        .args(["simulate", "--until-stdin-closes", "--script", "script.toml"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut address).unwrap();
    for model in ["mini", "other"] {
        let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "?" }] });
        let url = format!("{}/v1/chat/completions", address.trim());
        let request = crate::support::client().post(url).bearer_auth("any").body(body.to_string());
        request.header("content-type", "application/json").send().await.unwrap().error_for_status().unwrap();
    }
    drop(process.stdin.take());
    let output = tokio::task::spawn_blocking(|| process.wait_with_output()).await.unwrap().unwrap();
    let message = stderr(&output);
    assert!(
        message.contains("2 calls, 0 refused, 0 cut\nnote: no rule matched 1 call, which got the last"),
        "{message}"
    );
}

#[tokio::test]
async fn a_run_beside_a_server_with_the_same_store_says_how_the_server_takes_the_task() {
    let provider = provider("Hello.").await;
    let text = format!("store = \"brigade.db\"\n{}", config(&provider));
    let mut server = Server::start(&text);
    let path = server.config_path();
    let output = brigade(Path::new("."), &["run", "clerk", "Hi.", "--config", &path], "").await;
    let message = stderr(&output);
    for expected in ["a running server takes tasks with `POST /v1/runs`", "is in use by another process"] {
        assert!(!output.status.success() && message.contains(expected), "{message}");
    }
    server.signal("-TERM");
    assert!(server.exit().await.success());
    assert!(server.log().contains("stopped; $0.0000 spent since the start of this process"), "{}", server.log());
    assert!(brigade(Path::new("."), &["run", "clerk", "Hi.", "--config", &path], "").await.status.success());
    // The next process counts what was spent before against its budgets, but did not spend it.
    let mut next = Server::start(&text.replace("brigade.db", &path.replace("brigade.toml", "brigade.db")));
    next.signal("-TERM");
    assert!(next.exit().await.success());
    assert!(next.log().contains("stopped; $0.0000 spent"), "{}", next.log());
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = brigade(folder.path(), &["manual", "man/man1"], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let page = |name: &str| std::fs::read_to_string(folder.path().join("man/man1").join(name)).unwrap();
    assert!(page("brigade.1").contains("Exit codes"));
    assert!(page("brigade-serve.1").contains("SIGHUP reloads the configuration"));
    assert!(page("brigade-store-backup.1").contains("Copies the store"));
}

#[tokio::test]
async fn a_team_that_init_wrote_answers() {
    let folder = tempfile::tempdir().unwrap();
    let output = brigade(folder.path(), &["init", "--team"], "").await;
    assert!(output.status.success() && stdout(&output).contains(" run desk \""), "{}", stdout(&output));
    let output = brigade(folder.path(), &["check", "--simulate"], "").await;
    assert!(output.status.success() && stdout(&output).contains("3 agents"), "{}", stdout(&output));
    let output = brigade(folder.path(), &["run", "desk", "Rent or buy?", "--simulate"], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
}
