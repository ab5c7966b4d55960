//! Who is asked about calls that need an approval.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use brigade_core::{RawJson, Run};
use serde_json::Value;

use super::stored_approvals::StoredApprovals;
use crate::ApprovalAnswer;

/// A call that needs an approval.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// The path of the agent that makes the call.
    pub agent: Arc<str>,
    /// The tool.
    pub tool: Arc<str>,
    /// The arguments, which match the tool's schema.
    pub arguments: Value,
    /// The JSON Schema of the arguments.
    pub schema: RawJson,
}

/// Answers requests at once, within the process. A closure that returns a future of an [`ApprovalAnswer`] implements it.
///
/// Runs of [`Durable`](crate::Durable) do not need it: their calls wait in the store until they are answered.
///
/// ```
/// use std::sync::Arc;
///
/// use brigade_core::{Agent, Run, Task, ToolOutput, tool_fn};
/// use brigade_durable::{ApprovalAnswer, ApprovalRequest, ApprovalRule, ApprovedTool, Approver};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Refund {
///     amount: u32,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([
/// #     Turn::call("1", "refund", serde_json::json!({"amount": 250})), Turn::text("It was not approved.")]);
/// let refund = tool_fn("refund", "Pays money back.", async |args: Refund, _run: Run| {
///     Ok(ToolOutput::text(format!("paid back {}", args.amount)))
/// });
/// let desk = Agent::new("desk", model.clone()).tool(ApprovedTool::new(refund, ApprovalRule::Always));
/// let approver = Approver::new(async |request: ApprovalRequest| match request.arguments["amount"].as_u64() {
///     Some(0..=100) => ApprovalAnswer::approve("the limit"),
///     _ => ApprovalAnswer::deny("the limit").reason(Some("That is too much.".to_owned())),
/// });
/// let run = Run::builder().shared(approver).build();
/// desk.run_in(&run, Task::from("Please pay me back.")).await?;
/// assert!(format!("{:?}", model.requests()).contains("That is too much."));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Decide: Send + Sync + 'static {
    /// Answers a request. The call is made with edited arguments only if they match the tool's schema. The time limits of the
    /// run go on meanwhile.
    async fn decide(&self, request: ApprovalRequest) -> ApprovalAnswer;
}

/// Who is asked about the calls of a run: set it with [`RunBuilder::shared`](brigade_core::RunBuilder::shared). By default
/// no approver is asked, and calls that need an approval are not made. A run of [`Durable`](crate::Durable) asks by its store.
#[derive(Clone, Default)]
pub struct Approver(pub(crate) Source);

#[derive(Clone, Default)]
pub(crate) enum Source {
    #[default]
    Missing,
    InProcess(Arc<dyn Decide>),
    Stored(Arc<StoredApprovals>),
}

/// What is done with a call.
#[derive(Debug)]
pub(super) enum CallAction {
    /// It is made with these arguments.
    Make(Value),
    /// It is not made.
    Refuse {
        /// Why, for the model.
        why: String,
        /// Why, for logs: without content.
        cause: String,
    },
    /// It waits, and the run goes on later. The text says what for.
    Wait(&'static str),
}

#[async_trait]
impl<F, W> Decide for F
where
    F: Fn(ApprovalRequest) -> W + Send + Sync + 'static,
    W: Future<Output = ApprovalAnswer> + Send,
{
    async fn decide(&self, request: ApprovalRequest) -> ApprovalAnswer {
        self(request).await
    }
}

impl Approver {
    /// Asks within the process.
    pub fn new(decide: impl Decide) -> Self {
        Self(Source::InProcess(Arc::new(decide)))
    }
}

impl fmt::Debug for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.0 {
            Source::Missing => "missing",
            Source::InProcess(_) => "in process",
            Source::Stored(_) => "stored",
        };
        f.debug_tuple("Approver").field(&source).finish()
    }
}

impl CallAction {
    /// The call is not made, for a reason that quotes no content.
    pub(super) fn refuse(why: &str) -> Self {
        Self::Refuse { why: why.to_owned(), cause: why.to_owned() }
    }

    /// What is done with a call with these arguments after this answer.
    pub(super) fn of_answer(answer: &ApprovalAnswer, arguments: &RawJson) -> Self {
        if answer.is_approved {
            let arguments = answer.arguments.as_ref().unwrap_or(arguments);
            return serde_json::from_str(arguments.get()).map_or_else(
                |_| Self::refuse("The approved arguments cannot be read. The call was not made."),
                Self::Make,
            );
        }
        let reason = answer.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
        let because = reason.map(|reason| format!(" Their reason: {reason}")).unwrap_or_default();
        let why = format!("A person denied this call, so it was not made.{because}");
        Self::Refuse { why, cause: format!("denied by {}", answer.approver) }
    }
}

impl ApprovalRequest {
    pub(super) fn new(tool: &Arc<str>, arguments: &Value, schema: &RawJson, run: &Run) -> Self {
        Self {
            agent: Arc::clone(run.agent()),
            tool: Arc::clone(tool),
            arguments: arguments.clone(),
            schema: schema.clone(),
        }
    }
}
