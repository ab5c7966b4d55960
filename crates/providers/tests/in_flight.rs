//! Many requests at once.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use brigade_core::{ChatModel, ChatRequest, Embedder, Event, ModelErrorKind, Run, testing::Recorder};
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses};
use brigade_rehearsal::{FaultPlan, RunningSimulator, Script, Simulator};
use tokio::{task::JoinSet, time::Instant};

const SLOW: &str = "[[rule]]\nanswer = { text = \"Done.\", latency = { first = \"50ms\" } }\n";
const STALL: &str = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { before_headers = true }\ndo = { stall = \"10m\" }\n";
const LIMIT: usize = 10;

async fn serve(script: &str, faults: &str) -> RunningSimulator {
    let (script, faults) = (Script::from_toml(script).unwrap(), FaultPlan::from_toml(faults).unwrap());
    Simulator::builder().script(script).faults(faults).build().serve_locally().await.unwrap()
}

/// A model of each dialect, and of each an account with `LIMIT` requests in flight.
fn models(provider: &RunningSimulator) -> Vec<Arc<dyn ChatModel>> {
    let url = provider.base_url();
    vec![
        Arc::new(
            OpenAi::builder()
                .base_url(format!("{url}/v1"))
                .api_key("k")
                .max_in_flight(LIMIT)
                .build()
                .unwrap()
                .model("m"),
        ),
        Arc::new(
            OpenAiResponses::builder()
                .base_url(format!("{url}/v1"))
                .api_key("k")
                .max_in_flight(LIMIT)
                .build()
                .unwrap()
                .model("m"),
        ),
        Arc::new(Anthropic::builder().base_url(url).api_key("k").max_in_flight(LIMIT).build().unwrap().model("m")),
    ]
}

/// The most requests that had arrived and not ended at any time.
async fn most_at_once(provider: &RunningSimulator, answered: &AtomicUsize, calls: usize) -> usize {
    let mut most = 0;
    while answered.load(Ordering::Relaxed) < calls {
        let arrived = usize::try_from(provider.call_log().totals().arrived).unwrap();
        most = most.max(arrived.saturating_sub(answered.load(Ordering::Relaxed)));
        tokio::task::yield_now().await;
    }
    most
}

#[tokio::test]
async fn calls_beyond_the_limit_of_an_account_wait_in_every_dialect() {
    const CALLS: usize = 100;
    for number in 0..3 {
        let provider = serve(SLOW, "").await;
        let model = models(&provider).remove(number);
        let events = Arc::new(Recorder::new());
        let answered = Arc::new(AtomicUsize::new(0));
        let mut calls = JoinSet::new();
        for call in 0..CALLS {
            let (model, events, answered) = (Arc::clone(&model), Arc::clone(&events), Arc::clone(&answered));
            calls.spawn(async move {
                // Streamed and whole.
                let run = Run::builder().observer(events).deltas(call % 2 == 0).build();
                let reply = model.chat(&ChatRequest::new("Hello?"), &run).await;
                answered.fetch_add(1, Ordering::Relaxed);
                reply.map(|reply| reply.message.text().into_owned())
            });
        }
        let most = most_at_once(&provider, &answered, CALLS).await;
        assert_eq!(calls.join_all().await.into_iter().flatten().count(), CALLS);
        assert!((2..=LIMIT).contains(&most), "{most} requests at once");
        let waits = events.count(|event| matches!(event, Event::RateLimitWaited { .. }));
        assert_eq!(waits, CALLS - LIMIT);
    }
}

#[tokio::test]
async fn a_call_waits_no_longer_than_its_run_and_then_leaves_its_place() {
    let provider = serve("", STALL).await;
    for model in models(&provider) {
        let mut stalled = JoinSet::new();
        let arrived = provider.call_log().totals().arrived;
        for _ in 0..LIMIT {
            let model = Arc::clone(&model);
            stalled.spawn(async move { model.chat(&ChatRequest::new("Hello?"), &Run::new()).await.is_ok() });
        }
        while provider.call_log().totals().arrived < arrived + LIMIT as u64 {
            tokio::task::yield_now().await;
        }
        let run = Run::builder().deadline(Instant::now() + Duration::from_millis(20)).build();
        let error = model.chat(&ChatRequest::new("Hello?"), &run).await.unwrap_err();
        assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Cancelled, false), "{error}");
        let run = Run::new();
        run.cancel();
        let error = model.chat(&ChatRequest::new("Hello?"), &run).await.unwrap_err();
        assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Cancelled, false), "{error}");
        // A call that is dropped gives its place back.
        stalled.shutdown().await;
        let (request, run) = (ChatRequest::new("Hello?"), Run::new());
        let mut again = model.chat(&request, &run);
        let before = provider.call_log().totals().arrived;
        while provider.call_log().totals().arrived == before {
            tokio::select! {
                _ = &mut again => {}
                () = tokio::task::yield_now() => {}
            }
        }
    }
}

#[tokio::test]
async fn embeddings_count_too() {
    let provider = serve("", STALL).await;
    let builder = OpenAi::builder().base_url(format!("{}/v1", provider.base_url())).api_key("k").max_in_flight(1);
    let client = builder.build().unwrap();
    let model = client.model("m");
    let mut stalled = JoinSet::new();
    stalled.spawn(async move { model.chat(&ChatRequest::new("Hello?"), &Run::new()).await.is_ok() });
    while provider.call_log().totals().arrived == 0 {
        tokio::task::yield_now().await;
    }
    let run = Run::builder().deadline(Instant::now() + Duration::from_millis(20)).build();
    let error = client.embeddings("e").embed(&["text"], &run).await.unwrap_err();
    assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Cancelled, false), "{error}");
    assert!(client.probe().await.is_ok(), "a health check does not wait for runs");
}
