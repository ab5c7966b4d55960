use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Arc, Mutex, MutexGuard},
};

use brigade_core::{Event, ModelId, Money, Run, RunId, StopReason, TraceId, Usage, testing::all_events};
use tokio::task::JoinSet;
use tracing::{Instrument, Span, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// A writer that keeps the log in memory.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().clone()).unwrap()
    }

    /// The lines without their time.
    fn lines(&self) -> Vec<String> {
        self.text().lines().map(|line| line.split_once("Z ").unwrap().1.to_owned()).collect()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Output {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// Logs on this thread until the guard is dropped.
fn log(logging: Logging) -> (Output, LoggingHandle, DefaultGuard) {
    let output = Output::default();
    let (layer, handle) = logging.variable(None).layer_to(output.clone(), false).unwrap();
    (output, handle, tracing_subscriber::registry().with(layer).set_default())
}

/// `first` is the first eight digits of the trace id, which text lines show.
fn run_with_trace(first: u32) -> Run {
    Run::builder()
        .trace(TraceId::from_bits(u128::from(first) << 96 | 1).unwrap())
        .id(RunId::from(uuid_of(first)))
        .build()
}

fn uuid_of(number: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(number))
}

fn desk(first: u32) -> Run {
    run_with_trace(first).child("desk", brigade_core::Budget::unlimited()).unwrap()
}

/// The span that the agent loop polls a run in.
fn span_of(run: &Run, agent: &str) -> Span {
    tracing::info_span!(target: "brigade_core::run", "run", trace = %run.trace(), run = %run.id(), agent = %agent)
}

#[test]
fn a_line_of_a_run_shows_the_short_trace_id_and_the_agent() {
    let (output, _handle, _guard) = log(Logging::new());
    span_of(&run_with_trace(0xa3f2_b1c9), "desk/researcher").in_scope(|| {
        tracing::info_span!("of a library").in_scope(|| tracing::info!(target: "library", rows = 3, "queried"));
    });
    tracing::warn!(target: "main", "outside");
    assert_eq!(
        output.lines(),
        [" INFO [a3f2b1c9] desk/researcher library: queried rows=3", " WARN [--------] main: outside"]
    );
}

#[test]
fn a_line_belongs_to_the_innermost_run() {
    let (output, _handle, _guard) = log(Logging::new());
    let run = run_with_trace(1);
    span_of(&run, "desk").in_scope(|| span_of(&run, "desk/critic").in_scope(|| tracing::info!(target: "tool", "hi")));
    assert_eq!(output.lines(), [" INFO [00000001] desk/critic tool: hi"]);
}

#[test]
fn a_warning_keeps_its_trace_id_where_info_is_off() {
    let (output, _handle, _guard) = log(Logging::new().level("warn"));
    span_of(&run_with_trace(7), "desk").in_scope(|| {
        tracing::info!(target: "tool", "not shown");
        tracing::warn!(target: "tool", "shown");
    });
    assert_eq!(output.lines(), [" WARN [00000007] desk tool: shown"]);
}

#[test]
fn the_level_changes_while_the_program_runs() {
    let (output, handle, _guard) = log(Logging::new().level("warn"));
    let line = || tracing::debug!(target: "tool", "detail");
    line();
    handle.set_level("debug").unwrap();
    line();
    handle.set_level("debug,tool=error").unwrap();
    line();
    assert_eq!(output.lines(), ["DEBUG [--------] tool: detail"]);
    let error = handle.set_level("tool=loud").unwrap_err();
    assert!(error.to_string().starts_with("`tool=loud` is not a log level"), "{error}");
}

#[test]
fn a_library_that_logs_answers_is_silent_by_default() {
    let (output, handle, _guard) = log(Logging::new().level("trace"));
    let line = || tracing::error!(target: "async_openai::client", "the whole body");
    line();
    handle.set_level("info,async_openai=error").unwrap();
    line();
    assert_eq!(output.lines(), ["ERROR [--------] async_openai::client: the whole body"]);
}

#[test]
fn a_message_cannot_forge_a_line() {
    let (output, _handle, _guard) = log(Logging::new());
    span_of(&run_with_trace(2), "de\nsk").in_scope(|| {
        tracing::info!(target: "tool", said = "x\n", "a\n2026-01-01T00:00:00Z ERROR [00000003] forged\u{1b}[2J");
    });
    assert_eq!(
        output.lines(),
        [r#" INFO [00000002] de\nsk tool: a\n2026-01-01T00:00:00Z ERROR [00000003] forged\u{1b}[2J said="x\n""#]
    );
}

#[test]
fn a_credential_in_an_error_message_is_masked() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (output, _handle, _guard) = log(Logging::new().format(format));
        tracing::error!(target: "tool", header = "Bearer abcdefghijklmnopq", "wrong key sk-proj-abcdefghijklmnop");
        let text = output.text();
        assert!(text.contains("wrong key sk-[masked]") && text.contains("Bearer [masked]"), "{text}");
    }
}

