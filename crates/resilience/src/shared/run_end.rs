//! The error of a call that the end of its run cut short.

use brigade_core::{Interruption, ModelError, ModelErrorKind, ModelId};

/// The error of a call whose run ended first. It does not count as a failure of the provider.
pub(crate) fn run_ended(interruption: Interruption, model: &ModelId) -> ModelError {
    let message = match interruption {
        Interruption::Cancelled => "the run was cancelled before the model had answered",
        Interruption::Deadline => "the run's deadline passed before the model had answered",
    };
    ModelError::new(ModelErrorKind::Cancelled, message).with(|failure| failure.model = Some(model.clone()))
}
