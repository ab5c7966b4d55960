//! A conversation that is valid by construction.

use std::collections::HashMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Message, Part, Role, ToolCall, ToolResult};

/// A conversation that every provider accepts: it begins with a user message, and every tool call has exactly one result,
/// in the message right after it and in call order.
///
/// A history that breaks this rule is refused on every later request, so no method can produce one. While tool calls are
/// open, only their results are accepted; [`Transcript::abandon_calls`] closes them when a run is stopped. Messages are
/// never removed. [`Transcript::hide_before`] only changes which ones the model is sent. The serialized form is the list
/// of all messages.
///
/// ```
/// use brigade_core::{Message, Transcript};
///
/// let mut transcript = Transcript::new();
/// transcript.push_task(Message::user("How high is the Matterhorn?"))?;
/// transcript.push(Message::assistant("4,478 metres."))?;
/// assert_eq!(transcript.visible().count(), 2);
/// # Ok::<(), brigade_core::TranscriptError>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Vec<Message>")]
pub struct Transcript {
    messages: Vec<Message>,
    /// Every call id in use, with the last number that was appended to it to make a new one.
    call_ids: HashMap<String, u64>,
    /// The index of the current task, which is never hidden.
    task: usize,
    /// The index of a task before `start` that is visible. It can be older than the current task: until the next trim,
    /// the visible messages do not change, so that prompt caches stay valid.
    pinned: Option<usize>,
    /// A summary of the hidden messages.
    summary: Option<Message>,
    /// The index of the first visible message, apart from the pinned one.
    start: usize,
    visible_bytes: usize,
}

/// A message cannot be appended to a transcript.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// The open tool calls must be answered first.
    #[error("{open} tool calls are still open; answer or abandon them before appending a {role:?} message")]
    CallsOpen {
        /// The number of calls without a result.
        open: usize,
        /// The author of the refused message.
        role: Role,
    },
    /// No open call has the id of the result.
    #[error("there is no open tool call `{call_id}` for this result; use the id of an open call")]
    UnknownCall {
        /// The id of the result.
        call_id: String,
    },
    /// An open call has no result.
    #[error("the tool call `{call_id}` has no result; answer or abandon all open calls at once")]
    MissingResult {
        /// The id of the call.
        call_id: String,
    },
    /// A transcript does not contain the system prompt.
    #[error("system messages do not belong in a transcript; set the instructions instead")]
    SystemMessage,
    /// Several providers refuse a conversation that begins with a message of the model.
    #[error("nothing was asked; a conversation begins with a user message")]
    NothingAsked,
    /// Only an assistant message can call tools, and only a tool message can have results.
    #[error("a {role:?} message cannot contain this tool call or tool result; leave the part out")]
    MisplacedPart {
        /// The author of the refused message.
        role: Role,
    },
    /// Only a user message can be the task.
    #[error("a {role:?} message cannot be the task; give the task as a user message")]
    NoTask {
        /// The author of the refused message.
        role: Role,
    },
}

/// Stands in for a missing tool result.
const LOST_RESULT: &str = "The result of this call was lost.";

/// Stands in for a missing first user message.
const LOST_QUESTION: &str = "(What came before this was lost.)";

impl Transcript {
    /// An empty conversation.
    pub fn new() -> Self {
        Self::default()
    }

    /// All messages, including hidden ones.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The number of messages, including hidden ones.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages that the model is sent: all that [`Transcript::hide_before`] has not hidden.
    pub fn visible(&self) -> impl Iterator<Item = &Message> {
        let pinned = self.pinned.and_then(|index| self.messages.get(index));
        pinned.into_iter().chain(&self.summary).chain(self.messages.iter().skip(self.start))
    }

    /// The approximate size of the visible messages in a request.
    pub fn visible_bytes(&self) -> usize {
        self.visible_bytes
    }

    /// Appends a user message and makes it the task, which is never hidden. Until then the first message is the task.
    pub fn push_task(&mut self, task: Message) -> Result<(), TranscriptError> {
        if task.role() != Role::User {
            return Err(TranscriptError::NoTask { role: task.role() });
        }
        let index = self.messages.len();
        self.push(task)?;
        self.task = index;
        Ok(())
    }

