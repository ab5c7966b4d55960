//! Limits on what a run, an agent, a key or a whole process may spend.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Money, money::money::ParseMoneyError};

/// What may be spent. Absent means without limit.
///
/// ```
/// use std::time::Duration;
/// use brigade_core::Budget;
///
/// let budget = Budget::usd("0.50")?.turns(24).wall(Duration::from_secs(300));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Money.
    pub usd: Option<Cap<Money>>,
    /// Input and output tokens together.
    pub tokens: Option<Cap<u64>>,
    /// Model turns. Of a run's the last one is set aside, as `wrap_up_percent` tells, unless it is the only one.
    pub turns: Option<Cap<u64>>,
    /// Model calls, all agents of a run together: each attempt that is billed or may be, and those in flight. A run that
    /// says nothing may make [`MODEL_CALLS`]. The last one is set aside as for `turns`.
    pub model_calls: Option<Cap<u64>>,
    /// Tool calls.
    pub tool_calls: Option<Cap<u64>>,
    /// Time from start to end. It becomes the run's deadline.
    pub wall: Option<Duration>,
    /// The span of time that the limits are for.
    pub window: Window,
    /// How many percent of a run's money and tokens are set aside for one last answer without tools, so that a run that
    /// meets its limit can still say what it found. A tenth is enough for one answer in twenty-five turns. Keys and
    /// processes give no last answer, so their accounts set nothing aside.
    pub wrap_up_percent: WrapUpPercent,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap<T> {
    /// The most that may be spent.
    pub limit: T,
    /// A soft limit only tells observers; a hard one refuses.
    #[serde(default)]
    pub soft: bool,
}

/// The span of time that a budget's limits are for.
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

/// How many model calls a run may make that says nothing of it. A team of five with four turns each is far from it;
/// what goes beyond has lost its way, and nobody may have thought of a limit of money.
pub const MODEL_CALLS: u64 = 100;

/// What becomes of work in flight when the budget that pays for it is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// What has begun may end; what would have to begin is refused.
    #[default]
    Finish,
    /// It is cancelled at once. Model calls that had left count as uncertain.
    Cancel,
}

/// A share of a budget, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrapUpPercent(pub u8);

impl Default for WrapUpPercent {
    fn default() -> Self {
        Self(10)
    }
}

/// A limit refused what was about to be spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {quantity} budget of {scope} is used up: {needed} needed, {remaining} left of {limit}")]
pub struct BudgetExceeded {
    /// Whose limit it is.
    pub scope: Arc<str>,
    /// What is limited.
    pub quantity: Quantity,
    /// What was needed, in words; at a soft limit, what has been spent.
    pub needed: String,
    /// What was left, in words.
    pub remaining: String,
    /// The limit, in words.
    pub limit: String,
}

/// Which limit of whose budget was met: a [`BudgetExceeded`] without its amounts.
#[derive(Debug, Clone)]
pub(crate) struct UsedUp {
    pub(crate) scope: Arc<str>,
    quantity: Quantity,
}

/// What a budget can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of `Budget` explain them")]
pub enum Quantity {
    Usd,
    Tokens,
    Turns,
    ModelCalls,
    ToolCalls,
}

impl Budget {
    /// A hard limit of money, written as a decimal.
    pub fn usd(limit: &str) -> Result<Self, ParseMoneyError> {
        Ok(Self::default().money(limit.parse()?))
    }

    /// Without any limit.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        let Self { usd, tokens, turns, model_calls, tool_calls, wall, window: _, wrap_up_percent: _ } = self;
        let counts = [tokens, turns, model_calls, tool_calls];
        usd.is_none() && wall.is_none() && counts.iter().all(|cap| cap.is_none())
    }

    /// Whether one of its limits only tells observers.
    pub(crate) fn has_soft_limit(&self) -> bool {
        let counts = [self.tokens, self.turns, self.model_calls, self.tool_calls];
        self.usd.is_some_and(|cap| cap.soft) || counts.iter().flatten().any(|cap| cap.soft)
    }

    /// A hard limit of money.
    #[must_use]
    pub fn money(self, limit: Money) -> Self {
        Self { usd: Some(Cap::hard(limit)), ..self }
    }

    /// A hard limit of input and output tokens together.
    #[must_use]
    pub fn tokens(self, limit: u64) -> Self {
        Self { tokens: Some(Cap::hard(limit)), ..self }
    }

    /// A hard limit of model turns, all agents of a run together.
    #[must_use]
    pub fn turns(self, limit: u64) -> Self {
        Self { turns: Some(Cap::hard(limit)), ..self }
    }

    /// A hard limit of model calls, all agents of a run together.
    #[must_use]
    pub fn model_calls(self, limit: u64) -> Self {
        Self { model_calls: Some(Cap::hard(limit)), ..self }
    }

    /// A hard limit of tool calls.
    #[must_use]
    pub fn tool_calls(self, limit: u64) -> Self {
        Self { tool_calls: Some(Cap::hard(limit)), ..self }
    }

    /// A limit of time from start to end.
    #[must_use]
    pub fn wall(self, limit: Duration) -> Self {
        Self { wall: Some(limit), ..self }
    }

    /// The span of time that the limits are for.
    #[must_use]
    pub fn per(self, window: Window) -> Self {
        Self { window, ..self }
    }
}

impl BudgetExceeded {
    pub(crate) fn used_up(&self) -> UsedUp {
        UsedUp { scope: Arc::clone(&self.scope), quantity: self.quantity }
    }
}

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} budget of {} is used up", self.quantity, self.scope)
    }
}

impl<T> Cap<T> {
    /// A limit that refuses.
    pub const fn hard(limit: T) -> Self {
        Self { limit, soft: false }
    }

    /// A limit that only tells observers.
    pub const fn soft(limit: T) -> Self {
        Self { limit, soft: true }
    }
}

impl Quantity {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::Turns => "turns",
            Self::ModelCalls => "model_calls",
            Self::ToolCalls => "tool_calls",
        }
    }
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
