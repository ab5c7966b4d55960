use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::testing::seconds;

#[tokio::test(start_paused = true)]
async fn a_quiet_program_may_retry_once_a_second() {
    let budget = RetryBudget::new(&RetrySettings::default());
    assert_eq!(budget.balance(), 10);
    assert!((0..10).all(|_| budget.withdraw()));
    assert!(!budget.withdraw());
    advance(seconds(10)).await;
    assert!(budget.withdraw());
}

#[tokio::test(start_paused = true)]
async fn five_calls_pay_for_one_retry_for_ten_seconds() {
    let budget = RetryBudget::new(&RetrySettings { budget_per_second: 0, ..RetrySettings::default() });
    (0..9).for_each(|_| budget.deposit());
    assert!(budget.withdraw());
    assert!(!budget.withdraw());
    budget.deposit();
    assert!(budget.withdraw());
    (0..10).for_each(|_| budget.deposit());
    advance(seconds(10)).await;
    assert_eq!(budget.balance(), 0);
}

proptest! {
    #[test]
    fn no_retry_is_admitted_that_recent_calls_do_not_pay_for(
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
                    budget.deposit();
                    calls.push(now);
                } else if budget.withdraw() {
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
