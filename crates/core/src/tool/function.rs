//! A tool that is a function.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Effect, Run, Tool, ToolError, ToolOutput, ToolSpec, tool::schema::schema_of};

/// A tool made of a function. Made by [`tool_fn`].
#[derive(Clone)]
pub struct FunctionTool {
    spec: ToolSpec,
    call: Arc<Call>,
}

type Call = dyn Fn(Value, Run) -> BoxFuture<'static, Result<ToolOutput, ToolError>> + Send + Sync;

/// Makes a tool of a function. The schema of its arguments is derived from their type.
///
/// ```
/// use brigade_core::{ToolOutput, tool_fn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Lookup {
///     /// The word to look up.
///     word: String,
/// }
///
/// let lookup = tool_fn("lookup", "Looks a word up.", |args: Lookup, _run| async move {
///     Ok(ToolOutput::text(format!("{} means nothing to me.", args.word)))
/// });
/// ```
pub fn tool_fn<A, F>(name: &str, description: &str, call: impl Fn(A, Run) -> F + Send + Sync + 'static) -> FunctionTool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    let call = move |input: Value, run: Run| -> BoxFuture<'static, _> {
        match serde_json::from_value::<A>(input) {
            Ok(arguments) => Box::pin(call(arguments, run)),
            Err(error) => {
                let message = format!("the arguments do not fit: {error}");
                Box::pin(std::future::ready(Err(ToolError::new(message))))
            }
        }
    };
    FunctionTool { spec: ToolSpec::new(name, description, schema_of::<A>()), call: Arc::new(call) }
}

impl FunctionTool {
    /// How long one call may take; absent, the toolbox decides.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = Some(timeout);
        self
    }

    /// Says that it is meant to be called again with the same arguments: it waits, or asks whether something is done.
    #[must_use]
    pub fn polling(mut self) -> Self {
        self.spec.polling = true;
        self
    }

    /// What running it a second time would do; [`Effect::Once`] unless said otherwise.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.spec.effect = effect;
        self
    }
}

#[async_trait]
impl Tool for FunctionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        (self.call)(input, run.clone()).await
    }
}

impl fmt::Debug for FunctionTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}
