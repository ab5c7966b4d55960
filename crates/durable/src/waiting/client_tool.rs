//! A tool that the client runs.

use std::time::Duration;

use async_trait::async_trait;
use brigade_core::{Effect, JournalError, Part, RawJson, Run, Tool, ToolError, ToolOutput, ToolSpec};
use serde_json::Value;

use super::run_waits::{OpenWait, RunWaits, WaitSource, later, path_of};
use crate::{
    ClientCall, ClientResult, WaitReason,
    store::client_call::{CallId, EXPIRY_STEP, ISSUE_STEP, IssuedCall},
};

/// A tool that the client of the program runs: its call never runs here. The run of [`Durable`](crate::Durable) waits until
/// the client sends the result.
///
/// 1. The model calls the tool. Other calls of the turn run first. Then the run waits, with reason
///    [`WaitReason::ClientTool`].
/// 2. [`Durable::open_calls`](crate::Durable::open_calls) returns the calls of the run with their ids and arguments, for the
///    client.
/// 3. [`Durable::answer_calls`](crate::Durable::answer_calls) takes the client's results, matched by these ids, and the run
///    goes on when it has all of them. An id that is unknown, has expired or belongs to another account is an error:
///    [`ClientCallError`](crate::ClientCallError).
///
/// With a [`MemoryRunStore`](crate::MemoryRunStore) the run waits in memory. In a run without a store the call is not made.
///
/// ```
/// use brigade_core::{Agent, Schema, ToolSpec};
/// use brigade_durable::{
///     CancellationToken, ClientCallError, ClientResult, ClientTool, Durable, MemoryRunStore, RunState, Submission,
/// };
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// #[derive(schemars::JsonSchema)]
/// #[expect(dead_code, reason = "it is a schema")]
/// struct OpenFile {
///     path: String,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([
/// #     Turn::call("1", "open_file", serde_json::json!({"path": "a.txt"})), Turn::text("It is empty.")]);
/// let spec = ToolSpec::new("open_file", "Opens a file in the user's editor.", Schema::generate::<OpenFile>());
/// let desk = Agent::new("desk", model).tool(ClientTool::new(spec));
/// let durable = Durable::new(MemoryRunStore::new()).agent("desk", desk);
/// let stop = CancellationToken::new();
/// let worker = tokio::spawn({
///     let (durable, stop) = (durable.clone(), stop.clone());
///     async move { durable.work(stop).await }
/// });
///
/// let mut submission = Submission::new("desk", "What is in a.txt?");
/// submission.account = "ada".into();
/// let run = durable.submit(submission).await?.id();
/// durable.wait_until(run, |run| run.status == RunState::Waiting).await?;
/// let calls = durable.open_calls(run).await?;
/// assert_eq!((&*calls[0].tool, calls[0].arguments.get()), ("open_file", r#"{"path":"a.txt"}"#));
///
/// // The client runs the tool and sends the result with its next request.
/// let result = ClientResult::text(&*calls[0].id, "");
/// let foreign = durable.answer_calls("bob", vec![result.clone()]).await;
/// assert!(matches!(foreign, Err(ClientCallError::Unknown(_))));
/// assert_eq!(durable.answer_calls("ada", vec![result]).await?, run);
/// assert_eq!(durable.wait(run).await?.status, RunState::Finished);
/// stop.cancel();
/// # let _ = worker.await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientTool {
    spec: ToolSpec,
    expires_in: Duration,
}

/// A person may have to do something at the client, and then has gone away.
const DEFAULT_EXPIRY: Duration = Duration::from_hours(1);

impl ClientTool {
    /// A tool with the name, the description and the argument schema that the client gave.
    pub fn new(spec: ToolSpec) -> Self {
        // It has its effect elsewhere, so asking for the result again is safe.
        let spec = spec.effect(Effect::Composite).timeout(Some(Duration::MAX));
        Self { spec, expires_in: DEFAULT_EXPIRY }
    }

    /// Sets the time after which a call without a result fails, and the model reads why. An hour by default.
    #[must_use]
    pub fn expires_in(self, expires_in: Duration) -> Self {
        Self { expires_in, ..self }
    }

    /// The id of the call, which is the same each time that the run goes on.
    async fn issue(&self, waits: &RunWaits, run: &Run) -> Result<IssuedCall, JournalError> {
        let expires_at = later(waits.now(), self.expires_in);
        let id = || IssuedCall { id: CallId::issue(waits.run()), expires_at };
        run.step(ISSUE_STEP, Effect::Composite, &self.spec.name, async |_run| id()).await
    }

    /// Waits for the result. Absent if the branch must be suspended.
    async fn result(&self, call: &ClientCall, waits: &RunWaits, run: &Run) -> Option<Result<ToolOutput, ToolError>> {
        loop {
            let woken = waits.listen();
            match waits.take_signal(&call.path, |signal| ClientResult::of(signal, &call.id)).await {
                Ok(Some(result)) => return Some(output(result)),
                Ok(None) => {}
                Err(error) => {
                    waits.fail(&error);
                    return None;
                }
            }
            let time_left = waits.time_left(call.expires_at);
            if time_left.is_zero() {
                // So that a result that comes later is refused.
                run.step(EXPIRY_STEP, Effect::Composite, &(), async |_run| ()).await.ok()?;
                let why = "The client did not send a result in time. Go on without it.";
                return Some(Err(ToolError::new(why)));
            }
            let open = OpenWait {
                reason: WaitReason::ClientTool,
                name: call.tool.clone(),
                time_left: Some(time_left),
                call: Some(call.clone()),
            };
            if !waits.stays(&call.path, open, run, woken).await {
                return None;
            }
        }
    }
}

#[async_trait]
impl Tool for ClientTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        let (Some(waits), Some(path)) = (WaitSource::of(run), path_of(run)) else {
            return Err(ToolError::new(
                "Only a client can run this tool, and there is none in this run. Go on without it.",
            ));
        };
        let issued = self.issue(&waits, run).await.map_err(|error| ToolError::new(error.to_string()))?;
        let arguments = RawJson::of(&input).map_err(|error| ToolError::new(error.to_string()))?;
        let call = ClientCall::new(issued, &*self.spec.name, arguments, path);
        if let Some(result) = self.result(&call, &waits, run).await {
            waits.close(&call.path);
            return result;
        }
        // The call gets no record, whatever is returned here.
        let error = run.suspend(format_args!("`{}` waits for its client", self.spec.name));
        Err(ToolError::new(error.to_string()))
    }
}

fn output(result: ClientResult) -> Result<ToolOutput, ToolError> {
    if !result.is_error {
        let mut output = ToolOutput::default();
        output.content = result.content;
        return Ok(output);
    }
    let texts = result.content.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.text.as_str()),
        Part::Thinking(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Image(_) | Part::Opaque(_) => None,
    });
    Err(ToolError::new(texts.collect::<Vec<_>>().join("\n")))
}