    /// Appends a message. Tool calls with an id that is already in use get a new one; results must have the ids of
    /// [`Transcript::open_calls`].
    pub fn push(&mut self, message: Message) -> Result<(), TranscriptError> {
        let role = message.role();
        if role == Role::Tool {
            return self.answer_calls(message.tool_results().cloned().collect());
        }
        if role == Role::System {
            return Err(TranscriptError::SystemMessage);
        }
        let open = self.open().count();
        if open > 0 {
            return Err(TranscriptError::CallsOpen { open, role });
        }
        if role == Role::Assistant && self.is_empty() {
            return Err(TranscriptError::NothingAsked);
        }
        if !message.parts().iter().all(|part| may_contain(role, part)) {
            return Err(TranscriptError::MisplacedPart { role });
        }
        let message = self.with_unique_call_ids(message);
        self.append(message);
        Ok(())
    }

    /// The tool calls of the last message, until they have results.
    pub fn open_calls(&self) -> Vec<&ToolCall> {
        self.open().collect()
    }

    /// Appends the results of all open calls, given in any order, in call order.
    pub fn answer_calls(&mut self, mut results: Vec<ToolResult>) -> Result<(), TranscriptError> {
        let mut ordered = Vec::with_capacity(results.len());
        for call in self.open() {
            let found = results.iter().position(|result| result.call_id == call.id);
            let found = found.ok_or_else(|| TranscriptError::MissingResult { call_id: call.id.clone() })?;
            ordered.push(Part::ToolResult(results.remove(found).for_call(call)));
        }
        if let Some(extra) = results.pop() {
            return Err(TranscriptError::UnknownCall { call_id: extra.call_id });
        }
        if !ordered.is_empty() {
            self.append(Message::new(Role::Tool, ordered));
        }
        Ok(())
    }

    /// Appends an error with this reason as the result of every open call, so that the conversation can be continued or
    /// stored.
    pub fn abandon_calls(&mut self, reason: &str) {
        let results: Vec<_> = self.open().map(|call| ToolResult::error(call, reason)).collect();
        if !results.is_empty() {
            self.append(Message::tool(results));
        }
    }

    /// Builds a transcript from any history, and repairs what a provider would refuse: calls without a result get an error
    /// result; results without a call, system messages and empty messages are dropped; results in several messages are
    /// joined; duplicate call ids are replaced. The last user message is the task.
    pub fn repaired(history: impl IntoIterator<Item = Message>) -> Self {
        let mut transcript = Self::new();
        let mut open_ids = Vec::new();
        let mut results = Vec::new();
        for message in history {
            let role = message.role();
            if matches!(role, Role::User | Role::Tool) {
                results.extend(message.tool_results().cloned());
            }
            let message = without_misplaced_parts(message);
            if matches!(role, Role::System | Role::Tool) || message.parts().is_empty() {
                continue;
            }
            transcript.close_calls(&mut open_ids, &mut results);
            open_ids = message.tool_calls().map(|call| call.id.clone()).collect();
            transcript.push_repaired(message);
        }
        transcript.close_calls(&mut open_ids, &mut results);
        transcript
    }

    /// The indices at which the visible part can begin without separating a tool call from its result.
    pub fn boundaries(&self) -> impl Iterator<Item = usize> {
        (self.start + 1..self.messages.len()).filter(|index| self.is_boundary(*index))
    }

    /// Hides the messages before `boundary` except the task, and shows a summary in their place, as a user message.
    ///
    /// Returns how many more messages are hidden now. If `boundary` is not one of [`Transcript::boundaries`], nothing
    /// changes and it returns 0.
    pub fn hide_before(&mut self, boundary: usize, summary: Option<Message>) -> usize {
        if !self.is_boundary(boundary) {
            return 0;
        }
        let hidden = self.newly_hidden(boundary);
        self.pinned = (self.task < boundary).then_some(self.task);
        self.summary = summary.map(as_user_message);
        self.start = boundary;
        self.visible_bytes = self.visible().map(Message::size_bytes).sum();
        hidden
    }

    /// The messages that [`Transcript::hide_before`] would hide at `boundary`, with the current summary: a new summary has
    /// to cover them. Empty if `boundary` is not one of [`Transcript::boundaries`].
    pub fn hidden_by(&self, boundary: usize) -> impl Iterator<Item = &Message> {
        let is_boundary = self.is_boundary(boundary);
        let hidden = if is_boundary { self.start..boundary } else { 0..0 };
        let pinned = self.pinned.filter(|_| is_boundary);
        let summary = self.summary.as_ref().filter(|_| is_boundary);
        let message = |index: usize| self.messages.get(index).filter(|_| index != self.task);
        pinned.and_then(message).into_iter().chain(summary).chain(hidden.filter_map(message))
    }

    /// How many more messages [`Transcript::hide_before`] would hide.
    pub(crate) fn newly_hidden(&self, boundary: usize) -> usize {
        self.hidden_by(boundary).count().saturating_sub(usize::from(self.summary.is_some()))
    }

