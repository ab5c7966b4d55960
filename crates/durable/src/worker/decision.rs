//! Decisions about steps that may have had their effect before a crash.

use brigade_core::{StepRecord, StepState};

use super::durable::StepDecision;
use crate::{Signal, SignalKind};

/// Applies decisions to the records, and returns the records that they change.
pub(super) fn decided(records: &mut [StepRecord], signals: &[Signal]) -> Vec<StepRecord> {
    let decisions = signals.iter().filter(|signal| signal.kind == SignalKind::Decision);
    let decisions = decisions.filter_map(|signal| serde_json::from_str::<StepDecision>(signal.payload.get()).ok());
    let mut changed = Vec::new();
    for StepDecision { path, answer } in decisions {
        let open = records.iter_mut().find(|record| record.path == path && record.state == StepState::Began);
        let Some(record) = open else { continue };
        match answer.map(|answer| record.clone().answered(answer)) {
            Some(Ok(answered)) => *record = answered,
            Some(Err(error)) => tracing::error!("a decision was not applied: {error}"),
            // A step that failed is done again.
            None => record.state = StepState::Failed,
        }
        changed.push(record.clone());
    }
    changed
}
