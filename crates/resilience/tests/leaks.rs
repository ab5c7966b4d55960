//! Wrappers that are dropped leave nothing behind. In a process of its own, where every allocation is counted.
#![cfg(test)]

use std::{
    alloc::System,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelErrorKind, ModelId, Run, Settings, testing::Recorder,
};
use brigade_resilience::{
    Accounts, Breaker, BreakerSettings, Fallback, FallbackModel, Hedge, Policy, RateLimit, RateLimitSettings, Retry,
    RetrySettings, Timeout, Timeouts,
};
use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// A model that fails at its first call of each run.
#[derive(Debug)]
struct Flaky {
    id: ModelId,
    settings: Settings,
    alive: Arc<()>,
}

#[async_trait]
impl ChatModel for Flaky {
    fn id(&self) -> &ModelId {
        &self.id
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    async fn chat(&self, _: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        match run.count("calls") {
            1 => Err(ModelError::new(ModelErrorKind::Overloaded, "busy")),
            _ => Ok(ChatReply::new(Message::assistant("Hello."))),
        }
    }
}

fn flaky(name: &str) -> (Flaky, Weak<()>) {
    let alive = Arc::new(());
    let weak = Arc::downgrade(&alive);
    (Flaky { id: ModelId::new("p", name), settings: Settings::default(), alive }, weak)
}

type Wrap = fn(Flaky, &Accounts) -> Arc<dyn ChatModel>;

const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Every wrapper by itself, with shared state and without, and the standard stack of all.
const WRAPPERS: [(&str, Wrap); 13] = [
    ("timeout", |model, _| Arc::new(Timeout::new(model, Timeouts::default()))),
    ("rate limit", |model, _| Arc::new(RateLimit::new(model, RateLimitSettings::default()))),
    ("rate limit, shared", |model, accounts| {
        Arc::new(RateLimit::new(model, RateLimitSettings::default().requests_per_minute(1_000_000)).within(accounts))
    }),
    ("breaker", |model, _| Arc::new(Breaker::new(model, BreakerSettings::default()))),
    ("breaker, shared", |model, accounts| {
        Arc::new(
            Breaker::new(model, BreakerSettings::default().failed_percent(101).failures_in_row(9)).within(accounts),
        )
    }),
    ("hedge", |model, _| Arc::new(Hedge::new(model, HEDGE_AFTER, RetrySettings::default()))),
    ("hedge, shared", |model, accounts| {
        Arc::new(Hedge::new(model, HEDGE_AFTER, RetrySettings::default()).within(accounts))
    }),
    ("retry", |model, _| Arc::new(Retry::new(model, RetrySettings::default()))),
    ("retry, shared", |model, accounts| Arc::new(Retry::new(model, RetrySettings::default()).within(accounts))),
    ("fallback", |model, _| Arc::new(Fallback::new(model, flaky("other").0))),
    ("policy", |model, accounts| Policy::default().wrap(model, [], accounts)),
    ("policy with a fallback", |model, accounts| {
        let policy = Policy::default().hedge_after(HEDGE_AFTER);
        let other = policy.wrap(flaky("other").0, [], accounts);
        policy.wrap(model, [FallbackModel::new(other)], accounts)
    }),
    ("policy with accounts of its own", |model, _| {
        let own = Accounts::new();
        Policy::default().hedge_after(HEDGE_AFTER).wrap(model, [], &own)
    }),
];

/// Builds a stack, calls it now and then, and drops it. Returns whether its model is gone.
async fn use_once(wrap: Wrap, accounts: &Accounts, round: usize) -> bool {
    let (model, alive) = flaky("m");
    assert_eq!(Arc::strong_count(&model.alive), 1);
    let stack = wrap(model, accounts);
    if round.is_multiple_of(50) {
        let (request, recorder) = (ChatRequest::new("Hello?"), Recorder::new());
        for deltas in [false, true] {
            let run = Run::builder().observer(Arc::new(recorder.clone())).deltas(deltas).build();
            let _ = stack.chat(&request, &run).await;
        }
    }
    drop(stack);
    alive.strong_count() == 0
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_dropped_stacks_of_every_wrapper_leave_nothing_behind() {
    const STACKS: usize = 10_000;
    for (name, wrap) in WRAPPERS {
        let accounts = Accounts::seeded(1);
        // The shared state of the model, and what the runtime keeps for later.
        for round in 0..200 {
            assert!(use_once(wrap, &accounts, round).await, "{name}: something holds the model");
        }
        let before = MEMORY.allocated();
        for round in 0..STACKS {
            assert!(use_once(wrap, &accounts, round).await, "{name}: something holds the model");
        }
        let grown = MEMORY.allocated().saturating_sub(before);
        assert!(grown < 20_000, "{name}: {grown} bytes after {STACKS} stacks");
    }
}
