//! The ledger: a tree of accounts that records spending. A call reserves its cost before it starts, and settles or
//! releases the reservation afterwards.

use std::{fmt, iter, sync::Arc};

use crate::{
    Budget, BudgetExceeded, Cap, Certainty, Charge, CostSummary, Estimate, ModelId, Money, Spending, Usage,
    money::account::{Account, AccountKind, Headroom, Relation},
    money::balance::Unit,
    money::cost::Spender,
};

/// An account in a tree of accounts: process, key, run, agent. Cheap to clone.
///
/// A call first *reserves* its largest cost. The reservation is admitted only if the account and every account above it
/// stay within their limits, counting spent and reserved amounts. When the call has ended, the
/// reservation is *settled* with the actual cost, or *released* if nothing was spent. So concurrent callers never exceed a
/// limit if their reservations are upper bounds, as those of [`Metered`](crate::Metered) models are.
///
/// Each account has one window. A key that is limited by day and by month has two accounts, one above the other.
///
/// ```
/// use brigade_core::{Budget, Certainty, Charge, Estimate, Ledger, ModelId, Money, Rate, Rates, Usage};
///
/// let process = Ledger::root("process", Budget::default());
/// let key = process.child("ada's key", Budget::default().usd("1.00")?);
///
/// let rates = Rates::new(Rate::per_million(Money::from_dollars(1)), Rate::per_million(Money::from_dollars(10)));
/// let estimate = Estimate::new(2_000, 8_000).rates(rates);
/// let hold = key.reserve(&"desk".into(), &ModelId::new("openai", "gpt-5-mini"), estimate, false)?;
/// assert_eq!(key.reserved(), "0.082".parse()?);
///
/// // The call is made here.
/// let usage = Usage::new(2_000, 500);
/// hold.settle(&Charge::new(Certainty::Charged, usage, Some(rates.cost(2_000, 500))));
/// assert_eq!(process.spending().total(), "0.007".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
#[derive(Clone)]
pub struct Ledger(Arc<Node>);

struct Node {
    account: Account,
    parent: Option<Ledger>,
}

/// A reservation. If it is dropped without being settled or released, the prompt and the output count as uncertain
/// spending, because the provider bills a cancelled call too: the output that was recorded, or all that was reserved if
/// none was recorded.
#[must_use = "a dropped hold is settled as uncertain"]
#[derive(Debug)]
pub struct Hold {
    ledger: Ledger,
    spender: Spender,
    estimate: Estimate,
    output_so_far: Option<u64>,
    is_closed: bool,
}

impl Ledger {
    /// Opens the top account of a tree, such as a process.
    pub fn root(name: impl Into<Arc<str>>, budget: Budget) -> Self {
        Self::top(Account::new(name.into(), budget, AccountKind::Shared))
    }

    /// Opens the account of a run that has no account above it.
    pub(crate) fn root_for_run(name: impl Into<Arc<str>>, budget: Budget) -> Self {
        Self::top(Account::new(name.into(), budget, AccountKind::Run))
    }

    /// Opens an account below this one.
    pub fn child(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        let kind = match self.0.account.kind {
            AccountKind::Shared => AccountKind::Shared,
            AccountKind::Run | AccountKind::Agent | AccountKind::ExtraLimit => AccountKind::Agent,
        };
        self.open(name.into(), budget, kind)
    }

    /// Opens the account of a run below this one. It keeps its spending by agent and model for a [`CostSummary`], and it
    /// and the accounts below it set a part aside for a last answer, see [`Budget::wrap_up_percent`].
    pub fn child_for_run(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(name.into(), budget, AccountKind::Run)
    }

    /// Puts a further limit on this account. The caller may still use what this account has set aside for a last answer.
    pub(crate) fn with_extra_limit(&self, name: impl Into<Arc<str>>, budget: Budget) -> Self {
        self.open(name.into(), budget, AccountKind::ExtraLimit)
    }

    /// The account's name, as refusals show it.
    pub fn name(&self) -> &Arc<str> {
        &self.0.account.name
    }

    /// The account's own limits.
    pub fn budget(&self) -> Budget {
        self.0.account.balance().budget.clone()
    }

    /// Replaces the account's own limits. Spending and reservations stay, so calls in flight count under the new limits.
    ///
    /// In another window, `spent` counts: what was spent in it when [`Ledger::spending`] was `as_of`, and all that was
    /// spent since.
    pub fn set_budget(&self, budget: Budget, spent: Spending, as_of: &Spending) {
        let account = &self.0.account;
        account.balance().replace_budget(budget, (account.today)(), spent, as_of);
    }

    /// Whether this account or one above it has a hard limit of money. Such a limit cannot hold for a model without a
    /// price.
    pub fn limits_money(&self) -> bool {
        self.lineage().any(|ledger| ledger.budget().usd.is_some_and(|cap| !cap.soft))
    }

