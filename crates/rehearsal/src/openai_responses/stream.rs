//! The event stream of Responses.

use serde::Serialize;

use crate::exchange::event::{Event, EventKind, argument_pieces, words};
use crate::exchange::reply::Reply;
use crate::exchange::request::Request;
use crate::openai_responses::reply::{Item, Piece, Response, ResponseError, finished, items, opening};
use crate::protocol::failure::{Failure, OpenaiError};
use crate::protocol::ids::Ids;

#[derive(Serialize)]
struct NumberedEvent<'a, T> {
    #[serde(rename = "type")]
    name: &'static str,
    sequence_number: usize,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Serialize)]
struct ResponseBody<'a> {
    response: Response<'a>,
}

#[derive(Serialize)]
struct ItemBody<'a> {
    output_index: usize,
    item: &'a Item<'a>,
}

#[derive(Serialize)]
struct PartBody<'a> {
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Piece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    obfuscation: Option<String>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: OpenaiError<'a>,
}

/// The names of the events for one kind of content.
struct EventNames {
    part_added: &'static str,
    delta: &'static str,
    done: &'static str,
    part_done: &'static str,
}

const OUTPUT_TEXT: EventNames = EventNames {
    part_added: "response.content_part.added",
    delta: "response.output_text.delta",
    done: "response.output_text.done",
    part_done: "response.content_part.done",
};
const REFUSAL: EventNames =
    EventNames { delta: "response.refusal.delta", done: "response.refusal.done", ..OUTPUT_TEXT };
const SUMMARY: EventNames = EventNames {
    part_added: "response.reasoning_summary_part.added",
    delta: "response.reasoning_summary_text.delta",
    done: "response.reasoning_summary_text.done",
    part_done: "response.reasoning_summary_part.done",
};

pub(crate) fn events(reply: &Reply, request: &Request) -> Vec<Event> {
    let mut stream = Stream { padding: Ids::new(reply.seed), events: Vec::new() };
    for name in ["response.created", "response.in_progress"] {
        stream.push(EventKind::Frame, name, &ResponseBody { response: opening(reply, request) });
    }
    let finished_items: Vec<_> = items(reply, request).collect();
    for (index, item) in finished_items.iter().enumerate() {
        stream.item(index, item);
    }
    let response = finished(reply, request, finished_items);
    let name = if response.status == "incomplete" { "response.incomplete" } else { "response.completed" };
    stream.push(EventKind::Done, name, &ResponseBody { response });
    stream.events
}

/// The events of an error after `sent` other events.
pub(crate) fn failed(reply: &Reply, request: &Request, failure: &Failure, sent: usize) -> Vec<Event> {
    let error = ErrorBody { error: failure.openai_body() };
    let mut response = opening(reply, request);
    response.status = "failed";
    response.error =
        Some(ResponseError { code: failure.code.as_deref().unwrap_or(&failure.kind), message: &failure.message });
    vec![
        event(EventKind::Frame, "error", sent, &error),
        event(EventKind::Frame, "response.failed", sent + 1, &ResponseBody { response }),
    ]
}

struct Stream {
    padding: Ids,
    events: Vec<Event>,
}

impl Stream {
    fn item(&mut self, output_index: usize, item: &Item<'_>) {
        let mut opened = item.clone();
        match &mut opened {
            Item::Reasoning { summary, .. } => summary.clear(),
            Item::Call { status, arguments, .. } => (*status, *arguments) = ("in_progress", ""),
            Item::Message { status, content, .. } => {
                *status = "in_progress";
                content.clear();
            }
        }
        let opens = ItemBody { output_index, item: &opened };
        let kind = if matches!(item, Item::Call { .. }) { EventKind::Delta } else { EventKind::Frame };
        self.push(kind, "response.output_item.added", &opens);
        match item {
            Item::Call { id, arguments, .. } => self.call(output_index, id, arguments),
            Item::Reasoning { id, summary, .. } => {
                for piece in summary {
                    self.content(output_index, id, piece);
                }
            }
            Item::Message { id, content, .. } => {
                for piece in content {
                    self.content(output_index, id, piece);
                }
            }
        }
        let closes = ItemBody { output_index, item };
        self.push(EventKind::Frame, "response.output_item.done", &closes);
    }

    fn call(&mut self, output_index: usize, id: &str, arguments: &str) {
        for delta in argument_pieces(arguments) {
            let body = PartBody {
                delta: Some(delta),
                obfuscation: Some(self.obfuscation(delta)),
                ..PartBody::of(id, output_index)
            };
            self.push(EventKind::Arguments, "response.function_call_arguments.delta", &body);
        }
        let arguments = Some(arguments);
        let body = PartBody { arguments, ..PartBody::of(id, output_index) };
        self.push(EventKind::Frame, "response.function_call_arguments.done", &body);
    }

    fn content(&mut self, output_index: usize, id: &str, piece: &Piece<'_>) {
        let (names, whole, empty) = match piece {
            Piece::OutputText { text, .. } => (OUTPUT_TEXT, *text, Piece::text("")),
            Piece::Refusal { refusal } => (REFUSAL, *refusal, Piece::Refusal { refusal: "" }),
            Piece::SummaryText { text } => (SUMMARY, *text, Piece::SummaryText { text: "" }),
        };
        let text = matches!(piece, Piece::OutputText { .. });
        let refused = matches!(piece, Piece::Refusal { .. });
        let summary = matches!(piece, Piece::SummaryText { .. });
        let base = || PartBody {
            content_index: (!summary).then_some(0),
            summary_index: summary.then_some(0),
            ..PartBody::of(id, output_index)
        };
        self.push(EventKind::Frame, names.part_added, &PartBody { part: Some(empty), ..base() });
        for delta in words(whole) {
            let body = PartBody {
                delta: Some(delta),
                logprobs: text.then_some([]),
                obfuscation: Some(self.obfuscation(delta)),
                ..base()
            };
            self.push(EventKind::Delta, names.delta, &body);
        }
        let done = PartBody {
            text: (!refused).then_some(whole),
            refusal: refused.then_some(whole),
            logprobs: text.then_some([]),
            ..base()
        };
        self.push(EventKind::Frame, names.done, &done);
        let part = Some(piece.clone());
        self.push(EventKind::Frame, names.part_done, &PartBody { part, ..base() });
    }

    /// Padding that hides the length of a delta: together they are a multiple of 16 bytes long.
    fn obfuscation(&mut self, delta: &str) -> String {
        self.padding.letters("", 16 - delta.len() % 16)
    }

    fn push<T: Serialize>(&mut self, kind: EventKind, name: &'static str, body: &T) {
        let event = event(kind, name, self.events.len(), body);
        self.events.push(event);
    }
}

impl<'a> PartBody<'a> {
    fn of(item_id: &'a str, output_index: usize) -> Self {
        Self {
            item_id,
            output_index,
            content_index: None,
            summary_index: None,
            part: None,
            delta: None,
            text: None,
            refusal: None,
            arguments: None,
            logprobs: None,
            obfuscation: None,
        }
    }
}

fn event<T: Serialize>(kind: EventKind, name: &'static str, sequence_number: usize, body: &T) -> Event {
    let numbered = NumberedEvent { name, sequence_number, body };
    let data = serde_json::to_string(&numbered).unwrap_or_default();
    Event { name: Some(name), data, kind }
}
