//! One account of the ledger: its limits, and what was spent and reserved under them.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

// The tests of all interleavings watch every lock that the ledger takes.
#[cfg(brigade_loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(brigade_loom))]
use std::sync::{Mutex, MutexGuard};

use crate::{
    Budget, BudgetExceeded, Money,
    money::budget::{Cap, Quantity, Window},
    money::calendar::{Calendar, SystemCalendar, window_number},
    money::cost::Spender,
    money::cost::{Charge, Spending},
    money::ledger::Headroom,
    money::reservation::Reservation,
};

/// One account of the ledger.
pub(crate) struct Node {
    name: Arc<str>,
    budget: Budget,
    /// Whether a limit is soft, so that crossing it has to be told.
    warns: bool,
    kind: Kind,
    /// The system's if absent.
    calendar: Option<Arc<dyn Calendar>>,
    state: Mutex<NodeState>,
}

/// What an account is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A process, a tenant, a key: many runs spend from it, and it gives no last answer.
    Standing,
    /// One run.
    Run,
    /// A part of a run.
    Part,
    /// The part of a run above or the run itself, under a further limit.
    Tighter,
}

/// Where an account stands to the caller of a reservation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// It is the caller's own.
    Own { wrap_up: bool },
    /// It is above the caller's.
    Above,
}

/// What was spent and reserved at one account and below.
#[derive(Default)]
pub(crate) struct NodeState {
    pub(crate) spending: Spending,
    /// Who spent what, in the order of their first calls. A run has a handful, so a list costs less than a map.
    pub(crate) lines: Vec<(Spender, Spending)>,
    pub(crate) reserved_usd: Money,
    pub(crate) outstanding: u64,
    warnings: Vec<BudgetExceeded>,
    reserved_tokens: u64,
    turns: u64,
    tool_calls: u64,
    /// Tools by who called them, and how often, in the order of their first calls.
    pub(crate) tools: Vec<ToolLine>,
    window: u64,
    before_window: Sums,
}

/// One tool, as one agent called it.
pub(crate) struct ToolLine {
    pub(crate) agent: Arc<str>,
    pub(crate) tool: Arc<str>,
    pub(crate) calls: u64,
}

/// What is counted one by one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted<'a> {
    /// A model turn.
    Turn,
    /// A call of a tool by an agent.
    ToolCall { agent: &'a Arc<str>, tool: &'a Arc<str> },
}

/// What limits are compared with.
#[derive(Clone, Copy, Default)]
struct Sums {
    usd: Money,
    tokens: u64,
    turns: u64,
    model_calls: u64,
    tool_calls: u64,
}

impl Node {
    pub(crate) fn standing(name: Arc<str>, budget: Budget, calendar: Option<Arc<dyn Calendar>>) -> Self {
        let warns = budget.has_soft_limit();
        Self { name, budget, warns, kind: Kind::Standing, calendar, state: Mutex::default() }
    }

    /// The account of a run with nothing above it.
    pub(crate) fn run_alone(name: Arc<str>, budget: Budget) -> Self {
        Self { kind: Kind::Run, ..Self::standing(name, budget, None) }
    }

    /// An account below this one.
    pub(crate) fn child(&self, name: Arc<str>, budget: Budget) -> Self {
        let kind = if self.kind == Kind::Standing { Kind::Standing } else { Kind::Part };
        Self { kind, ..Self::standing(name, budget, self.calendar.clone()) }
    }

    /// The account of a run below this one.
    pub(crate) fn run(&self, name: Arc<str>, budget: Budget) -> Self {
        Self { kind: Kind::Run, ..self.child(name, budget) }
    }

    /// The same account under a further limit.
    pub(crate) fn tightened(&self, name: Arc<str>, budget: Budget) -> Self {
        Self { kind: Kind::Tighter, ..self.child(name, budget) }
    }

