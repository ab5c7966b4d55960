//! Drives the team of `examples/production.rs` and of `production.toml` through what the patterns are for, with a
//! simulated provider and in virtual time. Each test holds a row of the README's table "The patterns at a glance".

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on panics")]

mod readme;
mod team;

#[path = "../../examples/production.rs"]
mod production;

use std::{env, process::Stdio, time::Duration};

use brigade_rehearsal::Simulator;
use futures::future::join_all;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    runtime::Runtime,
    time::Instant,
};

use crate::{
    readme::row,
    team::{client, in_both_forms, metric},
};

/// The supervisor asks both workers, and then repeats what they found.
const SCRIPT: &str = r#"
[[rule]]
when = { agent = "desk", turn = 0 }
answer.tool_calls = [
    { name = "researcher", arguments = '{"task":"Find facts."}' },
    { name = "estimator", arguments = '{"task":"Estimate costs."}' },
]
[[rule]]
when = { agent = "desk" }
answer = { text = "Verdict. {{tool_results}}" }
[[rule]]
when = { agent = "researcher" }
answer = { text = "SQS keeps messages for 14 days." }
[[rule]]
when = { agent = "estimator" }
answer = { text = "Kafka costs 345.90 more." }
"#;

/// A supervisor that calls its workers in turn for as long as it may.
fn restless(usage: &str) -> String {
    let call = |turn: usize| {
        let worker = ["researcher", "estimator"][turn % 2];
        format!(
            "[[rule]]\nwhen = {{ agent = \"desk\", turn = {turn} }}\nanswer.{usage}\n\
             answer.tool_calls = [{{ name = \"{worker}\", arguments = '{{\"task\":\"Step {turn}.\"}}' }}]\n"
        )
    };
    (0..99).map(call).chain([SCRIPT.to_owned()]).collect()
}

/// One rule before those of [`SCRIPT`].
fn rule(agent: &str, answer: &str) -> String {
    format!("[[rule]]\nwhen = {{ agent = \"{agent}\" }}\nanswer = {answer}\n{SCRIPT}")
}

#[test]
fn every_line_has_the_trace_id() {
    in_both_forms("every_line_has_the_trace_id", SCRIPT, "", async |team, row| {
        let runs = [team.ask("First?").await, team.ask("Second?").await];
        for run in &runs {
            for (agent, event) in [
                ("desk", "run_started"),
                ("desk", "turn_ended"),
                ("desk/researcher", "run_ended"),
                ("desk/estimator", "run_ended"),
                ("desk", "run_ended"),
            ] {
                let is_line = |line: &serde_json::Value| line["agent"] == agent && line["event"] == event;
                assert!(team.lines_of(run).iter().any(is_line), "{agent}, {event}: {}", team.log());
            }
            row.assert_seen(&team, run).await;
        }
        let of_runs = runs.iter().map(|run| team.lines_of(run).len()).sum::<usize>();
        let from_core =
            team.lines().into_iter().filter(|line| line["target"].as_str().unwrap().starts_with("brigade_core"));
        assert_eq!(from_core.count(), of_runs, "{}", team.log());
    });
}

#[test]
fn a_run_ends_at_its_cost_limit() {
    // Six cents for each answer of the supervisor.
    in_both_forms("a_run_ends_at_its_cost_limit", &restless("usage.output = 4000"), "", async |team, row| {
        let run = team.ask("Plan.").await;
        assert_eq!(run.0["stop"], "budget", "{}", run.0);
        let cost: f64 = run.0["cost"]["total"]["cost"].as_str().unwrap().parse().unwrap();
        assert!(cost > 0.3 && cost <= 0.5, "{}", run.0);
        row.assert_seen(&team, &run).await;
    });
}

#[test]
fn a_429_pauses_both_workers() {
    let faults = r#"
[[fault]]
id = "429"
match = { model = "gpt-5-mini", call = 1 }
do = { status = 429, headers = [["retry-after", "4"]] }
"#;
    in_both_forms("a_429_pauses_both_workers", SCRIPT, faults, async |team, row| {
        let asked = Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            team.ask("Compare again.").await
        };
        let (first, second) = tokio::join!(team.ask("Compare."), later);
        let took = asked.elapsed();
        assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&took), "{took:?}");
        for run in [&first, &second] {
            assert_eq!((&run.0["stop"], run.degraded()), (&"finished".into(), vec![]), "{}", run.0);
        }
        assert!(team.log_of(&first).contains("rate_limited, attempt 2 in 4."), "{}", team.log());
        let refused = team.call_log().calls().into_iter().filter(|call| call.status == 429).count();
        assert_eq!(refused, 1, "the others wait");
        row.assert_seen(&team, &second).await;
    });
}

