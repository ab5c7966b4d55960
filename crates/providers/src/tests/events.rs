//! The events that a decoder emitted, for assertions.

use std::{borrow::Cow, sync::Arc};

use brigade_core::{ChatReply, Delta, Event, ModelError, ModelId, Run, testing::Recorder};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    Protocol,
    http::response_head::ResponseHead,
    protocol::{event_sink::EventSink, protocol::Progress, response_reader::ResponseReader},
};

/// The names of the reported quirks, in order.
pub(crate) fn quirks(recorder: &Recorder) -> Vec<&'static str> {
    let quirk = |event| if let Event::WireQuirk { kind: Cow::Borrowed(kind), .. } = event { Some(kind) } else { None };
    recorder.events().into_iter().filter_map(|(_, event)| quirk(event)).collect()
}

/// The deltas, in order.
pub(crate) fn deltas(recorder: &Recorder) -> Vec<Delta> {
    let delta = |event| if let Event::Delta(delta) = event { Some(delta) } else { None };
    recorder.events().into_iter().filter_map(|(_, event)| delta(event)).collect()
}

/// Reads a streamed response that arrives in the given chunks, as a client of the protocol does.
pub(crate) fn read_chunks<P: Protocol>(protocol: &P, chunks: &[&[u8]]) -> (Result<ChatReply, ModelError>, Recorder) {
    let recorder = Recorder::new();
    let run = Run::builder().observer(Arc::new(recorder.clone())).deltas(true).build();
    let id = ModelId::new("test", "");
    let head = ResponseHead::new(StatusCode::OK, &HeaderMap::new());
    let mut reader = ResponseReader::new(&id, head, EventSink::new(&run, id.provider()), protocol.decoder());
    for chunk in chunks {
        match reader.push(Bytes::copy_from_slice(chunk)) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => break,
            Err(error) => return (Err(error), recorder),
        }
    }
    (reader.finish(), recorder)
}

/// Reads a response that is one document.
pub(crate) fn read_document<P: Protocol>(protocol: &P, document: &[u8]) -> (Result<ChatReply, ModelError>, Recorder) {
    let recorder = Recorder::new();
    let run = Run::builder().observer(Arc::new(recorder.clone())).build();
    let id = ModelId::new("test", "");
    let head = ResponseHead::new(StatusCode::OK, &HeaderMap::new());
    let mut reader = ResponseReader::new(&id, head, EventSink::new(&run, id.provider()), protocol.decoder());
    let pushed = reader.push(Bytes::copy_from_slice(document));
    (pushed.and_then(|_| reader.finish()), recorder)
}
