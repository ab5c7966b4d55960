//! Hedged requests: they save time, and both attempts are paid for.

use std::time::Duration;

use brigade_core::ModelErrorKind as Kind;

use super::expect_count;
use crate::scenario::scenario::{ANSWER, Caller, ExpectedBill, ExpectedEnd, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let slow_once = |id, title| {
        let slow = "match = { call = 1 }\nat = { before_headers = true }\ndo = { stall = \"20s\" }";
        let scenario = Scenario::new(id, title).fault(slow);
        Scenario { hedge_after: Some(Duration::from_secs(2)), ..scenario }
    };
    vec![
        slow_once("hedge", "the first attempt is slow, the hedged one answers")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(2_000..=3_000)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                expect_count(observed.failed_with(Kind::Cancelled), 1, "cancelled attempts")
            }),
        slow_once("hedge/unstreamed", "the first attempt is slow, without streaming")
            .unstreamed()
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(2_000..=3_000)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                expect_count(observed.failed_with(Kind::Cancelled), 1, "cancelled attempts")
            }),
        slow_once("hedge/tools", "requests with tools are not hedged")
            .with_tool()
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(20_000..=21_000),
        slow_once("hedge/disconnect", "the caller disconnects while both attempts run")
            .fault("match = { call = 2 }\nat = { before_headers = true }\ndo = { stall = \"20s\" }")
            .called_by(Caller::Disconnects(Duration::from_secs(4)))
            .expect_end(ExpectedEnd::NotObserved, 2..=2)
            .takes_millis(4_000..=4_000)
            .expect_bill(ExpectedBill::Uncertain(2), |observed| {
                expect_count(observed.failed_with(Kind::Cancelled), 2, "cancelled attempts")
            }),
    ]
}
