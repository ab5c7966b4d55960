//! The events of one run, kept in memory for clients that follow it.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use brigade_core::{Delta, Event, EventRecord, Observer, Run};
use brigade_observability::mask_event;
use brigade_store::RequestRecorder;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::watch;

/// The events of one run as JSON. It is an [`Observer`] of the run. The oldest events are dropped when there are too many.
#[derive(Debug)]
pub struct EventLog {
    entries: Mutex<Entries>,
    last: watch::Sender<EventPosition>,
    bytes: AtomicUsize,
    retries: AtomicU64,
    /// Stores the events too, and numbers them.
    recorder: Option<RequestRecorder>,
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<LoggedEvent>,
    last: EventPosition,
    /// The last entry that was dropped, and the last one of them that is a piece of text.
    dropped: EventPosition,
    dropped_text: EventPosition,
}

/// An event of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// Its position.
    pub position: EventPosition,
    /// The event as JSON.
    pub json: Arc<str>,
}

/// The position of an event in a run. It is written as `7`, and that of the third piece of text after event 7 as `7.3`.
///
/// Pieces of text are not stored, so the numbers of all other events are the same in memory and in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EventPosition {
    /// The number of the event, from 1.
    pub event: u64,
    /// The number of the piece of text after that event, from 1; 0 for the event itself.
    pub text: u64,
}

/// The entries after a position.
#[derive(Debug)]
pub(crate) struct LogPage {
    pub(crate) events: Vec<LoggedEvent>,
    pub(crate) gap: Option<LogGap>,
}

/// Entries that were dropped before they were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogGap {
    /// The last of them.
    pub(crate) to: EventPosition,
    /// True if some are pieces of text, which no store has.
    pub(crate) has_text: bool,
}

/// Events that are not kept any more, because the client read them too slowly or asked for them too late.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GapEvent {
    /// The `id` of the last event before them.
    #[schemars(with = "String")]
    pub(crate) after: String,
    /// The `id` of the last one of them.
    #[schemars(with = "String")]
    pub(crate) to: String,
}

/// A piece of text that continues the top agent's answer. Only if the run was started with `stream`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TextEvent<'a> {
    #[schemars(extend("const" = "text"))]
    event: &'static str,
    text: &'a str,
}

/// Twice the number of events that a run within the default limits writes, including deltas.
const MAX_ENTRIES: usize = if cfg!(test) { 100 } else { 20_000 };

impl EventLog {
    /// An empty log.
    pub fn new() -> Arc<Self> {
        Self::recorded_by(None)
    }

    /// An empty log of events that this recorder stores.
    pub(crate) fn recorded_by(recorder: Option<RequestRecorder>) -> Arc<Self> {
        let last = watch::Sender::new(EventPosition::default());
        Arc::new(Self {
            entries: Mutex::default(),
            last,
            bytes: AtomicUsize::new(0),
            retries: AtomicU64::new(0),
            recorder,
        })
    }

    /// A log of a run that goes on. The recorder numbers its events from here; earlier ones are in the store.
    pub(crate) fn resumed(recorder: RequestRecorder) -> Arc<Self> {
        let position = EventPosition::of_event(recorder.last());
        let entries = Entries { last: position, dropped: position, ..Entries::default() };
        let last = watch::Sender::new(position);
        let (bytes, retries) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { entries: Mutex::new(entries), last, bytes, retries, recorder: Some(recorder) })
    }

    /// The events after this position that are still kept.
    pub fn after(&self, position: EventPosition) -> Vec<LoggedEvent> {
        self.page_after(position).events
    }

    /// The events after this position, and whether some were dropped before them.
    pub(crate) fn page_after(&self, position: EventPosition) -> LogPage {
        let entries = self.entries.lock();
        let first = entries.kept.partition_point(|entry| entry.position <= position);
        let gap = LogGap { to: entries.dropped, has_text: entries.dropped_text > position };
        LogPage {
            events: entries.kept.range(first..).cloned().collect(),
            gap: Some(gap).filter(|gap| gap.to > position),
        }
    }

    /// The position of the last event.
    pub fn last(&self) -> EventPosition {
        self.entries.lock().last
    }

    /// Waits until there is an event after this position.
    pub async fn wait_for_more(&self, position: EventPosition) {
        // The sender lives as long as `self`, so this does not fail.
        let _ = self.last.subscribe().wait_for(|last| *last > position).await;
    }

    /// The size of the kept events in bytes of JSON.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of calls that were retried since the log was opened.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Adds an event. `number` returns its number, and is called in the order of the events.
    fn write(&self, event: &impl Serialize, number: impl FnOnce(EventPosition) -> EventPosition) {
        let json = serde_json::to_string(event);
        let mut entries = self.entries.lock();
        let position = number(entries.last);
        entries.last = position;
        let Ok(json) = json else { return };
        self.bytes.fetch_add(json.len(), Ordering::Relaxed);
        entries.kept.push_back(LoggedEvent { position, json: json.into() });
        if entries.kept.len() > MAX_ENTRIES
            && let Some(dropped) = entries.kept.pop_front()
        {
            self.bytes.fetch_sub(dropped.json.len(), Ordering::Relaxed);
            entries.dropped = dropped.position;
            if dropped.position.text > 0 {
                entries.dropped_text = dropped.position;
            }
        }
        drop(entries);
        self.last.send_replace(position);
    }
}

