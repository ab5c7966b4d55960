//! A conversation that is valid by construction.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Message, Part, Role, ToolCall, ToolResult};

/// A conversation that every provider accepts: the user speaks first, and every tool call has exactly one result, in
/// the message right after it and in call order.
///
/// Providers refuse a history that breaks this rule, and go on refusing it for ever, so no method can produce one:
/// while calls are open only their results are accepted, and [`Transcript::abandon_calls`] closes them when a run is
/// cut short. Nothing is ever removed; trimming only changes what [`Transcript::visible`] shows to the model. It is
/// stored as its messages; what was hidden is decided afresh after loading.
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
    /// Every id in use, with the last number that was appended to it to make another.
    call_ids: HashMap<String, u64, RandomState>,
    /// Where the current task stands; it stays visible whatever is trimmed.
    task: usize,
    /// A task from before `start` that is shown all the same. It may be older than the current one: what the model
    /// has seen stays as it is, so that prompt caches hold, until the next trimming.
    pinned: Option<usize>,
    /// Stands in for what is not visible.
    digest: Option<Message>,
    /// The first message that is visible, apart from the pinned one.
    start: usize,
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
    /// Several providers refuse a conversation that the model began.
    #[error("nothing was asked; a conversation begins with words of the user")]
    NothingAsked,
    /// Only the model calls tools, and only a tool message answers them.
    #[error("a {role:?} message cannot hold such a tool call or tool result; leave the part out")]
    MisplacedPart {
        /// Whose message was refused.
        role: Role,
    },
    /// Tasks come from the user.
    #[error("a {role:?} message cannot be the task; give the task as a user message")]
    NoTask {
        /// Whose message was refused.
        role: Role,
    },
}

/// What the model reads in place of a result that is nowhere to be found.
const LOST_RESULT: &str = "The result of this call was lost.";

