//! What an agent can do besides talking.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use crate::{Part, Run, ToolSpec};

/// A named unit of work that a model may ask for.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync + 'static {
    /// What the model is told, and what the toolbox must know.
    fn spec(&self) -> &ToolSpec;

    /// Does the work. `input` has passed the schema. Dropping the future cancels it.
    ///
    /// Tools of one turn share a task: work that keeps a processor busy belongs in [`tokio::task::spawn_blocking`].
    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Tool + ?Sized> Tool for Arc<T> {
    fn spec(&self) -> &ToolSpec {
        (**self).spec()
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        (**self).call(input, run).await
    }
}

/// What a tool answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolOutput {
    /// Text and images for the model.
    pub content: Vec<Part>,
    /// Whether the run ends here, with this output as its answer, without asking the model again.
    pub ends_run: bool,
}

/// A tool that failed. The model reads the message, so it should say what to do differently.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    message: String,
    fatal: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ToolOutput {
    /// Words for the model.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![Part::text(text)], ends_run: false }
    }

    /// A value for the model, as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, ToolError> {
        let text = serde_json::to_string(value)
            .map_err(|error| ToolError::new("the tool's result could not be written as JSON").caused_by(error))?;
        Ok(Self::text(text))
    }

    /// This output as the answer of the run.
    #[must_use]
    pub fn ending_run(self) -> Self {
        Self { ends_run: true, ..self }
    }
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for ToolOutput {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl ToolError {
    /// A failure that the model may react to.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), fatal: false, source: None }
    }

    /// A failure that ends the run: going on without this tool makes no sense.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), fatal: true, source: None }
    }

    /// Keeps the cause, for logs; the model does not see it.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Whether the run must end.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}
