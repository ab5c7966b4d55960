//! The balance of an account: spending and reservations.

use std::{collections::BTreeMap, sync::Arc};

use jiff::civil::Date;

use crate::{
    Budget, BudgetExceeded, Charge, Estimate, Money, Spending,
    money::cost::{Spender, ToolCaller},
    money::items::Items,
};

/// The amounts spent and reserved at one account and below it.
#[derive(Default)]
pub(crate) struct Balance {
    pub(crate) budget: Budget,
    pub(crate) spending: Spending,
    pub(crate) by_spender: BTreeMap<Spender, Spending>,
    pub(crate) tool_calls: BTreeMap<ToolCaller, u64>,
    pub(crate) turns: u64,
    pub(crate) reserved_usd: Money,
    pub(crate) reserved_tokens: u64,
    /// Reservations that are neither settled nor released.
    pub(crate) outstanding: u64,
    /// Soft limits that were crossed and not yet reported.
    pub(crate) warnings: Vec<BudgetExceeded>,
    tool_call_count: u64,
    window_start: Date,
    at_window_start: Totals,
}

/// The amounts that limits apply to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) usd: Money,
    pub(crate) tokens: u64,
    pub(crate) turns: u64,
    pub(crate) model_calls: u64,
    pub(crate) tool_calls: u64,
}

/// A thing that is counted one at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit<'a> {
    /// A model turn.
    Turn,
    /// A call of a tool by an agent.
    ToolCall { agent: &'a Arc<str>, tool: &'a Arc<str> },
}

impl Balance {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    pub(crate) fn reserve(&mut self, estimate: &Estimate) {
        self.reserved_usd += estimate.cost().unwrap_or_default();
        self.reserved_tokens = self.reserved_tokens.saturating_add(estimate.tokens());
        self.outstanding += 1;
    }

    pub(crate) fn release(&mut self, estimate: &Estimate) {
        self.reserved_usd = self.reserved_usd - estimate.cost().unwrap_or_default();
        self.reserved_tokens = self.reserved_tokens.saturating_sub(estimate.tokens());
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Adds what a call cost; with `itemize`, to the amounts of its spender too.
    pub(crate) fn spend(&mut self, spender: &Spender, charge: &Charge, itemize: bool) {
        self.spending += Spending::from(charge);
        if itemize {
            *self.by_spender.entry(spender.clone()).or_default() += Spending::from(charge);
        }
    }

    /// Counts a turn or a tool call; with `itemize`, tool calls by agent and tool too.
    pub(crate) fn count(&mut self, unit: Unit<'_>, itemize: bool) {
        match unit {
            Unit::Turn => self.turns += 1,
            Unit::ToolCall { agent, tool } => {
                self.tool_call_count += 1;
                if itemize {
                    let caller = ToolCaller { agent: Arc::clone(agent), tool: Arc::clone(tool) };
                    *self.tool_calls.entry(caller).or_default() += 1;
                }
            }
        }
    }

    /// Adds what was spent and counted before a run was replayed; with `itemize`, by spender and tool too.
    pub(super) fn replay(&mut self, items: &Items, itemize: bool) {
        self.turns += items.turns;
        for (spender, spending) in &items.spending {
            self.spending += *spending;
            if itemize {
                *self.by_spender.entry(spender.clone()).or_default() += *spending;
            }
        }
        for (caller, calls) in &items.tool_calls {
            self.tool_call_count += calls;
            if itemize {
                *self.tool_calls.entry(caller.clone()).or_default() += calls;
            }
        }
    }

    /// Opens the window that starts on this day, if it is a later one. A clock that was set back must not open a window
    /// again. Reservations stay: a call counts in the window in which it is settled.
    pub(crate) fn open_window(&mut self, start: Date) {
        if start > self.window_start {
            self.window_start = start;
            self.at_window_start = self.totals();
        }
    }

    /// Replaces the limits. In another window, `spent` counts and what was spent after `as_of`.
    pub(crate) fn replace_budget(&mut self, budget: Budget, today: Date, spent: Spending, as_of: &Spending) {
        if budget.window != self.budget.window {
            self.window_start = budget.window.first_day(today);
            let mut now = std::mem::replace(&mut self.spending, *as_of);
            self.at_window_start = self.totals();
            now += spent;
            self.spending = now;
        }
        self.budget = budget;
    }

    pub(crate) fn in_window(&self) -> Totals {
        let (now, before) = (self.totals(), self.at_window_start);
        Totals {
            usd: now.usd - before.usd,
            tokens: now.tokens.saturating_sub(before.tokens),
            turns: now.turns - before.turns,
            model_calls: now.model_calls - before.model_calls,
            tool_calls: now.tool_calls - before.tool_calls,
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            usd: self.spending.total(),
            tokens: self.spending.usage.total_tokens().saturating_add(self.spending.uncertain_tokens),
            turns: self.turns,
            model_calls: self.spending.calls,
            tool_calls: self.tool_call_count,
        }
    }
}
