//! The events of a run, and the observers that receive them.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    BudgetExceeded, Charge, FinishReason, ModelErrorKind, ModelId, Money, Quantity, RateLimits, Run, StopReason,
    ToolStatus, Usage,
};

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

/// Something that happened in a run. Prompts, replies and tool arguments are in no event but [`Event::Delta`], and the
/// reason of [`Event::AnswerRejected`] may quote a reply.
///
/// `model` is the configured name of a model. `served` is the provider's name for it, present if it is another one. `elapsed`
/// is the duration of the run, the turn, the attempt or the call that ended. `cost` is absent if no model had a price.
///
/// As JSON, an event is an object with its name in `event` and times in microseconds.
/// [`EventRecord`](crate::EventRecord) adds its time and its run. Only events that [are stored](Event::is_stored) have a
/// JSON form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the documentation of each event explains its fields")]
pub enum Event {
    /// A run or a child run began.
    RunStarted,
    /// A run goes on after a crash or a wait, in place of [`Event::RunStarted`]. `steps` is the number of steps that were answered from
    /// its journal, `saved` is what they have cost before. They emit no events again.
    Resumed { steps: u64, saved: Money },
    /// A run or a child run ended with an outcome. `turns` are those of its agent; `usage` and `cost` include the workers.
    RunEnded {
        stop: StopReason,
        turns: u32,
        usage: Usage,
        cost: Option<Money>,
        #[serde(rename = "elapsed_us", with = "Micros")]
        elapsed: Duration,
    },
    /// A run or a child run failed. `kind` is present if a model call was the cause.
    RunFailed {
        #[serde(rename = "error")]
        kind: Option<ModelErrorKind>,
        message: Arc<str>,
        #[serde(rename = "elapsed_us", with = "Micros")]
        elapsed: Duration,
    },
    /// A run or a child run waits, for example until a person allows a call. It has not ended, and goes on later with
    /// [`Event::Resumed`]. `reason` names the call and says what it waits for.
    RunWaiting {
        reason: Arc<str>,
        #[serde(rename = "elapsed_us", with = "Micros")]
        elapsed: Duration,
    },
    /// A model turn began. Turns are counted from 1 within the agent.
    TurnStarted { turn: u32, model: ModelId },
    /// A model turn ended with a reply. `model` gave the reply: after a fallback it is not the model of
    /// [`Event::TurnStarted`]. `cost` and `elapsed` include all attempts and waits; `usage` is present if the provider
    /// reported it; `tool_calls` is the number of calls in the reply.
    TurnEnded {
        turn: u32,
        model: ModelId,
        served: Option<Arc<str>>,
        usage: Option<Usage>,
        cost: Option<Money>,
        stop: FinishReason,
        tool_calls: usize,
        #[serde(rename = "elapsed_us", with = "Micros")]
        elapsed: Duration,
    },
    /// A request to a provider began.
    AttemptStarted { model: ModelId },
    /// A request to a provider ended. `error` is present if it failed, `charge` if anything was spent.
    AttemptEnded {
        model: ModelId,
        error: Option<ModelErrorKind>,
        charge: Option<Charge>,
        #[serde(rename = "elapsed_us", with = "Micros")]
        elapsed: Duration,
    },
    /// A piece of the reply arrived. Only emitted if the run wants deltas.
    #[serde(skip)]
    Delta(Delta),
    /// The reply starts over: the pieces so far are void.
    ReplyRestarted,
    /// A call waited for a rate limit of the model, or for other requests of its account to end.
    RateLimitWaited {
        model: ModelId,
        #[serde(rename = "waited_us", with = "Micros")]
        waited: Duration,
    },
    /// A response reported the rate limits of the account.
    #[serde(skip)]
    RateLimitsReported { model: ModelId, limits: RateLimits },
    /// A call failed for this reason and will be retried after the delay. `attempt` is the number of the next attempt,
    /// counted from 1.
    Retrying {
        model: ModelId,
        attempt: u32,
        reason: ModelErrorKind,
        #[serde(rename = "delay_us", with = "Micros")]
        delay: Duration,
    },
    /// A call failed for this reason and was not retried, because the retry budget is empty.
    RetrySuppressed { model: ModelId, reason: ModelErrorKind },
    /// A call of one model failed for this reason and falls back to the next model.
    FellBack { from: ModelId, to: ModelId, reason: ModelErrorKind },
    /// The circuit breaker of a model has a new state.
    BreakerChanged { model: ModelId, state: BreakerState },
    /// A tool call began.
    ToolStarted { tool: Arc<str>, call_id: Arc<str> },
    /// A tool call ended. `reason` says why it failed. It is the runtime's own text or the cause of the tool's error, and
    /// quotes no arguments, results or replies (see [`ToolError::caused_by`](crate::ToolError::caused_by)).
    ToolEnded {
        tool: Arc<str>,
        call_id: Arc<str>,
        outcome: ToolStatus,
        reason: Option<Arc<str>>,
        #[serde(rename = "elapsed_us", with = "Micros")]
        elapsed: Duration,
    },
    /// The model called a tool that the agent does not have. The name is unbounded, so do not use it as a metric label.
    UnknownTool { name: Arc<str> },
    /// Old messages were hidden from the model so that the prompt fits. The tokens of the conversation are estimates.
    Trimmed { hidden: usize, tokens_before: u64, tokens_after: u64 },
    /// The final answer did not match the schema. The model is shown the error and asked again. `attempt` is the number of
    /// answers that were rejected so far. The JSON form has no reason.
    AnswerRejected {
        #[serde(skip)]
        reason: Arc<str>,
        attempt: u32,
    },
    /// The agent repeated something this many times, and the model was warned. The kind is `tool_call`, `duplicate_call`
    /// (within one turn), `delegation`, `unknown_tool`, `invalid_arguments`, `truncated_arguments` or `tool_failure`.
    LoopNoticed { kind: Cow<'static, str>, count: u32 },
    /// A hard limit of a budget refused a call. `scope` is the account of the limit, `limit` is the message of the
    /// refusal, with its amounts. Records of old versions have no quantity.
    BudgetRefused {
        #[serde(default)]
        scope: Arc<str>,
        quantity: Option<Quantity>,
        limit: Arc<str>,
    },
    /// A soft limit of a budget was crossed. The fields are those of [`Event::BudgetRefused`].
    BudgetWarning {
        #[serde(default)]
        scope: Arc<str>,
        quantity: Option<Quantity>,
        limit: Arc<str>,
    },
    /// The conversation was handed off to the agent with this name.
    HandedOff { to: Arc<str> },
    /// A part of the run failed, and the run goes on without it. The part is `session` (messages were not saved),
    /// `summary` (old messages were hidden without a summary), `notes` (notes were not recalled), or `budget` (a budget is
    /// exhausted, or cannot be enforced).
    Degraded { part: Cow<'static, str>, reason: Arc<str> },
    /// A worker failed. Its failure policy, `fallback`, `isolate` or `required`, decides what the supervisor sees.
    WorkerFailed { worker: Arc<str>, policy: Cow<'static, str>, reason: Arc<str> },
    /// A response deviated from the provider's documentation but could be read. The kind is from a closed set of names,
    /// such as `unknown_event`.
    WireQuirk { provider: Arc<str>, kind: Cow<'static, str> },
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

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One call passes, to find out whether the provider works again.
    HalfOpen,
}

impl Event {
    /// Whether run logs and stores keep it. They keep neither deltas, which are content, nor reported rate limits, which
    /// come with every reply.
    pub const fn is_stored(&self) -> bool {
        !matches!(self, Self::Delta(_) | Self::RateLimitsReported { .. })
    }

    pub(crate) fn budget_refused(exceeded: &BudgetExceeded) -> Self {
        let (scope, quantity) = (Arc::clone(&exceeded.scope), Some(exceeded.quantity));
        Self::BudgetRefused { scope, quantity, limit: exceeded.to_string().into() }
    }

    pub(crate) fn budget_warning(exceeded: &BudgetExceeded) -> Self {
        let (scope, quantity) = (Arc::clone(&exceeded.scope), Some(exceeded.quantity));
        Self::BudgetWarning { scope, quantity, limit: exceeded.to_string().into() }
    }
}

names! { BreakerState: Closed => "closed", Open => "open", HalfOpen => "half_open" }

/// Durations as whole microseconds.
#[derive(JsonSchema)]
struct Micros(#[expect(dead_code, reason = "only its schema is used")] u64);

impl Micros {
    fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
