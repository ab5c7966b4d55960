//! What has been spent, as a tree of accounts; reservations before, settlement after.

use std::{fmt, sync::Arc};

use crate::{
    Budget, BudgetExceeded, Estimate, Money, Spender, Usage,
    money::calendar::Calendar,
    money::cost::{Certainty, Charge, CostSummary, Spending},
    money::node::{Counted, Node, Place},
    money::reservation::Reservation,
};

/// An account in a tree of accounts: process, key, run, agent. Cheap to clone.
///
/// A reservation is admitted only if at this account *and every one above it* what is spent, what is reserved and what
/// is asked for stay within the limits, all or nothing. So no number of concurrent callers overruns a limit by more
/// than the error of their estimates.
///
/// An account has one window. A key that is limited by day and by month is two accounts, one above the other.
#[derive(Clone)]
pub struct Ledger(Arc<Account>);

struct Account {
    node: Node,
    parent: Option<Ledger>,
}

/// A reservation. Settle it; if it is dropped instead, the prompt and the output seen so far count as uncertain,
/// because a cancelled call is billed all the same.
#[must_use = "a dropped hold is settled as uncertain"]
#[derive(Debug)]
pub struct Hold {
    ledger: Ledger,
    who: Spender,
    reservation: Reservation,
    output_seen: u64,
    settled: bool,
}

/// What is left at the tightest account; absent means without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Money; below zero when an account is in debt.
    pub usd: Option<Money>,
    /// Tokens.
    pub tokens: Option<u64>,
}

impl Ledger {
    /// The top of a tree: a process, or a run on its own.
    pub fn root(name: impl Into<Arc<str>>, budget: Budget) -> Self {
        Self::top(Node::standing(name.into(), budget, None))
    }

    /// The top of a tree whose windows go by another calendar than the system's.
    pub fn root_with_calendar(name: impl Into<Arc<str>>, budget: Budget, calendar: Arc<dyn Calendar>) -> Self {
        Self::top(Node::standing(name.into(), budget, Some(calendar)))
    }

    /// The account of a run that spends from no other.
    pub(crate) fn run_alone(name: impl Into<Arc<str>>, budget: Budget) -> Self {
        Self::top(Node::run_alone(name.into(), budget))
    }

    /// An account below this one.
    #[must_use]
    pub fn child(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(self.0.node.child(name.into(), budget))
    }

    /// The account of a run below this one: it keeps its spending by agent and model, for a [`CostSummary`], and it and
    /// those below it set a share aside for a last answer ([`Budget::wrap_up_percent`]).
    #[must_use]
    pub fn itemised_child(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(self.0.node.run(name.into(), budget))
    }

    /// This account under a further limit: what it has set aside for a last answer, and what is left to it, are its
    /// caller's all the same. It keeps its spending by agent and model.
    #[must_use]
    pub(crate) fn tightened(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(self.0.node.tightened(name.into(), budget))
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
        self.lineage().any(|account| account.budget().usd.is_some_and(|cap| !cap.soft))
    }

    /// Whether money or tokens are limited here or above.
    pub fn limits_spending(&self) -> bool {
        self.limits_money() || self.lineage().any(|account| account.budget().tokens.is_some_and(|cap| !cap.soft))
    }

    /// Whether the account that is named by this very name is this one or above it.
    pub(crate) fn spends_from(&self, name: &Arc<str>) -> bool {
        self.lineage().any(|account| Arc::ptr_eq(account.name(), name))
    }

    /// Sets the estimated cost of a call aside, or says which limit forbids it. Where a limit leaves too little for the
    /// whole estimate, less output is reserved: see [`Hold::output_tokens`]. `wrap_up` lets the call use what this
    /// account has set aside for a last answer; what those above have set aside is theirs.
    ///
    /// A reservation that has to be cut takes all that is left, except from the budget of a run above it: of that it
    /// takes at most half, so that of many workers that start at once each finds something instead of the first
    /// everything.
    pub fn reserve(&self, who: Spender, estimate: Estimate, wrap_up: bool) -> Result<Hold, BudgetExceeded> {
        let reservation = self.admit(Reservation::new(estimate), Place::Own { wrap_up })?;
        Ok(Hold { ledger: self.clone(), who, reservation, output_seen: 0, settled: false })
    }

    /// Whether a call of this size would be admitted now. Nothing is reserved.
    pub(crate) fn admits(&self, estimate: Estimate, wrap_up: bool) -> Result<(), BudgetExceeded> {
        let (mut asked, mut place) = (Reservation::new(estimate), Place::Own { wrap_up });
        for account in self.lineage() {
            let node = &account.0.node;
            asked = node.admit(&node.lock(), asked, place)?;
            place = node.place_above(place);
        }
        Ok(())
    }

    /// Adds what was spent without a reservation, here and above: what was bought is owed.
    pub(crate) fn book(&self, who: &Spender, charge: &Charge) {
        for account in self.lineage() {
            let node = &account.0.node;
            node.spend(&mut node.lock(), who, charge);
        }
    }

    /// Counts a model turn here and above, or says which limit forbids it. Of a limit above one turn, a run's last is
    /// set aside for [`Ledger::take_last_turn`].
    pub fn take_turn(&self) -> Result<(), BudgetExceeded> {
        self.count(Counted::Turn, Place::Own { wrap_up: false })
    }

    /// Counts the turn of a last answer, which may be the one that this account has set aside.
    pub fn take_last_turn(&self) -> Result<(), BudgetExceeded> {
        self.count(Counted::Turn, Place::Own { wrap_up: true })
    }

