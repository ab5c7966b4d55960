//! What has been spent, as a tree of accounts; reservations before, settlement after.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Budget, BudgetExceeded, ModelId, Money, Usage,
    cost::{Certainty, Charge, CostSummary, Spending},
    node::{Node, NodeState},
};

/// An account in a tree of accounts: process, key, run, agent. Cheap to clone.
///
/// A reservation is admitted only if at this account *and every one above it* what is spent, what is reserved and what
/// is asked for stay within the limits, all or nothing. So no number of concurrent callers overruns a limit by more
/// than the error of their estimates.
#[derive(Clone)]
pub struct Ledger(Arc<Account>);

struct Account {
    node: Node,
    parent: Option<Ledger>,
}

/// What a model call may cost at the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// The most tokens that may be generated.
    pub output_tokens: u64,
    /// What the prompt costs; absent for a model without a price.
    pub input_cost: Option<Money>,
    /// What the most tokens that may be generated cost.
    pub output_cost: Option<Money>,
}

/// A reservation. Settle it; if it is dropped instead, the prompt and the output seen so far count as uncertain,
/// because a cancelled call is billed all the same.
#[must_use = "a dropped hold is settled as uncertain"]
#[derive(Debug)]
pub struct Hold {
    ledger: Ledger,
    who: Spender,
    estimate: Estimate,
    output_seen: AtomicU64,
    settled: bool,
}

/// Whose call a reservation is for: the labels of the cost summary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spender {
    /// The agent's path.
    pub agent: Arc<str>,
    /// The model.
    pub model: ModelId,
}

/// What is left at the tightest account; absent means without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Money.
    pub usd: Option<Money>,
    /// Tokens.
    pub tokens: Option<u64>,
}

impl Ledger {
    /// The top of a tree: a process, or a run on its own.
    pub fn root(name: impl Into<Arc<str>>, budget: Budget) -> Self {
        Self(Arc::new(Account { node: Node::new(name.into(), budget, false), parent: None }))
    }

    /// An account below this one.
    #[must_use]
    pub fn child(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(name.into(), budget, false)
    }

    /// An account below this one that keeps its spending by agent and model, for a [`CostSummary`].
    #[must_use]
    pub fn itemised_child(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(name.into(), budget, true)
    }

    /// The account's name, as refusals give it.
    pub fn name(&self) -> &Arc<str> {
        self.0.node.name()
    }

    /// The account's own limits.
    pub fn budget(&self) -> &Budget {
        self.0.node.budget()
    }

    /// Whether money is limited here or above. A model without a price cannot be held to such a limit.
    pub fn limits_money(&self) -> bool {
        self.lineage().any(|account| account.0.node.budget().usd.is_some_and(|cap| !cap.soft))
    }

    /// Sets the estimated cost of a call aside, or says which limit forbids it. `wrap_up` lets the call use what was
    /// set aside for a last answer.
    pub fn reserve(&self, who: Spender, estimate: Estimate, wrap_up: bool) -> Result<Hold, BudgetExceeded> {
        self.with_all(|accounts| {
            for (node, state) in accounts.iter() {
                node.admit(state, &estimate, wrap_up)?;
            }
            for (_, state) in accounts.iter_mut() {
                state.reserve(&estimate);
            }
            Ok(())
        })?;
        Ok(Hold { ledger: self.clone(), who, estimate, output_seen: AtomicU64::new(0), settled: false })
    }

    /// Counts a model turn here and above, or says which limit forbids it.
    pub fn take_turn(&self) -> Result<(), BudgetExceeded> {
        self.with_all(|accounts| {
            accounts.iter().try_for_each(|(node, state)| node.admit_turn(state))?;
            for (_, state) in accounts.iter_mut() {
                state.count_turn();
            }
            Ok(())
        })
    }

    /// Counts a tool call here and above, or says which limit forbids it.
    pub fn take_tool_call(&self) -> Result<(), BudgetExceeded> {
        self.with_all(|accounts| {
            accounts.iter().try_for_each(|(node, state)| node.admit_tool_call(state))?;
            for (_, state) in accounts.iter_mut() {
                state.count_tool_call();
            }
            Ok(())
        })
    }

    /// What was spent at this account and below.
    pub fn spending(&self) -> Spending {
        self.0.node.lock().spending
    }

