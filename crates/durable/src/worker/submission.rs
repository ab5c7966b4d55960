//! Submissions of runs.

use std::sync::Arc;

use brigade_core::{Message, RawJson, RunId, Task, Transcript};
use serde::{Deserialize, Serialize};

use crate::QueuedRun;

/// A task for an agent, to be stored as a run.
///
/// ```
/// use brigade_durable::Submission;
///
/// let submission = Submission::new("desk", "Is Kafka faster than SQS?").key("ada", "request-17");
/// assert_eq!(submission.account.as_ref(), "ada");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Submission {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The task.
    pub task: SubmittedTask,
    /// The id of the run; absent for a new one.
    pub id: Option<RunId>,
    /// The owner of the key; empty if there is only one.
    pub account: Arc<str>,
    /// The key under which the same task may be submitted again without a second run.
    pub key: Option<String>,
    /// The run that submits it.
    pub parent: Option<RunId>,
}

/// The stored form of a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubmittedTask {
    /// The question.
    pub message: Option<Message>,
    /// The conversation before it.
    #[serde(default, skip_serializing_if = "Transcript::is_empty")]
    pub history: Transcript,
    /// The session that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<str>>,
    /// Other data that the program needs to build the run, such as the key and the budget of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<RawJson>,
}

impl Submission {
    /// A task for the agent called `agent`.
    pub fn new(agent: impl Into<Arc<str>>, task: impl Into<Task>) -> Self {
        let task = SubmittedTask::from(task.into());
        Self { agent: agent.into(), task, id: None, account: Arc::from(""), key: None, parent: None }
    }

    /// Sets the id of the run.
    #[must_use]
    pub fn id(self, id: RunId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets the key of `account` under which the same task may be submitted again without a second run.
    #[must_use]
    pub fn key(self, account: impl Into<Arc<str>>, key: impl Into<String>) -> Self {
        Self { account: account.into(), key: Some(key.into()), ..self }
    }

    /// Sets other data that the program needs to build the run. See [`Durable::prepare`](crate::Durable::prepare).
    #[must_use]
    pub fn extra(mut self, extra: RawJson) -> Self {
        self.task.extra = Some(extra);
        self
    }

    /// Sets the run that submits it.
    #[must_use]
    pub fn parent(self, parent: RunId) -> Self {
        Self { parent: Some(parent), ..self }
    }

    pub(crate) fn into_queued_run(self) -> Result<QueuedRun, serde_json::Error> {
        let input = RawJson::of(&self.task)?;
        let digest = digest([&self.agent, input.get()]);
        let run = QueuedRun::new(self.agent, input).key(self.account, self.key, digest);
        let run = QueuedRun { parent: self.parent, ..run };
        Ok(match self.id {
            Some(id) => run.id(id),
            None => run,
        })
    }
}

impl From<Task> for SubmittedTask {
    fn from(task: Task) -> Self {
        Self { message: task.message, history: task.history, session: task.session, extra: None }
    }
}

impl From<SubmittedTask> for Task {
    fn from(stored: SubmittedTask) -> Self {
        let mut task = Self::resume(stored.history);
        task.message = stored.message;
        task.session = stored.session;
        task
    }
}

/// A digest that is the same in every process and version: FNV-1a with 64 bits.
fn digest(texts: [&str; 2]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // No UTF-8 text contains this byte, so it separates texts.
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
