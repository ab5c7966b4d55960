//! A tool whose calls need an approval.

use std::{error::Error as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{
    Arguments, Effect, ErrorChain, JournalError, RawJson, Run, Schema, Tool, ToolCall, ToolError, ToolLimits,
    ToolOutput, ToolResult, ToolSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::approver::{ApprovalRequest, Approver, CallAction, Decide, Source};
use crate::{NewApproval, waiting::run_waits::path_of};

/// A tool whose calls are made only if a person allows them. A worker can be wrapped too: see
/// [`Worker::into_tool`](brigade_core::Worker::into_tool).
///
/// In a run of [`Durable`](crate::Durable) the call waits in the store, as an [`Approval`](crate::Approval), and
/// [`Durable::answer_approval`](crate::Durable::answer_approval) answers it. Other calls of the run go on meanwhile. When
/// nothing else is left to do, the run waits and holds nothing. In other runs, the [`Approver`] of the run is asked.
///
/// The call is made with the arguments that were approved. A denial is a result that the model reads, with its reason. The call
/// itself is a step inside the step of the tool, with the effect of the tool.
///
/// ```
/// use brigade_core::{Agent, Run, ToolOutput, tool_fn};
/// use brigade_durable::{
///     ApprovalAnswer, ApprovalQuery, ApprovalRule, ApprovedTool, CancellationToken, Durable, MemoryRunStore, RunState,
///     Submission,
/// };
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Refund {
///     amount: u32,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([Turn::call("1", "refund", serde_json::json!({"amount": 250})), Turn::text("Done.")]);
/// let refund = tool_fn("refund", "Pays money back.", async |args: Refund, _run: Run| {
///     Ok(ToolOutput::text(format!("paid back {}", args.amount)))
/// });
/// let desk = Agent::new("desk", model).tool(ApprovedTool::new(refund, ApprovalRule::Always));
/// let durable = Durable::new(MemoryRunStore::new()).agent("desk", desk);
/// let stop = CancellationToken::new();
/// let worker = tokio::spawn({
///     let (durable, stop) = (durable.clone(), stop.clone());
///     async move { durable.work(stop).await }
/// });
///
/// let run = durable.submit(Submission::new("desk", "Please pay me back.")).await?.id();
/// durable.wait_until(run, |run| run.status == RunState::Waiting).await?;
/// let approval = durable.store().approvals(&ApprovalQuery::default().run(run)).await?.remove(0);
/// assert_eq!(approval.arguments.get(), r#"{"amount":250}"#);
///
/// durable.answer_approval(&approval.id, ApprovalAnswer::approve("ada")).await?;
/// assert_eq!(durable.wait(run).await?.status, RunState::Finished);
/// stop.cancel();
/// # let _ = worker.await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ApprovedTool {
    tool: Arc<dyn Tool>,
    spec: ToolSpec,
    rule: ApprovalRule,
    expires_in: Option<Duration>,
    output_bytes: usize,
}

/// Which calls of a tool need an approval.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ApprovalRule {
    /// All calls.
    Always,
    /// Calls whose arguments match this schema.
    When(Schema),
}

/// The result of a call, as the journal keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct CallRecord {
    /// Absent if the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<ToolOutput>,
    /// The failure; or the result of a step that was answered by a decision, see
    /// [`StepRecord::answered`](brigade_core::StepRecord::answered).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<ToolResult>,
    #[serde(default)]
    is_fatal: bool,
    /// The cause of a failure, for operators.
    #[serde(default)]
    cause: Option<String>,
}

impl ApprovedTool {
    /// A tool whose calls need an approval by this rule.
    pub fn new(tool: impl Tool, rule: ApprovalRule) -> Self {
        let mut spec = tool.spec().clone();
        // The call is a step of its own, after the wait.
        spec.effect = Effect::Composite;
        spec.timeout = Some(Duration::MAX);
        let output_bytes = ToolLimits::default().output_bytes;
        Self { tool: Arc::new(tool), spec, rule, expires_in: None, output_bytes }
    }

    /// Sets the time after which a call without an answer is denied. 24 hours by default: a person sees it on the next
    /// day.
    #[must_use]
    pub fn expires_in(self, expires_in: Duration) -> Self {
        Self { expires_in: Some(expires_in), ..self }
    }

    /// Sets how many bytes of the tool's text are kept. By default as many as
    /// [`ToolLimits::output_bytes`](brigade_core::ToolLimits::output_bytes).
    #[must_use]
    pub fn output_bytes(self, output_bytes: usize) -> Self {
        Self { output_bytes, ..self }
    }

