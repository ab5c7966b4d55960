//! Watching an answer while it is generated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use brigade_core::{Delta, Event, Observer, Run};
use tokio::time::Instant;

/// A run whose answer is watched while it is generated, if it is told of pieces at all.
#[derive(Debug)]
pub(crate) struct Watched {
    run: Run,
    watch: Option<Arc<Watch>>,
}

/// Sees when pieces of an answer were shown and how often it began again. It looks at no text, only at whether there is
/// any: an empty piece is no progress.
#[derive(Debug)]
struct Watch {
    origin: Instant,
    /// Nanoseconds from the origin to the latest piece, plus one; zero before the first.
    latest: AtomicU64,
    restarts: AtomicU32,
    /// Whether the pieces since the answer last began had words in them.
    has_words: AtomicBool,
}

impl Watched {
    /// Watches `run` from now on.
    pub(crate) fn over(run: &Run) -> Self {
        if !run.wants_deltas() {
            return Self { run: run.clone(), watch: None };
        }
        let watch = Arc::new(Watch {
            origin: Instant::now(),
            latest: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
            has_words: AtomicBool::new(false),
        });
        Self { run: run.observed_by(watch.clone()), watch: Some(watch) }
    }

    /// The run to hand on.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Whether anything would be seen.
    pub(crate) fn is_told(&self) -> bool {
        self.watch.is_some()
    }

    /// When the latest piece of the answer was shown; absent if none was since the answer last began.
    pub(crate) fn latest(&self) -> Option<Instant> {
        let watch = self.watch.as_ref()?;
        let nanos = watch.latest.load(Ordering::Relaxed).checked_sub(1)?;
        Some(watch.origin + Duration::from_nanos(nanos))
    }

    /// Whether a listener has seen a part of the answer that is not yet void.
    pub(crate) fn has_shown(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.latest.load(Ordering::Relaxed) > 0)
    }

    /// Whether what listeners have seen may be declared void, which may be done `most` times.
    pub(crate) fn may_restart(&self, most: u32) -> bool {
        self.watch.as_ref().is_none_or(|watch| {
            let is_final = self.run.is_append_only() && watch.has_words.load(Ordering::Relaxed);
            !is_final && watch.restarts.load(Ordering::Relaxed) < most
        })
    }
}

impl Observer for Watch {
    fn on_event(&self, _: &Run, event: &Event) {
        match event {
            Event::Delta(delta) if !is_empty(delta) => {
                let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
                self.latest.store(nanos + 1, Ordering::Relaxed);
                if matches!(delta, Delta::Text(_)) {
                    self.has_words.store(true, Ordering::Relaxed);
                }
            }
            Event::ReplyRestarted => {
                self.latest.store(0, Ordering::Relaxed);
                self.has_words.store(false, Ordering::Relaxed);
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