    fn open(&self) -> impl Iterator<Item = &ToolCall> {
        let last = self.messages.last().filter(|message| message.role() == Role::Assistant);
        last.into_iter().flat_map(Message::tool_calls)
    }

    fn is_boundary(&self, index: usize) -> bool {
        let role = self.messages.get(index).filter(|_| index > self.start).map(Message::role);
        // Before the task, the visible part must not begin with an answer to a hidden question.
        role == Some(Role::User) || (role == Some(Role::Assistant) && index > self.task)
    }

    fn append(&mut self, message: Message) {
        self.visible_bytes += message.size_bytes();
        self.messages.push(message);
    }

    fn with_unique_call_ids(&mut self, message: Message) -> Message {
        let ids: Vec<_> = message.tool_calls().map(|call| self.claim_call_id(&call.id)).collect();
        if ids.iter().all(Option::is_none) {
            return message;
        }
        let mut ids = ids.into_iter();
        let parts = message.parts().iter().map(|part| match part {
            // The provider's own form of the call has the old id.
            Part::ToolCall(call) => match ids.next().flatten() {
                Some(id) => Part::ToolCall(ToolCall { id, data: None, ..call.clone() }),
                None => part.clone(),
            },
            other => other.clone(),
        });
        Message::new(message.role(), parts.collect())
    }

    /// Reserves a call id. Returns a replacement if the id is already in use: `id_2`, `id_3`, … An empty id, which some
    /// servers send, is replaced by `call`.
    fn claim_call_id(&mut self, id: &str) -> Option<String> {
        let is_empty = id.is_empty();
        let id = if is_empty { "call" } else { id };
        let Some(last) = self.call_ids.get(id) else {
            self.call_ids.insert(id.to_owned(), 1);
            return is_empty.then(|| id.to_owned());
        };
        let mut number = last + 1;
        while self.call_ids.contains_key(&format!("{id}_{number}")) {
            number += 1;
        }
        let claimed = format!("{id}_{number}");
        self.call_ids.insert(id.to_owned(), number);
        self.call_ids.insert(claimed.clone(), 1);
        Some(claimed)
    }

    /// Appends a message that [`Transcript::repaired`] has cleaned.
    fn push_repaired(&mut self, message: Message) {
        if self.is_empty() && message.role() == Role::Assistant {
            self.append(Message::user(LOST_QUESTION));
        }
        if message.role() == Role::User {
            self.task = self.messages.len();
        }
        let message = self.with_unique_call_ids(message);
        self.append(message);
    }

    /// Appends results for the open calls. `ids` are the ids that these calls had in the history, and `results` are the
    /// results from there. Both are empty afterwards.
    fn close_calls(&mut self, ids: &mut Vec<String>, results: &mut Vec<ToolResult>) {
        let calls = self.open_calls().into_iter().zip(ids.drain(..));
        let closed = calls.map(|(call, id)| match results.iter().position(|result| result.call_id == id) {
            Some(found) => results.remove(found).for_call(call),
            None => ToolResult::error(call, LOST_RESULT),
        });
        let closed: Vec<_> = closed.collect();
        results.clear();
        if !closed.is_empty() {
            self.append(Message::tool(closed));
        }
    }
}

/// Whether a message of this role may contain the part.
fn may_contain(role: Role, part: &Part) -> bool {
    match part {
        Part::ToolCall(_) => role == Role::Assistant,
        Part::ToolResult(_) => role == Role::Tool,
        Part::Text(_) | Part::Thinking(_) | Part::Image(_) | Part::Opaque(_) => true,
    }
}

fn without_misplaced_parts(message: Message) -> Message {
    let role = message.role();
    if message.parts().iter().all(|part| may_contain(role, part)) {
        return message;
    }
    Message::new(role, message.parts().iter().filter(|part| may_contain(role, part)).cloned().collect())
}

/// A summary can be the first visible message, and tool calls in it would never get results.
fn as_user_message(summary: Message) -> Message {
    match summary.role() {
        Role::User => without_misplaced_parts(summary),
        Role::System | Role::Assistant | Role::Tool => Message::user(summary.text()),
    }
}

impl ToolResult {
    /// The result with the id and name of `call`, and without parts other than text and images.
    fn for_call(mut self, call: &ToolCall) -> Self {
        self.call_id.clone_from(&call.id);
        self.name.clone_from(&call.name);
        self.content.retain(|part| matches!(part, Part::Text(_) | Part::Image(_)));
        self
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

impl Serialize for Transcript {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.messages.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
