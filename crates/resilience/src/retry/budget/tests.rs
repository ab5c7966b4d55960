use std::time::Duration;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::testing::seconds;

#[tokio::test(start_paused = true)]
async fn a_quiet_program_may_retry_once_a_second() {
    let budget = RetryBudget::new(&RetrySettings::default());
    assert_eq!(budget.remaining(), 10);
    assert!((0..10).all(|_| budget.try_retry()));
    assert!(!budget.try_retry());
    advance(seconds(10)).await;
    assert!(budget.try_retry());
}

#[tokio::test(start_paused = true)]
async fn five_calls_pay_for_one_retry_for_ten_seconds() {
    let budget = RetryBudget::new(&RetrySettings { budget_per_second: 0, ..RetrySettings::default() });
    (0..9).for_each(|_| budget.record_call());
    assert!(budget.try_retry());
    assert!(!budget.try_retry());
    budget.record_call();
    assert!(budget.try_retry());
    (0..10).for_each(|_| budget.record_call());
    advance(seconds(10)).await;
    assert_eq!(budget.remaining(), 0);
}

proptest! {
    #[test]
    fn retries_never_exceed_the_share_of_recent_calls(
        steps in prop::collection::vec((0_u64..1_500, any::<bool>()), 1..300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap();
        runtime.block_on(async {
            let budget = RetryBudget::new(&RetrySettings::default());
            let (mut calls, mut retries): (Vec<Instant>, Vec<Instant>) = Default::default();
            for (pause, retry) in steps {
                advance(Duration::from_millis(pause)).await;
                let now = Instant::now();
                if !retry {
                    budget.record_call();
                    calls.push(now);
                } else if budget.try_retry() {
                    retries.push(now);
                    // Counts leave up to a tenth of the window early, so the promise is kept over nine seconds.
                    let recent =
                        |times: &[Instant], window| times.iter().filter(|at| **at + window > now).count() as u64;
                    prop_assert!(recent(&retries, seconds(9)) <= recent(&calls, seconds(10)) / 5 + 10);
                }
            }
            Ok(())
        })?;
    }
}
