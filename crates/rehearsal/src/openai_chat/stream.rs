//! The `chat.completion.chunk` stream.

use serde::Serialize;

use crate::exchange::event::{Event, EventKind, argument_pieces, words};
use crate::exchange::reply::{CREATED, Call, Part, Reply, Style};
use crate::exchange::request::Request;
use crate::fault::kinds::ToolDeltas;
use crate::openai_chat::reply::{Arguments, Usage, arguments, completion_id, finish_reason};
use crate::protocol::failure::{Failure, OpenaiBody};
use crate::protocol::field::Field;
use crate::protocol::ids::Ids;
use crate::protocol::usage::{ReportedUsage, UsagePlacement};

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    service_tier: &'static str,
    system_fingerprint: Option<&'static str>,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Field::is_absent")]
    usage: Field<Usage>,
    obfuscation: String,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Field::is_absent")]
    content: Field<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Field::is_absent")]
    refusal: Field<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallDelta<'a>>,
}

#[derive(Default, Serialize)]
struct CallDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Default, Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Arguments<'a>>,
}

pub(crate) fn events(reply: &Reply, request: &Request, style: Style) -> Vec<Event> {
    let mut stream = Stream {
        id: completion_id(reply),
        reply,
        reports_usage: request.include_usage,
        deltas: 0,
        padding: Ids::new(reply.seed),
        events: Vec::new(),
    };
    stream.open();
    for part in &reply.parts {
        stream.part(part, style);
    }
    stream.calls(style);
    stream.close(style);
    stream.events
}

struct Stream<'a> {
    id: String,
    reply: &'a Reply,
    reports_usage: bool,
    deltas: i64,
    padding: Ids,
    events: Vec<Event>,
}

impl<'a> Stream<'a> {
    fn open(&mut self) {
        let calls_only =
            self.reply.calls().next().is_some() && !self.reply.parts.iter().any(|part| matches!(part, Part::Text(_)));
        let delta = Delta {
            role: Some("assistant"),
            content: if calls_only { Field::Null } else { Field::Value("") },
            refusal: Field::Null,
            ..Delta::default()
        };
        self.push(EventKind::Frame, delta);
    }

    fn part(&mut self, part: &'a Part, style: Style) {
        match part {
            Part::Text(text) => {
                for word in words(text) {
                    let content = Field::Value(word);
                    self.push(EventKind::Delta, Delta { content, ..Delta::default() });
                }
            }
            Part::Refusal(text) => {
                for word in words(text) {
                    let refusal = Field::Value(word);
                    self.push(EventKind::Delta, Delta { refusal, ..Delta::default() });
                }
            }
            Part::Thinking(text) if style.reasoning_content => {
                for word in words(text) {
                    let reasoning_content = Some(word);
                    self.push(EventKind::Delta, Delta { reasoning_content, ..Delta::default() });
                }
            }
            Part::Thinking(_) | Part::Call(_) => {}
        }
    }

    fn calls(&mut self, style: Style) {
        let mut lists: Vec<_> = self
            .reply
            .calls()
            .enumerate()
            .map(|(position, call)| call_deltas(position, call, style).into_iter())
            .collect();
        let interleaved = matches!(style.deltas, Some(ToolDeltas::Interleaved));
        while !lists.is_empty() {
            for list in &mut lists {
                for delta in list.by_ref() {
                    let has_name = delta.function.name.is_some();
                    let kind = if has_name { EventKind::Delta } else { EventKind::Arguments };
                    let tool_calls = vec![delta];
                    self.push(kind, Delta { tool_calls, ..Delta::default() });
                    if interleaved {
                        break;
                    }
                }
            }
            lists.retain(|list| list.len() > 0);
        }
    }

    fn close(&mut self, style: Style) {
        let finish = finish_reason(self.reply.finish);
        self.chunk(EventKind::Finish, Delta::default(), Some(finish));
        if matches!(style.deltas, Some(ToolDeltas::FinishTwice)) {
            self.chunk(EventKind::Finish, Delta::default(), Some(finish));
        }
        let null = self.reply.usage_placement == UsagePlacement::Null;
        if self.reports_usage && (self.reply.usage_placement == UsagePlacement::Usual || null) {
            let usage = if null { Field::Null } else { Field::Value(self.reply.reported.into()) };
            self.write(EventKind::Usage, &[], usage);
        }
        self.events.push(Event { name: None, data: "[DONE]".to_owned(), kind: EventKind::Done });
    }

