//! What the two APIs have in common.

pub(crate) mod brigade_details;
pub(crate) mod client_tools;
pub(crate) mod error_code;
pub(crate) mod field_error;
pub(crate) mod image;
pub(crate) mod metadata;
pub(crate) mod settings;
