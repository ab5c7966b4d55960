//! Waits for named signals.

use std::time::Duration;

use brigade_core::{Effect, JournalError, RawJson, Run};
use jiff::Timestamp;

use super::{
    run_waits::{OpenWait, RunWaits, WaitSource, later, path_of},
    timer,
};
use crate::WaitReason;

/// Waits for a signal with this name, as a step with this name, which must be unique within the run or the tool call. Returns
/// the payload. Each signal is received once, in the order in which they were sent; one that was sent before is received at
/// once. With `within`, the wait ends after this time without a signal.
///
/// [`Durable::signal`](crate::Durable::signal) sends one, also from another process. The run waits in its store and holds
/// nothing meanwhile. A tool that waits needs the effect [`Effect::Composite`] or [`Effect::Repeatable`], because it is called
/// again when the run goes on.
///
/// ```
/// use brigade_core::{Agent, Effect, Run, ToolError, ToolOutput, tool_fn};
/// use brigade_durable::{
///     CancellationToken, Durable, MemoryRunStore, NewSignal, RunState, Submission, WaitReason, wait_for_signal,
/// };
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Invoice {
///     number: u32,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([
/// #     Turn::call("1", "collect", serde_json::json!({"number": 7})), Turn::text("The invoice is paid.")]);
/// let collect = tool_fn("collect", "Waits until an invoice is paid.", async |invoice: Invoice, run: Run| {
///     let name = format!("paid {}", invoice.number);
///     let paid = wait_for_signal(&run, "payment", &name, None).await;
///     let paid = paid.map_err(|error| ToolError::new(error.to_string()))?;
///     Ok(ToolOutput::text(paid.map(|amount| amount.get().to_owned()).unwrap_or_default()))
/// });
/// let desk = Agent::new("desk", model).tool(collect.effect(Effect::Composite));
/// let durable = Durable::new(MemoryRunStore::new()).agent("desk", desk);
/// let stop = CancellationToken::new();
/// let worker = tokio::spawn({
///     let (durable, stop) = (durable.clone(), stop.clone());
///     async move { durable.work(stop).await }
/// });
///
/// let run = durable.submit(Submission::new("desk", "Collect invoice 7.")).await?.id();
/// let waits = durable.wait_until(run, |run| run.status == RunState::Waiting).await?;
/// assert_eq!(waits.waiting.map(|waiting| waiting.reason), Some(WaitReason::Signal));
///
/// durable.signal(run, NewSignal::named("paid 7", &250)?).await?;
/// assert_eq!(durable.wait(run).await?.status, RunState::Finished);
/// stop.cancel();
/// # let _ = worker.await;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The run waits in its store, its journal failed, or it is not a run of [`Durable`](crate::Durable). Return an error then,
/// whatever it says: the code is run again when the run goes on.
pub async fn wait_for_signal(
    run: &Run,
    step: &str,
    signal: &str,
    within: Option<Duration>,
) -> Result<Option<RawJson>, JournalError> {
    let Some(waits) = WaitSource::of(run) else {
        return Err(JournalError::unavailable("only a run of `Durable` can wait for a signal"));
    };
    run.step(step, Effect::Composite, &signal, async |run: Run| {
        let until = match within {
            // If this fails, the step around it fails too.
            Some(within) => Some(timer::recorded(&run, later(waits.now(), within)).await.ok()?),
            None => None,
        };
        receive(&waits, signal, until, &run).await
    })
    .await
}

/// Absent if none came in time, and if the branch was suspended. Then the step around it fails.
async fn receive(waits: &RunWaits, signal: &str, until: Option<Timestamp>, run: &Run) -> Option<RawJson> {
    let path = path_of(run)?;
    // The name of the signal may be made of content.
    let reason = "it waits for a signal";
    loop {
        let woken = waits.listen();
        match waits.take_signal(&path, |found| found.named(signal)).await {
            Ok(Some(payload)) => {
                waits.close(&path);
                return Some(payload);
            }
            Ok(None) => {}
            Err(error) => {
                waits.fail(&error);
                run.suspend(reason);
                return None;
            }
        }
        let time_left = until.map(|until| waits.time_left(until));
        if time_left.is_some_and(|left| left.is_zero()) {
            waits.close(&path);
            return None;
        }
        let open = OpenWait { reason: WaitReason::Signal, name: signal.to_owned(), time_left, call: None };
        if !waits.stays(&path, open, run, woken).await {
            run.suspend(reason);
            return None;
        }
    }
}
