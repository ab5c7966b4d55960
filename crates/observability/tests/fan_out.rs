//! Two concurrent fan-outs with many faults: every log line carries the trace id of its run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc, time::Duration};

use brigade_core::{
    Agent, ChatModel, ChatReply, ChatRequest, Event, Metered, ModelError, ModelErrorKind, ModelExt, ModelId, Money,
    OnFailure, Rate, Rates, Run, Settings, ToolOutput, TraceId, UnpricedPolicy, Worker,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use brigade_observability::{LogTarget, Logging, PriceBook, log_panics};
use serde_json::json;
use tracing::Instrument;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// A model whose client library writes log lines, and that retries a failed call.
#[derive(Debug)]
struct Chatty<M>(M);

#[async_trait::async_trait]
impl<M: ChatModel> ChatModel for Chatty<M> {
    fn id(&self) -> &ModelId {
        self.0.id()
    }

    fn settings(&self) -> &Settings {
        self.0.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        tracing::info!(target: "library", "pool has 3 connections");
        let answer = self.0.chat(request, run).instrument(tracing::info_span!("connection", number = 3)).await;
        let Err(error) = answer else { return answer };
        let delay = Duration::from_millis(100);
        run.emit(&Event::Retrying { model: self.id().clone(), attempt: 2, reason: error.kind(), delay });
        tokio::time::sleep(delay).await;
        self.0.chat(request, run).await
    }
}

/// Eight workers: two fail once, one always fails, one panics, one hangs, and three are healthy; all of them
/// have a tool that spawns a task.
fn worker(number: u64, book: &PriceBook) -> Worker {
    let overloaded = || Turn::fails(ModelErrorKind::Overloaded);
    let call = || Turn::call("1", "tool", json!({}));
    let text = || Turn::text("Done.");
    let script = match number {
        0 | 1 => vec![overloaded(), call(), text()],
        2 => vec![overloaded(), overloaded()],
        3 => vec![Turn::panics()],
        4 => vec![text().after(Duration::from_hours(1))],
        _ => vec![call(), text().after(Duration::from_millis(number))],
    };
    let tool = tool_fn("tool", "Works.", move |_: serde_json::Value, _: Run| async move {
        let work = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            tracing::warn!(target: "spawned", "at work");
        };
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(work.in_current_span());
        tasks.join_all().await;
        Ok::<_, brigade_core::ToolError>(ToolOutput::text("Worked."))
    });
    let model = Chatty(ScriptedModel::new(script).metered(book));
    Worker::new(Agent::new(format!("worker-{number}"), model).tool(tool))
        .timeout(Duration::from_secs(5))
        .on_failure(OnFailure::Isolate)
}

async fn fan_out(name: &str, trace: TraceId) -> String {
    let book = PriceBook::bundled();
    let calls = (0..8).fold(Turn::parts(Vec::new()), |turn, number| {
        turn.and_call(&number.to_string(), &format!("worker-{number}"), r#"{"task": "work"}"#)
    });
    let model = ScriptedModel::new([calls, Turn::text("All done.")]).metered(&book);
    let desk = (0..8).fold(Agent::new(name, model), |desk, number| desk.worker(worker(number, &book)));
    desk.run_in(&Run::builder().trace(trace).build(), "Work.").await.unwrap().text
}

/// Costs 10 dollars per million input tokens, and 20 per million output tokens.
fn priced(model: ScriptedModel) -> Metered<ScriptedModel> {
    let dollars = |nano| Rate::per_million(Money::from_nano(nano));
    let rates = Rates::new(dollars(10_000_000_000), dollars(20_000_000_000));
    Metered::new(model, Arc::new(PriceBook::bundled())).unpriced(UnpricedPolicy::Assume(rates))
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn every_line_of_two_fan_outs_carries_the_trace_id_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("brigade.log");
    let target = LogTarget::File(path.clone());
    let (layer, logging) = Logging::new().level("debug").variable(None).target(target).layer().unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    log_panics();
    let (here, there) = (TraceId::random(), TraceId::random());
    let answers = tokio::join!(fan_out("here", here), fan_out("there", there));
    assert_eq!(answers, ("All done.".to_owned(), "All done.".to_owned()));

    logging.flush();
    let lines = lines(&path);
    let of = |trace: TraceId| format!("[{}] ", trace.short());
    for line in &lines {
        let is_of_one = line.contains(&(of(here) + "here")) != line.contains(&(of(there) + "there"));
        assert!(is_of_one, "{line}");
    }
    for text in
        ["library: pool", "spawned: at work", "panicked at", "overloaded", "worker-4 failed", "finished: 2 turns"]
    {
        for trace in [here, there] {
            let told = lines.iter().any(|line| line.contains(&of(trace)) && line.contains(text));
            assert!(told, "`{text}` is not told of {trace} in\n{}", lines.join("\n"));
        }
    }
    let neighbours = lines.windows(2).filter(|pair| pair[0].contains(&of(here)) != pair[1].contains(&of(here)));
    assert!(neighbours.count() > 10, "the runs interleave");
}

#[tokio::test(start_paused = true)]
async fn a_run_has_a_handful_of_lines_that_end_with_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("brigade.log");
    let (layer, logging) = Logging::new().variable(None).target(LogTarget::File(path.clone())).layer().unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let critic = priced(ScriptedModel::new([Turn::text("Fine.").after(Duration::from_secs(1))]));
    let script = [Turn::call("1", "critic", json!({"task": "Judge it."})), Turn::text("It is fine.")];
    let desk = Agent::new("desk", priced(ScriptedModel::new(script))).worker(Worker::new(Agent::new("critic", critic)));
    let trace = "a3f2b1c94e5d4c3b8a7f6e5d4c3b2a19".parse().unwrap();
    desk.run_in(&Run::builder().trace(trace).build(), "Is it fine?").await.unwrap();
    logging.flush();
    let told: Vec<String> = lines(&path).iter().map(|line| line.split_once("Z ").unwrap().1.to_owned()).collect();
    assert_eq!(
        told,
        [
            " INFO [a3f2b1c9] desk brigade_core::run: started",
            " INFO [a3f2b1c9] desk brigade_core::agent: turn 1: scripted/model, 1 tool call, 110 tokens, $0.0012, 0.0ns",
            " INFO [a3f2b1c9] desk/critic brigade_core::agent: turn 1: scripted/model, end_turn, 110 tokens, $0.0012, 1.0s",
            " INFO [a3f2b1c9] desk/critic brigade_core::run: finished: 1 turn, 100 tokens in, 10 out, $0.0012, 1.0s",
            " INFO [a3f2b1c9] desk brigade_core::agent: turn 2: scripted/model, end_turn, 110 tokens, $0.0012, 0.0ns",
            " INFO [a3f2b1c9] desk brigade_core::run: finished: 2 turns, 300 tokens in, 30 out, $0.0036 (desk $0.0024, \
             desk/critic $0.0012), 1.0s",
        ]
    );
}
