//! The events that a decoder emitted, for assertions.

use std::borrow::Cow;

use brigade_core::{Delta, Event, testing::Recorder};

/// The names of the reported quirks, in order.
pub(crate) fn quirks(recorder: &Recorder) -> Vec<&'static str> {
    let quirk = |event| if let Event::WireQuirk { kind: Cow::Borrowed(kind), .. } = event { Some(kind) } else { None };
    recorder.events().into_iter().filter_map(|(_, event)| quirk(event)).collect()
}

/// The deltas, in order.
pub(crate) fn deltas(recorder: &Recorder) -> Vec<Delta> {
    let delta = |event| if let Event::Delta(delta) = event { Some(delta) } else { None };
    recorder.events().into_iter().filter_map(|(_, event)| delta(event)).collect()
}
