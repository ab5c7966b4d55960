//! Watching an answer while it is generated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use brigade_core::{Delta, Event, Observer, Run};
use tokio::time::Instant;

/// Sees when pieces of an answer were shown and how often it began again. It looks at no text, only at whether there is
/// any: an empty piece is no progress.
#[derive(Debug)]
pub(crate) struct Watch {
    origin: Instant,
    /// Nanoseconds from the origin to the latest piece, plus one; zero before the first.
    latest: AtomicU64,
    restarts: AtomicU32,
}

impl Watch {
    /// Watches `run`, if it is told of pieces at all: the watch, and the run to hand on.
    pub(crate) fn over(run: &Run) -> Option<(Arc<Self>, Run)> {
        run.wants_deltas().then(|| {
            let watch = Arc::new(Self::new());
            let run = run.observed_by(watch.clone());
            (watch, run)
        })
    }

    fn new() -> Self {
        Self { origin: Instant::now(), latest: AtomicU64::new(0), restarts: AtomicU32::new(0) }
    }

    /// When the latest piece of the answer was shown; absent if none was since the answer last began.
    pub(crate) fn latest(&self) -> Option<Instant> {
        let nanos = self.latest.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.origin + Duration::from_nanos(nanos))
    }

    /// Whether a listener has seen a part of the answer that is not yet void.
    pub(crate) fn has_shown(&self) -> bool {
        self.latest.load(Ordering::Relaxed) > 0
    }

    /// How often listeners were told that the answer begins again.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Observer for Watch {
    fn on_event(&self, _: &Run, event: &Event) {
        match event {
            Event::Delta(delta) if !is_empty(delta) => {
                let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
                self.latest.store(nanos + 1, Ordering::Relaxed);
            }
            Event::ReplyRestarted => {
                self.latest.store(0, Ordering::Relaxed);
                self.restarts.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

fn is_empty(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text) | Delta::Thinking(text) => text.is_empty(),
        Delta::Arguments { bytes } => *bytes == 0,
        Delta::ToolCall { .. } => false,
    }
}