impl EventPosition {
    /// The position of the event with this number.
    pub const fn of_event(event: u64) -> Self {
        Self { event, text: 0 }
    }

    /// The position of the next event.
    #[must_use]
    pub const fn next_event(self) -> Self {
        Self::of_event(self.event.saturating_add(1))
    }

    const fn next_text(self) -> Self {
        Self { text: self.text + 1, ..self }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            0 => write!(f, "{}", self.event),
            text => write!(f, "{}.{text}", self.event),
        }
    }
}

impl FromStr for EventPosition {
    type Err = ();

    /// A number beyond `u64` becomes the largest one, which comes after every event.
    fn from_str(id: &str) -> Result<Self, ()> {
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().unwrap_or(u64::MAX)).ok_or(())
        };
        let (event, text) = id.split_once('.').unwrap_or((id, "0"));
        Ok(Self { event: number(event)?, text: number(text)? })
    }
}

impl Observer for EventLog {
    fn on_event(&self, run: &Run, event: &Event) {
        if matches!(event, Event::Retrying { .. }) {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
        if event.is_stored() {
            self.write(&EventRecord::new(run, mask_event(event)), |last| {
                let stored = self.recorder.as_ref().and_then(|recorder| recorder.record(run, event));
                stored.map_or_else(|| last.next_event(), EventPosition::of_event)
            });
        } else if let Event::Delta(Delta::Text(text)) = event
            && run.depth() == 0
        {
            self.write(&TextEvent { event: "text", text }, EventPosition::next_text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(log: &EventLog, after: &str) -> Vec<String> {
        log.after(after.parse().unwrap()).iter().map(|entry| entry.position.to_string()).collect()
    }

    #[test]
    fn a_reader_resumes_where_it_stopped_even_if_old_events_were_dropped() {
        let log = EventLog::new();
        assert!(ids(&log, "0").is_empty());
        (0..3).for_each(|number| log.write(&number, EventPosition::next_event));
        assert_eq!((ids(&log, "0").len(), ids(&log, "2"), ids(&log, "9").len()), (3, vec!["3".to_owned()], 0));
        assert!(ids(&log, "99999999999999999999999").is_empty());
        (0..MAX_ENTRIES).for_each(|number| log.write(&number, EventPosition::next_event));
        let kept = ids(&log, "0");
        assert_eq!((kept.len(), kept[0].as_str()), (MAX_ENTRIES, "4"));
    }

    #[test]
    fn pieces_of_text_do_not_change_the_numbers_of_events() {
        let log = EventLog::new();
        let next = [EventPosition::next_text, EventPosition::next_event, EventPosition::next_text];
        next.into_iter()
            .chain([EventPosition::next_text, EventPosition::next_event])
            .for_each(|next| log.write(&0, next));
        assert_eq!(ids(&log, "0"), ["0.1", "1", "1.1", "1.2", "2"]);
        assert_eq!(ids(&log, "1.1"), ["1.2", "2"]);
        for id in ["", "x", "1.", ".1", "1.2.3", "-1", "+1", "1e3"] {
            assert_eq!(id.parse::<EventPosition>(), Err(()), "{id}");
        }
    }
}
