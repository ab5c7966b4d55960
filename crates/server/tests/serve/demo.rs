//! `brigade demo`.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use brigade_rehearsal::{Script, Simulator};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{BRIGADE, Server, eventually, json_of};

/// The lines at INFO of one run of the demo: the agent, the event and the message with `#` for each number. Workers run at
/// the same time, so only the lines of one agent have an order.
const INFO_LINES: [(&str, &str, &str); 14] = [
    ("desk", "run_started", "started, for local"),
    ("desk", "turn_ended", "turn #: anthropic/claude-sonnet-#-#, # tool calls, # tokens, $#, #s"),
    ("desk", "turn_ended", "turn #: anthropic/claude-sonnet-#-#, end_turn, # tokens, $#, #s"),
    (
        "desk",
        "run_ended",
        "finished: # turns, # tokens in, # out, $# (desk $#, desk/critic $#, desk/estimator $#, desk/researcher $#), #s, for local",
    ),
    ("desk/critic", "turn_ended", "turn #: openai/gpt-#-mini, end_turn, # tokens, $#, #s"),
    ("desk/critic", "run_ended", "finished: # turn, # tokens in, # out, $#, #s, for local"),
    ("desk/estimator", "turn_ended", "turn #: openai/gpt-#-mini, # tool call, # tokens, $#, #s"),
    ("desk/estimator", "tool_ended", "calculate: ok, #s"),
    ("desk/estimator", "turn_ended", "turn #: openai/gpt-#-mini, end_turn, # tokens, $#, #s"),
    ("desk/estimator", "run_ended", "finished: # turns, # tokens in, # out, $#, #s, for local"),
    ("desk/researcher", "turn_ended", "turn #: openai/gpt-#-mini, # tool call, # tokens, $#, #s"),
    ("desk/researcher", "tool_ended", "search: ok, #s"),
    ("desk/researcher", "turn_ended", "turn #: openai/gpt-#-mini, end_turn, # tokens, $#, #s"),
    ("desk/researcher", "run_ended", "finished: # turns, # tokens in, # out, $#, #s, for local"),
];

#[tokio::test]
async fn a_run_of_the_demo_logs_these_lines_and_no_others() {
    let server = Server::start_demo(&[("BRIGADE__LOG__FORMAT", "json")]);
    let question = json!({ "model": "desk", "messages": [{ "role": "user", "content": "Should we move to Kafka?" }] });
    let (status, answer) = json_of(server.post("/v1/chat/completions", &question)).await;
    assert_eq!(status, 200, "{answer}");
    let log = server.log_with("(desk $").await;
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut lines: Vec<_> = lines.filter(|line| line["trace_id"] == answer["brigade"]["trace_id"]).collect();
    lines.sort_by_key(|line| line["agent"].to_string());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = lines.iter().map(|line| (text(&line["agent"]), text(&line["event"]), shape(&text(&line["message"]))));
    let expected = INFO_LINES.map(|(agent, event, message)| (agent.into(), event.into(), message.into()));
    assert_eq!(shown.collect::<Vec<_>>(), expected, "{log}");
}

/// The message with `#` for each number, and each time in seconds.
fn shape(message: &str) -> String {
    let mut shape = String::new();
    for character in message.chars() {
        let is_number = character.is_ascii_digit() || (character == '.' && shape.ends_with('#'));
        if !is_number {
            shape.push(character);
        } else if !shape.ends_with('#') {
            shape.push('#');
        }
    }
    ["#ms", "#µs"].iter().fold(shape, |shape, unit| shape.replace(unit, "#s"))
}

#[test]
fn the_demo_finishes_and_prints_its_cost() {
    let began = Instant::now();
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(BRIGADE).arg("demo").env("XDG_STATE_HOME", state.path()).output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("Stay on SQS for now"), "{stdout}");
    assert!(stdout.contains("$0.0279 · ") && stdout.contains("3 workers · trace "), "{stdout}");
    assert!(stderr.contains("waits for 3 workers"), "{stderr}");
}

