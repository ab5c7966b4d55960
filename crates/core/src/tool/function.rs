//! Functions as tools.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Effect, Run, Schema, Tool, ToolError, ToolOutput, ToolSpec};

/// A tool that calls a function. [`tool_fn`] creates it.
#[derive(Clone)]
pub struct FunctionTool {
    spec: ToolSpec,
    call: Arc<Call>,
}

type Call = dyn Fn(Value, Run) -> BoxFuture<'static, Result<ToolOutput, ToolError>> + Send + Sync;

/// Turns a function into a tool. The schema of its arguments is derived from their type.
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
///     Ok(ToolOutput::text(format!("{}: not in the dictionary", args.word)))
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
                let error = ToolError::new(format!("the arguments are not valid: {error}"));
                let error = error.caused_by("the arguments do not fit the type of the function");
                Box::pin(std::future::ready(Err(error)))
            }
        }
    };
    FunctionTool { spec: ToolSpec::new(name, description, Schema::generate::<A>()), call: Arc::new(call) }
}

impl FunctionTool {
    /// Sets how long one call may take, instead of [`ToolLimits::timeout`](crate::ToolLimits::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = Some(timeout);
        self
    }

    /// Marks the tool as one that is called again with the same arguments, for example to wait for a result. See
    /// [`ToolSpec::polling`].
    #[must_use]
    pub fn polling(mut self) -> Self {
        self.spec.polling = true;
        self
    }

    /// Sets what a second call with the same arguments would do; [`Effect::Once`] by default.
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
