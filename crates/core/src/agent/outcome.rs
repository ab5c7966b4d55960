//! How a run ended.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::{Serialize, Serializer, de::DeserializeOwned};

use crate::{
    CostSummary, Degradation, Message, ModelId, Run, StopReason, Task, TraceId, Transcript, Usage, run::log::count,
};

/// The result of a run: its answer, whole or partial, why it ended, and its cost.
///
/// Its JSON form, for logs and HTTP, leaves the conversation out.
///
/// ```
/// use brigade_core::{Agent, StopReason};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let outcome = Agent::new("oracle", ScriptedModel::new([Turn::text("42")])).run("What is six times seven?").await?;
/// match outcome.stop {
///     StopReason::Finished => println!("{}", outcome.text),
///     stop => println!("partial ({}): {}\n{}", stop.name(), outcome.text, outcome.notice),
/// }
/// assert_eq!(outcome.parse::<u32>()?, 42);
/// assert!(outcome.summary().starts_with("110 tokens, no price · 1 call · trace "));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The answer. Empty if the run ended before there was one.
    pub text: String,
    /// Why the run ended.
    pub stop: StopReason,
    /// A sentence for people about the end: which limit was met, and what to do. Empty when the run finished.
    pub notice: String,
    /// The conversation, including this run.
    #[serde(skip)]
    pub transcript: Transcript,
    /// How many messages of the transcript are older than this run.
    #[serde(skip)]
    pub inherited: usize,
    /// Tokens of this agent and its workers.
    pub usage: Usage,
    /// The cost of this agent and its workers, by agent and model.
    pub cost: CostSummary,
    /// Model turns of this agent, without those of its workers.
    pub turns: u32,
    /// The model that gave the last reply to this agent: after a fallback, the one that was asked instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// The parts of the run that failed and that it went on without.
    pub degraded: Vec<Degradation>,
    /// The tool whose output ended the run, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Arc<str>>,
    /// From start to end. `elapsed_ms` in JSON.
    #[serde(rename = "elapsed_ms", serialize_with = "as_millis")]
    pub elapsed: Duration,
    /// The trace id, which is on every log line of the run.
    pub trace: TraceId,
}

impl Outcome {
    /// An outcome without cost and turns, for implementations of [`Runnable`](crate::Runnable).
    pub fn new(trace: TraceId, stop: StopReason, text: String, transcript: Transcript) -> Self {
        Self {
            text,
            stop,
            notice: String::new(),
            transcript,
            inherited: 0,
            usage: Usage::default(),
            cost: CostSummary::default(),
            turns: 0,
            model: None,
            degraded: Vec::new(),
            ended_by: None,
            elapsed: Duration::ZERO,
            trace,
        }
    }

    /// Adds what `run` has spent and went on without.
    pub(crate) fn of_run(mut self, run: &Run, elapsed: Duration) -> Self {
        self.cost = run.ledger().summary();
        self.usage = self.cost.total.usage;
        self.degraded = run.degraded();
        self.elapsed = elapsed;
        self
    }

    /// Replaces the conversation by the task and the answer: the caller of a group sees nothing else of it.
    #[must_use]
    pub fn in_answer_to(mut self, task: Task) -> Self {
        let mut transcript = task.history;
        transcript.abandon_calls("The earlier run ended before this tool was run.");
        self.inherited = transcript.len();
        // No call is open, so both messages fit.
        if let Some(message) = task.message {
            let _ = transcript.push_task(message);
        }
        if !self.text.is_empty() {
            let _ = transcript.push(Message::assistant(self.text.as_str()));
        }
        self.transcript = transcript;
        self
    }

    /// Returns whether the answer is whole: the model finished by itself.
    pub fn is_finished(&self) -> bool {
        self.stop == StopReason::Finished
    }

    /// Returns the answer as other agents see it. A partial answer is marked as incomplete.
    pub fn visible_text(&self) -> Cow<'_, str> {
        if self.is_finished() {
            Cow::Borrowed(&self.text)
        } else {
            Cow::Owned(format!("{}\n[incomplete: {}]", self.text, self.notice))
        }
    }

    /// Parses the answer of an agent with an [output schema](crate::Agent::output).
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.text)
    }

    /// Returns the messages of this run, without the history or session that it continued.
    pub fn new_messages(&self) -> &[Message] {
        self.transcript.messages().get(self.inherited..).unwrap_or_default()
    }

    /// Returns what the run took, in one line: `$0.0312 · 7 calls · 2 workers · trace a3f2b1c9`.
    pub fn summary(&self) -> String {
        let total = &self.cost.total;
        let mut facts = vec![
            match total.cost() {
                _ if total.calls == 0 => "nothing charged".to_owned(),
                Some(cost) => cost.to_string(),
                None => format!("{}, no price", count(self.usage.total_tokens(), "token")),
            },
            count(total.calls, "call").to_string(),
        ];
        let workers = self.cost.by_agent.keys().filter(|path| path.contains('/')).count();
        if workers > 0 {
            facts.push(count(workers as u64, "worker").to_string());
        }
        if !self.is_finished() {
            facts.push(self.stop.name().to_owned());
        }
        if !self.degraded.is_empty() {
            facts.push(format!("{} degraded", self.degraded.len()));
        }
        facts.push(format!("trace {}", self.trace.short()));
        facts.join(" · ")
    }
}

fn as_millis<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
}