/// What the model reads in place of a question that is nowhere to be found.
const LOST_QUESTION: &str = "(What came before this was lost.)";

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
        let pinned = self.pinned.and_then(|index| self.messages.get(index));
        pinned.into_iter().chain(&self.digest).chain(self.messages.iter().skip(self.start))
    }

    /// Roughly the size on the wire of what is visible.
    pub fn visible_bytes(&self) -> usize {
        self.visible_bytes
    }

    /// Appends a user message and makes it the task, which trimming never hides. Until then the first message is.
    pub fn push_task(&mut self, task: Message) -> Result<(), TranscriptError> {
        if task.role() != Role::User {
            return Err(TranscriptError::NoTask { role: task.role() });
        }
        let index = self.messages.len();
        self.push(task)?;
        self.task = index;
        Ok(())
    }

    /// Appends a message. Tool calls whose id was used before get a new one, so that ids identify; results are for the
    /// ids of [`Transcript::open_calls`].
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
        if !message.parts().iter().all(|part| may_say(role, part)) {
            return Err(TranscriptError::MisplacedPart { role });
        }
        let message = self.with_unique_call_ids(message);
        self.append(message);
        Ok(())
    }

    /// The calls of the last message, while they wait for their results.
    pub fn open_calls(&self) -> Vec<&ToolCall> {
        self.open().collect()
    }

    /// Answers all open calls. Results may come in any order and are stored in call order.
    pub fn answer_calls(&mut self, mut results: Vec<ToolResult>) -> Result<(), TranscriptError> {
        let mut ordered = Vec::with_capacity(results.len());
        for call in self.open() {
            let found = results.iter().position(|result| result.call_id == call.id);
            let found = found.ok_or_else(|| TranscriptError::MissingResult { call_id: call.id.clone() })?;
            ordered.push(Part::ToolResult(results.remove(found).answering(call)));
        }
        if let Some(extra) = results.pop() {
            return Err(TranscriptError::UnknownCall { call_id: extra.call_id });
        }
        if !ordered.is_empty() {
            self.append(Message::new(Role::Tool, ordered));
        }
        Ok(())
    }

    /// Answers all open calls with an error that gives `reason`, so that the conversation can go on or be kept.
    pub fn abandon_calls(&mut self, reason: &str) {
        let results: Vec<_> = self.open().map(|call| ToolResult::error(call, reason)).collect();
        if !results.is_empty() {
            self.append(Message::tool(results));
        }
    }

    /// Reads a history from elsewhere and mends what a provider would refuse: calls without a result get an error
    /// result, results without a call, system messages and empty messages are left out, results in several messages
    /// are joined, ids that were used twice are told apart. The last words of the user are the task.
    pub fn repaired(history: impl IntoIterator<Item = Message>) -> Self {
        let mut transcript = Self::new();
        // The ids of the open calls as the history has them, and what it has answered so far.
        let (mut asked, mut given) = (Vec::new(), Vec::new());
        for message in history {
            let role = message.role();
            if matches!(role, Role::User | Role::Tool) {
                given.extend(message.tool_results().cloned());
            }
            let message = without_misplaced_parts(message);
            if matches!(role, Role::System | Role::Tool) || message.parts().is_empty() {
                continue;
            }
            transcript.close_calls(&mut asked, &mut given);
            asked = message.tool_calls().map(|call| call.id.clone()).collect();
            transcript.push_repaired(message);
        }
        transcript.close_calls(&mut asked, &mut given);
        transcript
    }

    /// Where the visible part could begin: indices at which hiding everything before splits no call from its result.
    pub fn boundaries(&self) -> impl Iterator<Item = usize> {
        (self.start + 1..self.messages.len()).filter(|index| self.is_boundary(*index))
    }

    /// Hides everything before `boundary` except the task, and shows `digest`, which becomes words of the user, in its
    /// place. Answers how many more messages are hidden now; 0, and no change, if `boundary` is none of
    /// [`Transcript::boundaries`].
    pub fn hide_before(&mut self, boundary: usize, digest: Option<Message>) -> usize {
        if !self.is_boundary(boundary) {
            return 0;
        }
        let hidden = self.hides(boundary);
        self.pinned = (self.task < boundary).then_some(self.task);
        self.digest = digest.map(as_users_words);
        self.start = boundary;
        self.visible_bytes = self.visible().map(Message::size_bytes).sum();
        hidden
    }

    /// What [`Transcript::hide_before`] would hide at `boundary`, an older digest included: what a new digest has to
    /// stand for. Nothing if `boundary` is none of [`Transcript::boundaries`].
    pub fn hidden_by(&self, boundary: usize) -> impl Iterator<Item = &Message> {
        let passed = if self.is_boundary(boundary) { self.start..boundary } else { 0..0 };
        let shown_before = if passed.is_empty() { (None, None) } else { (self.pinned, self.digest.as_ref()) };
        let message = |index: usize| self.messages.get(index).filter(|_| index != self.task);
        shown_before.0.and_then(message).into_iter().chain(shown_before.1).chain(passed.filter_map(message))
    }

    /// How many more messages would be hidden at `boundary`.
    pub(crate) fn hides(&self, boundary: usize) -> usize {
        self.hidden_by(boundary).count().saturating_sub(usize::from(self.digest.is_some()))
    }

    fn open(&self) -> impl Iterator<Item = &ToolCall> {
        let last = self.messages.last().filter(|message| message.role() == Role::Assistant);
        last.into_iter().flat_map(Message::tool_calls)
    }

    fn is_boundary(&self, index: usize) -> bool {
        let role = self.messages.get(index).filter(|_| index > self.start).map(Message::role);
        // Before the task a model must not be shown an answer without its question.
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
            Part::ToolCall(call) => Part::ToolCall(call.clone().renamed(ids.next().flatten())),
            other => other.clone(),
        });
        Message::new(message.role(), parts.collect())
    }

    /// Nothing if `id` is new, else what to say instead: `id_2`, `id_3`, … A blank id, which some servers send, becomes
    /// `call`.
    fn claim_call_id(&mut self, id: &str) -> Option<String> {
        let (id, is_blank) = if id.is_empty() { ("call", true) } else { (id, false) };
        let Some(last) = self.call_ids.get(id) else {
            self.call_ids.insert(id.to_owned(), 1);
            return is_blank.then(|| id.to_owned());
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

    /// Appends what [`Transcript::repaired`] has left of a message.
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

    /// Answers the open calls, which the history calls `asked`, with what was `given`.
    fn close_calls(&mut self, asked: &mut Vec<String>, given: &mut Vec<ToolResult>) {
        let calls = self.open_calls().into_iter().zip(asked.drain(..));
        let results = calls.map(|(call, id)| match given.iter().position(|result| result.call_id == id) {
            Some(found) => given.remove(found).answering(call),
            None => ToolResult::error(call, LOST_RESULT),
        });
        let results: Vec<_> = results.collect();
        given.clear();
        if !results.is_empty() {
            self.append(Message::tool(results));
        }
    }
}

/// Whether a message of this role may have this part.
fn may_say(role: Role, part: &Part) -> bool {
    match part {
        Part::ToolCall(_) => role == Role::Assistant,
        Part::ToolResult(_) => role == Role::Tool,
        _ => true,
    }
}

fn without_misplaced_parts(message: Message) -> Message {
    let role = message.role();
    if message.parts().iter().all(|part| may_say(role, part)) {
        return message;
    }
    Message::new(role, message.parts().iter().filter(|part| may_say(role, part)).cloned().collect())
}

/// A digest may be the first thing that the model is shown, and calls in it would be open for ever.
fn as_users_words(digest: Message) -> Message {
    match digest.role() {
        Role::User => without_misplaced_parts(digest),
        _ => Message::user(digest.text()),
    }
}

impl ToolCall {
    /// The same call under another id. The provider's own form goes, because it has the old one.
    fn renamed(self, id: Option<String>) -> Self {
        match id {
            Some(id) => Self { id, data: None, ..self },
            None => self,
        }
    }
}

impl ToolResult {
    /// This result as the answer to `call`; tools answer with text and images only.
    fn answering(mut self, call: &ToolCall) -> Self {
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