    /// Whether this account or one above it has a hard limit of money or tokens.
    pub(crate) fn limits_spending(&self) -> bool {
        self.limits_money() || self.lineage().any(|ledger| ledger.budget().tokens.is_some_and(|cap| !cap.soft))
    }

    /// Whether `scope`, taken from a refusal, is this account or one above it. It compares pointers, because several
    /// accounts may have the same name.
    pub(crate) fn is_within(&self, scope: &Arc<str>) -> bool {
        self.lineage().any(|ledger| Arc::ptr_eq(ledger.name(), scope))
    }

    /// Reserves the estimated cost of a call of `model` by the agent with this path, or returns the limit that forbids
    /// it. If a limit leaves less than the estimate, the reservation covers less output: see [`Hold::output_tokens`].
    ///
    /// `wrap_up` lets the call use what this account has set aside for a last answer, but not what accounts above it have
    /// set aside.
    ///
    /// A reduced reservation takes all that is left, except at the account of a run above this one: there it takes at
    /// most half, because several workers may start at once and each should get a share.
    pub fn reserve(
        &self,
        agent: &Arc<str>,
        model: &ModelId,
        estimate: Estimate,
        wrap_up: bool,
    ) -> Result<Hold, BudgetExceeded> {
        let estimate = self.admit(estimate, Relation::Own { wrap_up })?;
        let spender = Spender { agent: Arc::clone(agent), model: model.clone() };
        Ok(Hold { ledger: self.clone(), spender, estimate, output_so_far: None, is_closed: false })
    }

    /// Checks that a call of this size would be admitted now, without reserving anything.
    pub(crate) fn check(&self, mut estimate: Estimate, wrap_up: bool) -> Result<(), BudgetExceeded> {
        for (account, relation) in self.relations(wrap_up) {
            estimate = account.admit(&account.balance(), estimate, relation)?;
        }
        Ok(())
    }

    /// Adds a charge that was not reserved. It counts even beyond a limit.
    pub(crate) fn charge(&self, agent: &Arc<str>, model: &ModelId, charge: &Charge) {
        let spender = Spender { agent: Arc::clone(agent), model: model.clone() };
        for Self(node) in self.lineage() {
            node.account.spend(&mut node.account.balance(), &spender, charge);
        }
    }

    /// Counts a model turn at this account and all above it, or returns the limit that forbids it. `wrap_up` lets the
    /// turn be the one that this account has set aside for a last answer.
    pub fn take_turn(&self, wrap_up: bool) -> Result<(), BudgetExceeded> {
        self.count(Unit::Turn, Relation::Own { wrap_up })
    }

    /// Counts a call of `tool` by `agent` at this account and all above it, or returns the limit that forbids it.
    pub(crate) fn take_tool_call(&self, agent: &Arc<str>, tool: &Arc<str>) -> Result<(), BudgetExceeded> {
        self.count(Unit::ToolCall { agent, tool }, Relation::Own { wrap_up: false })
    }

    /// The spending at this account and below it since it was opened.
    pub fn spending(&self) -> Spending {
        self.0.account.balance().spending
    }

    /// Money spent in the current window, at this account and below it.
    pub fn spent_in_window(&self) -> Money {
        self.0.account.balance().in_window().usd
    }

    /// Money reserved and not yet settled, at this account and below it.
    pub fn reserved(&self) -> Money {
        self.0.account.balance().reserved_usd
    }

    /// The number of reservations that are not settled yet, at this account and below it.
    pub fn outstanding(&self) -> u64 {
        self.0.account.balance().outstanding
    }

    /// What this account and all above it leave, without the part set aside for a last answer, as the budget of work that
    /// spends from another ledger.
    pub fn left(&self) -> Budget {
        let Headroom { usd, tokens } = self.headroom(false);
        let (usd, tokens) = (usd.map(|left| Cap::hard(left.or_zero())), tokens.map(Cap::hard));
        Budget { usd, tokens, ..Budget::unlimited() }
    }

    /// The headroom at this account and all above it. Without `wrap_up`, it does not include the part set aside for a last
    /// answer.
    pub(crate) fn headroom(&self, wrap_up: bool) -> Headroom {
        self.relations(wrap_up).fold(Headroom::default(), |least, (account, relation)| {
            let headroom = account.headroom(&account.balance(), relation);
            Headroom { usd: least_of(least.usd, headroom.usd), tokens: least_of(least.tokens, headroom.tokens) }
        })
    }

    /// Spending by agent, model and tool. Only the account of a run, or of an agent with a budget of its own, keeps these;
    /// of other accounts it has only the total.
    pub fn summary(&self) -> CostSummary {
        let balance = self.0.account.balance();
        CostSummary::new(balance.spending, &balance.by_spender, &balance.tool_calls)
    }

