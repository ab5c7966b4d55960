//! Reads and writes the three dialects.

use crate::exchange::event::Event;
use crate::exchange::reply::{Reply, Style};
use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::{anthropic, openai_chat, openai_responses};

/// Parses a body. With `strict`, rejects what the vendor rejects.
pub(crate) fn read(dialect: WireDialect, body: &[u8], strict: bool) -> Result<Request, Failure> {
    match dialect {
        WireDialect::OpenaiChat => openai_chat::request::read(body, strict),
        WireDialect::OpenaiResponses => openai_responses::request::read(body, strict),
        WireDialect::Anthropic => anthropic::request::read(body, strict),
    }
}

/// The body of a reply that is not streamed.
pub(crate) fn document(reply: &Reply, request: &Request, style: Style) -> Vec<u8> {
    match request.dialect {
        WireDialect::OpenaiChat => openai_chat::reply::document(reply, style),
        WireDialect::OpenaiResponses => openai_responses::reply::document(reply, request),
        WireDialect::Anthropic => anthropic::reply::document(reply),
    }
}

/// The events of a streamed reply.
pub(crate) fn events(reply: &Reply, request: &Request, style: Style) -> Vec<Event> {
    match request.dialect {
        WireDialect::OpenaiChat => openai_chat::stream::events(reply, request, style),
        WireDialect::OpenaiResponses => openai_responses::stream::events(reply, request),
        WireDialect::Anthropic => anthropic::stream::events(reply),
    }
}

/// The events of an error in a stream after `sent` events.
pub(crate) fn error_events(reply: &Reply, request: &Request, failure: &Failure, sent: usize) -> Vec<Event> {
    match request.dialect {
        WireDialect::OpenaiChat => vec![openai_chat::stream::failed(failure)],
        WireDialect::OpenaiResponses => openai_responses::stream::failed(reply, request, failure, sent),
        WireDialect::Anthropic => vec![anthropic::stream::failed(failure)],
    }
}