#[test]
fn json_has_the_ids_and_the_fields_of_the_line() {
    let (output, _handle, _guard) = log(Logging::new().format(LogFormat::Json));
    span_of(&run_with_trace(0xa3f2_b1c9), "desk").in_scope(|| {
        tracing::info!(target: "tool", rows = 3, level = "mine", "queried\n");
    });
    tracing::info!(target: "main", "outside");
    let text = output.text();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut first = lines[0].clone();
    assert!(first["timestamp"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        first,
        serde_json::json!({
            "timestamp": null, "level": "INFO", "trace_id": "a3f2b1c9000000000000000000000001",
            "run_id": uuid_of(0xa3f2_b1c9).to_string(), "agent": "desk", "target": "tool", "message": "queried\n",
            "rows": 3, "level_": "mine",
        })
    );
    assert_eq!(lines[1].get("trace_id"), None);
}

#[test]
fn every_event_has_its_line_or_none() {
    let line_of = |event: &Event| {
        let (output, _handle, _guard) = log(Logging::new().level("trace"));
        desk(1).emit(event);
        output.lines().join("\n").replace("[00000001] desk brigade_core::", "")
    };
    let expected = [
        "DEBUG run: started",
        " INFO run: resumed: 4 steps answered from the journal, $0.0100 not paid again",
        "DEBUG agent: turn 1: asking openai/gpt-5-mini",
        " INFO attempt: waited 1.0s for the rate limit of openai/gpt-5-mini",
        "DEBUG attempt: asking openai/gpt-5-mini",
        "", // deltas are content
        "DEBUG attempt: openai/gpt-5-mini answered after 1.0s",
        " INFO attempt: openai/gpt-5-mini: overloaded, attempt 2 in 1.0s",
        " INFO attempt: the reply starts again",
        " WARN attempt: openai/gpt-5-mini: overloaded, not tried again: the retry budget is used up",
        " WARN attempt: the breaker of openai/gpt-5-mini is open",
        " WARN attempt: openai/gpt-5-mini: overloaded, falling back to anthropic/claude-sonnet-4-5",
        "", // rate limits come with every answer
        "DEBUG attempt: openai: unknown_event",
        " INFO agent: turn 1: openai/gpt-5-mini (gpt-5-mini-2025-08-07), 2 tool calls, tokens unknown, no price, 1.0s",
        "DEBUG tool: lookup started",
        " WARN tool: lookup: timeout after 1.0s: no answer within 30s",
        r#" WARN tool: the model called "rm -rf", which is not one of its tools"#,
        " WARN worker: critic failed, policy fallback: late",
        " WARN agent: repeated tool_call seen 3 times",
        " INFO memory: hid 2 old messages: about 9 tokens, now 3",
        " WARN agent: answer rejected (1): private text",
        " INFO agent: handed off to critic",
        "ERROR run: degraded (session): disk full",
        " WARN budget: soft limit: 9 of 10 turns",
        " WARN budget: refused: 10 of 10 turns",
        " INFO run: finished: 2 turns, 100 tokens in, 10 out, $1.5000, 1.0s",
        " WARN run: failed after 1.0s, nothing charged: no capacity",
        "DEBUG run: waits: `refund` waits for an approval (step `1/tool:1`)", // at the top it is INFO
    ];
    assert_eq!(all_events().iter().map(line_of).collect::<Vec<_>>(), expected);
}

#[test]
fn text_lines_show_amounts_in_the_message_and_json_lines_in_fields() {
    let end = Event::RunEnded {
        stop: StopReason::Finished,
        turns: 2,
        usage: Usage::new(5_120, 840),
        cost: Some(Money::from_nano(31_200_000)),
        elapsed: std::time::Duration::from_millis(12_300),
    };
    let (output, _handle, guard) = log(Logging::new());
    desk(1).emit(&end);
    assert_eq!(
        output.lines(),
        [" INFO [00000001] desk brigade_core::run: finished: 2 turns, 5120 tokens in, 840 out, $0.0312, 12.3s"]
    );
    drop(guard);
    let (output, _handle, _guard) = log(Logging::new().format(LogFormat::Json));
    desk(1).emit(&end);
    let line: serde_json::Value = serde_json::from_str(&output.text()).unwrap();
    assert_eq!((&line["outcome"], &line["turns"]), (&"finished".into(), &2.into()));
    assert_eq!((&line["cost_usd"], &line["elapsed_ms"]), (&0.0312.into(), &12_300.into()));
}

#[tokio::test(start_paused = true)]
async fn lines_of_concurrent_runs_are_not_mixed() {
    let (output, _handle, _guard) = log(Logging::new());
    let mut tasks = JoinSet::new();
    for number in 1..=20_u32 {
        let run = run_with_trace(number);
        tasks.spawn(whole_run(run.clone(), number).instrument(span_of(&run, "desk")));
    }
    tasks.join_all().await;
    let lines = output.lines();
    assert_eq!(lines.len(), 20 * (1 + 8 * 3));
    for line in &lines {
        let number = line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap();
        assert!(line.contains(&format!("[{number:08x}] desk")), "{line}");
    }
    // The runs did interleave: some neighbouring lines belong to different runs.
    let neighbours: BTreeSet<_> = lines.windows(2).map(|pair| pair[0][6..16] == pair[1][6..16]).collect();
    assert!(neighbours.contains(&false));
}

/// Eight workers at once, each with a line of a tool, of a library with a span of its own, and of a spawned task.
async fn whole_run(run: Run, number: u32) {
    tracing::info!(target: "loop", "begins {number}");
    let workers = (0..8_u64).map(|worker| {
        let span = span_of(&run, &format!("desk/worker-{worker}"));
        async move {
            tracing::info!(target: "tool", "before {number}");
            tokio::time::sleep(std::time::Duration::from_millis(worker + u64::from(number) % 3)).await;
            async { tracing::warn!(target: "library", "in a span of its own {number}") }
                .instrument(tracing::debug_span!("query"))
                .await;
            let mut spawned = JoinSet::new();
            spawned.spawn(async move { tracing::info!(target: "task", "spawned {number}") }.in_current_span());
            spawned.join_all().await;
        }
        .instrument(span)
    });
    workers.collect::<JoinSet<()>>().join_all().await;
}

#[test]
fn a_log_file_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("brigade.log");
    for line in ["first", "second"] {
        let target = LogTarget::File(path.clone());
        let (layer, _handle) = Logging::new().variable(None).target(target).layer().unwrap();
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        tracing::info!(target: "main", "{line}");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let missing = LogTarget::File(folder.path().join("no/such/folder.log"));
    assert!(matches!(Logging::new().target(missing).layer::<Registry>(), Err(LoggingError::File { .. })));
}

#[test]
fn an_event_shows_its_own_run_inside_another() {
    let (output, _handle, _guard) = log(Logging::new());
    desk(1).emit(&Event::HandedOff { to: "critic".into() });
    desk(2).span().in_scope(|| desk(3).emit(&Event::HandedOff { to: "critic".into() }));
    let line = |trace| format!(" INFO [0000000{trace}] desk brigade_core::agent: handed off to critic");
    assert_eq!(output.lines(), [line(1), line(3)]);
}

#[test]
fn an_event_belongs_to_the_span_of_its_caller_where_spans_of_runs_are_off() {
    let output = Output::default();
    let level = parse("info,brigade_core::run=off").unwrap();
    let lines = fmt::layer().with_ansi(false).without_time().with_writer(output.clone()).with_filter(level);
    let _guard = tracing_subscriber::registry().with(lines).set_default();
    let run = desk(1);
    tracing::info_span!("request").in_scope(|| run.emit(&Event::HandedOff { to: "critic".into() }));
    assert!(
        output.text().starts_with(" INFO request: brigade_core::agent: handed off to critic "),
        "{}",
        output.text()
    );
}

#[test]
fn a_name_with_a_line_break_stays_on_its_line() {
    let (output, _handle, _guard) = log(Logging::new());
    let run = desk(1);
    let model = ModelId::new("openai", "gpt\n5");
    run.emit(&Event::UnknownTool { name: "rm\n-rf".into() });
    run.emit(&Event::FellBack { from: model.clone(), to: model, reason: brigade_core::ModelErrorKind::Overloaded });
    assert_eq!(output.lines().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_line_quotes_a_tool_or_its_arguments_and_each_failure_has_its_reason() {
    use brigade_core::{
        Agent, OnFailure, ToolError, ToolOutput, Worker,
        testing::{ScriptedModel, Turn},
        tool_fn,
    };
    const CANARY: &str = "canary-90d4";
    let tool = || {
        tool_fn("crm", "", |args: std::collections::BTreeMap<String, String>, _: Run| async move {
            let message = format!("{CANARY} is not known");
            match args["how"].as_str() {
                "explained" => Err::<ToolOutput, _>(ToolError::new(message).caused_by("HTTP 503 from crm.example")),
                "fatal" => Err(ToolError::fatal(message).caused_by("the disk is full")),
                "panic" => panic!("{message}"),
                _ => Err(ToolError::new(message)),
            }
        })
    };
    for format in [LogFormat::Text, LogFormat::Json] {
        let (output, _handle, _guard) = log(Logging::new().level("trace").format(format));
        let call = |id: &str, how: &str| (id.to_owned(), serde_json::json!({ "how": how, CANARY: CANARY }).to_string());
        let calls = [call("1", "explained"), call("2", CANARY), call("3", "panic"), call("4", "")];
        let turn = Turn::parts(Vec::new()).and_call("5", "crm", &format!("{{\"how\": [\"{CANARY}\"]}}"));
        let turn = calls.iter().fold(turn, |turn, (id, arguments)| turn.and_call(id, "crm", arguments));
        let turn = turn.and_call("6", "spare", &serde_json::json!({ "task": CANARY }).to_string());
        let fatal = Turn::call("1", "crm", serde_json::json!({ "how": "fatal" }));
        let spare = Worker::new(Agent::new("spare", ScriptedModel::new([fatal])).tool(tool()));
        let spare = spare.on_failure(OnFailure::fallback(CANARY));
        let desk = Agent::new("desk", ScriptedModel::new([turn, Turn::text(CANARY)])).tool(tool()).worker(spare);
        desk.run(CANARY).await.unwrap();
        let text = output.text();
        assert!(!text.contains(CANARY), "{text}");
        for reason in [
            "crm: error after 0.0ns: HTTP 503 from crm.example",
            "crm: error after 0.0ns: no cause given; content logs have the message of the error",
            "crm: panic after 0.0ns: no cause given",
            "at /*: value is not of type",
            "crm: fatal after 0.0ns: the disk is full",
            "spare: fallback after 0.0ns: crm failed: the disk is full",
        ] {
            assert!(text.contains(reason), "{reason} is missing in {text}");
        }
    }
}

#[test]
fn a_run_that_waits_is_reported_at_info_once_with_its_reason_as_a_field() {
    let wait =
        Event::RunWaiting { reason: "`refund` waits for an approval".into(), elapsed: std::time::Duration::ZERO };
    let (output, _handle, _guard) = log(Logging::new().level("debug").format(LogFormat::Json));
    run_with_trace(1).emit(&wait);
    desk(1).emit(&wait);
    let lines: Vec<serde_json::Value> = output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| &line["level"]).collect::<Vec<_>>(), ["INFO", "DEBUG"]);
    assert_eq!(
        (&lines[0]["event"], &lines[0]["reason"]),
        (&"run_waiting".into(), &"`refund` waits for an approval".into())
    );
}
