use std::{sync::Arc, time::Duration};

use brigade_core::{
    Agent, ChatModel, ChatReply, ChatRequest, Event, Metered, ModelError, ModelErrorKind, ModelId, Money, OnFailure,
    Rate, Rates, Run, Settings, ToolOutput, ToolStatus, TraceId, UnpricedPolicy, Worker,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use serde_json::json;

use super::*;
use crate::{PriceBook, RunLog, TreeStyle};

/// Repeats a failed call once.
#[derive(Debug)]
struct RetryOnce<M>(M);

#[async_trait::async_trait]
impl<M: ChatModel> ChatModel for RetryOnce<M> {
    fn id(&self) -> &ModelId {
        self.0.id()
    }

    fn settings(&self) -> &Settings {
        self.0.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let error = match self.0.chat(request, run).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let delay = Duration::from_millis(500);
        run.emit(&Event::Retrying { model: self.id().clone(), attempt: 2, reason: error.kind(), delay });
        tokio::time::sleep(delay).await;
        self.0.chat(request, run).await
    }
}

fn after(seconds: u64, turn: Turn) -> Turn {
    turn.after(Duration::from_secs(seconds))
}

/// Costs 10 dollars per million input tokens, and 20 per million output tokens.
fn priced(model: ScriptedModel) -> Metered<ScriptedModel> {
    let dollars = |nano| Rate::per_million(Money::from_nano(nano));
    let rates = Rates::new(dollars(10_000_000_000), dollars(20_000_000_000));
    Metered::new(model, Arc::new(PriceBook::bundled())).unpriced(UnpricedPolicy::Assume(rates))
}

/// A desk with two workers: one retries and uses a tool, one fails.
async fn run_desk(trace: TraceId, recorder: Arc<RunLog>) {
    let lookup = tool_fn("lookup", "Looks a word up.", |_: serde_json::Value, _: Run| async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok::<_, brigade_core::ToolError>(ToolOutput::text("a word"))
    });
    let desk = ScriptedModel::named(
        "desk",
        [
            after(
                1,
                Turn::call("1", "finder", json!({"task": "find"})).and_call("2", "critic", r#"{"task": "judge"}"#),
            ),
            after(2, Turn::text("Done.")),
        ],
    );
    let finder = ScriptedModel::named(
        "finder",
        [
            after(1, Turn::fails(ModelErrorKind::Overloaded)),
            after(1, Turn::call("3", "lookup", json!({}))),
            after(1, Turn::text("Found.")),
        ],
    );
    let critic = ScriptedModel::named("critic", [after(1, Turn::fails(ModelErrorKind::Refused))]);
    let finder = Agent::new("finder", RetryOnce(priced(finder))).tool(lookup);
    let critic = Worker::new(Agent::new("critic", priced(critic))).on_failure(OnFailure::fallback("Fine."));
    let desk = Agent::new("desk", priced(desk)).worker(Worker::new(finder)).worker(critic);
    let run = Run::builder().trace(trace).observer(recorder).build();
    desk.run_in(&run, "Work.").await.unwrap();
}

/// The tree without its columns of time.
fn texts(shown: &str) -> String {
    let text = |line: &str| line.chars().skip(30).collect::<String>() + "\n";
    shown.lines().skip(1).map(text).collect()
}

fn trace_of(first: u32) -> TraceId {
    TraceId::from_bits(u128::from(first) << 96 | 1).unwrap()
}

const DESK: &str = "\
desk · finished · 2 turns · 400 tokens in, 40 out · $0.0048 · 9.5s
├─ turn 1 scripted/desk · 2 tool calls · 100 tokens in, 10 out · $0.0012 estimated · 1.0s
├─ tool finder · ok · 6.5s
│  └─ desk/finder · finished · 2 turns · 200 tokens in, 20 out · $0.0024 · 6.5s
│     ├─ turn 1 scripted/finder · 1 tool call · 100 tokens in, 10 out · $0.0012 · 2.5s
│     │  ├─ attempt scripted/finder · overloaded · 1.0s
│     │  ├─ retry: attempt 2 in 500.0ms, because overloaded
│     │  └─ attempt scripted/finder · ok · 100 tokens in, 10 out · $0.0012 estimated · 1.0s
│     ├─ tool lookup · ok · 3.0s
│     └─ turn 2 scripted/finder · end_turn · 100 tokens in, 10 out · $0.0012 estimated · 1.0s
├─ tool critic · fallback: as the script says (refused) · 1.0s
│  └─ desk/critic · refused · 1 turn · 0 tokens in, 0 out · $0.0000 · 1.0s
│     └─ turn 1 scripted/critic · refused · 1.0s
├─ worker critic failed, policy fallback: as the script says (refused)
└─ turn 2 scripted/desk · end_turn · 100 tokens in, 10 out · $0.0012 estimated · 2.0s
";

/// A run log with two concurrent runs of the desk.
async fn two_desks(folder: &Path) -> PathBuf {
    let path = folder.join("events.jsonl");
    let recorder = Arc::new(RunLog::open(&path).unwrap());
    tokio::join!(run_desk(trace_of(0xa3f2_b1c9), Arc::clone(&recorder)), run_desk(trace_of(7), Arc::clone(&recorder)));
    assert_eq!(Arc::into_inner(recorder).unwrap().lost(), 0);
    path
}

#[tokio::test(start_paused = true)]
async fn the_tree_shows_agents_turns_attempts_and_tools() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_desks(folder.path()).await;
    let shown = RunTree::open(path, "a3f2b1c9").unwrap().to_string();
    assert!(shown.starts_with("trace a3f2b1c9000000000000000000000001, began 20"), "{shown}");
    assert_eq!(texts(&shown), DESK, "{shown}");
}

