//! Assembles tool calls from deltas. Servers use ids and indices in different ways.

use std::collections::BTreeMap;

use brigade_core::{Arguments, Part, ProviderData, RawJson, ToolCall};
use serde_json::value::RawValue;

use super::{chat_completions::DIALECT, wire::ToolCallDelta};
use crate::{
    json::json::{self, Count},
    protocol::{event_sink::EventSink, protocol::WireQuirk, tool_calls},
};

/// The tool calls of one answer, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct ToolCallAssembler(Vec<PartialToolCall>);

/// The tool calls of an answer that has ended.
#[derive(Debug, Default)]
pub(super) struct FinishedToolCalls {
    pub(super) parts: Vec<Part>,
    /// The arguments of a call end inside a JSON document, so the answer was cut off.
    pub(super) cut_off: bool,
}

/// A tool call that may be incomplete.
#[derive(Debug, Default)]
struct PartialToolCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    data: Option<RawJson>,
    /// The call came in one piece.
    is_whole: bool,
}

impl ToolCallAssembler {
    /// Whether deltas have made a call with this id.
    pub(super) fn has_assembled(&self, call: &ToolCallDelta<'_>) -> bool {
        let id = call.id.filled();
        self.0.iter().any(|partial| Some(&*partial.id) == id && !partial.is_whole && partial.is_complete())
    }

    /// Adds a call that is not a delta. Two with the same id are two calls.
    pub(super) fn push_whole(&mut self, call: &ToolCallDelta<'_>, sink: &mut EventSink<'_>) {
        let mut partial = PartialToolCall { is_whole: true, ..PartialToolCall::default() };
        partial.add(call, sink);
        self.0.push(partial);
    }

    /// Adds a delta.
    pub(super) fn push(&mut self, call: &ToolCallDelta<'_>, sink: &mut EventSink<'_>) {
        let position = self.position_of(call, sink);
        if position == self.0.len() {
            self.0.push(PartialToolCall { index: call.index.get(), ..PartialToolCall::default() });
        }
        if let Some(partial) = self.0.get_mut(position) {
            partial.add(call, sink);
        }
    }

    /// The position of the call that a delta belongs to; the length of the list if the delta begins a new call.
    ///
    /// The index decides, if there is one. But some servers give every call the index 0 and distinguish calls by id
    /// alone, and others change the id from delta to delta. So a used index begins a new call only if the delta has a
    /// name and another id.
    fn position_of(&self, call: &ToolCallDelta<'_>, sink: &mut EventSink<'_>) -> usize {
        let end = self.0.len();
        let has_name = call.function.0.as_ref().is_some_and(|function| function.name.filled().is_some());
        let id = call.id.filled();
        let by_id = || id.and_then(|id| self.0.iter().rposition(|partial| partial.id == id));
        let Some(index) = call.index.get() else {
            if call.index == Count::Absent {
                sink.quirk(WireQuirk::CallIndexMissing);
            }
            return match by_id() {
                // A complete call that is repeated is another call.
                Some(position) if has_name && self.0.get(position).is_some_and(PartialToolCall::is_complete) => end,
                Some(position) => position,
                None if id.is_some() || has_name => end,
                None => end.saturating_sub(1),
            };
        };
        match self.0.iter().rposition(|partial| partial.index == Some(index)) {
            None => end,
            Some(position) => {
                let other =
                    self.0.get(position).is_some_and(|partial| !partial.id.is_empty() && Some(&*partial.id) != id);
                if !(other && has_name && id.is_some()) {
                    return position;
                }
                sink.quirk(WireQuirk::CallIndexShared);
                by_id().unwrap_or(end)
            }
        }
    }

    /// The calls as parts of a message. Calls without name and arguments, which Snowflake sends, are left out.
    pub(super) fn finish(self, sink: &mut EventSink<'_>) -> FinishedToolCalls {
        let mut finished = FinishedToolCalls::default();
        for partial in self.0.into_iter().filter(|partial| !partial.is_blank()) {
            let call = partial.finish(finished.parts.len() + 1, sink);
            if let Arguments::Malformed(_) = call.arguments {
                sink.quirk(WireQuirk::ArgumentsMalformed);
                finished.cut_off |= call.arguments.are_truncated();
            }
            if finished.parts.iter().any(|part| matches!(part, Part::ToolCall(other) if other.id == call.id)) {
                sink.quirk(WireQuirk::CallIdRepeated);
            }
            finished.parts.push(Part::ToolCall(call));
        }
        finished
    }
}

impl PartialToolCall {
    /// Whether the arguments are a complete document.
    fn is_complete(&self) -> bool {
        serde_json::from_str::<&RawValue>(&self.arguments).is_ok()
    }

    fn is_blank(&self) -> bool {
        self.name.is_empty() && self.arguments.is_empty()
    }

    fn add(&mut self, call: &ToolCallDelta<'_>, sink: &mut EventSink<'_>) {
        if let (true, Some(id)) = (self.id.is_empty(), call.id.filled()) {
            id.clone_into(&mut self.id);
        }
        if let Some(extra) = call.extra_content {
            self.data = RawJson::of(&BTreeMap::from([("extra_content", extra)])).ok();
        }
        if let Some(function) = &call.function.0 {
            self.add_name(function.name.filled(), sink);
            self.add_arguments(function.arguments, sink);
        }
        // Snowflake sends an empty `custom` beside each function.
        if let Some(custom) = call.custom.0.as_ref().filter(|custom| custom.name.filled().is_some()) {
            self.add_name(custom.name.filled(), sink);
            self.arguments.push_str(custom.input.filled().unwrap_or_default());
            self.data = RawJson::of(&BTreeMap::from([("custom", true)])).ok();
        }
    }

    fn add_name(&mut self, name: Option<&str>, sink: &mut EventSink<'_>) {
        if let (true, Some(name)) = (self.name.is_empty(), name) {
            name.clone_into(&mut self.name);
            sink.tool_call(name);
        }
    }

    fn add_arguments(&mut self, arguments: Option<&RawValue>, sink: &mut EventSink<'_>) {
        let Some(raw) = arguments else { return };
        let before = self.arguments.len();
        if let Some(text) = json::text(raw) {
            append(&mut self.arguments, text);
        } else {
            sink.quirk(WireQuirk::ArgumentsForm);
            self.arguments.push_str(raw.get());
        }
        sink.arguments(self.arguments.len() - before);
    }

    fn finish(self, position: usize, sink: &mut EventSink<'_>) -> ToolCall {
        let id = if self.id.is_empty() {
            sink.quirk(WireQuirk::CallIdMissing);
            format!("call_{position}")
        } else {
            self.id
        };
        // Groq writes `null` for a tool without parameters.
        let arguments = tool_calls::parse_arguments(self.arguments, sink);
        let data = self.data.map(|raw| ProviderData::new(DIALECT, raw));
        ToolCall::new(id, self.name, arguments).data(data)
    }
}

/// Appends text. Most arguments arrive in one delta, which is not copied.
fn append(arguments: &mut String, text: String) {
    if arguments.is_empty() {
        *arguments = text;
    } else {
        arguments.push_str(&text);
    }
}
