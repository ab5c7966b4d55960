//! Calls in flight that are cancelled when the budget that pays for them is exhausted.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use super::run::{Interruption, Run};
use crate::{BudgetExceeded, Ledger};

/// Calls that are cancelled together when their common budget is exhausted.
pub(super) struct InFlight {
    ledger: Ledger,
    cancellation: CancellationToken,
    is_out_of_budget: AtomicBool,
    parent: Option<Arc<Self>>,
}

impl Run {
    /// The same run for calls that are cancelled as soon as one of them exhausts a budget that all of them spend from.
    pub(crate) fn cancelled_on_exhaustion(&self) -> Self {
        self.derive(|inner| {
            inner.cancellation = inner.cancellation.child_token();
            inner.in_flight = Some(Arc::new(InFlight {
                ledger: inner.ledger.clone(),
                cancellation: inner.cancellation.clone(),
                is_out_of_budget: AtomicBool::new(false),
                parent: inner.in_flight.take(),
            }));
        })
    }

    /// Records that this run ended early because of a budget, and cancels the calls in flight that spend from that budget
    /// if they are to be cancelled. `exceeded` is absent if the budget is not known; then `notice` is the reason.
    pub(crate) fn report_exhausted(&self, exceeded: Option<&BudgetExceeded>, notice: &str) {
        let reason = exceeded.map_or_else(|| notice.to_owned(), BudgetExceeded::summary);
        if !self.degraded().iter().any(|known| known.part == "budget" && known.reason == reason) {
            self.report_degraded("budget", reason);
        }
        let Some(exceeded) = exceeded else { return };
        for calls in self.in_flight().filter(|calls| calls.ledger.is_within(&exceeded.scope)) {
            calls.is_out_of_budget.store(true, Ordering::Relaxed);
            calls.cancellation.cancel();
        }
    }

    /// Whether the run was cancelled because a budget was exhausted.
    pub(crate) fn is_out_of_budget(&self) -> bool {
        self.in_flight().any(|calls| calls.is_out_of_budget.load(Ordering::Relaxed))
    }

    /// Runs `work` until it is done or is cancelled because its budget is exhausted. Like [`Run::until_stopped`], this
    /// polls cancelled work once more.
    pub(crate) fn until_exhausted<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Interruption>> {
        let work = Box::pin(work);
        async move {
            let Some(calls) = &self.inner.in_flight else { return Ok(work.await) };
            calls.cancellation.run_until_cancelled(work).await.ok_or(Interruption::Cancelled)
        }
    }

    /// The groups of calls in flight that this run belongs to, from the innermost to the outermost.
    fn in_flight(&self) -> impl Iterator<Item = &InFlight> {
        std::iter::successors(self.inner.in_flight.as_deref(), |calls| calls.parent.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use crate::{
        Agent, Budget, ModelExt, Money, OnExhausted, Outcome, Part, Run, Spending, ToolLimits, Usage, Worker,
        testing::fixtures::{FlatPrices, usd},
        testing::{ScriptedModel, Turn},
    };

    fn worker(name: &str, script: impl IntoIterator<Item = Turn>) -> Worker {
        let model = ScriptedModel::new(script).metered(&FlatPrices).least_output_tokens(10_000);
        let search =
            crate::tool_fn("search", "", |_: serde_json::Value, _| async { Ok(crate::ToolOutput::text("found")) });
        Worker::new(Agent::new(name, model).tool(search))
    }

    /// `left` spends ten cents in its first second and cannot afford ten more, while `right` works for ten seconds.
    async fn two_workers(on_exhausted: OnExhausted, left: Budget) -> (Outcome, Duration, Spending) {
        let cheap = || Some(Usage::new(100, 10));
        let whole = || Some(Usage::new(100, 10_000));
        let both = Turn::call("c1", "left", json!({"task": "a"})).and_call("c2", "right", r#"{"task":"b"}"#);
        let searches = Turn::call("c", "search", json!({})).usage(whole()).after(Duration::from_secs(1));
        let thinks = Turn::parts(vec![Part::text("My first thought.")]).and_call("c", "search", "{}").usage(cheap());
        let answers = Turn::text("A long answer.").usage(whole()).after(Duration::from_secs(10));
        let desk = Agent::new("desk", ScriptedModel::new([both, Turn::text("All in all.")]).metered(&FlatPrices))
            .worker(worker("left", [searches, Turn::text("never asked")]).budget(left))
            .worker(worker("right", [thinks, answers]))
            .tool_limits(ToolLimits { on_exhausted, ..ToolLimits::default() });
        let budget = Budget::default().usd("0.25").unwrap().wrap_up_percent(0);
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
    async fn work_in_flight_finishes_when_the_budget_is_exhausted() {
        let (outcome, elapsed, spent) = two_workers(OnExhausted::Finish, Budget::unlimited()).await;
        assert_eq!((elapsed, spent.uncertain), (Duration::from_secs(10), Money::ZERO));
        assert_eq!((outcome.text.as_str(), degraded(&outcome)), ("All in all.", vec!["budget"]));
        assert_eq!(outcome.degraded[0].reason, "the money budget of the run does not cover the next call");
    }

    #[tokio::test(start_paused = true)]
    async fn on_exhausted_cancel_cancels_work_in_flight() {
        let (outcome, elapsed, spent) = two_workers(OnExhausted::Cancel, Budget::unlimited()).await;
        assert_eq!(elapsed, Duration::from_secs(1));
        // The prompt and the longest answer are uncertain, because no part of the answer arrived.
        let answer = FlatPrices::RATES.cost(0, 10_000);
        assert!(spent.uncertain > answer && spent.uncertain < answer + usd("0.002"), "{}", spent.uncertain);
        assert_eq!((outcome.text.as_str(), degraded(&outcome)), ("All in all.", vec!["budget", "worker:right"]));
        assert!(outcome.degraded[1].reason.contains("the budget was used up"), "{:?}", outcome.degraded);
        let shown = format!("{:?}", outcome.transcript.messages()[2]);
        assert!(shown.contains("it had found until then: My first thought."), "{shown}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_of_one_worker_cancels_no_other_worker() {
        let (outcome, elapsed, spent) = two_workers(OnExhausted::Cancel, Budget::default().usd("0.15").unwrap()).await;
        assert_eq!((elapsed, spent.uncertain), (Duration::from_secs(10), Money::ZERO));
        assert_eq!(outcome.degraded[0].reason, "the money budget of desk/left does not cover the next call");
    }
}
