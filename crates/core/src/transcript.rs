//! A conversation that is valid by construction.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{Message, Part, Role, ToolResult};

/// A conversation in which every tool call has exactly one result, in the message right after it and in call order.
///
/// Providers refuse a history that breaks this rule, and go on refusing it for ever, so no method can produce one:
/// while calls are open only their results are accepted, and [`Transcript::abandon_calls`] closes them when a run is
/// cut short. Nothing is ever removed; trimming only changes what [`Transcript::visible`] shows to the model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Message>", into = "Vec<Message>")]
pub struct Transcript {
    messages: Vec<Message>,
    call_ids: HashSet<String>,
    /// Where the current task stands; it stays visible whatever is trimmed.
    task: usize,
    /// The first message that is visible, apart from the task.
    start: usize,
    /// Stands in for what is not visible.
    digest: Option<Message>,
    visible_bytes: usize,
}

/// A message does not fit where it was to go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// Something else was appended before the open calls were answered.
    #[error("{open} tool calls are still open; answer or abandon them before appending a {role:?} message")]
    CallsOpen {
        /// How many calls wait for a result.
        open: usize,
        /// Whose message was refused.
        role: Role,
    },
    /// A result answers no open call, or answers one twice.
    #[error("the tool result for call `{call_id}` answers no open call")]
    UnknownCall {
        /// The id in the result.
        call_id: String,
    },
    /// An open call got no result.
    #[error("the tool call `{call_id}` got no result")]
    MissingResult {
        /// The id of the call.
        call_id: String,
    },
    /// Instructions travel beside a transcript.
    #[error("system messages do not belong in a transcript; set the instructions instead")]
    SystemMessage,
}

impl Transcript {
    /// An empty conversation.
    pub fn new() -> Self {
        Self::default()
    }

    /// All messages, visible to the model or not.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// How many messages there are, visible or not.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing has been said.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What the model is shown: everything until [`Transcript::hide_before`] has hidden something.
    pub fn visible(&self) -> impl Iterator<Item = &Message> {
        let pinned = (self.start > self.task).then(|| self.messages.get(self.task)).flatten();
        pinned.into_iter().chain(self.digest.as_ref()).chain(self.messages.iter().skip(self.start))
    }

    /// Roughly the size on the wire of what is visible.
    pub fn visible_bytes(&self) -> usize {
        self.visible_bytes
    }

    /// Appends a user message and makes it the task, which trimming never hides.
    pub fn push_task(&mut self, task: Message) -> Result<(), TranscriptError> {
        self.push(task)?;
        if self.start > self.task {
            self.visible_bytes -= self.messages.get(self.task).map_or(0, Message::size_bytes);
        }
        self.task = self.messages.len() - 1;
        Ok(())
    }

    /// Appends a message. Tool calls whose id was used before get a new one, so that ids identify.
    pub fn push(&mut self, message: Message) -> Result<(), TranscriptError> {
        let role = message.role();
        if role == Role::Tool {
            return self.answer_calls(message.tool_results().cloned().collect());
        }
        if role == Role::System {
            return Err(TranscriptError::SystemMessage);
        }
        let open = self.open_calls().len();
        if open > 0 {
            return Err(TranscriptError::CallsOpen { open, role });
        }
        let message = self.with_unique_call_ids(message);
        self.append(message);
        Ok(())
    }

    /// The calls of the last message, while they wait for their results.
    pub fn open_calls(&self) -> Vec<&crate::ToolCall> {
        let last = self.messages.last().filter(|message| message.role() == Role::Assistant);
        last.map(|message| message.tool_calls().collect()).unwrap_or_default()
    }

    /// Answers all open calls. Results may come in any order and are stored in call order.
    pub fn answer_calls(&mut self, mut results: Vec<ToolResult>) -> Result<(), TranscriptError> {
        let mut ordered = Vec::with_capacity(results.len());
        for call in self.open_calls() {
            let found = results.iter().position(|result| result.call_id == call.id);
            let found = found.ok_or_else(|| TranscriptError::MissingResult { call_id: call.id.clone() })?;
            ordered.push(results.remove(found));
        }
        if let Some(extra) = results.pop() {
            return Err(TranscriptError::UnknownCall { call_id: extra.call_id });
        }
        if !ordered.is_empty() {
            self.append(Message::tool(ordered));
        }
        Ok(())
    }

    /// Answers all open calls with an error that gives `reason`, so that the conversation can go on or be kept.
    pub fn abandon_calls(&mut self, reason: &str) {
        let results: Vec<_> = self.open_calls().into_iter().map(|call| ToolResult::error(call, reason)).collect();
        if !results.is_empty() {
            self.append(Message::tool(results));
        }
    }

