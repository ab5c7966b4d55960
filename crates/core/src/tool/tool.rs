//! The trait that every tool implements.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Part, Run, ToolSpec, tool::execution::cut};

/// A named unit of work that a model may call.
///
/// A function becomes a tool with [`tool_fn`](crate::tool_fn). Implement the trait for tools with state:
///
/// ```
/// use brigade_core::{Run, Schema, Tool, ToolError, ToolOutput, ToolSpec, async_trait};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Lookup {
///     /// The word to look up.
///     word: String,
/// }
///
/// #[derive(Debug)]
/// struct Glossary {
///     spec: ToolSpec,
///     entries: std::collections::HashMap<String, String>,
/// }
///
/// impl Glossary {
///     fn new(entries: impl IntoIterator<Item = (String, String)>) -> Self {
///         let spec = ToolSpec::new("glossary", "Explains a term.", Schema::generate::<Lookup>());
///         Self { spec, entries: entries.into_iter().collect() }
///     }
/// }
///
/// #[async_trait]
/// impl Tool for Glossary {
///     fn spec(&self) -> &ToolSpec {
///         &self.spec
///     }
///
///     async fn call(&self, input: serde_json::Value, _run: &Run) -> Result<ToolOutput, ToolError> {
///         let Lookup { word } = serde_json::from_value(input).map_err(|error| ToolError::new(error.to_string()))?;
///         let meaning = self.entries.get(&word);
///         let meaning = meaning.ok_or_else(|| ToolError::new(format!("`{word}` is not in the glossary")))?;
///         Ok(ToolOutput::text(meaning))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ToolError> {
/// let glossary = Glossary::new([("kefir".to_owned(), "a fermented milk drink".to_owned())]);
/// let output = glossary.call(serde_json::json!({"word": "kefir"}), &Run::new()).await?;
/// assert_eq!(output, ToolOutput::text("a fermented milk drink"));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync + 'static {
    /// The tool's name, description and argument schema, for the model, and how the toolbox must run it.
    fn spec(&self) -> &ToolSpec;

    /// Does the work. `input` matches the schema. Dropping the future cancels the call.
    ///
    /// The calls of one turn share a task: move CPU-bound work to [`tokio::task::spawn_blocking`].
    ///
    /// # Errors
    ///
    /// The model reads the error's message, so it should say what to do differently. [`ToolError::fatal`] ends the run.
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

/// The output of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ToolOutput {
    /// Text and images for the model.
    pub content: Vec<Part>,
    /// True if the run ends here, with this output as its answer, without another model call.
    pub ends_run: bool,
    /// Why a worker failed, if this is the text that its failure policy puts in place of an answer.
    pub(crate) stands_for: Option<String>,
}

/// A tool call failed. The model reads the message.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    message: String,
    fatal: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ToolOutput {
    /// An output of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![Part::text(text)], ..Self::default() }
    }

    /// A value as JSON text.
    ///
    /// # Errors
    ///
    /// The value cannot be serialized as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, ToolError> {
        let text = serde_json::to_string(value)
            .map_err(|error| ToolError::new("the tool's result could not be written as JSON").caused_by(error))?;
        Ok(Self::text(text))
    }

    /// Keeps this many bytes of text. A marker stands for the rest.
    #[must_use]
    pub fn cut(mut self, limit: usize) -> Self {
        // The bytes left for text. After the first cut, no more text is kept.
        let mut left = Some(limit);
        self.content.retain_mut(|part| {
            let Part::Text(text) = part else { return true };
            let Some(room) = left else { return false };
            left = room.checked_sub(text.text.len());
            *part = Part::text(cut(std::mem::take(&mut text.text), room));
            true
        });
        self
    }

    /// Ends the run with this output as its answer.
    #[must_use]
    pub fn ending_run(self) -> Self {
        Self { ends_run: true, ..self }
    }
}

impl<T: Into<String>> From<T> for ToolOutput {
    fn from(text: T) -> Self {
        Self::text(text)
    }
}

impl ToolError {
    /// A failure that the model can react to.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), fatal: false, source: None }
    }

    /// A failure that ends the run, because continuing without this tool is pointless.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), fatal: true, source: None }
    }

    /// Sets the cause, for operators: logs and events show it as the reason of the failure, so it must not quote arguments,
    /// results or a model. The model does not see it. The message is for the model alone and is not logged.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Whether the failure ends the run.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}