#[test]
fn the_run_of_the_demo_can_be_traced() {
    let state = tempfile::tempdir().unwrap();
    let brigade = |arguments: &[&str]| {
        let mut command = Command::new(BRIGADE);
        command
            .args(arguments)
            .env("XDG_STATE_HOME", state.path())
            .env_remove("BRIGADE_CONFIG")
            .env_remove("CARGO_MANIFEST_DIR")
            .current_dir(state.path());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (is_found, message) = brigade(&["trace"]);
    assert!(!is_found && message.contains("there are no runs yet") && message.contains("`brigade demo`"), "{message}");
    let (_, printed) = brigade(&["demo"]);
    let (_, command) = printed.rsplit_once("brigade trace ").unwrap();
    let id = &command[..8];
    let (is_found, tree) = brigade(&["trace", id]);
    assert!(is_found && tree.contains("desk · finished") && tree.contains("tool researcher · ok"), "{tree}");
    let (is_found, list) = brigade(&["trace"]);
    let is_row = |line: &str| line.starts_with(id) && line.contains("desk") && line.contains("$0.0279");
    assert!(is_found && list.lines().any(is_row), "{list}");
    let (is_found, message) = brigade(&["trace", "01234567"]);
    let places = ["events.jsonl (no such file)", "runs.jsonl\n", "looked in"];
    assert!(!is_found && places.iter().all(|place| message.contains(place)), "{message}");
    let (is_found, message) = brigade(&["trace", "xyz"]);
    assert!(!is_found && message.contains("`xyz` is not a trace id"), "{message}");
}

#[test]
fn the_demo_survives_the_crash_of_its_process_and_pays_for_no_step_twice() {
    let state = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let output = Command::new(BRIGADE).args(["demo", "--crash"]).env("XDG_STATE_HOME", state.path()).output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("was killed after 2 workers had answered"), "{stderr}");
    assert!(stdout.contains("Stay on SQS for now"), "{stdout}");
    let (_, trace) = stdout.split_once(" · trace ").unwrap();
    let (_, resumed) = stdout.split_once(&format!("resumed {} at step ", &trace[..8])).unwrap();
    // The desk's first turn and two workers. The third one may have completed steps too.
    let step: usize = resumed.split_once(": ").unwrap().0.parse().unwrap();
    assert!((4..=6).contains(&step), "{resumed}");
    let answered = format!(": {} steps answered from the journal, $0.01", step - 1);
    assert!(resumed.contains(&answered) && resumed.contains(" not paid again"), "{resumed}");
}

#[test]
fn a_port_in_use_is_reported_before_a_run_of_the_history_starts() {
    let state = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(BRIGADE);
    command.args(["demo", "--serve", "--listen", &address]).env("XDG_STATE_HOME", state.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("choose another address with `--listen`"), "{stderr}");
    assert!(!stderr.contains("brigade_core"), "a run was started: {stderr}");
}

#[test]
fn the_demo_prints_commands_that_work_here() {
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new(BRIGADE);
    command.arg("demo").env("XDG_STATE_HOME", state.path()).env("CARGO_MANIFEST_DIR", ".");
    let output = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(output.contains("\ncargo run -- trace "), "{output}");
}

#[tokio::test]
async fn the_cost_of_a_demo_that_is_cancelled_is_explained() {
    let simulator = Simulator::builder().script(Script::demo()).build().serve_locally().await.unwrap();
    let demo = Command::new(BRIGADE)
        .args(["demo", "--simulator", &simulator.base_url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the desk is asked", || (simulator.call_log().totals().arrived >= 1).then_some(())).await;
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| demo.wait_with_output()).await.unwrap().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("of the cost is uncertain: calls that were cancelled"), "{stderr}");
}

#[test]
fn the_prices_have_an_age_and_an_example_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let prices = || {
        let mut command = Command::new(BRIGADE);
        let output = command.arg("prices").env_remove("BRIGADE_CONFIG").current_dir(folder.path()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let bundled = prices();
    assert!(
        bundled.contains("days old: bundled with brigade") && bundled.contains("prices = \"prices.toml\""),
        "{bundled}"
    );
    std::fs::write(folder.path().join("brigade.toml"), "prices = \"own.toml\"").unwrap();
    std::fs::write(folder.path().join("own.toml"), "as_of = \"2026-11-01\"").unwrap();
    let own = prices();
    assert!(own.contains("of 2026-11-01, ") && own.contains("own.toml.\n"), "{own}");
}

#[tokio::test]
async fn a_demo_without_its_simulator_reports_an_error() {
    let simulator = Simulator::builder().script(Script::demo()).build().serve_locally().await.unwrap();
    let demo = Command::new(BRIGADE)
        .args(["demo", "--simulator", &simulator.base_url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_amid = || (simulator.call_log().totals().arrived >= 2).then_some(());
    eventually("the workers are asked", is_amid).await;
    simulator.shutdown().await;
    let output = tokio::task::spawn_blocking(|| demo.wait_with_output()).await.unwrap().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains("still running?"), "{stderr}");
}
