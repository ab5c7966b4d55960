//! `GET /v1/runs/{id}/events`: the events of a run as server-sent events. A client can resume after a disconnect.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::{
        Response,
        sse::{Event as Frame, Sse},
    },
};
use brigade_store::RunInfo;
use futures::stream;

use super::{ApiError, access::Reader, api::Api, chat_stream::sse_response, path::PathId, runs};
use crate::runs::{
    event_log::{EventLog, LoggedEvent},
    lookup::FoundRun,
    manager::RunHandle,
};

/// Reads the events of a run.
struct EventReader {
    run: Arc<RunHandle>,
    log: Arc<EventLog>,
    /// The number of the last event that was sent.
    last: u64,
    /// Events that were read from the log but not yet sent.
    ready: VecDeque<LoggedEvent>,
    /// True once `ended` was sent.
    is_over: bool,
}

/// Sends all events after the one in `Last-Event-ID`, past and future. The last event is `ended`, with the run as
/// `GET /v1/runs/{id}` shows it.
pub(crate) async fn follow(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = runs::find(&api, &caller, &id).await?;
    let last = match headers.get("last-event-id") {
        None => 0,
        Some(id) => parse_number(id).ok_or_else(|| {
            ApiError::field("last-event-id", "`Last-Event-ID` must be a number, the `id` of an event")
        })?,
    };
    let run = match found {
        FoundRun::InMemory(run) => run,
        FoundRun::Stored(run) => return stored_events(&api, &run, last).await,
    };
    let Some(log) = run.events().cloned() else {
        let message = "the events of this run were not kept; start runs with `POST /v1/runs` to keep their events";
        return Err(ApiError::not_found("events_not_kept", message));
    };
    let reader = EventReader { run, log, last, ready: VecDeque::new(), is_over: false };
    let frames = stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((Ok::<_, Infallible>(frame), reader))
    });
    Ok(sse_response(Sse::new(frames)))
}

/// The events of a run that only the store has. It stores neither their numbers nor text, so they are numbered from 1.
async fn stored_events(api: &Api, run: &RunInfo, last: u64) -> Result<Response, ApiError> {
    let events = api.lookup().events(run).await?;
    let records = events.iter().filter_map(|event| serde_json::to_string(event).ok());
    let view = serde_json::to_string(&runs::RunView::of_stored(run)).unwrap_or_default();
    let mut frames: Vec<_> = records.map(|record| Frame::default().data(record)).collect();
    frames.push(Frame::default().event("ended").data(view));
    let numbered = (1_u64..).zip(frames).filter(move |(number, _)| *number > last);
    Ok(sse_response(Sse::new(stream::iter(numbered.map(|(number, frame)| Ok(frame.id(number.to_string())))))))
}

/// Parses the number of an event. A number beyond `u64` becomes the largest one, which comes after every event.
fn parse_number(id: &HeaderValue) -> Option<u64> {
    let digits = id.to_str().ok().filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

impl EventReader {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.number;
                return Some(Frame::default().id(event.number.to_string()).data(&*event.json));
            }
            if self.is_over {
                return None;
            }
            // The end is checked before the log is read, so that no event before the end is missed.
            let end = self.run.end();
            self.ready.extend(self.log.after(self.last));
            if !self.ready.is_empty() {
                continue;
            }
            if let Some(end) = end {
                self.is_over = true;
                let number = self.log.last_number() + 1;
                let view = serde_json::to_string(&runs::RunView::of(&self.run, Some(&end))).unwrap_or_default();
                return Some(Frame::default().event("ended").id(number.to_string()).data(view));
            }
            tokio::select! {
                () = self.log.wait_for_more(self.last) => {}
                _ = self.run.wait() => {}
            }
        }
    }
}
