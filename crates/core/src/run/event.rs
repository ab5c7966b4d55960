//! Everything that happens in a run, for those who watch.

use std::{fmt, sync::Arc, time::Duration};

use crate::{BudgetExceeded, Charge, FinishReason, ModelErrorKind, ModelId, Money, RateLimits, Run, StopReason, Usage};

/// Watches runs. Observers only watch: what they do or fail to do changes no answer.
///
/// Called on the task that runs the agent, so it must not block; hand long work to a channel.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened in `run`.
    fn on_event(&self, run: &Run, event: &Event);
}

/// Something that happened in a run. Prompts, answers and arguments are in no event but [`Event::Delta`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run or a child run began.
    RunStarted,
    /// A run or a child run ended with an outcome.
    RunEnded {
        /// How it ended.
        stop: StopReason,
        /// Model turns of this agent.
        turns: u32,
        /// Tokens of this agent and its workers.
        usage: Usage,
        /// Cost of this agent and its workers; absent if nothing had a price.
        cost: Option<Money>,
        /// From start to end.
        elapsed: Duration,
    },
    /// A run or a child run failed.
    RunFailed {
        /// The kind of the model error, if it was one.
        kind: Option<ModelErrorKind>,
        /// What went wrong.
        message: Arc<str>,
        /// From start to end.
        elapsed: Duration,
    },
    /// The model is about to be asked.
    TurnStarted {
        /// Counted from 1 within the agent.
        turn: u32,
        /// The model as configured.
        model: ModelId,
    },
    /// The model has answered.
    TurnEnded {
        /// Counted from 1 within the agent.
        turn: u32,
        /// The model as configured.
        model: ModelId,
        /// Tokens, if the provider told.
        usage: Option<Usage>,
        /// What the turn cost, all attempts; absent without a price.
        cost: Option<Money>,
        /// Why the model stopped.
        stop: FinishReason,
        /// How many tools it asked for.
        tool_calls: usize,
        /// From asking to the whole answer, retries and waits included.
        elapsed: Duration,
    },
    /// A request is about to leave for a provider.
    AttemptStarted {
        /// Who is asked.
        model: ModelId,
    },
    /// A request to a provider is over.
    AttemptEnded {
        /// Who was asked.
        model: ModelId,
        /// What went wrong, if it failed.
        error: Option<ModelErrorKind>,
        /// What it used and cost; absent if nothing was spent.
        charge: Option<Charge>,
        /// From sending to the whole answer.
        elapsed: Duration,
    },
    /// A piece of the answer arrived. Only sent when somebody listens.
    Delta(Delta),
    /// The pieces so far are void: the answer begins again.
    ReplyRestarted,
    /// A call waits for its turn under a rate limit.
    RateLimitWaited {
        /// Whose limit.
        model: ModelId,
        /// How long it waited.
        waited: Duration,
    },
    /// A response said what is left of its account's rate limits.
    RateLimitsReported {
        /// Who answered.
        model: ModelId,
        /// What it said.
        limits: RateLimits,
    },
    /// A failed call is tried again.
    Retrying {
        /// Which model.
        model: ModelId,
        /// The attempt that comes, counted from 1.
        attempt: u32,
        /// Why the last one failed.
        reason: ModelErrorKind,
        /// How long it waits before.
        delay: Duration,
    },
    /// A failed call could be tried again, but the retry budget is empty.
    RetrySuppressed {
        /// Which model.
        model: ModelId,
        /// Why the last one failed.
        reason: ModelErrorKind,
    },
    /// Another model is asked instead.
    FellBack {
        /// The one that failed.
        from: ModelId,
        /// The one asked next.
        to: ModelId,
        /// Why.
        reason: ModelErrorKind,
    },
    /// A circuit breaker changed its state.
    BreakerChanged {
        /// Whose.
        model: ModelId,
        /// The state it is in now: `closed`, `open`, `half_open`.
        state: &'static str,
    },
    /// A tool is about to run.
    ToolStarted {
        /// Its name.
        tool: Arc<str>,
        /// Pairs this with the end.
        call_id: Arc<str>,
    },
    /// A tool is done.
    ToolEnded {
        /// Its name.
        tool: Arc<str>,
        /// Pairs this with the start.
        call_id: Arc<str>,
        /// How it went: [`ToolStatus::name`](crate::ToolStatus::name).
        outcome: &'static str,
        /// How long it ran.
        elapsed: Duration,
    },
    /// The model asked for a tool that this agent does not have.
    UnknownTool {
        /// The name as the model wrote it. Not fit for a metric label.
        name: Arc<str>,
    },
    /// Old messages were hidden from the model, so that the prompt fits.
    Trimmed {
        /// How many messages.
        hidden: usize,
        /// Tokens of the conversation before, estimated.
        tokens_before: u64,
        /// Tokens after.
        tokens_after: u64,
    },
    /// The final answer did not match what was asked for; the model is told and asked again.
    AnswerRejected {
        /// What did not fit.
        reason: Arc<str>,
        /// How often this has happened in the run, counted from 1.
        attempt: u32,
    },
    /// The model or a tool repeats itself, and the model was told so.
    LoopNoticed {
        /// What repeats: `tool_call`, `duplicate_call` (within one turn), `delegation`, `unknown_tool`, `invalid_arguments`,
        /// `truncated_arguments`, `tool_failure`.
        kind: &'static str,
        /// How often it was seen.
        count: u32,
    },
    /// A hard limit refused something.
    BudgetRefused(BudgetExceeded),
    /// A soft limit was crossed.
    BudgetWarning(BudgetExceeded),
    /// The conversation goes to another agent.
    HandedOff {
        /// The agent's name.
        to: Arc<str>,
    },
    /// Something beside the answer did not work, and the run goes on without it.
    Degraded {
        /// What: `session`, whose messages are not kept; `summary`, without which old messages are only hidden;
        /// `budget`, which is used up or cannot be kept.
        part: &'static str,
        /// What went wrong.
        reason: Arc<str>,
    },
    /// A worker failed, and its policy decided what the supervisor sees.
    WorkerFailed {
        /// The worker's name.
        worker: Arc<str>,
        /// The policy: `fallback`, `isolate`, `required`.
        policy: &'static str,
        /// What went wrong.
        reason: Arc<str>,
    },
    /// A response departed from the provider's documented form and was read all the same.
    WireQuirk {
        /// Which provider account.
        provider: Arc<str>,
        /// A closed set of names, such as `unknown_event`.
        kind: &'static str,
    },
}

/// A piece of an answer while it is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More of the answer's text.
    Text(String),
    /// More of the reasoning, where the provider shows it.
    Thinking(String),
    /// A tool call began.
    ToolCall {
        /// The tool's name.
        name: String,
    },
    /// More of a tool call's arguments; how many bytes, not which.
    Arguments {
        /// Bytes of JSON text.
        bytes: usize,
    },
}
