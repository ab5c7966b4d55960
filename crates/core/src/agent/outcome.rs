//! How a run ended.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Serialize, Serializer, de::DeserializeOwned};

use crate::{
    BusError, CostSummary, Degradation, DepthExceeded, ErrorChain, MemoryError, Message, ModelError, Run, StopReason,
    TraceId, Transcript, TranscriptError, Usage, tool::toolbox::ToolboxError,
};

/// How a run ended: an answer, whole or partial, and what it took.
///
/// As JSON, for logs and over HTTP, it is all but the conversation, which has a form of its own.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The answer. Empty if the run ended before there was any.
    pub text: String,
    /// Why the run ended.
    pub stop: StopReason,
    /// What to know about the end, for a person: which limit was met, and what to do. Empty when the run finished.
    pub notice: String,
    /// The conversation, with everything said in this run.
    #[serde(skip)]
    pub transcript: Transcript,
    /// How many messages of the transcript are older than this run.
    #[serde(skip)]
    pub inherited: usize,
    /// Tokens of this agent and its workers.
    pub usage: Usage,
    /// What it cost, by agent and model.
    pub cost: CostSummary,
    /// Model turns of this agent; its workers' are their own.
    pub turns: u32,
    /// What did not work and had to be done without.
    pub degraded: Vec<Degradation>,
    /// The tool that ended the run with its output, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Arc<str>>,
    /// From start to end; as JSON, `elapsed_ms`.
    #[serde(rename = "elapsed_ms", serialize_with = "as_millis")]
    pub elapsed: Duration,
    /// The id on every log line of this run.
    pub trace: TraceId,
}

/// A run that failed. What it had said and spent until then is kept.
#[derive(Debug)]
pub struct RunError(Box<FailedRun>);

#[derive(Debug)]
struct FailedRun {
    cause: RunFailure,
    transcript: Transcript,
    cost: CostSummary,
    trace: TraceId,
    agent: Arc<str>,
}

