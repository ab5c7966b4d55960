//! One attempt of a metered model, from its reservation to its settlement.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::{Charge, Delta, Estimate, Event, Hold, ModelError, ModelErrorKind, ModelId, Observer, Run};

/// An attempt in progress. Dropping it settles it as uncertain, so that no attempt is missing from the ledger or from
/// the events.
pub(crate) struct Attempt<'a> {
    run: &'a Run,
    /// A run that counts the deltas, if the provider sends any.
    counted: Option<(Run, Arc<OutputCounter>)>,
    model: &'a ModelId,
    hold: Option<Hold>,
    estimate: Estimate,
    /// Whether the reservation is a bound, because spending is limited.
    pub(crate) is_limited: bool,
    started: Instant,
}

/// How an attempt is settled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Settlement {
    /// Usage and cost are known.
    Charge(Charge),
    /// The provider may bill the attempt, and its usage is not known.
    Uncertain,
    /// The provider does not bill the attempt.
    Release,
}

/// Counts the bytes of a reply while its deltas arrive.
#[derive(Debug, Default)]
struct OutputCounter {
    bytes: AtomicU64,
}

impl<'a> Attempt<'a> {
    /// Begins an attempt, once the journal of the run has what it may cost.
    pub(crate) async fn begin(run: &'a Run, model: &'a ModelId, hold: Hold) -> Result<Self, ModelError> {
        if let Err(error) = run.note_began(Some(model)).await {
            hold.release();
            return Err(ModelError::new(
                ModelErrorKind::Cancelled,
                "not asked, because the run has no journal any more",
            )
            .caused_by(error));
        }
        let counted = run.wants_deltas().then(|| {
            let counter = Arc::new(OutputCounter::default());
            (run.observed_by(Arc::clone(&counter) as Arc<dyn Observer>), counter)
        });
        run.emit(&Event::AttemptStarted { model: model.clone() });
        let (estimate, is_limited) = (*hold.estimate(), run.ledger().limits_spending());
        Ok(Self { run, counted, model, estimate, is_limited, hold: Some(hold), started: Instant::now() })
    }

    /// The run to pass to the model.
    pub(crate) fn run(&self) -> &Run {
        self.counted.as_ref().map_or(self.run, |(run, _)| run)
    }

    pub(crate) fn model(&self) -> &'a ModelId {
        self.model
    }

    pub(crate) fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// The tokens received so far: at most one for each byte if spending is limited, else one for four. Absent if nothing
    /// was seen of the reply: anything may have been generated.
    pub(crate) fn output_tokens(&self) -> Option<u64> {
        let (_, counter) = self.counted.as_ref()?;
        let bytes = counter.bytes.load(Ordering::Relaxed);
        (bytes > 0).then(|| if self.is_limited { bytes } else { bytes.div_ceil(4) })
    }

    pub(crate) fn report_implausible_usage(&self) {
        let provider = Arc::clone(self.model.provider());
        self.run.emit(&Event::WireQuirk { provider, kind: "usage_suspect".into() });
    }

    /// Settles the attempt and emits its end. Further calls do nothing.
    pub(crate) fn end(&mut self, error: Option<ModelErrorKind>, settlement: Settlement) {
        let output_tokens = self.output_tokens();
        let Some(mut hold) = self.hold.take() else { return };
        let charge = match settlement {
            Settlement::Charge(charge) => {
                hold.settle(&charge);
                Some(charge)
            }
            Settlement::Uncertain => {
                if let Some(tokens) = output_tokens {
                    hold.record_output(tokens);
                }
                Some(hold.settle_uncertain())
            }
            Settlement::Release => {
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
        self.end(Some(self.run.drop_reason()), Settlement::Uncertain);
    }
}

impl Observer for OutputCounter {
    fn on_event(&self, _: &Run, event: &Event) {
        let Event::Delta(delta) = event else { return };
        let bytes = match delta {
            Delta::Text(text) | Delta::Thinking(text) => text.len(),
            Delta::ToolCall { name } => name.len(),
            Delta::Arguments { bytes } => *bytes,
        };
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
