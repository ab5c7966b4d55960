//! One account of the ledger: its limits, and its balance.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
// The tests of all interleavings watch every lock that the ledger takes.
#[cfg(brigade_loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(brigade_loom))]
use std::sync::{Mutex, MutexGuard};

use crate::{
    Budget, BudgetExceeded, Cap, Charge, Estimate, Money, Quantity, Window,
    money::balance::{Balance, Totals, Unit},
    money::cost::Spender,
};

/// One account of the ledger.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) kind: AccountKind,
    /// Returns the date in UTC, which decides when a window of a day or a month begins.
    pub(crate) today: fn() -> Date,
    /// See [`Budget::wrap_up_percent`].
    wrap_up_percent: u8,
    balance: Mutex<Balance>,
}

/// Decides what an account sets aside for a last answer, and whether it keeps spending by agent, model and tool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountKind {
    /// A process, a tenant or a key, from which many runs spend. It sets nothing aside.
    Shared,
    /// A run.
    Run,
    /// An agent below a run.
    Agent,
    /// A further limit on the account above. A caller has the same relation to both.
    ExtraLimit,
}

/// How an account relates to the account that a caller spends from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Relation {
    /// It is that account. `wrap_up` lets the caller use what the account has set aside for a last answer.
    Own { wrap_up: bool },
    /// It is above that account.
    Ancestor,
}

/// What the hard limits leave; absent means without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Headroom {
    /// Money; negative if more was spent than the limit.
    pub(crate) usd: Option<Money>,
    pub(crate) tokens: Option<u64>,
}

impl Account {
    pub(crate) fn new(name: Arc<str>, budget: Budget, kind: AccountKind) -> Self {
        Self {
            name,
            kind,
            today: || Timestamp::now().to_zoned(TimeZone::UTC).date(),
            wrap_up_percent: budget.wrap_up_percent,
            balance: Mutex::new(Balance::new(budget)),
        }
    }

    /// The relation of the account above to a caller with `relation` to this account.
    pub(crate) fn relation_above(&self, relation: Relation) -> Relation {
        if self.kind == AccountKind::ExtraLimit { relation } else { Relation::Ancestor }
    }

