//! One attempt of a metered model, from its reservation to its settlement.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::{Charge, Delta, Estimate, Event, Hold, ModelErrorKind, ModelId, Observer, Run};

/// One attempt under way. If it is dropped, it ends for the reason that it was given up for, or as cancelled, so that no
/// attempt vanishes from the books or from the record.
pub(crate) struct Attempt<'a> {
    run: &'a Run,
    watched: Option<(Run, Arc<Progress>)>,
    model: &'a ModelId,
    hold: Option<Hold>,
    estimate: Estimate,
    started: Instant,
}

/// What an attempt is to be settled with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// What it used and cost.
    Charge(Charge),
    /// Nobody knows, but the provider may bill it.
    Uncertain,
    /// Nobody bills it.
    Release,
}

/// Counts what has come of an answer.
#[derive(Debug, Default)]
struct Progress {
    bytes: AtomicU64,
}

impl<'a> Attempt<'a> {
    /// Tells that the attempt begins. What it generates is watched if pieces of the answer come at all.
    pub(crate) fn begin(run: &'a Run, model: &'a ModelId, hold: Hold) -> Self {
        let watched = run.wants_deltas().then(|| {
            let progress = Arc::new(Progress::default());
            (run.observed_by(Arc::clone(&progress) as Arc<dyn Observer>), progress)
        });
        run.emit(&Event::AttemptStarted { model: model.clone() });
        Self { run, watched, model, estimate: *hold.estimate(), hold: Some(hold), started: Instant::now() }
    }

    /// The run that the model is to be asked in.
    pub(crate) fn run(&self) -> &Run {
        self.watched.as_ref().map_or(self.run, |(watched, _)| watched)
    }

    /// What was reserved.
    pub(crate) fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// How many tokens have come so far, at four bytes a token.
    pub(crate) fn output_seen(&self) -> u64 {
        self.watched.as_ref().map_or(0, |(_, progress)| progress.bytes.load(Ordering::Relaxed).div_ceil(4))
    }

    /// Tells that the provider's report of usage cannot be true.
    pub(crate) fn suspect_usage(&self) {
        let provider = Arc::clone(self.model.provider());
        self.run.emit(&Event::WireQuirk { provider, kind: "usage_suspect" });
    }

    /// Settles the attempt and tells how it ended. Only the first end counts.
    pub(crate) fn end(&mut self, error: Option<ModelErrorKind>, verdict: Verdict) {
        let seen = self.output_seen();
        let Some(mut hold) = self.hold.take() else { return };
        let charge = match verdict {
            Verdict::Charge(charge) => {
                hold.settle(&charge);
                Some(charge)
            }
            Verdict::Uncertain => {
                hold.record_output(seen);
                Some(hold.settle_uncertain())
            }
            Verdict::Release => {
                hold.release();
                None
            }
        };
        let elapsed = self.started.elapsed();
        self.run.emit(&Event::AttemptEnded { model: self.model.clone(), error, charge, elapsed });
        self.run.emit_warnings();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.end(Some(self.run.drop_reason()), Verdict::Uncertain);
    }
}

impl Observer for Progress {
    fn on_event(&self, _: &Run, event: &Event) {
        let bytes = match event {
            Event::Delta(Delta::Text(text) | Delta::Thinking(text)) => text.len(),
            Event::Delta(Delta::ToolCall { name }) => name.len(),
            Event::Delta(Delta::Arguments { bytes }) => *bytes,
            _ => 0,
        };
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
