//! An observer that remembers.

use std::sync::{Arc, Mutex};

use crate::{Event, Observer, Run, sync::unpoisoned};

/// An observer that remembers every event, with the path of the agent it happened to. Clones share the memory.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// The path of an agent, and what happened to it.
type Recorded = (Arc<str>, Event);

impl Recorder {
    /// Nothing recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that happened, in order.
    pub fn events(&self) -> Vec<(Arc<str>, Event)> {
        unpoisoned(&self.0).clone()
    }

    /// How many events `matches` holds for.
    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        unpoisoned(&self.0).iter().filter(|(_, event)| matches(event)).count()
    }

    /// The text of all deltas since the reply last began again.
    pub fn text(&self) -> String {
        let events = unpoisoned(&self.0);
        let start = events.iter().rposition(|(_, event)| *event == Event::ReplyRestarted).map_or(0, |index| index + 1);
        let deltas = events.iter().skip(start).filter_map(|(_, event)| match event {
            Event::Delta(crate::Delta::Text(text)) => Some(text.as_str()),
            _ => None,
        });
        deltas.collect()
    }
}

impl Observer for Recorder {
    fn on_event(&self, run: &Run, event: &Event) {
        unpoisoned(&self.0).push((Arc::clone(run.agent()), event.clone()));
    }
}
