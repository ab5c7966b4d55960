//! The events of one run, kept so that somebody can read them from any point on.

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

/// The events of one run, numbered from 1. The oldest are forgotten when there are too many.
#[derive(Debug)]
pub(crate) struct EventLog {
    lines: Mutex<Lines>,
    last: watch::Sender<u64>,
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    /// How many were written.
    written: u64,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) json: Arc<str>,
}

/// More of the answer of the top agent.
#[derive(Serialize)]
struct Text<'a> {
    event: &'static str,
    text: &'a str,
}

/// What a run within the default limits writes, answers included, fits twice.
const MOST_LINES: usize = 20_000;

impl EventLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { lines: Mutex::default(), last: watch::Sender::new(0), bytes: AtomicUsize::new(0) })
    }

    /// What was written after the line with this number, and is still there.
    pub(crate) fn after(&self, number: u64) -> Vec<Line> {
        let lines = self.lock();
        // The kept lines are numbered without gaps.
        let first = lines.kept.front().map_or(0, |line| line.number);
        let known = usize::try_from(number.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        lines.kept.iter().skip(known).cloned().collect()
    }

    /// How many lines were written.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }

    /// How long the kept lines are together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until more than `number` lines were written.
    pub(crate) async fn grown_beyond(&self, number: u64) {
        // The sender is here, so it cannot have gone away.
        let _ = self.last.subscribe().wait_for(|last| *last > number).await;
    }

    fn write(&self, entry: &impl Serialize) {
        let Ok(json) = serde_json::to_string(entry) else { return };
        let mut lines = self.lock();
        lines.written += 1;
        let number = lines.written;
        self.bytes.fetch_add(json.len(), Ordering::Relaxed);
        lines.kept.push_back(Line { number, json: json.into() });
        if lines.kept.len() > MOST_LINES
            && let Some(forgotten) = lines.kept.pop_front()
        {
            self.bytes.fetch_sub(forgotten.json.len(), Ordering::Relaxed);
        }
        drop(lines);
        self.last.send_replace(number);
    }

    /// A panic while the lock was held leaves whole lines behind.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for EventLog {
    fn on_event(&self, run: &Run, event: &Event) {
        if event.is_stored() {
            self.write(&EventRecord::new(run, mask_event(event)));
        } else if let Event::Delta(Delta::Text(text)) = event
            && run.depth() == 0
        {
            self.write(&Text { event: "text", text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_where_it_stopped_also_when_the_beginning_is_forgotten() {
        let log = EventLog::new();
        let numbers = |after| log.after(after).iter().map(|line| line.number).collect::<Vec<_>>();
        assert!(numbers(0).is_empty());
        (0..3).for_each(|number| log.write(&number));
        assert_eq!((numbers(0), numbers(2), numbers(9)), (vec![1, 2, 3], vec![3], vec![]));
        assert!(numbers(u64::MAX).is_empty());
        (0..MOST_LINES).for_each(|number| log.write(&number));
        assert_eq!((numbers(0).len(), numbers(0)[0]), (MOST_LINES, 4));
        assert_eq!(numbers(MOST_LINES as u64 + 1), [MOST_LINES as u64 + 2, MOST_LINES as u64 + 3]);
    }
}