#[test]
fn both_workers_share_one_bucket() {
    in_both_forms("both_workers_share_one_bucket", SCRIPT, "", async |team, row| {
        let runs = join_all((0..40).map(|_| team.ask("Compare."))).await;
        let mut calls = team.call_log().calls();
        calls.retain(|call| call.model == "gpt-5-mini");
        assert_eq!(calls.len(), 80);
        let at_once = calls.iter().filter(|call| call.arrived < Duration::from_millis(900)).count();
        assert!((55..=61).contains(&at_once), "{at_once}");
        let waited = runs.iter().find(|run| team.log_of(run).contains("rate_limit_waited"));
        row.assert_seen(&team, waited.unwrap()).await;
    });
}

#[test]
fn a_text_replaces_a_crashed_worker() {
    let faults = "[[fault]]\nid = \"crash\"\nmatch = { agent = \"estimator\" }\ndo = { status = 500 }\n";
    in_both_forms("a_text_replaces_a_crashed_worker", SCRIPT, faults, async |team, row| {
        let run = team.ask("Compare.").await;
        assert!(run.0["stop"] == "finished" && run.degraded().contains(&"worker:estimator"), "{}", run.0);
        assert!(run.text().contains("14 days") && run.text().contains("No estimate available."), "{}", run.text());
        let failed = team.lines_of(&run).into_iter().find(|line| line["event"] == "run_failed").unwrap();
        assert!(failed["message"].as_str().unwrap().contains("nothing charged"), "the model has a price: {failed}");
        row.assert_seen(&team, &run).await;
    });
}

#[test]
fn readiness_fails_without_providers() {
    in_both_forms("readiness_fails_without_providers", SCRIPT, "", async |mut team, row| {
        team.until_status("/readyz", 200).await;
        team.simulator.take().unwrap().shutdown().await;
        team.until_status("/readyz", 503).await;
        assert_eq!(team.get("/livez").await.0, 200, "a restart would not repair a provider");
        row.assert_seen_in(&team.log(), "");
    });
}

#[test]
fn a_looping_supervisor_is_stopped() {
    in_both_forms("a_looping_supervisor_is_stopped", &restless("usage.output = 40"), "", async |team, row| {
        let run = team.ask("Go on.").await;
        assert_eq!((&run.0["stop"], &run.0["turns"]), (&"max_turns".into(), &12.into()), "{}", run.0);
        assert!(run.0["notice"].as_str().unwrap().contains("all of its 12 turns"), "{}", run.0);
        assert!(run.text().starts_with("Verdict."), "the last turn is for an answer: {}", run.text());
        row.assert_seen(&team, &run).await;
    });
    let again = r#"{ tool_calls = [{ name = "researcher", arguments = '{"task":"Again."}' }] }"#;
    in_both_forms("a_looping_supervisor_is_stopped", &rule("desk", again), "", async |team, _| {
        let run = team.ask("Go on.").await;
        assert_eq!(run.0["stop"], "loop_detected", "{}", run.0);
        assert!(metric(&team.metrics().await, "brigade_loop_detected_total") > 0.0, "{}", team.metrics().await);
    });
}

#[test]
fn a_long_conversation_is_trimmed() {
    in_both_forms("a_long_conversation_is_trimmed", &rule("desk", r#"{ text = "Noted." }"#), "", async |team, row| {
        // About 20,000 tokens each.
        let chapter = "All work and no play. ".repeat(80_000 / 22);
        let mut last = team.ask_in(&chapter, Some("book")).await;
        for _ in 0..3 {
            last = team.ask_in(&chapter, Some("book")).await;
        }
        assert_eq!(last.0["stop"], "finished", "{}", last.0);
        let largest = team.call_log().calls().into_iter().map(|call| call.request_bytes).max().unwrap();
        assert!(largest < 50_000 * 4 + 20_000, "{largest} bytes");
        row.assert_seen(&team, &last).await;
    });
}

#[test]
fn a_worker_has_only_its_own_tools() {
    let script = format!(
        "[[rule]]\nwhen = {{ agent = \"estimator\", turn = 0 }}\nanswer.tool_calls = [{{ name = \"search\", arguments = '{{\"query\":\"prices\"}}' }}]\n{SCRIPT}"
    );
    in_both_forms("a_worker_has_only_its_own_tools", &script, "", async |team, row| {
        let run = team.ask("Compare.").await;
        assert_eq!(run.0["stop"], "finished", "{}", run.0);
        assert!(run.text().contains("345.90"), "{}", run.text());
        row.assert_seen(&team, &run).await;
    });
}