    /// Reads a history from elsewhere and mends what a provider would refuse: calls without a result get an error
    /// result, results without a call are dropped, system messages are left out.
    pub fn repaired(history: impl IntoIterator<Item = Message>) -> Self {
        let mut transcript = Self::new();
        for message in history {
            if message.role() == Role::Tool {
                transcript.answer_calls_leniently(&message);
                continue;
            }
            transcript.abandon_calls("The result of this call was lost.");
            // Only a system message can still be refused, and leaving it out is the repair.
            let _ = transcript.push(message);
        }
        transcript.abandon_calls("The result of this call was lost.");
        transcript
    }

    /// Where the visible part could begin: indices at which hiding everything before splits no call from its result.
    pub fn boundaries(&self) -> impl Iterator<Item = usize> {
        let task = self.task;
        self.messages.iter().enumerate().skip(self.start + 1).filter_map(move |(index, message)| {
            // Before the task a model must not be shown an answer without its question.
            let fits = message.role() == Role::User || (message.role() == Role::Assistant && index > task);
            fits.then_some(index)
        })
    }

    /// Hides everything before `boundary` except the task, and shows `digest` in its place. Answers how many more
    /// messages are hidden now; 0, and no change, if `boundary` is none of [`Transcript::boundaries`].
    pub fn hide_before(&mut self, boundary: usize, digest: Option<Message>) -> usize {
        if !self.boundaries().any(|index| index == boundary) {
            return 0;
        }
        let before = self.visible().count();
        self.start = boundary;
        self.digest = digest;
        self.visible_bytes = self.visible().map(Message::size_bytes).sum();
        let digest_shown = usize::from(self.digest.is_some());
        (before + digest_shown).saturating_sub(self.visible().count())
    }

    /// The messages that [`Transcript::hide_before`] would hide at `boundary`: what a digest has to stand for.
    pub fn hidden_by(&self, boundary: usize) -> impl Iterator<Item = &Message> {
        let task = self.task;
        let passed = self.messages.iter().enumerate().skip(self.start).take(boundary.saturating_sub(self.start));
        self.digest.iter().chain(passed.filter(move |(index, _)| *index != task).map(|(_, message)| message))
    }

    fn append(&mut self, message: Message) {
        self.visible_bytes += message.size_bytes();
        self.messages.push(message);
    }

    fn with_unique_call_ids(&mut self, message: Message) -> Message {
        let mut fresh = Vec::new();
        let mut renamed = false;
        for call in message.tool_calls() {
            let id = self.unused_call_id(&call.id);
            renamed |= id != call.id;
            self.call_ids.insert(id.clone());
            fresh.push(id);
        }
        if !renamed {
            return message;
        }
        let mut ids = fresh.into_iter();
        let parts = message.parts().iter().cloned().map(|part| match part {
            Part::ToolCall(mut call) => {
                call.id = ids.next().unwrap_or(call.id);
                Part::ToolCall(call)
            }
            other => other,
        });
        Message::new(message.role(), parts.collect())
    }

    /// `id`, or `id_2`, `id_3`, … A blank id, which some servers send, becomes `call`.
    fn unused_call_id(&self, id: &str) -> String {
        let id = if id.is_empty() { "call" } else { id };
        if !self.call_ids.contains(id) {
            return id.to_owned();
        }
        let candidates = (2_u64..).map(|count| format!("{id}_{count}"));
        candidates.into_iter().find(|candidate| !self.call_ids.contains(candidate)).unwrap_or_default()
    }

    fn answer_calls_leniently(&mut self, message: &Message) {
        let mut given: Vec<ToolResult> = message.tool_results().cloned().collect();
        let mut results = Vec::new();
        for call in self.open_calls() {
            let found = given.iter().position(|result| result.call_id == call.id);
            results.push(match found {
                Some(index) => given.remove(index),
                None => ToolResult::error(call, "The result of this call was lost."),
            });
        }
        if !results.is_empty() {
            self.append(Message::tool(results));
        }
    }
}

impl ToolResult {
    /// A result that says why the call failed.
    pub fn error(call: &crate::ToolCall, why: impl Into<String>) -> Self {
        Self { call_id: call.id.clone(), name: call.name.clone(), content: vec![Part::text(why)], is_error: true }
    }
}

impl TryFrom<Vec<Message>> for Transcript {
    type Error = TranscriptError;

    fn try_from(messages: Vec<Message>) -> Result<Self, TranscriptError> {
        let mut transcript = Self::new();
        for message in messages {
            transcript.push(message)?;
        }
        Ok(transcript)
    }
}

impl From<Transcript> for Vec<Message> {
    fn from(transcript: Transcript) -> Self {
        transcript.messages
    }
}

#[cfg(test)]
mod tests;
