//! The events of one run, kept in memory for clients that follow it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use brigade_core::{Delta, Event, EventRecord, Observer, Run};
use brigade_observability::mask_event;
use serde::Serialize;
use tokio::sync::watch;

/// The events of one run as JSON, numbered from 1. It is an [`Observer`] of the run. The oldest events are dropped when
/// there are too many.
#[derive(Debug)]
pub struct EventLog {
    entries: Mutex<Entries>,
    last: watch::Sender<u64>,
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<LoggedEvent>,
    written: u64,
}

/// An event of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// Its number, from 1.
    pub number: u64,
    /// The event as JSON.
    pub json: Arc<str>,
}

/// A piece of text that continues the top agent's answer.
#[derive(Serialize)]
struct TextEvent<'a> {
    event: &'static str,
    text: &'a str,
}

/// Twice the number of events that a run within the default limits writes, including deltas.
const MAX_ENTRIES: usize = 20_000;

impl EventLog {
    /// An empty log.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), last: watch::Sender::new(0), bytes: AtomicUsize::new(0) })
    }

    /// The events after the one with this number that are still kept.
    pub fn after(&self, number: u64) -> Vec<LoggedEvent> {
        let entries = self.lock();
        // The kept entries are numbered without gaps.
        let first = entries.kept.front().map_or(0, |entry| entry.number);
        let skipped = usize::try_from(number.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        entries.kept.iter().skip(skipped).cloned().collect()
    }

    /// The number of the last event.
    pub fn last_number(&self) -> u64 {
        self.lock().written
    }

    /// Waits until there is an event after the one with this number.
    pub async fn wait_for_more(&self, number: u64) {
        // The sender lives as long as `self`, so this does not fail.
        let _ = self.last.subscribe().wait_for(|last| *last > number).await;
    }

    /// The size of the kept events in bytes of JSON.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn write(&self, event: &impl Serialize) {
        let Ok(json) = serde_json::to_string(event) else { return };
        let mut entries = self.lock();
        entries.written += 1;
        let number = entries.written;
        self.bytes.fetch_add(json.len(), Ordering::Relaxed);
        entries.kept.push_back(LoggedEvent { number, json: json.into() });
        if entries.kept.len() > MAX_ENTRIES
            && let Some(dropped) = entries.kept.pop_front()
        {
            self.bytes.fetch_sub(dropped.json.len(), Ordering::Relaxed);
        }
        drop(entries);
        self.last.send_replace(number);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for EventLog {
    fn on_event(&self, run: &Run, event: &Event) {
        if event.is_stored() {
            self.write(&EventRecord::new(run, mask_event(event)));
        } else if let Event::Delta(Delta::Text(text)) = event
            && run.depth() == 0
        {
            self.write(&TextEvent { event: "text", text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_resumes_where_it_stopped_even_if_old_events_were_dropped() {
        let log = EventLog::new();
        let numbers = |after| log.after(after).iter().map(|entry| entry.number).collect::<Vec<_>>();
        assert!(numbers(0).is_empty());
        (0..3).for_each(|number| log.write(&number));
        assert_eq!((numbers(0), numbers(2), numbers(9)), (vec![1, 2, 3], vec![3], vec![]));
        assert!(numbers(u64::MAX).is_empty());
        (0..MAX_ENTRIES).for_each(|number| log.write(&number));
        assert_eq!((numbers(0).len(), numbers(0)[0]), (MAX_ENTRIES, 4));
        assert_eq!(numbers(MAX_ENTRIES as u64 + 1), [MAX_ENTRIES as u64 + 2, MAX_ENTRIES as u64 + 3]);
    }
}
