//! Callers that disconnect or cancel: R39.

use std::time::Duration;

use brigade_core::{ModelErrorKind, StopReason};
use brigade_rehearsal::{CallState, Latency};

use super::expect_count;
use crate::{
    scenario::observation::Observation,
    scenario::scenario::{Caller, ExpectedBill, ExpectedEnd, Scenario},
};

/// How long a connection may stay open after its caller has disconnected.
const CLOSED_WITHIN: Duration = Duration::from_millis(250);

pub(super) fn all() -> Vec<Scenario> {
    let slow = Latency::new(Duration::from_secs(1), Duration::from_millis(500));
    let gone = |id, title, caller: Caller, end| {
        let scenario = Scenario { latency: slow, ..Scenario::new(id, title) };
        scenario.called_by(caller).expect_end(end, 1..=1).takes_millis(500..=2_100).expect_bill(
            ExpectedBill::Uncertain(1),
            |observed| {
                expect_count(observed.failed_with(ModelErrorKind::Cancelled), 1, "cancelled attempts")?;
                was_disconnected_at_once(observed)
            },
        )
    };
    let (early, late) = (Duration::from_millis(500), Duration::from_millis(2_100));
    let cancelled = ExpectedEnd::Stop(StopReason::Cancelled);
    vec![
        gone(
            "R39/before",
            "the caller disconnects before the first delta",
            Caller::Disconnects(early),
            ExpectedEnd::NotObserved,
        ),
        gone(
            "R39/middle",
            "the caller disconnects within the answer",
            Caller::Disconnects(late),
            ExpectedEnd::NotObserved,
        ),
        gone(
            "R39/unstreamed",
            "the caller disconnects, without streaming",
            Caller::Disconnects(late),
            ExpectedEnd::NotObserved,
        )
        .unstreamed(),
        gone("R39/cancel", "the run is cancelled within the answer", Caller::Cancels(late), cancelled),
        gone("R39/cancel-unstreamed", "the run is cancelled, without streaming", Caller::Cancels(late), cancelled)
            .unstreamed(),
    ]
}

fn was_disconnected_at_once(observed: &Observation) -> Result<(), String> {
    let call = observed.calls.first().ok_or("the provider got no request")?;
    let gone = call.arrived + call.took;
    if call.state == CallState::ClientDisconnected && gone <= observed.elapsed + CLOSED_WITHIN {
        Ok(())
    } else {
        Err(format!(
            "the caller disconnected after {:?}, and the provider recorded {:?} after {gone:?}",
            observed.elapsed, call.state
        ))
    }
}
