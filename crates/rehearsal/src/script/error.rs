//! The error of a text that is not a script or a fault plan.

/// The error if a script or a fault plan cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the plan; correct the text at the place shown below")]
#[non_exhaustive]
pub struct PlanError(#[from] toml::de::Error);

impl PlanError {
    /// What the parser says, and where.
    pub fn cause(&self) -> &toml::de::Error {
        &self.0
    }
}
