//! Waits that end at a time.

use std::time::Duration;

use brigade_core::{Effect, JournalError, Run};
use jiff::Timestamp;

use super::run_waits::{OpenWait, RunWaits, WaitSource, later, path_of};
use crate::WaitReason;

/// Waits for this long, as a step with this name, which must be unique within the run or the tool call. A run of
/// [`Durable`](crate::Durable) waits in its store if the wait is longer than a second, and holds nothing meanwhile: not a
/// task, not a place of its worker. The end of the wait is recorded when it begins, so a crash does not make it longer.
/// Another run waits in its process.
///
/// A tool that waits needs the effect [`Effect::Composite`] or [`Effect::Repeatable`], because it is called again after the
/// wait.
///
/// ```
/// use std::time::Duration;
///
/// use brigade_core::{Effect, Run, ToolError, ToolOutput, tool_fn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Order {
///     number: u32,
/// }
///
/// let track = tool_fn("track", "Looks the parcel up a day after it was sent.", async |order: Order, run: Run| {
///     let waited = brigade_durable::sleep(&run, "a day", Duration::from_hours(24)).await;
///     waited.map_err(|error| ToolError::new(error.to_string()))?;
///     Ok(ToolOutput::text(format!("parcel {} has arrived", order.number)))
/// });
/// let track = track.effect(Effect::Composite);
/// ```
///
/// # Errors
///
/// The run waits in its store, or its journal failed. Return an error then, whatever it says: the code is run again when the
/// run goes on.
pub async fn sleep(run: &Run, step: &str, duration: Duration) -> Result<(), JournalError> {
    wait_until(run, step, |now| later(now, duration)).await
}

/// Waits until this time, as [`sleep`] does. The time is recorded when the wait begins; another one that is given later has no
/// effect.
///
/// # Errors
///
/// As those of [`sleep`].
pub async fn sleep_until(run: &Run, step: &str, until: Timestamp) -> Result<(), JournalError> {
    wait_until(run, step, |_| until).await
}

async fn wait_until(
    run: &Run,
    step: &str,
    until: impl FnOnce(Timestamp) -> Timestamp + Send,
) -> Result<(), JournalError> {
    let waits = WaitSource::of(run);
    let now = waits.as_ref().map_or_else(Timestamp::now, |waits| waits.now());
    let until = until(now);
    run.step(step, Effect::Composite, &(), async |run: Run| {
        // If this fails, the step around it fails too.
        let Ok(until) = recorded(&run, until).await else { return };
        if let Some(waits) = &waits {
            wait_in(waits, step, until, &run).await;
        } else {
            let time = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            tokio::time::sleep(time).await;
        }
    })
    .await
}

/// The end of a wait, as it was when the wait began.
pub(super) async fn recorded(run: &Run, until: Timestamp) -> Result<Timestamp, JournalError> {
    run.step("until", Effect::Composite, &(), async |_run| until).await
}

async fn wait_in(waits: &RunWaits, step: &str, until: Timestamp, run: &Run) {
    let path = path_of(run).unwrap_or_default();
    loop {
        let woken = waits.listen();
        let time_left = waits.time_left(until);
        if time_left.is_zero() {
            waits.close(&path);
            return;
        }
        let open =
            OpenWait { reason: WaitReason::Timer, name: step.to_owned(), time_left: Some(time_left), call: None };
        if !waits.stays(&path, open, run, woken).await {
            run.suspend(format_args!("`{step}` waits until {until:.0}"));
            return;
        }
    }
}
