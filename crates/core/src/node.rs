//! One account of the ledger: its limits, and what was spent and reserved under them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    Budget, BudgetExceeded, Money,
    budget::Quantity,
    cost::{Charge, Spending},
    ledger::{Estimate, Headroom, Spender, unpoisoned},
};

/// One account of the ledger.
pub(crate) struct Node {
    name: Arc<str>,
    budget: Budget,
    itemised: bool,
    state: Mutex<NodeState>,
}

/// What was spent and reserved at one account and below.
#[derive(Default)]
pub(crate) struct NodeState {
    pub(crate) spending: Spending,
    pub(crate) lines: BTreeMap<Spender, Spending>,
    pub(crate) reserved_usd: Money,
    pub(crate) outstanding: u64,
    reserved_tokens: u64,
    turns: u64,
    tool_calls: u64,
}

impl Node {
    pub(crate) fn new(name: Arc<str>, budget: Budget, itemised: bool) -> Self {
        Self { name, budget, itemised, state: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn itemised(&self) -> bool {
        self.itemised
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, NodeState> {
        unpoisoned(&self.state)
    }

    /// Whether `estimate` fits under the hard limits of money and tokens.
    pub(crate) fn admit(&self, state: &NodeState, estimate: &Estimate, wrap_up: bool) -> Result<(), BudgetExceeded> {
        let room = self.headroom(state, wrap_up);
        let cost = estimate.cost().unwrap_or_default();
        if let (Some(left), Some(cap)) = (room.usd, self.budget.usd)
            && cost > left
        {
            return Err(self.exceeded(Quantity::Usd, [cost, left.or_zero(), cap.limit]));
        }
        if let (Some(left), Some(cap)) = (room.tokens, self.budget.tokens)
            && estimate.tokens() > left
        {
            return Err(self.exceeded(Quantity::Tokens, [estimate.tokens(), left, cap.limit]));
        }
        Ok(())
    }

    /// Whether one more turn fits under the hard limit.
    pub(crate) fn admit_turn(&self, state: &NodeState) -> Result<(), BudgetExceeded> {
        match self.budget.turns {
            Some(cap) if !cap.soft && state.turns >= cap.limit => {
                Err(self.exceeded(Quantity::Turns, [1, 0, cap.limit]))
            }
            _ => Ok(()),
        }
    }

    /// Whether one more tool call fits under the hard limit.
    pub(crate) fn admit_tool_call(&self, state: &NodeState) -> Result<(), BudgetExceeded> {
        match self.budget.tool_calls {
            Some(cap) if !cap.soft && state.tool_calls >= cap.limit => {
                Err(self.exceeded(Quantity::ToolCalls, [1, 0, cap.limit]))
            }
            _ => Ok(()),
        }
    }

    /// What the hard limits leave.
    pub(crate) fn headroom(&self, state: &NodeState, wrap_up: bool) -> Headroom {
        let aside = if wrap_up { 0 } else { u64::from(self.budget.wrap_up_percent.0.min(100)) };
        let usd = self.budget.usd.filter(|cap| !cap.soft).map(|cap| {
            let set_aside = i128::from(cap.limit.nano()) * i128::from(aside) / 100;
            let set_aside = Money::from_nano(i64::try_from(set_aside).unwrap_or(i64::MAX));
            cap.limit - set_aside - state.spending.total() - state.reserved_usd
        });
        let tokens = self.budget.tokens.filter(|cap| !cap.soft).map(|cap| {
            let usable = cap.limit - u64::try_from(u128::from(cap.limit) * u128::from(aside) / 100).unwrap_or(0);
            usable.saturating_sub(state.spending.usage.total_tokens()).saturating_sub(state.reserved_tokens)
        });
        Headroom { usd, tokens }
    }

    fn exceeded<T: fmt::Display>(&self, quantity: Quantity, [needed, remaining, limit]: [T; 3]) -> BudgetExceeded {
        BudgetExceeded {
            scope: Arc::clone(&self.name),
            quantity,
            needed: needed.to_string(),
            remaining: remaining.to_string(),
            limit: limit.to_string(),
        }
    }
}

impl NodeState {
    pub(crate) fn reserve(&mut self, estimate: &Estimate) {
        self.reserved_usd += estimate.cost().unwrap_or_default();
        self.reserved_tokens = self.reserved_tokens.saturating_add(estimate.tokens());
        self.outstanding += 1;
    }

    pub(crate) fn unreserve(&mut self, estimate: &Estimate) {
        self.reserved_usd -= estimate.cost().unwrap_or_default();
        self.reserved_tokens = self.reserved_tokens.saturating_sub(estimate.tokens());
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    pub(crate) fn spend(&mut self, charge: &Charge) {
        self.spending.add(charge);
    }

    pub(crate) fn itemise(&mut self, who: &Spender, charge: &Charge) {
        if let Some(line) = self.lines.get_mut(who) {
            line.add(charge);
        } else {
            self.lines.entry(who.clone()).or_default().add(charge);
        }
    }

    pub(crate) fn count_turn(&mut self) {
        self.turns += 1;
    }

    pub(crate) fn count_tool_call(&mut self) {
        self.tool_calls += 1;
    }
}
