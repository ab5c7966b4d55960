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
use brigade_core::RunId;
use brigade_openai::ErrorCode;
use brigade_store::NumberedEvent;
use futures::stream;

use super::{ApiError, api::Api, chat_stream::sse_response, path::PathId, run_view::RunView, runs, scoped::Reader};
use crate::runs::{
    event_log::{EventLog, EventPosition, GapEvent, LogGap, LogPage, LoggedEvent},
    lookup::FoundRun,
    run_handle::RunHandle,
};

/// Reads the events of a run.
struct EventReader {
    api: Arc<Api>,
    run: Arc<RunHandle>,
    log: Arc<EventLog>,
    /// The position of the last event that was sent.
    last: EventPosition,
    /// Events that were read but not yet sent.
    ready: VecDeque<LoggedEvent>,
    /// True once `ended` was sent.
    is_over: bool,
}

/// Sends all events after the one in `Last-Event-ID`, past and future. Events that are not kept any more come from the
/// store, or are reported by the event `gap`. The last event is `ended`, with the run as
/// `GET /v1/runs/{id}` shows it.
pub(crate) async fn follow(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = runs::find(&api, &caller, &id).await?;
    // An empty id is that of a client that has not read an event yet.
    let id = headers.get("last-event-id").filter(|id| !id.is_empty());
    let last = match id.map(HeaderValue::to_str) {
        None => EventPosition::default(),
        Some(id) => id.ok().and_then(|id| id.parse().ok()).ok_or_else(|| {
            ApiError::field("last-event-id", "`Last-Event-ID` must be the `id` of an event, such as `7` or `7.3`")
        })?,
    };
    let run = match found {
        FoundRun::InMemory(run) => run,
        FoundRun::Stored(run) => {
            let view = serde_json::to_string(&RunView::of_stored(&run)).unwrap_or_default();
            return stored_events(&api, run.info.run, last, view).await;
        }
        FoundRun::Durable(run) => {
            let view = serde_json::to_string(&RunView::of_durable(&run)).unwrap_or_default();
            return stored_events(&api, run.stored.id, last, view).await;
        }
    };
    let Some(log) = run.events().cloned() else {
        let end = run.end().filter(|_| api.store.is_some());
        let Some(end) = end else {
            let message = "the events of this run were not kept; start runs with `POST /v1/runs` to keep their events";
            return Err(ApiError::not_found(ErrorCode::EventsNotKept, message));
        };
        let view = serde_json::to_string(&RunView::of(&run, Some(&end))).unwrap_or_default();
        return stored_events(&api, run.id(), last, view).await;
    };
    let reader = EventReader { api, run, log, last, ready: VecDeque::new(), is_over: false };
    let frames = stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((Ok::<_, Infallible>(frame), reader))
    });
    Ok(sse_response(Sse::new(frames)))
}

/// The stored events of a run that has ended, and the run as the `ended` event shows it. The store has no text.
async fn stored_events(api: &Api, run: RunId, last: EventPosition, view: String) -> Result<Response, ApiError> {
    let events = logged(api.lookup().events(run, 0).await?);
    let end = events.last().map_or(EventPosition::default(), |event| event.position).next_event();
    let missed = events.into_iter().filter(move |event| event.position > last).map(|event| event.frame());
    // A client that has seen it already, or an event after it, still has to learn that there is nothing more.
    let frames = missed.chain([Frame::default().event("ended").id(end.to_string()).data(view)]);
    Ok(sse_response(Sse::new(stream::iter(frames.map(Ok)))))
}

fn logged(events: Vec<NumberedEvent>) -> Vec<LoggedEvent> {
    let event = |event: NumberedEvent| {
        let json = serde_json::to_string(&event.record).ok()?.into();
        Some(LoggedEvent { position: EventPosition::of_event(event.number), json })
    };
    events.into_iter().filter_map(event).collect()
}

impl LoggedEvent {
    fn frame(&self) -> Frame {
        Frame::default().id(self.position.to_string()).data(&*self.json)
    }
}

impl EventReader {
    /// Reads dropped events from the store. Returns an event that says so if some are not there.
    async fn fill(&mut self, gap: LogGap) -> Option<Frame> {
        let (after, to) = (self.last, gap.to);
        let stored = self.api.lookup().events(self.run.id(), after.event).await;
        let is_complete = self.api.store.is_some() && stored.is_ok() && !gap.has_text;
        let in_gap = |event: &LoggedEvent| event.position > after && event.position <= to;
        self.ready.extend(logged(stored.unwrap_or_default()).into_iter().filter(in_gap));
        self.last = to;
        if is_complete {
            return None;
        }
        let gap = GapEvent { after: after.to_string(), to: to.to_string() };
        // Without an id, so that a client that resumes here gets the stored events.
        Some(Frame::default().event("gap").data(serde_json::to_string(&gap).unwrap_or_default()))
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.position;
                return Some(event.frame());
            }
            if self.is_over {
                return None;
            }
            // The end is checked before the log is read, so that no event before the end is missed.
            let end = self.run.end();
            let LogPage { events, gap } = self.log.page_after(self.last);
            let gap = match gap {
                Some(gap) => self.fill(gap).await,
                None => None,
            };
            self.ready.extend(events);
            if gap.is_some() {
                return gap;
            }
            if !self.ready.is_empty() {
                continue;
            }
            if let Some(end) = end {
                self.is_over = true;
                let id = self.log.last().next_event().to_string();
                let view = serde_json::to_string(&RunView::of(&self.run, Some(&end))).unwrap_or_default();
                return Some(Frame::default().event("ended").id(id).data(view));
            }
            tokio::select! {
                () = self.log.wait_for_more(self.last) => {}
                _ = self.run.wait() => {}
            }
        }
    }
}
