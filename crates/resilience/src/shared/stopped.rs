//! What a wait that the run's end cut short comes to.

use brigade_core::{Interruption, ModelError, ModelErrorKind, ModelId};

/// The run ended before the call did. For whoever judges the provider that is nobody's fault.
pub(crate) fn stopped(stopped: Interruption, model: &ModelId) -> ModelError {
    let message = match stopped {
        Interruption::Cancelled => "the run was cancelled before the model had answered",
        Interruption::Deadline => "the time of the run was up before the model had answered",
    };
    ModelError::new(ModelErrorKind::Cancelled, message).with(|failure| failure.model = Some(model.clone()))
}
