//! Asking twice: what it saves, and that both attempts are paid for.

use std::time::Duration;

use brigade_core::ModelErrorKind as Kind;

use super::connection::is;
use crate::scenario::{ANSWER, Act, Bill, Ends, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let slow_once = |id, title| {
        let slow = "match = { call = 1 }\nat = { before_headers = true }\ndo = { stall = \"20s\" }";
        let scenario = Scenario::new(id, title).fault(slow);
        Scenario { hedge_after: Some(Duration::from_secs(2)), ..scenario }
    };
    vec![
        slow_once("hedge", "the first attempt is slow, the second one is not")
            .ends(Ends::Says(ANSWER), 2..=2)
            .takes(2_000..=3_000)
            .judged(Bill::Uncertain(1), |seen| is(seen.failed_with(Kind::Cancelled), 1, "attempts given up")),
        slow_once("hedge/whole", "the same for whole answers")
            .whole()
            .ends(Ends::Says(ANSWER), 2..=2)
            .takes(2_000..=3_000)
            .judged(Bill::Uncertain(1), |seen| is(seen.failed_with(Kind::Cancelled), 1, "attempts given up")),
        slow_once("hedge/tools", "with tools nothing is asked twice")
            .with_tool()
            .ends(Ends::Says(ANSWER), 2..=2)
            .takes(20_000..=21_000),
        slow_once("hedge/gone", "the caller goes while both attempts run")
            .fault("match = { call = 2 }\nat = { before_headers = true }\ndo = { stall = \"20s\" }")
            .act(Act::HangUp(Duration::from_secs(4)))
            .ends(Ends::Unseen, 2..=2)
            .takes(4_000..=4_000)
            .judged(Bill::Uncertain(2), |seen| is(seen.failed_with(Kind::Cancelled), 2, "attempts given up")),
    ]
}
