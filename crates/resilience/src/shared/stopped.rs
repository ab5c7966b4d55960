//! What a wait that the run's end cut short comes to.

use brigade_core::{ModelError, ModelErrorKind, ModelId, Stopped};

/// The run ended before the call did. For whoever judges the provider that is nobody's fault.
pub(crate) fn stopped(stopped: Stopped, model: &ModelId) -> ModelError {
    let message = match stopped {
        Stopped::Cancelled => "the run was cancelled before the model had answered",
        Stopped::Deadline => "the time of the run was up before the model had answered",
    };
    ModelError::new(ModelErrorKind::Cancelled, message).with(|failure| failure.model = Some(model.clone()))
}