#[tokio::test(start_paused = true)]
async fn an_open_run_is_shown_and_a_damaged_line_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_desks(folder.path()).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let unknown = text.lines().next().unwrap().replace("run_started", "from_another_version");
    let half: String = text.split_inclusive('\n').take(6).collect();
    std::fs::write(&path, format!("not JSON a3f2b1c9\n{unknown}\n{half}{{\"trace\": \"a3f2b1c9")).unwrap();
    let shown = RunTree::open(&path, "A3F2B1C9").unwrap().to_string();
    assert!(shown.contains("  desk · not ended\n"), "{shown}");
}

#[test]
fn an_invalid_or_unknown_trace_id_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    assert!(matches!(RunTree::open(&path, "a3f2b1c9"), Err(TraceError::Read { .. })));
    std::fs::write(&path, "").unwrap();
    assert!(matches!(RunTree::open(&path, "a3f2b1c9"), Err(TraceError::NotFound(_))));
    for id in ["", "a3f2", "a3f2b1cx", &"a".repeat(33)] {
        assert!(matches!(RunTree::open(&path, id), Err(TraceError::Id(_))), "{id}");
    }
}

#[test]
fn two_parallel_calls_of_one_worker_have_a_run_each() {
    let desk = Run::new().child("desk", brigade_core::Budget::unlimited()).unwrap();
    let started = |id: &str| Event::ToolStarted { tool: "critic".into(), call_id: id.into() };
    let mut tree = RunTree::default();
    let mut add = |run: &Run, event: &Event| tree.add(&EventRecord::new(run, event.clone()));
    add(&desk, &Event::RunStarted);
    add(&desk, &started("1"));
    add(&desk, &started("2"));
    for _ in 0..2 {
        add(&desk.child("critic", brigade_core::Budget::unlimited()).unwrap(), &Event::RunStarted);
    }
    let shown = texts(&tree.to_string());
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines,
        [
            "desk · not ended",
            "├─ tool critic · not ended",
            "│  └─ desk/critic · not ended",
            "└─ tool critic · not ended",
            "   └─ desk/critic · not ended",
        ]
    );
}

#[test]
fn members_of_a_group_without_a_run_stay_together() {
    let run = |path: &[&str]| {
        path.iter().fold(Run::new(), |run, name| run.child(name, brigade_core::Budget::unlimited()).unwrap())
    };
    let mut tree = RunTree::default();
    let mut add = |run: &Run, event: &Event| tree.add(&EventRecord::new(run, event.clone()));
    let desk = run(&["desk"]);
    add(&desk, &Event::ToolStarted { tool: "team".into(), call_id: "1".into() });
    add(&run(&["desk", "team", "first"]), &Event::RunStarted);
    add(&run(&["desk", "team"]), &Event::HandedOff { to: "second".into() });
    add(&run(&["desk", "team", "second"]), &Event::RunStarted);
    let shown = texts(&tree.to_string());
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines,
        [
            "desk · not ended",
            "└─ tool team · not ended",
            "   └─ desk/team",
            "      ├─ desk/team/first · not ended",
            "      ├─ handed off to second",
            "      └─ desk/team/second · not ended",
        ]
    );
}

