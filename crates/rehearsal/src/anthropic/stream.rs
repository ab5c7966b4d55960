//! The event stream of Messages.

use serde::Serialize;

use crate::anthropic::reply::{Block, Caller, Input, Message, opening, stop_reason};
use crate::exchange::event::{Event, EventKind, argument_pieces, words};
use crate::exchange::reply::{Part, Reply};
use crate::protocol::failure::Failure;
use crate::protocol::field::Field;
use crate::protocol::ids::{Ids, signature};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Body<'a> {
    MessageStart {
        message: Message<'a>,
    },
    ContentBlockStart {
        index: usize,
        content_block: Block<'a>,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta<'a>,
    },
    ContentBlockStop {
        index: usize,
    },
    MessageDelta {
        delta: StopDelta,
        #[serde(skip_serializing_if = "Field::is_absent")]
        usage: Field<DeltaUsage>,
    },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the vendor's")]
struct StopDelta {
    stop_reason: &'static str,
    stop_sequence: Option<()>,
    stop_details: Option<()>,
}

/// The totals of the whole reply, which replace those of `message_start`.
#[derive(Serialize)]
struct DeltaUsage {
    input_tokens: i64,
    cache_creation_input_tokens: i64,
    cache_read_input_tokens: i64,
    output_tokens: i64,
    output_tokens_details: OutputDetails,
}

#[derive(Serialize)]
struct OutputDetails {
    thinking_tokens: i64,
}

pub(crate) const PING: &str = r#"{"type": "ping"}"#;

pub(crate) fn events(reply: &Reply) -> Vec<Event> {
    let mut stream = Stream { padding: Ids::new(reply.seed), index: 0, events: Vec::new() };
    let message = opening(reply);
    stream.push(EventKind::Frame, "message_start", &Body::MessageStart { message });
    for part in &reply.parts {
        stream.part(part);
    }
    let reported = reply.reported;
    let usage = DeltaUsage {
        input_tokens: reported.input - reported.cached - reported.cache_write,
        cache_creation_input_tokens: reported.cache_write,
        cache_read_input_tokens: reported.cached,
        output_tokens: reported.output,
        output_tokens_details: OutputDetails { thinking_tokens: reported.reasoning },
    };
    let stop = Body::MessageDelta {
        delta: StopDelta { stop_reason: stop_reason(reply.finish), stop_sequence: None, stop_details: None },
        usage: reply.usage_placement.field(usage),
    };
    stream.push(EventKind::Finish, "message_delta", &stop);
    stream.push(EventKind::Done, "message_stop", &Body::MessageStop);
    stream.events
}

/// The event of an error within a stream.
pub(crate) fn failed(failure: &Failure) -> Event {
    let data = serde_json::to_string(&failure.anthropic_body(None)).unwrap_or_default();
    Event { name: Some("error"), data, kind: EventKind::Frame }
}

struct Stream {
    padding: Ids,
    index: usize,
    events: Vec<Event>,
}

impl Stream {
    fn part(&mut self, part: &Part) {
        match part {
            Part::Thinking(thinking) => self.block(
                Block::Thinking { thinking: "", signature: String::new() },
                words(thinking)
                    .map(|thinking| Delta::Thinking { thinking })
                    .chain([Delta::Signature { signature: signature(thinking) }]),
                EventKind::Delta,
            ),
            Part::Text(text) => {
                self.block(Block::Text { text: "" }, words(text).map(|text| Delta::Text { text }), EventKind::Delta);
            }
            Part::Refusal(_) => {}
            Part::Call(call) => self.block(
                Block::ToolUse {
                    id: &call.id,
                    name: &call.name,
                    input: serde_json::from_str("{}").map_or(Input::Text(""), Input::Object),
                    caller: Caller::DIRECT,
                },
                std::iter::once("")
                    .chain(argument_pieces(&call.arguments))
                    .map(|partial_json| Delta::InputJson { partial_json }),
                EventKind::Arguments,
            ),
        }
    }

    fn block<'a>(&mut self, content_block: Block<'a>, deltas: impl Iterator<Item = Delta<'a>>, kind: EventKind) {
        let index = self.index;
        self.index += 1;
        let start = Body::ContentBlockStart { index, content_block };
        let opens = if kind == EventKind::Arguments { EventKind::Delta } else { EventKind::Frame };
        self.push(opens, "content_block_start", &start);
        if index == 0 {
            // The API sends a ping after the start of the first block.
            let data = PING.to_owned();
            self.events.push(Event { name: Some("ping"), data, kind: EventKind::Ping });
        }
        for delta in deltas {
            let body = Body::ContentBlockDelta { index, delta };
            self.push(kind, "content_block_delta", &body);
        }
        self.push(EventKind::Frame, "content_block_stop", &Body::ContentBlockStop { index });
    }

    fn push(&mut self, kind: EventKind, name: &'static str, body: &Body<'_>) {
        let mut data = serde_json::to_string(body).unwrap_or_default();
        // The API pads its events with blanks before the closing brace.
        let blanks = usize::try_from(self.padding.next() % 16).unwrap_or_default();
        if data.pop().is_some() {
            data.extend(std::iter::repeat_n(' ', blanks));
            data.push('}');
        }
        self.events.push(Event { name: Some(name), data, kind });
    }
}
