//! Callers who go away: R39.

use std::time::Duration;

use brigade_core::{ModelErrorKind, StopReason};
use brigade_rehearsal::{CallState, Latency};

use super::connection::is;
use crate::{
    scenario::{Act, Bill, Ends, Scenario},
    seen::Seen,
};

/// How long a socket may stay open after nobody wants its answer any more.
const CLOSED_WITHIN: Duration = Duration::from_millis(250);

pub(super) fn all() -> Vec<Scenario> {
    let slow = Latency { first: Duration::from_secs(1), between: Duration::from_millis(500) };
    let gone = |id, title, act: Act, ends| {
        let scenario = Scenario { latency: slow, ..Scenario::new(id, title) };
        scenario.act(act).ends(ends, 1..=1).takes(500..=2_100).judged(Bill::Uncertain(1), |seen| {
            is(seen.failed_with(ModelErrorKind::Cancelled), 1, "cancelled attempts")?;
            hung_up_at_once(seen)
        })
    };
    let (early, late) = (Duration::from_millis(500), Duration::from_millis(2_100));
    let cancelled = Ends::Stops(StopReason::Cancelled);
    vec![
        gone("R39/before", "the caller goes before the first word", Act::HangUp(early), Ends::Unseen),
        gone("R39/middle", "the caller goes in the middle", Act::HangUp(late), Ends::Unseen),
        gone("R39/whole", "the caller of a whole answer goes", Act::HangUp(late), Ends::Unseen).whole(),
        gone("R39/cancel", "the run is cancelled in the middle", Act::Cancel(late), cancelled),
        gone("R39/cancel-whole", "the run for a whole answer is cancelled", Act::Cancel(late), cancelled).whole(),
    ]
}

fn hung_up_at_once(seen: &Seen) -> Result<(), String> {
    let call = seen.calls.first().ok_or("the provider was not asked")?;
    let gone = call.arrived + call.took;
    if call.state == CallState::ClientDisconnected && gone <= seen.elapsed + CLOSED_WITHIN {
        Ok(())
    } else {
        Err(format!("the caller went after {:?}, and the provider saw {:?} after {gone:?}", seen.elapsed, call.state))
    }
}