    /// Locks the balance and opens a new window if the last one is over.
    pub(crate) fn balance(&self) -> MutexGuard<'_, Balance> {
        // A panic while the lock was held leaves whole numbers behind, so the balance is still good.
        let mut balance = self.balance.lock().unwrap_or_else(PoisonError::into_inner);
        let window = balance.budget.window;
        if window != Window::Total {
            balance.open_window(window.first_day((self.today)()));
        }
        balance
    }

    /// Returns the estimate, with less output if the hard limits leave too little.
    pub(crate) fn admit(
        &self,
        balance: &Balance,
        mut estimate: Estimate,
        relation: Relation,
    ) -> Result<Estimate, BudgetExceeded> {
        let calls = balance.in_window().model_calls.saturating_add(balance.outstanding);
        self.admit_one_more(Quantity::ModelCalls, balance.budget.model_calls, calls, self.sets_aside(relation))?;
        let cost = |estimate: &Estimate| estimate.cost().unwrap_or_default();
        let headroom = self.headroom(balance, relation);
        if let (Some(left), Some(cap)) = (headroom.usd.map(Money::or_zero), balance.budget.usd)
            && cost(&estimate) > left
        {
            estimate.fit_money(Money::from_nano(left.nano() / self.shares(relation)));
            if cost(&estimate) > left {
                return Err(self.exceeded(Quantity::Usd, cost(&estimate), left, cap.limit));
            }
        }
        if let (Some(left), Some(cap)) = (headroom.tokens, balance.budget.tokens)
            && estimate.tokens() > left
        {
            estimate.fit_tokens(left / self.shares(relation).unsigned_abs());
            if estimate.tokens() > left {
                return Err(self.exceeded(Quantity::Tokens, estimate.tokens(), left, cap.limit));
            }
        }
        Ok(estimate)
    }

    /// Checks that one more turn or tool call fits under the hard limit.
    pub(crate) fn admit_unit(
        &self,
        balance: &Balance,
        unit: Unit<'_>,
        relation: Relation,
    ) -> Result<(), BudgetExceeded> {
        let Totals { turns, tool_calls, .. } = balance.in_window();
        match unit {
            Unit::Turn => self.admit_one_more(Quantity::Turns, balance.budget.turns, turns, self.sets_aside(relation)),
            // A last answer calls no tool.
            Unit::ToolCall { .. } => {
                self.admit_one_more(Quantity::ToolCalls, balance.budget.tool_calls, tool_calls, false)
            }
        }
    }

    /// Checks that one more call or turn fits under the hard limit. `set_aside` keeps one for a last answer, unless the
    /// limit is one.
    fn admit_one_more(
        &self,
        quantity: Quantity,
        cap: Option<Cap<u64>>,
        used: u64,
        set_aside: bool,
    ) -> Result<(), BudgetExceeded> {
        let Some(Cap { limit, soft: false }) = cap else { return Ok(()) };
        if used < limit.saturating_sub(u64::from(set_aside && limit > 1)) {
            return Ok(());
        }
        Err(self.exceeded(quantity, 1, 0, limit))
    }

    pub(crate) fn count(&self, balance: &mut Balance, unit: Unit<'_>) {
        self.update(balance, |balance| balance.count(unit, self.is_itemized()));
    }

    pub(crate) fn spend(&self, balance: &mut Balance, spender: &Spender, charge: &Charge) {
        self.update(balance, |balance| balance.spend(spender, charge, self.is_itemized()));
    }

    /// Whether it keeps its spending by agent, model and tool.
    pub(super) fn is_itemized(&self) -> bool {
        matches!(self.kind, AccountKind::Run | AccountKind::ExtraLimit)
    }

    /// What the hard limits leave.
    pub(crate) fn headroom(&self, balance: &Balance, relation: Relation) -> Headroom {
        let spent = balance.in_window();
        let percent_set_aside = self.percent_set_aside(relation);
        let usd = balance.budget.usd.filter(|cap| !cap.soft).map(|cap| {
            let set_aside = percent(cap.limit.nano().unsigned_abs(), percent_set_aside);
            let set_aside = Money::from_nano(i64::try_from(set_aside).unwrap_or(i64::MAX));
            cap.limit - set_aside - spent.usd - balance.reserved_usd
        });
        let tokens = balance.budget.tokens.filter(|cap| !cap.soft).map(|cap| {
            let usable = cap.limit.saturating_sub(percent(cap.limit, percent_set_aside));
            usable.saturating_sub(spent.tokens).saturating_sub(balance.reserved_tokens)
        });
        Headroom { usd, tokens }
    }

    /// The percentage of the limits that a caller must leave for a last answer.
    fn percent_set_aside(&self, relation: Relation) -> u8 {
        match (relation, self.kind) {
            (Relation::Own { wrap_up: true }, _) | (_, AccountKind::Shared) => 0,
            (Relation::Own { wrap_up: false } | Relation::Ancestor, _) => self.wrap_up_percent.min(100),
        }
    }

    fn sets_aside(&self, relation: Relation) -> bool {
        self.percent_set_aside(relation) > 0
    }

    /// The number by which the headroom is divided for a reservation that must be reduced. Several workers of a run may
    /// start at once, so each takes half of the rest, and the first does not take everything.
    fn shares(&self, relation: Relation) -> i64 {
        match (relation, self.kind) {
            (Relation::Ancestor, AccountKind::Run | AccountKind::Agent | AccountKind::ExtraLimit) => 2,
            (Relation::Own { .. }, _) | (Relation::Ancestor, AccountKind::Shared) => 1,
        }
    }

    /// Changes the balance and records a warning for each soft limit that the change crosses.
    fn update(&self, balance: &mut Balance, change: impl FnOnce(&mut Balance)) {
        let before = balance.in_window();
        change(balance);
        let now = balance.in_window();
        let Budget { usd, tokens, turns, model_calls, tool_calls, .. } = balance.budget;
        let warnings = [
            self.crossing(Quantity::Usd, usd, before.usd, now.usd),
            self.crossing(Quantity::Tokens, tokens, before.tokens, now.tokens),
            self.crossing(Quantity::Turns, turns, before.turns, now.turns),
            self.crossing(Quantity::ModelCalls, model_calls, before.model_calls, now.model_calls),
            self.crossing(Quantity::ToolCalls, tool_calls, before.tool_calls, now.tool_calls),
        ];
        balance.warnings.extend(warnings.into_iter().flatten());
    }

    fn crossing<T>(&self, quantity: Quantity, cap: Option<Cap<T>>, before: T, now: T) -> Option<BudgetExceeded>
    where
        T: Copy + Default + Ord + fmt::Display,
    {
        let Cap { limit, .. } = cap.filter(|cap| cap.soft && before <= cap.limit && now > cap.limit)?;
        Some(self.exceeded(quantity, now, T::default(), limit))
    }

    fn exceeded<T: fmt::Display>(&self, quantity: Quantity, needed: T, remaining: T, limit: T) -> BudgetExceeded {
        BudgetExceeded::new(Arc::clone(&self.name), quantity, needed, remaining, limit)
    }
}

fn percent(amount: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}
