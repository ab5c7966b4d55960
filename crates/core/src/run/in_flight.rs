//! Work in flight that ends with the budget that pays for it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use super::run::{Interruption, Run};
use crate::{Ledger, money::budget::UsedUp, run::until_stopped::UntilStopped};

/// Calls in flight that are to be cancelled when a budget that they share is used up.
pub(super) struct InFlight {
    payer: Ledger,
    cancellation: CancellationToken,
    is_out_of_budget: AtomicBool,
    above: Option<Arc<Self>>,
}

impl Run {
    /// The same run for calls that are cancelled as soon as one of them has ended for want of a budget that all of them
    /// spend from.
    pub(crate) fn cancelled_on_exhaustion(&self) -> Self {
        self.derive(|inner| {
            inner.cancellation = inner.cancellation.child_token();
            inner.in_flight = Some(Arc::new(InFlight {
                payer: inner.ledger.clone(),
                cancellation: inner.cancellation.clone(),
                is_out_of_budget: AtomicBool::new(false),
                above: inner.in_flight.take(),
            }));
        })
    }

    /// Notes that this run ended before it was done, because a budget was used up. Cancels what is in flight beside it at
    /// the cost of the same budget, where that is wanted.
    pub(crate) fn report_exhausted(&self, used_up: Option<&UsedUp>, notice: &str) {
        let reason = used_up.map_or_else(|| notice.to_owned(), ToString::to_string);
        if !self.degraded().iter().any(|known| known.part == "budget" && known.reason == reason) {
            self.report_degraded("budget", reason);
        }
        let Some(used_up) = used_up else { return };
        for level in self.levels().filter(|level| level.payer.spends_from(&used_up.scope)) {
            level.is_out_of_budget.store(true, Ordering::Relaxed);
            level.cancellation.cancel();
        }
    }

    /// Whether it was cancelled because a budget was used up.
    pub(crate) fn is_out_of_budget(&self) -> bool {
        self.levels().any(|level| level.is_out_of_budget.load(Ordering::Relaxed))
    }

    /// Does `work` unless the budget that it is paid from is used up by others, and that is to cancel it. It watches this
    /// run too, and what it has to show then counts.
    pub(crate) fn until_exhausted<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Interruption>> {
        let level = self.inner.in_flight.as_ref();
        UntilStopped::new(work, level.map(|level| &level.cancellation), None)
    }

    fn levels(&self) -> impl Iterator<Item = &InFlight> {
        std::iter::successors(self.inner.in_flight.as_deref(), |level| level.above.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use crate::{
        Agent, Budget, ModelExt, ModelId, Money, OnExhausted, Outcome, Part, PriceCeiling, Pricing, Rate, Rates, Run,
        ServedCall, Settings, Spending, ToolLimits, Usage, Worker,
        money::budget::WrapUpPercent,
        testing::{ScriptedModel, Turn},
    };

    /// Ten cents for the longest answer, of 10,000 tokens.
    #[derive(Debug, Clone)]
    struct Prices;

    const RATES: Rates = Rates {
        input: Rate::per_million(Money::from_nano(1_000_000_000)),
        output: Rate::per_million(Money::from_nano(10_000_000_000)),
        call: Money::ZERO,
    };

    impl Pricing for Prices {
        fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
            Some(PriceCeiling { rates: RATES, max_output_tokens: Some(10_000) })
        }

        fn cost(&self, _: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
            Some(RATES.cost(usage.input_tokens, usage.output_tokens))
        }
    }

    fn worker(name: &str, script: impl IntoIterator<Item = Turn>) -> Worker {
        let model = ScriptedModel::new(script).metered(&Prices).least_output_tokens(10_000);
        let search =
            crate::tool_fn("search", "", |_: serde_json::Value, _| async { Ok(crate::ToolOutput::text("found")) });
        Worker::new(Agent::new(name, model).tool(search))
    }

    /// `left` spends ten cents in a second and may not spend ten more, while `right` works for ten seconds.
    async fn two_workers(on_exhausted: OnExhausted, left: Budget) -> (Outcome, Duration, Spending) {
        let cheap = || Some(Usage::new(100, 10));
        let whole = || Some(Usage::new(100, 10_000));
        let both = Turn::call("c1", "left", json!({"task": "a"})).and_call("c2", "right", r#"{"task":"b"}"#);
        let searches = Turn::call("c", "search", json!({})).usage(whole()).after(Duration::from_secs(1));
        let thinks = Turn::parts(vec![Part::text("My first thought.")]).and_call("c", "search", "{}").usage(cheap());
        let answers = Turn::text("A long answer.").usage(whole()).after(Duration::from_secs(10));
        let desk = Agent::new("desk", ScriptedModel::new([both, Turn::text("All in all.")]).metered(&Prices))
            .worker(worker("left", [searches, Turn::text("never asked")]).budget(left))
            .worker(worker("right", [thinks, answers]))
            .tool_limits(ToolLimits { on_exhausted, ..ToolLimits::default() });
        let budget = Budget { wrap_up_percent: WrapUpPercent(0), ..Budget::usd("0.25").unwrap() };
        let run = Run::builder().budget(budget).build();
        let started = Instant::now();
        let outcome = desk.run_in(&run, "Go.").await.unwrap();
        assert_eq!(run.ledger().outstanding(), 0);
        (outcome, started.elapsed(), run.ledger().spending())
    }

    fn degraded(outcome: &Outcome) -> Vec<&str> {
        outcome.degraded.iter().map(|degraded| degraded.part.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_flight_may_finish_when_the_budget_is_used_up() {
        let (outcome, elapsed, spent) = two_workers(OnExhausted::Finish, Budget::unlimited()).await;
        assert_eq!((elapsed, spent.uncertain), (Duration::from_secs(10), Money::ZERO));
        assert_eq!((outcome.text.as_str(), degraded(&outcome)), ("All in all.", vec!["budget"]));
        assert_eq!(outcome.degraded[0].reason, "the money budget of the run is used up");
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_flight_is_cancelled_when_the_budget_is_used_up_if_that_is_wanted() {
        let (outcome, elapsed, spent) = two_workers(OnExhausted::Cancel, Budget::unlimited()).await;
        assert_eq!(elapsed, Duration::from_secs(1));
        assert!(spent.uncertain > Money::ZERO && spent.uncertain < "0.001".parse().unwrap(), "{}", spent.uncertain);
        assert_eq!((outcome.text.as_str(), degraded(&outcome)), ("All in all.", vec!["budget", "worker:right"]));
        assert!(outcome.degraded[1].reason.contains("the budget was used up"), "{:?}", outcome.degraded);
        let told = format!("{:?}", outcome.transcript.messages()[2]);
        assert!(told.contains("it had found until then: My first thought."), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_of_one_worker_alone_cancels_nobody_else() {
        let (outcome, elapsed, spent) = two_workers(OnExhausted::Cancel, Budget::usd("0.15").unwrap()).await;
        assert_eq!((elapsed, spent.uncertain), (Duration::from_secs(10), Money::ZERO));
        assert_eq!(outcome.degraded[0].reason, "the money budget of desk/left is used up");
    }
}