#[test]
fn a_hanging_worker_times_out() {
    let faults = "[[fault]]\nid = \"hang\"\nmatch = { agent = \"researcher\" }\ndo = { stall = \"10m\" }\n";
    in_both_forms("a_hanging_worker_times_out", SCRIPT, faults, async |team, row| {
        let asked = Instant::now();
        let run = team.ask("Compare.").await;
        assert_eq!(asked.elapsed().as_secs(), 30);
        assert_eq!((&run.0["stop"], run.degraded()), (&"finished".into(), vec!["worker:researcher"]));
        assert!(run.text().contains("No research available.") && run.text().contains("345.90"), "{}", run.text());
        row.assert_seen(&team, &run).await;
    });
}

#[test]
fn info_lines_show_the_whole_run() {
    in_both_forms("info_lines_show_the_whole_run", SCRIPT, "", async |team, row| {
        let run = team.ask("A secret question?").await;
        let lines = team.lines_of(&run);
        assert!((8..=20).contains(&lines.len()), "{} lines: {}", lines.len(), team.log());
        for content in ["secret question", "14 days", "345.90", "Plan the work"] {
            assert!(!team.log().contains(content), "{}", team.log());
        }
        let end = lines.last().unwrap();
        assert!(end["event"] == "run_ended" && end["cost_usd"].as_f64().unwrap() > 0.0, "{end}");
        row.assert_seen(&team, &run).await;
    });
}

#[test]
fn every_request_is_counted() {
    let faults = "[[fault]]\nid = \"500\"\nmatch = { agent = \"researcher\", call = 1 }\ndo = { status = 500 }\n";
    in_both_forms("every_request_is_counted", SCRIPT, faults, async |team, row| {
        let run = team.ask("Compare.").await;
        let arrived = team.call_log().totals().arrived;
        assert_eq!(arrived, 5, "four calls and a retry");
        let counted = metric(&team.metrics().await, "brigade_attempts_total");
        assert!((counted - 5.0).abs() < 0.1, "{}", team.metrics().await);
        assert!(!team.metrics().await.contains("\"other\""), "every name is known: {}", team.metrics().await);
        row.assert_seen(&team, &run).await;
    });
}

/// Set in the process in which a test is the program.
const AS_PROGRAM: &str = "BRIGADE_TEST_AS_PROGRAM";

#[test]
fn the_program_answers_each_line() {
    if env::var_os(AS_PROGRAM).is_some() {
        return production::main().unwrap();
    }
    Runtime::new().unwrap().block_on(async {
        let simulator = Simulator::builder().script(brigade_examples::two_workers()).build();
        let simulator = simulator.serve_locally().await.unwrap();
        let mut program = Command::new(env::current_exe().unwrap());
        program.args(["the_program_answers_each_line", "--exact", "--nocapture"]).env(AS_PROGRAM, "1");
        program.env("OPENAI_API_KEY", "simulated").env("OPENAI_BASE_URL", format!("{}/v1", simulator.base_url()));
        program.env("ANTHROPIC_API_KEY", "simulated").env("ANTHROPIC_BASE_URL", simulator.base_url());
        program.env("LISTEN", "127.0.0.1:0").env("NO_PROXY", "127.0.0.1").env_remove("RUST_LOG").kill_on_drop(true);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = program.spawn().unwrap();
        let mut stdin = program.stdin.take().unwrap();
        stdin.write_all(b"And what does it cost?\n").await.unwrap();
        let mut stderr = BufReader::new(program.stderr.take().unwrap()).lines();
        let (mut url, mut log) = (String::new(), String::new());
        while log.matches("\"agent\":\"desk\",\"target\":\"brigade_core::run\"").count() < 4 {
            let line = stderr.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended early: {log}"));
            if line.starts_with("http://") { url = line } else { log.extend([&line, "\n"]) }
        }
        let client = client();
        let get = async |path: &str| client.get(format!("{url}{path}")).send().await.unwrap().text().await.unwrap();
        assert_eq!((get("/livez").await.as_str(), get("/readyz").await.as_str()), ("ok\n", "ok\n"));
        let metrics = get("/metrics").await;
        assert!(!metrics.contains("\"other\""), "every name is known: {metrics}");
        drop(stdin);
        let mut output = String::new();
        program.stdout.take().unwrap().read_to_string(&mut output).await.unwrap();
        assert!(program.wait().await.unwrap().success(), "{output}");
        let traces: Vec<_> = output.lines().filter_map(|line| line.rsplit_once(" · trace ")).collect();
        assert_eq!(traces.len(), 2, "{output}");
        let of_run = |trace: &str| {
            let id = format!("\"trace_id\":\"{trace}");
            log.split_inclusive('\n').filter(|line| line.contains(&id)).collect::<String>()
        };
        let of_runs: Vec<_> = traces.into_iter().map(|(_, trace)| of_run(trace)).collect();
        assert_eq!(of_runs.iter().map(|run| run.lines().count()).sum::<usize>(), log.lines().count(), "{log}");
        row("the_program_answers_each_line").assert_seen_in(&of_runs[0], &metrics);
    });
}
