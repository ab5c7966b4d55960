//! Records the runs of one request.

use std::sync::Mutex;

use brigade_core::{Event, Observer, Run};

use super::history::{History, RunOwner};
use crate::unpoisoned;

/// Records the runs of one request, and numbers their events; see [`History::recorder`].
#[derive(Debug)]
pub struct RequestRecorder {
    history: History,
    owner: RunOwner,
    /// The number of the last event. Locked while an event is queued, so that events are stored in the order of their
    /// numbers.
    last: Mutex<u64>,
}

impl RequestRecorder {
    pub(super) fn new(history: History, owner: RunOwner) -> Self {
        Self { history, owner, last: Mutex::new(0) }
    }

    /// Numbers events after this one, for a run that goes on.
    #[must_use]
    pub fn after(self, number: u64) -> Self {
        Self { last: Mutex::new(number), ..self }
    }

    /// The number of the last event.
    pub fn last(&self) -> u64 {
        *unpoisoned(&self.last)
    }

    /// Records an event. Returns its number, from 1, or `None` if such events are not stored. Several runs of a request
    /// share the numbers.
    pub fn record(&self, run: &Run, event: &Event) -> Option<u64> {
        if !event.is_stored() {
            return None;
        }
        let mut last = unpoisoned(&self.last);
        *last += 1;
        self.history.store(run, &self.owner, event, Some(*last));
        Some(*last)
    }
}

impl Observer for RequestRecorder {
    fn on_event(&self, run: &Run, event: &Event) {
        self.record(run, event);
    }
}
