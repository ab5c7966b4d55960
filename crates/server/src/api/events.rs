//! `GET /v1/runs/{id}/events`: what happens in a run, as server-sent events that can be taken up where they broke off.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event as Frame, KeepAlive, Sse},
    },
};
use brigade_store::RunInfo;
use futures::{Stream, stream};

use super::{ApiError, Site, access::Caller, path::PathId, runs};
use crate::{
    runs::event_log::{EventLog, Line},
    runs::history::Found,
    runs::manager::Record,
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
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = runs::find(&site, &caller, &id).await?;
    let last = match headers.get("last-event-id") {
        None => 0,
        Some(id) => number(id).ok_or_else(|| ApiError::field("last-event-id", "the id of an event is a number"))?,
    };
    let record = match found {
        Found::Known(record) => record,
        Found::Kept(run) => return kept(&site, &run, last).await,
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
    Ok(streamed(frames))
}

/// The events of a run that only the store knows. They are numbered anew, and hold nothing of what was said.
async fn kept(site: &Site, run: &RunInfo, last: u64) -> Result<Response, ApiError> {
    let Some(store) = &site.store else { return Ok(streamed(stream::empty())) };
    let history = store.runs().trace(&run.run.to_string()).await?;
    let events = history.into_iter().flat_map(|history| history.events);
    let lines = events.filter_map(|event| serde_json::to_string(&event).ok());
    let view = serde_json::to_string(&runs::RunView::of_kept(run)).unwrap_or_default();
    let mut frames: Vec<_> = lines.map(|line| Frame::default().data(line)).collect();
    frames.push(Frame::default().event("ended").data(view));
    let numbered = (1_u64..).zip(frames).filter(move |(number, _)| *number > last);
    Ok(streamed(stream::iter(numbered.map(|(number, frame)| Ok(frame.id(number.to_string()))))))
}

fn streamed(frames: impl Stream<Item = Result<Frame, Infallible>> + Send + 'static) -> Response {
    let events = Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([("x-accel-buffering", "no")], events).into_response()
}

/// One that is too large is beyond the last event, as others may be.
fn number(id: &HeaderValue) -> Option<u64> {
    let digits = id.to_str().ok().filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(digits.parse().unwrap_or(u64::MAX))
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