/// What went wrong in a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFailure {
    /// The model could not be asked, after everything that the configuration allows was tried.
    #[error("the model did not answer")]
    Model(#[source] ModelError),
    /// A tool or a required worker failed in a way that makes going on pointless.
    #[error("{tool} failed: {message}")]
    Tool {
        /// Its name.
        tool: String,
        /// What went wrong.
        message: String,
    },
    /// The session could not be loaded or stored.
    #[error("the session could not be kept")]
    Memory(#[source] MemoryError),
    /// The agent cannot run as it is configured.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Too few workers of a quorum answered.
    #[error("{answered} of {asked} workers answered, {needed} must")]
    Quorum {
        /// How many answered.
        answered: usize,
        /// How many must.
        needed: usize,
        /// How many were asked.
        asked: usize,
    },
    /// An agent on the bus could not be reached.
    #[error("the agent on the bus did not answer")]
    Bus(#[source] BusError),
    /// An agent on the bus failed.
    #[error("{name} failed: {message}")]
    Remote {
        /// Its name.
        name: Arc<str>,
        /// What it said.
        message: String,
    },
    /// A pipeline without stages, or a handoff without agents.
    #[error("there is no agent to run; add one")]
    NothingToRun,
    /// Agents delegated too deep.
    #[error(transparent)]
    Depth(#[from] DepthExceeded),
    /// A provider's reply does not fit the conversation.
    #[error("the conversation could not go on")]
    Transcript(#[from] TranscriptError),
}

/// An agent cannot run as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent {agent} cannot run")]
#[non_exhaustive]
pub struct SetupError {
    /// Its name.
    pub agent: Arc<str>,
    /// What is wrong.
    #[source]
    pub problem: ToolboxError,
}

impl Outcome {
    /// Whether the answer is whole: the model finished by itself.
    pub fn is_finished(&self) -> bool {
        self.stop == StopReason::Finished
    }

    /// An outcome about which nothing is known yet but how it ended.
    pub(crate) fn new(trace: TraceId, stop: StopReason, text: String, transcript: Transcript) -> Self {
        Self {
            text,
            stop,
            notice: String::new(),
            transcript,
            inherited: 0,
            usage: Usage::default(),
            cost: CostSummary::default(),
            turns: 0,
            degraded: Vec::new(),
            ended_by: None,
            elapsed: Duration::ZERO,
            trace,
        }
    }

    /// The outcome with all that `run` has spent, taken and had to do without.
    pub(crate) fn of_run(mut self, run: &Run, elapsed: Duration) -> Self {
        self.cost = run.ledger().summary();
        self.usage = self.cost.total.usage;
        self.degraded = run.degraded();
        self.elapsed = elapsed;
        self
    }

    /// The answer as a value, for an agent with an output schema.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.text)
    }

    /// The messages of this run, without what it inherited from its session.
    pub fn new_messages(&self) -> &[Message] {
        self.transcript.messages().get(self.inherited..).unwrap_or_default()
    }

    /// What it took, in one line: `$0.0312 · 7 calls · 2 workers · trace a3f2b1c9`.
    pub fn summary(&self) -> String {
        let Self { cost, trace, stop, degraded, usage, .. } = self;
        let calls = cost.total.calls;
        let mut facts = vec![
            match cost.total.cost() {
                Some(cost) => cost.to_string(),
                None => format!("{} tokens, no price", usage.total_tokens()),
            },
            plural(calls, "call"),
        ];
        let workers = cost.by_agent.keys().filter(|path| path.contains('/')).count();
        if workers > 0 {
            facts.push(plural(workers as u64, "worker"));
        }
        if *stop != StopReason::Finished {
            facts.push(stop.name().to_owned());
        }
        if !degraded.is_empty() {
            facts.push(format!("{} degraded", degraded.len()));
        }
        facts.push(format!("trace {}", trace.short()));
        facts.join(" · ")
    }
}

fn as_millis<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

impl RunError {
    pub(crate) fn new(run: &Run, cause: RunFailure, transcript: Transcript) -> Self {
        let (cost, trace, agent) = (run.ledger().summary(), run.trace(), Arc::clone(run.agent()));
        Self(Box::new(FailedRun { cause, transcript, cost, trace, agent }))
    }

    /// The error with all that `run` has spent: also what those before the one that failed have.
    pub(crate) fn of_run(mut self, run: &Run) -> Self {
        self.0.cost = run.ledger().summary();
        self
    }

    /// A run that failed without, or before, a conversation of its own.
    pub(crate) fn before(run: &Run, cause: impl Into<RunFailure>) -> Self {
        Self::new(run, cause.into(), Transcript::new())
    }

    /// What went wrong.
    pub fn cause(&self) -> &RunFailure {
        &self.0.cause
    }

    /// The conversation until the failure. It is valid, so it can be continued with [`Task::resume`](crate::Task::resume).
    pub fn transcript(&self) -> &Transcript {
        &self.0.transcript
    }

    /// What the run spent before it failed.
    pub fn cost(&self) -> &CostSummary {
        &self.0.cost
    }

    /// The trace id, which is on every log line of the run.
    pub fn trace(&self) -> TraceId {
        self.0.trace
    }

    /// The path of the agent that failed, such as `desk/billing`.
    pub fn agent(&self) -> &str {
        &self.0.agent
    }

    /// What went wrong and why, down to the first cause, in one line.
    pub fn chain(&self) -> String {
        ErrorChain(self).to_string()
    }

    /// The model error behind the failure, if it was one.
    pub fn model_error(&self) -> Option<&ModelError> {
        match &self.0.cause {
            RunFailure::Model(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedRun { agent, cause, trace, cost, .. } = &*self.0;
        let agent = if agent.is_empty() { "the run" } else { agent };
        write!(f, "{agent}: {cause} (trace {}, spent {})", trace.short(), cost.total.total())
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.source()
    }
}
