//! Errors in requests.

/// A field of a request is not valid, or not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct FieldError {
    /// The field, such as `input[0].content`.
    pub param: String,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// True if the field is valid, but not supported.
    pub is_unsupported: bool,
}

impl FieldError {
    /// The field is not valid.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into(), is_unsupported: false }
    }

    /// The field is not supported.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_unsupported: true, ..Self::invalid(param, message) }
    }
}
