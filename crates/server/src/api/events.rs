//! `GET /v1/runs/{id}/events`: what happens in a run, as server-sent events that can be taken up where they broke off.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as Frame, KeepAlive, Sse},
    },
};
use futures::stream;

use super::{ApiError, Site, access::Caller, runs};
use crate::{
    event_log::{EventLog, Line},
    runs::Record,
};

/// A reader of a run's events.
struct Reader {
    record: Arc<Record>,
    log: Arc<EventLog>,
    /// The number of the last event that was read.
    last: u64,
    ready: VecDeque<Line>,
    is_over: bool,
}

/// Below the 30 s to 60 s after which proxies give a silent connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Everything that has happened after the event in `Last-Event-ID`, and everything that happens from now on. The last
/// event is `ended`, with the run as `GET /v1/runs/{id}` shows it.
pub(crate) async fn follow(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let record = runs::find(&site, &caller, &id)?;
    let last = match headers.get("last-event-id") {
        None => 0,
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| ApiError::field("last-event-id", "the id of an event is a number"))?,
    };
    let Some(log) = record.log.clone() else {
        let message = "the events of this run were not kept; runs that /v1/runs starts keep theirs";
        return Err(ApiError::not_found("events_not_kept", message));
    };
    let reader = Reader { record, log, last, ready: VecDeque::new(), is_over: false };
    let frames = stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((Ok::<_, Infallible>(frame), reader))
    });
    let events = Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

impl Reader {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.last = line.number;
                return Some(Frame::default().id(line.number.to_string()).data(&*line.json));
            }
            if self.is_over {
                return None;
            }
            // Asked before the log is read: what happens in between is read too.
            let end = self.record.end();
            self.ready.extend(self.log.after(self.last));
            if !self.ready.is_empty() {
                continue;
            }
            if let Some(end) = end {
                self.is_over = true;
                let number = self.log.written() + 1;
                let view = serde_json::to_string(&runs::RunView::of(&self.record, Some(&end))).unwrap_or_default();
                return Some(Frame::default().event("ended").id(number.to_string()).data(view));
            }
            tokio::select! {
                () = self.log.grown_beyond(self.last) => {}
                _ = self.record.ended() => {}
            }
        }
    }
}