#[test]
fn both_attempts_of_a_hedged_call_end_with_their_own_result() {
    let (run, model) = (Run::new().child("desk", brigade_core::Budget::unlimited()).unwrap(), ModelId::new("p", "m"));
    let started = || Event::AttemptStarted { model: model.clone() };
    let ended = |error, seconds| {
        let elapsed = Duration::from_secs(seconds);
        Event::AttemptEnded { model: model.clone(), error, charge: None, elapsed }
    };
    let cancelled = Some(ModelErrorKind::Cancelled);
    // The second one wins, then the first one, then the first one although it was dropped last.
    for (first, second, ends) in [
        ("cancelled · 13.0s", "ok · 3.0s", [(13, ended(cancelled, 13)), (13, ended(None, 3))]),
        ("ok · 14.0s", "cancelled · 4.0s", [(14, ended(cancelled, 4)), (14, ended(None, 14))]),
        ("ok · 14.0s", "cancelled · 4.0s", [(14, ended(None, 14)), (14, ended(cancelled, 4))]),
    ] {
        let events = [(0, started()), (10, started())].into_iter().chain(ends);
        let records = events.map(|(seconds, event)| {
            let mut record = EventRecord::new(&run, event);
            record.at = Timestamp::from_second(1_700_000_000 + seconds).unwrap();
            record
        });
        let tree = RunTree::from_records("", records).unwrap().to_string();
        let lines: Vec<_> = tree.lines().filter_map(|line| line.split_once("attempt p/m · ")).collect();
        assert_eq!(lines.iter().map(|(_, facts)| *facts).collect::<Vec<_>>(), [first, second], "{tree}");
    }
}

/// The records of two tools that run at the same time, one of them to the end.
fn parallel() -> RunTree {
    let run = Run::new();
    let started = |id: &str| Event::ToolStarted { tool: id.into(), call_id: id.into() };
    let ended = Event::ToolEnded {
        tool: "late".into(),
        call_id: "late".into(),
        outcome: ToolStatus::Timeout,
        reason: None,
        elapsed: Duration::from_secs(10),
    };
    let start: Timestamp = "2026-11-30T06:00:00Z".parse().unwrap();
    let records =
        [(0, Event::RunStarted), (5, started("late")), (5, started("open")), (15, ended), (20, started("new"))];
    let record = |(seconds, event)| {
        let mut record = EventRecord::new(&run, event);
        record.at = start + jiff::SignedDuration::from_secs(seconds);
        record
    };
    RunTree::from_records("", records.map(record)).unwrap()
}

#[test]
fn bars_show_what_ran_in_parallel() {
    let expected = "   0.0s ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  run · not ended
   5.0s      ━━━━━━━━━━       ├─ tool late · timeout · 10.0s
   5.0s      ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  ├─ tool open · not ended
  20.0s                    ╌  └─ tool new · not ended
";
    assert_eq!(parallel().to_string().split_once('\n').unwrap().1, expected);
}

#[test]
fn lines_are_wrapped_at_the_width_and_colored_on_request() {
    let narrow = parallel().render(TreeStyle::default().width(46));
    let expected = "   0.0s ╌╌╌╌╌╌╌╌╌╌  run · not ended
   5.0s   ━━━━━━    ├─ tool late · timeout ·
                    │  10.0s
";
    assert!(narrow.split_once('\n').unwrap().1.starts_with(expected), "{narrow}");
    assert!(narrow.lines().skip(1).all(|line| line.chars().count() <= 46), "{narrow}");
    let colored = parallel().render(TreeStyle::default().color(true));
    assert!(colored.contains("\x1b[31mtool late · timeout · 10.0s\x1b[0m"), "{colored}");
    assert!(!parallel().to_string().contains('\x1b'));
}