    /// Returns the soft limits of this account and all above it that were crossed since the last call of this function.
    pub(crate) fn take_warnings(&self) -> Vec<BudgetExceeded> {
        self.lineage().flat_map(|Self(node)| std::mem::take(&mut node.account.balance().warnings)).collect()
    }

    /// Adds what this account had spent in the current window before the process started. Accounts above it are restored
    /// on their own.
    pub fn restore(&self, spent: Spending) {
        self.0.account.balance().spending += spent;
    }

    pub(super) fn account(&self) -> &Account {
        &self.0.account
    }

    fn top(account: Account) -> Self {
        Self(Arc::new(Node { account, parent: None }))
    }

    fn open(&self, name: Arc<str>, budget: Budget, kind: AccountKind) -> Self {
        let mut account = Account::new(name, budget, kind);
        account.today = self.0.account.today;
        Self(Arc::new(Node { account, parent: Some(self.clone()) }))
    }

    /// This account and all above it, from below to above.
    pub(super) fn lineage(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |ledger| ledger.0.parent.as_ref())
    }

    /// This account and all above it, with their relation to a caller that spends from this account.
    fn relations(&self, wrap_up: bool) -> impl Iterator<Item = (&Account, Relation)> {
        let mut relation = Relation::Own { wrap_up };
        self.lineage().map(move |Self(node)| {
            let own = relation;
            relation = node.account.relation_above(own);
            (&node.account, own)
        })
    }

    /// Reserves at this account and all above it. An account stays locked until those above it have agreed and is changed
    /// only then, so a refusal changes nothing. All callers lock from below to above, so they cannot deadlock.
    fn admit(&self, estimate: Estimate, relation: Relation) -> Result<Estimate, BudgetExceeded> {
        let Node { account, parent } = &*self.0;
        let mut balance = account.balance();
        let mut admitted = account.admit(&balance, estimate, relation)?;
        if let Some(parent) = parent {
            admitted = parent.admit(admitted, account.relation_above(relation))?;
        }
        balance.reserve(&admitted);
        Ok(admitted)
    }

    /// Counts one turn or tool call at this account and all above it. It locks in the order of [`Ledger::admit`].
    fn count(&self, unit: Unit<'_>, relation: Relation) -> Result<(), BudgetExceeded> {
        let Node { account, parent } = &*self.0;
        let mut balance = account.balance();
        account.admit_unit(&balance, unit, relation)?;
        if let Some(parent) = parent {
            parent.count(unit, account.relation_above(relation))?;
        }
        account.count(&mut balance, unit);
        Ok(())
    }
}

impl Hold {
    /// The number of output tokens that the reservation covers. It is less than the estimate if a budget left too little.
    pub fn output_tokens(&self) -> u64 {
        self.estimate.output_tokens
    }

    /// The reserved estimate.
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// Records how many output tokens have arrived so far, in case the call is cut short.
    pub fn record_output(&mut self, tokens: u64) {
        self.output_so_far = Some(tokens);
    }

    /// Replaces the reservation by what the call used and cost. The charge counts even beyond a limit.
    pub fn settle(mut self, charge: &Charge) {
        self.close(Some(charge));
    }

    /// Settles a call that failed after its request was sent: charges the reserved prompt and the output recorded so far,
    /// or all of the reservation if no output was recorded.
    pub fn settle_uncertain(mut self) -> Charge {
        let charge = self.charge_so_far();
        self.close(Some(&charge));
        charge
    }

    /// Gives the reservation back, for a call that is not billed.
    pub fn release(mut self) {
        self.close(None);
    }

    /// Replaces the reservation by the charge, if there is one, at this account and all above it.
    fn close(&mut self, charge: Option<&Charge>) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        for Ledger(node) in self.ledger.lineage() {
            let mut balance = node.account.balance();
            balance.release(&self.estimate);
            if let Some(charge) = charge {
                node.account.spend(&mut balance, &self.spender, charge);
            }
        }
    }

    fn charge_so_far(&self) -> Charge {
        let Estimate { input_tokens, output_tokens, rates, .. } = self.estimate;
        let output_tokens = self.output_so_far.map_or(output_tokens, |seen| seen.min(output_tokens));
        let cost = rates.map(|rates| rates.cost(input_tokens, output_tokens));
        Charge::new(Certainty::Uncertain, Usage::new(input_tokens, output_tokens), cost)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let charge = self.charge_so_far();
        self.close(Some(&charge));
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("name", self.name())
            .field("spending", &self.spending())
            .field("reserved", &self.reserved())
            .finish_non_exhaustive()
    }
}

pub(crate) fn least_of<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;