    fn push(&mut self, kind: EventKind, delta: Delta<'_>) {
        self.deltas += i64::from(kind.is_delta());
        self.chunk(kind, delta, None);
    }

    fn chunk(&mut self, kind: EventKind, delta: Delta<'_>, finish_reason: Option<&'static str>) {
        let usage = match (self.reply.usage_placement, finish_reason) {
            (UsagePlacement::EveryChunk | UsagePlacement::Finish, Some(_)) => Field::Value(self.reply.reported.into()),
            (UsagePlacement::EveryChunk, None) => {
                let output = self.deltas.min(self.reply.reported.output);
                Field::Value(ReportedUsage { output, reasoning: 0, ..self.reply.reported }.into())
            }
            // If usage follows in a later chunk, all other chunks have `null`.
            (UsagePlacement::Usual | UsagePlacement::Null | UsagePlacement::Finish, _) if self.reports_usage => {
                Field::Null
            }
            _ => Field::Absent,
        };
        let choice = Choice { index: 0, delta, logprobs: None, finish_reason };
        self.write(kind, &[choice], usage);
    }

    fn write(&mut self, kind: EventKind, choices: &[Choice<'_>], usage: Field<Usage>) {
        let padding = 4 + usize::try_from(self.padding.next() % 12).unwrap_or_default();
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: CREATED,
            model: &self.reply.model,
            service_tier: "default",
            system_fingerprint: None,
            choices,
            usage,
            obfuscation: self.padding.letters("", padding),
        };
        self.events.push(Event { name: None, data: serde_json::to_string(&chunk).unwrap_or_default(), kind });
    }
}

/// The event of an error within a stream.
pub(crate) fn failed(failure: &Failure) -> Event {
    let body = OpenaiBody { error: failure.openai_body() };
    Event { name: None, data: serde_json::to_string(&body).unwrap_or_default(), kind: EventKind::Frame }
}

/// The deltas of one call: normally id and name first, then the arguments in pieces.
fn call_deltas(position: usize, call: &Call, style: Style) -> Vec<CallDelta<'_>> {
    let index = match style.deltas {
        Some(ToolDeltas::NoIndex) => None,
        Some(ToolDeltas::IndexZero) => Some(0),
        _ => Some(position),
    };
    let head = CallDelta {
        index,
        id: Some(&call.id),
        kind: Some("function"),
        function: FunctionDelta { name: Some(&call.name), arguments: Some(Arguments::Text("")) },
    };
    let piece = |text| CallDelta {
        index,
        function: FunctionDelta { name: None, arguments: Some(Arguments::Text(text)) },
        ..CallDelta::default()
    };
    let mut deltas: Vec<_> = std::iter::once(head).chain(argument_pieces(&call.arguments).map(piece)).collect();
    match style.deltas {
        Some(ToolDeltas::IdEveryChunk | ToolDeltas::IndexZero | ToolDeltas::NoIndex) => {
            for delta in &mut deltas {
                delta.id = Some(&call.id);
            }
        }
        Some(ToolDeltas::BlankLater) => deltas.iter_mut().skip(1).for_each(|delta| {
            (delta.id, delta.function.name) = (Some(""), Some(""));
        }),
        Some(ToolDeltas::EmptyName) => {
            deltas.iter_mut().take(1).for_each(|delta| delta.function.name = Some(""));
        }
        Some(ToolDeltas::NameAfterArguments) => {
            let name = deltas.first_mut().and_then(|delta| delta.function.name.take());
            if let Some(last) = deltas.last_mut() {
                last.function.name = name;
            }
        }
        Some(ToolDeltas::WholeCall | ToolDeltas::ArgumentsObject) => {
            deltas.truncate(1);
            if let Some(head) = deltas.first_mut() {
                head.function.arguments = Some(arguments(&call.arguments, style));
            }
        }
        Some(ToolDeltas::Interleaved | ToolDeltas::FinishTwice) | None => {}
    }
    deltas
}
