//! The events of a run, and the observers that receive them.

use std::{fmt, sync::Arc, time::Duration};

use crate::{BudgetExceeded, Charge, FinishReason, ModelErrorKind, ModelId, Money, RateLimits, Run, StopReason, Usage};

/// Receives the events of runs. An observer cannot change a run: wrap a model or a tool for that.
///
/// It is called on the task that runs the agent, so it must not block. Send long work to a channel.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use brigade_core::{Event, Observer, Run};
///
/// /// Counts failed requests.
/// #[derive(Debug, Default)]
/// struct Failures(AtomicUsize);
///
/// impl Observer for Failures {
///     fn on_event(&self, _run: &Run, event: &Event) {
///         if let Event::AttemptEnded { error: Some(_), .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let failures = Arc::new(Failures::default());
/// let run = Run::builder().observer(failures.clone()).build();
/// run.emit(&Event::RunStarted);
/// assert_eq!(failures.0.load(Ordering::Relaxed), 0);
/// ```
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Handles an event of `run`.
    fn on_event(&self, run: &Run, event: &Event);
}

/// Something that happened in a run. Prompts, replies and tool arguments are in no event but [`Event::Delta`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run or a child run began.
    RunStarted,
    /// A run or a child run ended with an outcome.
    RunEnded {
        /// Why it ended.
        stop: StopReason,
        /// Model turns of this agent.
        turns: u32,
        /// Tokens used by this agent and its workers.
        usage: Usage,
        /// The cost of this agent and its workers; absent if no model had a price.
        cost: Option<Money>,
        /// The time from start to end.
        elapsed: Duration,
    },
    /// A run or a child run failed.
    RunFailed {
        /// The kind of the model error, if a model call failed.
        kind: Option<ModelErrorKind>,
        /// What went wrong.
        message: Arc<str>,
        /// The time from start to end.
        elapsed: Duration,
    },
    /// A model turn began.
    TurnStarted {
        /// Counted from 1 within the agent.
        turn: u32,
        /// The model as configured.
        model: ModelId,
    },
    /// A model turn ended with a reply.
    TurnEnded {
        /// Counted from 1 within the agent.
        turn: u32,
        /// The model as configured.
        model: ModelId,
        /// Tokens, if the provider reported them.
        usage: Option<Usage>,
        /// The cost of all attempts of the turn; absent without a price.
        cost: Option<Money>,
        /// Why the model stopped.
        stop: FinishReason,
        /// The number of tool calls in the reply.
        tool_calls: usize,
        /// The time until the reply was complete, including retries and waits.
        elapsed: Duration,
    },
    /// A request to a provider began.
    AttemptStarted {
        /// The model.
        model: ModelId,
    },
    /// A request to a provider ended.
    AttemptEnded {
        /// The model.
        model: ModelId,
        /// The kind of error, if it failed.
        error: Option<ModelErrorKind>,
        /// Its usage and cost; absent if nothing was spent.
        charge: Option<Charge>,
        /// The time from sending the request to the end of the reply.
        elapsed: Duration,
    },
    /// A piece of the reply arrived. Only emitted if the run wants deltas.
    Delta(Delta),
    /// The reply starts over: the pieces so far are void.
    ReplyRestarted,
    /// A call waited for a rate limit.
    RateLimitWaited {
        /// The model that the limit applies to.
        model: ModelId,
        /// How long it waited.
        waited: Duration,
    },
    /// A response reported the rate limits of the account.
    RateLimitsReported {
        /// The model.
        model: ModelId,
        /// The limits and their remaining amounts.
        limits: RateLimits,
    },
    /// A failed call will be retried.
    Retrying {
        /// The model.
        model: ModelId,
        /// The number of the next attempt, counted from 1.
        attempt: u32,
        /// Why the last attempt failed.
        reason: ModelErrorKind,
        /// The wait before the next attempt.
        delay: Duration,
    },
    /// A failed call was not retried because the retry budget is empty.
    RetrySuppressed {
        /// The model.
        model: ModelId,
        /// Why the last attempt failed.
        reason: ModelErrorKind,
    },
    /// A call failed and falls back to another model.
    FellBack {
        /// The model that failed.
        from: ModelId,
        /// The next model.
        to: ModelId,
        /// Why the first model failed.
        reason: ModelErrorKind,
    },
    /// A circuit breaker changed its state.
    BreakerChanged {
        /// The model that it guards.
        model: ModelId,
        /// The new state: `closed`, `open`, `half_open`.
        state: &'static str,
    },
    /// A tool call began.
    ToolStarted {
        /// The name of the tool.
        tool: Arc<str>,
        /// The id of the call, as in [`Event::ToolEnded`].
        call_id: Arc<str>,
    },
    /// A tool call ended.
    ToolEnded {
        /// The name of the tool.
        tool: Arc<str>,
        /// The id of the call, as in [`Event::ToolStarted`].
        call_id: Arc<str>,
        /// How it ended: [`ToolStatus::name`](crate::ToolStatus::name).
        outcome: &'static str,
        /// How long the call took.
        elapsed: Duration,
    },
    /// The model called a tool that the agent does not have.
    UnknownTool {
        /// The name as the model wrote it. It is unbounded, so do not use it as a metric label.
        name: Arc<str>,
    },
    /// Old messages were hidden from the model so that the prompt fits.
    Trimmed {
        /// The number of hidden messages.
        hidden: usize,
        /// The estimated tokens of the conversation before.
        tokens_before: u64,
        /// The estimated tokens after.
        tokens_after: u64,
    },
    /// The final answer did not match the schema. The model is shown the error and asked again.
    AnswerRejected {
        /// What did not match.
        reason: Arc<str>,
        /// How many answers of the run were rejected, including this one.
        attempt: u32,
    },
    /// The agent repeats itself, and the model was warned.
    LoopNoticed {
        /// The kind of repetition: `tool_call`, `duplicate_call` (within one turn), `delegation`, `unknown_tool`,
        /// `invalid_arguments`, `truncated_arguments`, `tool_failure`.
        kind: &'static str,
        /// How often it was repeated.
        count: u32,
    },
    /// A hard limit of a budget refused a call.
    BudgetRefused(BudgetExceeded),
    /// A soft limit of a budget was crossed.
    BudgetWarning(BudgetExceeded),
    /// The conversation was handed off to another agent.
    HandedOff {
        /// The name of that agent.
        to: Arc<str>,
    },
    /// A part of the run failed, and the run goes on without it.
    Degraded {
        /// The part: `session` (messages were not saved), `summary` (old messages were hidden without a summary), `notes`
        /// (notes were not recalled), `budget` (a budget is exhausted, or cannot be enforced).
        part: &'static str,
        /// What went wrong.
        reason: Arc<str>,
    },
    /// A worker failed. Its failure policy decides what the supervisor sees.
    WorkerFailed {
        /// The name of the worker.
        worker: Arc<str>,
        /// The failure policy: `fallback`, `isolate`, `required`.
        policy: &'static str,
        /// What went wrong.
        reason: Arc<str>,
    },
    /// A response deviated from the provider's documentation but could be read.
    WireQuirk {
        /// The provider account.
        provider: Arc<str>,
        /// The deviation, from a closed set of names such as `unknown_event`.
        kind: &'static str,
    },
}

/// A piece of a reply while it is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Text of the answer.
    Text(String),
    /// Text of the reasoning, if the provider shows it.
    Thinking(String),
    /// A tool call began.
    ToolCall {
        /// The tool's name.
        name: String,
    },
    /// A part of the arguments of a tool call.
    Arguments {
        /// The number of bytes of JSON text.
        bytes: usize,
    },
}