#[test]
fn a_turn_is_named_after_the_model_that_answered_and_a_failed_tool_has_its_reason() {
    let run = Run::new();
    let model = |name: &str| ModelId::new("openai", name);
    let elapsed = Duration::from_secs(1);
    let records = [
        Event::RunStarted,
        Event::TurnStarted { turn: 1, model: model("gpt-5") },
        Event::TurnEnded {
            turn: 1,
            model: model("gpt-4o"),
            served: Some("gpt-4o-2024-08-06".into()),
            usage: None,
            cost: None,
            stop: brigade_core::FinishReason::ToolCalls,
            tool_calls: 1,
            elapsed,
        },
        Event::ToolStarted { tool: "crm".into(), call_id: "1".into() },
        Event::ToolEnded {
            tool: "crm".into(),
            call_id: "1".into(),
            outcome: ToolStatus::Error,
            reason: Some("HTTP 503 from crm.example".into()),
            elapsed,
        },
    ];
    let tree = RunTree::from_records("", records.map(|event| EventRecord::new(&run, event))).unwrap().to_string();
    assert!(tree.contains("turn 1 openai/gpt-4o (gpt-4o-2024-08-06) · 1 tool call · "), "{tree}");
    assert!(!tree.contains("gpt-5"), "{tree}");
    assert!(tree.contains("tool crm · error: HTTP 503 from crm.example · 1.0s"), "{tree}");
}

#[test]
fn what_a_restart_cut_off_is_shown_once_and_the_run_has_its_last_end() {
    let run = Run::new();
    let model = ModelId::new("openai", "m");
    let elapsed = Duration::from_secs(1);
    let started = || {
        let call = Event::ToolStarted { tool: "search".into(), call_id: "c1".into() };
        [Event::TurnStarted { turn: 1, model: model.clone() }, Event::AttemptStarted { model: model.clone() }, call]
    };
    let resumed = Event::Resumed { steps: 0, saved: Money::ZERO };
    let failed = Event::RunFailed { kind: None, message: "the store is gone".into(), elapsed };
    let ended = Event::RunEnded {
        stop: brigade_core::StopReason::Finished,
        turns: 1,
        usage: brigade_core::Usage::new(1, 1),
        cost: None,
        elapsed,
    };
    let first = started().into_iter().chain([failed, resumed.clone()]);
    let events = first.chain(started()).chain([resumed, ended]);
    let records = [Event::RunStarted].into_iter().chain(events).map(|event| EventRecord::new(&run, event));
    let shown = RunTree::from_records("", records).unwrap().to_string();
    assert!(shown.contains("run · finished") && !shown.contains("the store is gone"), "{shown}");
    assert_eq!(shown.matches("search · no answer").count(), 1, "{shown}");
    assert_eq!(shown.matches("search · cut off").count(), 1, "{shown}");
}

#[test]
fn a_run_that_waits_is_not_failed_and_what_it_waited_for_stays_visible() {
    let run = Run::new();
    let elapsed = Duration::from_secs(1);
    let call = |outcome, reason: Option<&str>| {
        let (tool, call_id) = (Arc::from("refund"), Arc::from("1"));
        let started = Event::ToolStarted { tool: Arc::clone(&tool), call_id: Arc::clone(&call_id) };
        [started, Event::ToolEnded { tool, call_id, outcome, reason: reason.map(Into::into), elapsed }]
    };
    let reason = "`refund` waits for an approval (step `1/tool:1`)";
    let wait = Event::RunWaiting { reason: reason.into(), elapsed };
    let events = [Event::RunStarted].into_iter().chain(call(ToolStatus::Waiting, Some(reason))).chain([wait]);
    let tree = |events: Vec<Event>| {
        let records = events.into_iter().map(|event| EventRecord::new(&run, event));
        RunTree::from_records("", records).unwrap().render(TreeStyle::default().color(true))
    };
    let waiting = tree(events.clone().collect());
    assert!(waiting.contains(&format!("waiting: {reason}")) && !waiting.contains("\x1b[31m"), "{waiting}");
    let resumed = Event::Resumed { steps: 1, saved: Money::ZERO };
    let rest = [resumed].into_iter().chain(call(ToolStatus::Ok, None));
    let gone_on = tree(events.chain(rest).collect());
    assert!(gone_on.contains("tool refund · waiting: ") && gone_on.contains("tool refund · ok"), "{gone_on}");
    assert!(gone_on.contains(" · not ended"), "{gone_on}");
}