    /// Money reserved and not yet settled, at this account and below.
    pub fn reserved(&self) -> Money {
        self.0.node.lock().reserved_usd
    }

    /// Reservations that are not settled yet, at this account and below.
    pub fn outstanding(&self) -> u64 {
        self.0.node.lock().outstanding
    }

    /// What is left at the tightest of this account and those above, outside of what is set aside for a last answer
    /// unless `wrap_up`.
    pub fn headroom(&self, wrap_up: bool) -> Headroom {
        let rooms = self.lineage().map(|account| account.0.node.headroom(&account.0.node.lock(), wrap_up));
        rooms.fold(Headroom::default(), |least, room| Headroom {
            usd: least_of(least.usd, room.usd),
            tokens: least_of(least.tokens, room.tokens),
        })
    }

    /// Spending by agent and model; empty unless this account is itemised.
    pub fn summary(&self) -> CostSummary {
        let state = self.0.node.lock();
        CostSummary::new(state.spending, &state.lines)
    }

    fn open(&self, name: Arc<str>, budget: Budget, itemised: bool) -> Self {
        Self(Arc::new(Account { node: Node::new(name, budget, itemised), parent: Some(self.clone()) }))
    }

    fn lineage(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |account| account.0.parent.as_ref())
    }

    /// Runs `work` with this account and all above it locked. Everybody locks from below to above, so no two callers
    /// wait for each other.
    fn with_all<T>(&self, work: impl FnOnce(&mut [(&Node, MutexGuard<'_, NodeState>)]) -> T) -> T {
        let mut accounts: Vec<_> = self.lineage().map(|account| (&account.0.node, account.0.node.lock())).collect();
        work(&mut accounts)
    }
}

impl Hold {
    /// What was reserved.
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// Remembers how many output tokens have come so far, for the case that the call is cut short.
    pub fn saw_output(&self, tokens: u64) {
        self.output_seen.store(tokens, Ordering::Relaxed);
    }

    /// Replaces the reservation by what the call used and cost.
    pub fn settle(mut self, charge: &Charge) {
        self.finish(Some(charge));
    }

    /// Gives the reservation back: the request never left, so that nobody bills it.
    pub fn release(mut self) {
        self.finish(None);
    }

    fn finish(&mut self, charge: Option<&Charge>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.ledger.with_all(|accounts| {
            for (node, state) in accounts.iter_mut() {
                state.unreserve(&self.estimate);
                if let Some(charge) = charge {
                    state.spend(charge);
                    if node.itemised() {
                        state.itemise(&self.who, charge);
                    }
                }
            }
        });
    }

    /// The prompt as estimated and the output that was seen, at the estimated rate.
    fn seen_so_far(&self) -> Charge {
        let Estimate { input_tokens, output_tokens, input_cost, output_cost } = self.estimate;
        let seen = self.output_seen.load(Ordering::Relaxed).min(output_tokens);
        let seen_cost = output_cost.map(|cost| {
            let nano = i128::from(cost.nano()) * i128::from(seen) / i128::from(output_tokens.max(1));
            Money::from_nano(i64::try_from(nano).unwrap_or(i64::MAX))
        });
        let cost = input_cost.map(|input| input + seen_cost.unwrap_or_default());
        Charge { certainty: Certainty::Uncertain, usage: Usage::new(input_tokens, seen), cost }
    }

    /// Settles a call that failed after the request had left, with what was seen of it.
    pub fn settle_uncertain(mut self) -> Charge {
        let charge = self.seen_so_far();
        self.finish(Some(&charge));
        charge
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let charge = self.seen_so_far();
        self.finish(Some(&charge));
    }
}

impl Estimate {
    /// Money and tokens together; money is absent for a model without a price.
    pub fn cost(&self) -> Option<Money> {
        Some(self.input_cost? + self.output_cost.unwrap_or_default())
    }

    /// Input and output tokens together.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spending, reserved) = (self.spending(), self.reserved());
        f.debug_struct("Ledger")
            .field("name", self.name())
            .field("spending", &spending)
            .field("reserved", &reserved)
            .finish_non_exhaustive()
    }
}

fn least_of<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A panic while the lock was held leaves whole numbers behind, so the state is still good.
pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
