//! Limits on what a run, an agent, a key or a whole process may spend.

use std::{fmt, sync::Arc, time::Duration};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{Money, ParseError};

/// Limits on spending. An absent limit does not limit anything.
///
/// ```
/// use std::time::Duration;
/// use brigade_core::Budget;
///
/// let budget = Budget::default().usd("0.50")?.turns(24).wall(Duration::from_mins(5));
/// # Ok::<(), brigade_core::ParseError>(())
/// ```
///
/// The setters set hard limits. A soft limit, which only warns, is set as a field:
///
/// ```
/// use brigade_core::{Budget, Cap, Money};
///
/// let mut budget = Budget::default();
/// budget.usd = Some(Cap::soft(Money::from_cents(50)));
/// ```
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Budget {
    /// Money in US dollars.
    pub usd: Option<Cap<Money>>,
    /// Input and output tokens together.
    pub tokens: Option<Cap<u64>>,
    /// Model turns. A run sets its last one aside for a last answer, unless it is the only one; see `wrap_up_percent`.
    pub turns: Option<Cap<u64>>,
    /// Model calls of all agents of a run: calls in flight, and calls that were billed or may have been billed. Without
    /// this limit, a run may make [`Budget::DEFAULT_MODEL_CALLS`]. The last call is set aside like the last turn.
    pub model_calls: Option<Cap<u64>>,
    /// Calls of tools and workers.
    pub tool_calls: Option<Cap<u64>>,
    /// Time from start to end. It sets the run's deadline.
    pub wall: Option<Duration>,
    /// The period that the limits apply to.
    pub window: Window,
    /// The percentage of a run's money and tokens that is set aside for one last answer without tools, so that a run that
    /// meets its limit can still report its findings. The default is 10, which is enough for one answer in twenty-five
    /// turns. Keys and processes give no last answer, so their accounts set nothing aside.
    pub wrap_up_percent: u8,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cap<T> {
    /// The most that may be spent.
    pub limit: T,
    /// Whether crossing the limit only emits a warning. A hard limit refuses.
    #[serde(default)]
    pub soft: bool,
}

/// The period that the limits of a budget apply to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// As long as the account exists.
    #[default]
    Total,
    /// A calendar day in UTC.
    Day,
    /// A calendar month in UTC.
    Month,
}

/// What happens to work in flight when the budget that pays for it is exhausted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnExhausted {
    /// Work that has begun may finish; new work is refused.
    #[default]
    Finish,
    /// Work in flight is cancelled at once. Model calls whose request was sent count as uncertain.
    Cancel,
}

/// A hard limit refused a call or a turn, or a soft limit was crossed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {needed} needed, {remaining} left of {limit}{}", self.summary(), self.state().1)]
#[non_exhaustive]
pub struct BudgetExceeded {
    /// The name of the account that has the limit.
    pub scope: Arc<str>,
    /// The quantity that is limited.
    pub quantity: Quantity,
    /// The amount needed, as text; at a soft limit, the amount spent.
    pub needed: String,
    /// The amount that was left, as text.
    pub remaining: String,
    /// The limit, as text.
    pub limit: String,
}

/// What a budget can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of `Budget` explain them")]
pub enum Quantity {
    Usd,
    Tokens,
    Turns,
    ModelCalls,
    ToolCalls,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            usd: None,
            tokens: None,
            turns: None,
            model_calls: None,
            tool_calls: None,
            wall: None,
            window: Window::Total,
            wrap_up_percent: 10,
        }
    }
}

impl Budget {
    /// The number of model calls that a run may make if its budget does not limit them. A team of five with four turns
    /// each needs a fifth of it. A run that needs more is most likely stuck, and may have no money limit to stop it.
    pub const DEFAULT_MODEL_CALLS: u64 = 100;

    /// A budget without any limit, like the default.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        let unlimited = Self { window: self.window, wrap_up_percent: self.wrap_up_percent, ..Self::default() };
        *self == unlimited
    }

    /// Limits money. The amount is written as a decimal number of US dollars, such as `"0.50"`.
    pub fn usd(self, limit: &str) -> Result<Self, ParseError> {
        Ok(self.money(limit.parse()?))
    }

    /// Limits money.
    pub fn money(self, limit: Money) -> Self {
        Self { usd: Some(Cap::hard(limit)), ..self }
    }

    /// Limits input and output tokens together.
    pub fn tokens(self, limit: u64) -> Self {
        Self { tokens: Some(Cap::hard(limit)), ..self }
    }

    /// Limits the model turns of all agents of a run.
    pub fn turns(self, limit: u64) -> Self {
        Self { turns: Some(Cap::hard(limit)), ..self }
    }

    /// Limits the model calls of all agents of a run.
    pub fn model_calls(self, limit: u64) -> Self {
        Self { model_calls: Some(Cap::hard(limit)), ..self }
    }

    /// Limits tool calls.
    pub fn tool_calls(self, limit: u64) -> Self {
        Self { tool_calls: Some(Cap::hard(limit)), ..self }
    }

    /// Limits the time from start to end.
    pub fn wall(self, limit: Duration) -> Self {
        Self { wall: Some(limit), ..self }
    }

    /// Sets the period that the limits apply to.
    pub fn per(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets the percentage of money and tokens that a run sets aside for one last answer.
    pub fn wrap_up_percent(self, percent: u8) -> Self {
        Self { wrap_up_percent: percent, ..self }
    }
}

