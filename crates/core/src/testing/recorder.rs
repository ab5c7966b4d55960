//! An observer that records events.

use std::sync::{Arc, Mutex};

use crate::{Delta, Event, Observer, Run, sync::unpoisoned};

/// An observer that records every event with the path of its agent. Clones share the record.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// The path of an agent, and an event.
type Recorded = (Arc<str>, Event);

impl Recorder {
    /// Creates an empty recorder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all events in order.
    pub fn events(&self) -> Vec<(Arc<str>, Event)> {
        unpoisoned(&self.0).clone()
    }

    /// Counts the events that match.
    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        unpoisoned(&self.0).iter().filter(|(_, event)| matches(event)).count()
    }

    /// Returns the text of all deltas since the reply was last restarted.
    pub fn text(&self) -> String {
        let events = unpoisoned(&self.0);
        let start = events.iter().rposition(|(_, event)| *event == Event::ReplyRestarted).map_or(0, |index| index + 1);
        let deltas = events.iter().skip(start).filter_map(|(_, event)| {
            let Event::Delta(Delta::Text(text)) = event else { return None };
            Some(text.as_str())
        });
        deltas.collect()
    }
}

impl Observer for Recorder {
    fn on_event(&self, run: &Run, event: &Event) {
        unpoisoned(&self.0).push((Arc::clone(run.agent()), event.clone()));
    }
}