    /// Where the account above stands to a caller to whom this one stands at `place`.
    pub(crate) fn place_above(&self, place: Place) -> Place {
        if self.kind == Kind::Tighter { place } else { Place::Above }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Moves to `told` the soft limits that were crossed since somebody last asked.
    pub(crate) fn take_warnings(&self, told: &mut Vec<BudgetExceeded>) {
        if self.warns {
            told.append(&mut self.lock().warnings);
        }
    }

    /// The state as of now: a window that is over has made room for the next.
    pub(crate) fn lock(&self) -> MutexGuard<'_, NodeState> {
        // A panic while the lock was held leaves whole numbers behind, so the state is still good.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.budget.window != Window::Total {
            let calendar = self.calendar.as_deref().unwrap_or(&SystemCalendar);
            state.turn_window(window_number(self.budget.window, calendar.today()));
        }
        state
    }

    /// What of `asked` fits under the hard limits of money and tokens, cut down where it must be.
    pub(crate) fn admit(
        &self,
        state: &NodeState,
        mut asked: Reservation,
        place: Place,
    ) -> Result<Reservation, BudgetExceeded> {
        self.admit_call(state, place)?;
        let room = self.headroom(state, place);
        if let (Some(left), Some(cap)) = (room.usd.map(Money::or_zero), self.budget.usd)
            && asked.cost > left
        {
            asked.cut_to_money(self.share(left.nano().unsigned_abs(), place));
            if asked.cost > left {
                return Err(self.exceeded(Quantity::Usd, [asked.cost, left, cap.limit]));
            }
        }
        if let (Some(left), Some(cap)) = (room.tokens, self.budget.tokens)
            && asked.estimate.tokens() > left
        {
            asked.cut_to_tokens(self.share(left, place));
            if asked.estimate.tokens() > left {
                return Err(self.exceeded(Quantity::Tokens, [asked.estimate.tokens(), left, cap.limit]));
            }
        }
        Ok(asked)
    }

    /// Whether one more turn or tool call fits under the hard limit.
    pub(crate) fn admit_one(&self, state: &NodeState, one: Counted<'_>, place: Place) -> Result<(), BudgetExceeded> {
        let used = state.in_window();
        match one {
            Counted::Turn => {
                let cap = self.budget.turns.map(|cap| (cap, self.set_aside_one(cap.limit, place)));
                self.admit_under(cap, (Quantity::Turns, used.turns))
            }
            Counted::ToolCall { .. } => {
                let cap = self.budget.tool_calls.map(|cap| (cap, 0));
                self.admit_under(cap, (Quantity::ToolCalls, used.tool_calls))
            }
        }
    }

    /// Whether one more model call fits under the hard limit, beside those in flight.
    fn admit_call(&self, state: &NodeState, place: Place) -> Result<(), BudgetExceeded> {
        let Some(cap) = self.budget.model_calls else { return Ok(()) };
        let used = state.in_window().model_calls.saturating_add(state.outstanding);
        self.admit_under(Some((cap, self.set_aside_one(cap.limit, place))), (Quantity::ModelCalls, used))
    }

    fn admit_under(
        &self,
        cap: Option<(Cap<u64>, u64)>,
        (quantity, used): (Quantity, u64),
    ) -> Result<(), BudgetExceeded> {
        match cap.filter(|(cap, aside)| !cap.soft && used >= cap.limit.saturating_sub(*aside)) {
            Some((cap, _)) => Err(self.exceeded(quantity, [1, 0, cap.limit])),
            None => Ok(()),
        }
    }

    /// What of a limit of turns or calls a caller at `place` must leave for a last answer: one, unless there is only one.
    fn set_aside_one(&self, limit: u64, place: Place) -> u64 {
        u64::from(limit > 1 && self.set_aside_percent(place) > 0)
    }

    /// Counts one turn or tool call.
    pub(crate) fn count(&self, state: &mut NodeState, one: Counted<'_>) {
        self.change(state, |state| match one {
            Counted::Turn => state.turns += 1,
            Counted::ToolCall { agent, tool } => {
                state.tool_calls += 1;
                if self.is_itemised() {
                    state.itemise_tool(agent, tool);
                }
            }
        });
    }

    /// Adds what a call used and cost.
    pub(crate) fn spend(&self, state: &mut NodeState, who: &Spender, charge: &Charge) {
        self.change(state, |state| {
            state.spending.add(charge);
            if self.is_itemised() {
                state.itemise(who, charge);
            }
        });
    }

    /// Whether it keeps what was spent by agent, model and tool.
    fn is_itemised(&self) -> bool {
        matches!(self.kind, Kind::Run | Kind::Tighter)
    }

    /// What the hard limits leave.
    pub(crate) fn headroom(&self, state: &NodeState, place: Place) -> Headroom {
        let spent = state.in_window();
        let aside = self.set_aside_percent(place);
        let usd = self.budget.usd.filter(|cap| !cap.soft).map(|cap| {
            let set_aside = percent(cap.limit.nano().unsigned_abs(), aside);
            cap.limit - Money::from_nano(i64::try_from(set_aside).unwrap_or(i64::MAX)) - spent.usd - state.reserved_usd
        });
        let tokens = self.budget.tokens.filter(|cap| !cap.soft).map(|cap| {
            let usable = cap.limit.saturating_sub(percent(cap.limit, aside));
            usable.saturating_sub(spent.tokens).saturating_sub(state.reserved_tokens)
        });
        Headroom { usd, tokens }
    }

    /// The share that a caller at `place` must leave for a last answer.
    fn set_aside_percent(&self, place: Place) -> u8 {
        match place {
            Place::Own { wrap_up: true } => 0,
            _ if self.kind == Kind::Standing => 0,
            Place::Own { wrap_up: false } | Place::Above => self.budget.wrap_up_percent.0.min(100),
        }
    }

    /// How much of what is left a reservation may take that has to be cut.
    fn share(&self, left: u64, place: Place) -> u64 {
        match (place, self.kind) {
            (Place::Above, Kind::Run | Kind::Part | Kind::Tighter) => left / 2,
            (Place::Own { .. }, _) | (Place::Above, Kind::Standing) => left,
        }
    }

    /// Makes a change to what was spent, and keeps a warning for each soft limit that it crosses.
    fn change(&self, state: &mut NodeState, change: impl FnOnce(&mut NodeState)) {
        let before = self.warns.then(|| state.in_window());
        change(state);
        if let Some(before) = before {
            self.note_crossings(state, before);
        }
    }

    /// Keeps a warning for each soft limit that was within reach `before` and is crossed now.
    fn note_crossings(&self, state: &mut NodeState, before: Sums) {
        let now = state.in_window();
        let warnings = [
            self.crossing(Quantity::Usd, self.budget.usd, [before.usd, now.usd]),
            self.crossing(Quantity::Tokens, self.budget.tokens, [before.tokens, now.tokens]),
            self.crossing(Quantity::Turns, self.budget.turns, [before.turns, now.turns]),
            self.crossing(Quantity::ModelCalls, self.budget.model_calls, [before.model_calls, now.model_calls]),
            self.crossing(Quantity::ToolCalls, self.budget.tool_calls, [before.tool_calls, now.tool_calls]),
        ];
        state.warnings.extend(warnings.into_iter().flatten());
    }

    fn crossing<T>(&self, quantity: Quantity, cap: Option<Cap<T>>, [before, now]: [T; 2]) -> Option<BudgetExceeded>
    where
        T: Copy + Default + Ord + fmt::Display,
    {
        let Cap { limit, .. } = cap.filter(|cap| cap.soft && before <= cap.limit && now > cap.limit)?;
        Some(self.exceeded(quantity, [now, T::default(), limit]))
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
    pub(crate) fn reserve(&mut self, reservation: &Reservation) {
        self.reserved_usd += reservation.cost;
        self.reserved_tokens = self.reserved_tokens.saturating_add(reservation.estimate.tokens());
        self.outstanding += 1;
    }

    pub(crate) fn unreserve(&mut self, reservation: &Reservation) {
        self.reserved_usd -= reservation.cost;
        self.reserved_tokens = self.reserved_tokens.saturating_sub(reservation.estimate.tokens());
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    pub(crate) fn spent_in_window(&self) -> Money {
        self.in_window().usd
    }

    fn itemise(&mut self, who: &Spender, charge: &Charge) {
        if let Some((_, line)) = self.lines.iter_mut().find(|(spender, _)| spender == who) {
            line.add(charge);
        } else {
            let mut line = Spending::default();
            line.add(charge);
            // A run has one or a handful, and they are large.
            self.lines.reserve_exact(1);
            self.lines.push((who.clone(), line));
        }
    }

    fn itemise_tool(&mut self, agent: &Arc<str>, tool: &Arc<str>) {
        if let Some(line) = self.tools.iter_mut().find(|line| line.tool == *tool && line.agent == *agent) {
            line.calls += 1;
        } else {
            self.tools.push(ToolLine { agent: Arc::clone(agent), tool: Arc::clone(tool), calls: 1 });
        }
    }

    /// Opens the window of this number if it is a later one. A clock that was set back must not open a window anew,
    /// and what is reserved stays so: a call counts in the window in which it is settled.
    fn turn_window(&mut self, number: u64) {
        if number > self.window {
            self.window = number;
            self.before_window = self.sums();
        }
    }

    fn sums(&self) -> Sums {
        Sums {
            usd: self.spending.total(),
            tokens: self.spending.usage.total_tokens(),
            turns: self.turns,
            model_calls: self.spending.calls,
            tool_calls: self.tool_calls,
        }
    }

    fn in_window(&self) -> Sums {
        let (now, before) = (self.sums(), self.before_window);
        Sums {
            usd: now.usd - before.usd,
            tokens: now.tokens.saturating_sub(before.tokens),
            turns: now.turns - before.turns,
            model_calls: now.model_calls - before.model_calls,
            tool_calls: now.tool_calls - before.tool_calls,
        }
    }
}

fn percent(amount: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}