    async fn action_for(&self, input: Value, run: &Run) -> CallAction {
        let needs_approval = self.rule.matches(&input);
        match &run.shared::<Approver>().0 {
            Source::Stored(approvals) => {
                let Some(path) = path_of(run) else { return CallAction::refuse(NO_APPROVER) };
                let new = NewApproval::new(approvals.run(), path, &*self.spec.name, &input);
                // The store could not show such arguments to a person: a name that `serde_json` reserves, sorted to the front.
                if needs_approval && serde_json::from_str::<Value>(new.arguments.get()).is_err() {
                    return CallAction::refuse(UNREADABLE);
                }
                let new = NewApproval { expires_in: self.expires_in.unwrap_or(new.expires_in), ..new };
                let new = new.schema(self.spec.input_schema.clone());
                let action = approvals.action_for(new, needs_approval, run).await;
                action.unwrap_or(CallAction::Make(input))
            }
            Source::InProcess(decide) if needs_approval => self.ask(&**decide, input, run).await,
            Source::Missing if needs_approval => CallAction::refuse(NO_APPROVER),
            Source::InProcess(_) | Source::Missing => CallAction::Make(input),
        }
    }

    async fn ask(&self, decide: &dyn Decide, input: Value, run: &Run) -> CallAction {
        let request = ApprovalRequest::new(&self.spec.name, &input, &self.spec.input_schema, run);
        let answer = decide.decide(request).await;
        if answer.is_approved && !answer.is_edited() {
            return CallAction::Make(input);
        }
        CallAction::of_answer(&answer, &RawJson::empty_object())
    }

    /// Makes the call, as a step.
    async fn make(&self, arguments: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        let spec = self.tool.spec();
        // Edited arguments were checked when they were approved, but the tool may have changed since then.
        let schema = Schema::compile(&spec.input_schema).map_err(|error| ToolError::new(error.to_string()))?;
        schema.check(&arguments).map_err(|violations| {
            ToolError::new(format!(
                "The approved arguments do not match the schema: {violations}. The tool was not run."
            ))
        })?;
        let timeout = spec.timeout.unwrap_or_else(|| ToolLimits::default().timeout);
        let mut made = None;
        let step = {
            let (input, made) = (arguments.clone(), &mut made);
            run.step("call", spec.effect, &arguments, |run| async move {
                let call = tokio::time::timeout(timeout, self.tool.call(input, &run)).await;
                let late =
                    |_| Err(ToolError::new(format!("The tool did not answer within {timeout:?} and was stopped.")));
                let result = call.unwrap_or_else(late).map(|output| output.cut(self.output_bytes));
                let record = CallRecord::of(&self.spec.name, &result, self.output_bytes);
                *made = Some(result);
                record
            })
            .await
        };
        match (step, made) {
            (Ok(_), Some(result)) => result,
            (Ok(record), None) => record.into_result(),
            // The call gets no record, whatever is returned here.
            (Err(error), _) => Err(not_recorded(&error)),
        }
    }
}

#[async_trait]
impl Tool for ApprovedTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        match self.action_for(input, run).await {
            CallAction::Make(arguments) => self.make(arguments, run).await,
            CallAction::Refuse { why, cause } => Err(ToolError::new(why).caused_by(cause)),
            CallAction::Wait(why) => Err(not_recorded(&run.suspend(format_args!("`{}` {why}", self.spec.name)))),
        }
    }
}

fn not_recorded(error: &JournalError) -> ToolError {
    ToolError::new(error.to_string())
}

const NO_APPROVER: &str =
    "The call needs a person's approval, and no person can be asked in this run. It was not made; go on without it.";

const UNREADABLE: &str =
    "The arguments have a field name that is reserved, so no person can be asked. The call was not made.";

impl ApprovalRule {
    /// Whether a call with these arguments needs an approval.
    pub fn matches(&self, arguments: &Value) -> bool {
        match self {
            Self::Always => true,
            Self::When(schema) => schema.check(arguments).is_ok(),
        }
    }
}

impl CallRecord {
    fn of(tool: &str, result: &Result<ToolOutput, ToolError>, bytes: usize) -> Self {
        match result {
            Ok(output) => Self { output: Some(output.clone()), result: None, is_fatal: false, cause: None },
            Err(error) => {
                let call = ToolCall::new("", tool, Arguments::default());
                let message = ToolOutput::text(error.to_string()).cut(bytes);
                Self {
                    output: None,
                    result: Some(ToolResult::new(&call, message.content).is_error(true)),
                    is_fatal: error.is_fatal(),
                    cause: error.source().map(|cause| ErrorChain(cause).to_string()),
                }
            }
        }
    }

    fn into_result(self) -> Result<ToolOutput, ToolError> {
        if let Some(output) = self.output {
            return Ok(output);
        }
        let Some(result) = self.result.filter(|result| result.is_error) else {
            return Err(ToolError::new("The record of the call cannot be read. It may have been made."));
        };
        let text = result.text();
        let error = if self.is_fatal { ToolError::fatal(text) } else { ToolError::new(text) };
        Err(match self.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        })
    }
}