    /// Counts a call of `tool` by `agent` here and above, or says which limit forbids it.
    pub fn take_tool_call(&self, agent: &Arc<str>, tool: &Arc<str>) -> Result<(), BudgetExceeded> {
        self.count(Counted::ToolCall { agent, tool }, Place::Own { wrap_up: false })
    }

    /// What was spent at this account and below, since it was opened.
    pub fn spending(&self) -> Spending {
        self.0.node.lock().spending
    }

    /// Money spent in the current window, at this account and below.
    pub fn spent_in_window(&self) -> Money {
        self.0.node.lock().spent_in_window()
    }

    /// Money reserved and not yet settled, at this account and below.
    pub fn reserved(&self) -> Money {
        self.0.node.lock().reserved_usd
    }

    /// Reservations that are not settled yet, at this account and below.
    pub fn outstanding(&self) -> u64 {
        self.0.node.lock().outstanding
    }

    /// What is left at the tightest of this account and those above, outside of what is set aside for a last answer;
    /// with `wrap_up`, what this account has set aside is left too.
    pub fn headroom(&self, wrap_up: bool) -> Headroom {
        let mut place = Place::Own { wrap_up };
        self.lineage().fold(Headroom::default(), |least, account| {
            let node = &account.0.node;
            let room = node.headroom(&node.lock(), place);
            place = node.place_above(place);
            Headroom { usd: least_of(least.usd, room.usd), tokens: least_of(least.tokens, room.tokens) }
        })
    }

    /// Spending by agent, model and tool; only the total unless this account is a run's, or that of an agent with a
    /// budget of its own.
    pub fn summary(&self) -> CostSummary {
        let state = self.0.node.lock();
        CostSummary::new(state.spending, &state.lines, &state.tools)
    }

    /// The soft limits, here and above, that were crossed since somebody last asked. Each crossing is told once.
    pub fn take_warnings(&self) -> Vec<BudgetExceeded> {
        let mut told = Vec::new();
        self.lineage().for_each(|account| account.0.node.take_warnings(&mut told));
        told
    }

    /// Adds what this account had already spent in the current window before the process started. Accounts above
    /// have their own record, so nothing is passed up.
    pub fn restore(&self, spent: Spending) {
        self.0.node.lock().spending += spent;
    }

    fn top(node: Node) -> Self {
        Self(Arc::new(Account { node, parent: None }))
    }

    fn open(&self, node: Node) -> Self {
        Self(Arc::new(Account { node, parent: Some(self.clone()) }))
    }

    fn lineage(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |account| account.0.parent.as_ref())
    }

    /// Reserves here and above. Every account is locked until all have agreed, and written to on the way back, so a
    /// refusal leaves no trace. Everybody locks from below to above, so no two callers wait for each other.
    fn admit(&self, asked: Reservation, place: Place) -> Result<Reservation, BudgetExceeded> {
        let mut state = self.0.node.lock();
        let allowed = self.0.node.admit(&state, asked, place)?;
        let granted = match &self.0.parent {
            Some(parent) => parent.admit(allowed, self.0.node.place_above(place))?,
            None => allowed,
        };
        state.reserve(&granted);
        Ok(granted)
    }

    /// Counts one turn or tool call here and above, all or nothing in the same way.
    fn count(&self, one: Counted<'_>, place: Place) -> Result<(), BudgetExceeded> {
        let mut state = self.0.node.lock();
        self.0.node.admit_one(&state, one, place)?;
        if let Some(parent) = &self.0.parent {
            parent.count(one, self.0.node.place_above(place))?;
        }
        self.0.node.count(&mut state, one);
        Ok(())
    }

    /// Replaces a reservation by what was spent, which may be nothing, here and above.
    fn settle(&self, who: &Spender, reservation: &Reservation, charge: Option<&Charge>) {
        for account in self.lineage() {
            let node = &account.0.node;
            let mut state = node.lock();
            state.unreserve(reservation);
            if let Some(charge) = charge {
                node.spend(&mut state, who, charge);
            }
        }
    }
}

impl Hold {
    /// How many output tokens the reservation covers; fewer than were asked for if a budget left too little.
    pub fn output_tokens(&self) -> u64 {
        self.reservation.estimate.output_tokens
    }

    /// What was reserved.
    pub fn estimate(&self) -> &Estimate {
        &self.reservation.estimate
    }

    /// Remembers how many output tokens have come so far, for the case that the call is cut short.
    pub fn record_output(&mut self, tokens: u64) {
        self.output_seen = tokens;
    }

    /// Replaces the reservation by what the call used and cost, even beyond a limit: what was bought is owed.
    pub fn settle(mut self, charge: &Charge) {
        self.finish(Some(charge));
    }

    /// Settles a call that failed after the request had left, with what was seen of it.
    pub fn settle_uncertain(mut self) -> Charge {
        let charge = self.seen_so_far();
        self.finish(Some(&charge));
        charge
    }

    /// Gives the reservation back: nobody bills the call.
    pub fn release(mut self) {
        self.finish(None);
    }

    fn finish(&mut self, charge: Option<&Charge>) {
        if !std::mem::replace(&mut self.settled, true) {
            self.ledger.settle(&self.who, &self.reservation, charge);
        }
    }

    /// The prompt as estimated and the output that was seen, at the estimated rates.
    fn seen_so_far(&self) -> Charge {
        let Estimate { input_tokens, output_tokens, rates, .. } = self.reservation.estimate;
        let seen = self.output_seen.min(output_tokens);
        let cost = rates.map(|rates| rates.cost(input_tokens, seen));
        Charge { certainty: Certainty::Uncertain, usage: Usage::new(input_tokens, seen), cost }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let charge = self.seen_so_far();
        self.finish(Some(&charge));
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

#[cfg(test)]
mod tests;