impl BudgetExceeded {
    /// A refusal by the limit of the account named `scope`.
    pub fn new<T: fmt::Display>(
        scope: impl Into<Arc<str>>,
        quantity: Quantity,
        needed: T,
        remaining: T,
        limit: T,
    ) -> Self {
        let [needed, remaining, limit] = [needed, remaining, limit].map(|amount| amount.to_string());
        Self { scope: scope.into(), quantity, needed, remaining, limit }
    }

    /// The message without the amounts.
    pub(crate) fn summary(&self) -> String {
        format!("the {} budget of {} {}", self.quantity, self.scope, self.state().0)
    }

    /// Whether anything is left, and then what to do.
    fn state(&self) -> (&'static str, &'static str) {
        match self.remaining.trim_matches(['$', '0', '.']) {
            "" => ("is used up", ""),
            _ => ("does not cover the next call", "; raise it, shorten the prompt, or lower `max_output_tokens`"),
        }
    }
}

impl Window {
    /// The first day of the window that contains `day`.
    pub(crate) fn first_day(self, day: Date) -> Date {
        match self {
            Self::Total => Date::ZERO,
            Self::Day => day,
            Self::Month => day.first_of_month(),
        }
    }
}

impl<T> Cap<T> {
    /// A limit that refuses.
    pub const fn hard(limit: T) -> Self {
        Self { limit, soft: false }
    }

    /// A limit that only warns.
    pub const fn soft(limit: T) -> Self {
        Self { limit, soft: true }
    }
}

names! { Quantity:
    Usd => "usd", Tokens => "tokens", Turns => "turns", ModelCalls => "model_calls", ToolCalls => "tool_calls",
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usd => "money",
            Self::Tokens => "token",
            Self::Turns => "turn",
            Self::ModelCalls => "model call",
            Self::ToolCalls => "tool call",
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn each_setter_sets_its_limit_and_keeps_the_others() {
        let money = Money::from_cents(50);
        let budget = Budget::unlimited()
            .money(money)
            .tokens(1)
            .turns(2)
            .model_calls(3)
            .tool_calls(4)
            .wall(Duration::from_secs(5))
            .per(Window::Day)
            .wrap_up_percent(6);
        let expected = Budget {
            usd: Some(Cap { limit: money, soft: false }),
            tokens: Some(Cap { limit: 1, soft: false }),
            turns: Some(Cap { limit: 2, soft: false }),
            model_calls: Some(Cap { limit: 3, soft: false }),
            tool_calls: Some(Cap { limit: 4, soft: false }),
            wall: Some(Duration::from_secs(5)),
            window: Window::Day,
            wrap_up_percent: 6,
        };
        assert_eq!(budget, expected);
        // In the other order, so that a setter that forgets the others is noticed too.
        let reversed = Budget::unlimited()
            .wrap_up_percent(6)
            .per(Window::Day)
            .wall(Duration::from_secs(5))
            .tool_calls(4)
            .model_calls(3)
            .turns(2)
            .tokens(1);
        assert_eq!(reversed.usd("0.50").unwrap(), expected);
        assert!(Budget::unlimited().usd("a lot").is_err());
    }

    #[test]
    fn the_default_budget_limits_nothing_and_sets_a_tenth_aside() {
        assert_eq!((Budget::default(), Budget::default().wrap_up_percent), (Budget::unlimited(), 10));
        assert_eq!(Cap::soft(7), Cap { limit: 7, soft: true });
    }

    #[test]
    fn a_budget_without_limits_is_unlimited_whatever_its_window_and_its_share_for_a_last_answer() {
        assert!(Budget::unlimited().per(Window::Month).wrap_up_percent(0).is_unlimited());
        let limited = [
            Budget::default().money(Money::ZERO),
            Budget::default().tokens(0),
            Budget::default().turns(0),
            Budget::default().model_calls(0),
            Budget::default().tool_calls(0),
            Budget::default().wall(Duration::ZERO),
        ];
        assert_eq!(limited.map(|budget| budget.is_unlimited()), [false; 6]);
    }

    #[test]
    fn a_window_begins_on_the_first_day_of_its_period() {
        let day = date(2026, 8, 31);
        let first_days = [Window::Total, Window::Day, Window::Month].map(|window| window.first_day(day));
        assert_eq!(first_days, [Date::ZERO, day, date(2026, 8, 1)]);
    }

    #[test]
    fn each_quantity_has_a_name_for_labels_and_one_for_messages() {
        let all = [Quantity::Usd, Quantity::Tokens, Quantity::Turns, Quantity::ModelCalls, Quantity::ToolCalls];
        assert_eq!(all.map(Quantity::name), ["usd", "tokens", "turns", "model_calls", "tool_calls"]);
        let shown = all.map(|quantity| quantity.to_string());
        assert_eq!(shown, ["money", "token", "turn", "model call", "tool call"]);
    }

    #[test]
    fn a_summary_of_a_refusal_names_no_amounts() {
        let refusal = |remaining| BudgetExceeded::new("key", Quantity::Turns, 9, remaining, 9).summary();
        assert_eq!(refusal(0), "the turn budget of key is used up");
        assert_eq!(refusal(5), "the turn budget of key does not cover the next call");
    }
}
