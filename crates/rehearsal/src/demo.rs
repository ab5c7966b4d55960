//! The built-in script of `brigade demo`.
pub(crate) const MODELS: [&str; 2] = ["claude-sonnet-4-5", "gpt-5-mini"];
