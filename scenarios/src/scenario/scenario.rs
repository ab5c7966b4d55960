//! A scenario as data: what goes wrong, who calls, and what must result.

use std::{borrow::Cow, fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use anyhow::Context as _;
use brigade_core::{ModelErrorKind, Runnable, StopReason};
use brigade_rehearsal::{Latency, Script, SimulatedRateLimits, WireDialect};

use crate::{
    scenario::environment::{CANARY, Environment, fallback_model, main_model},
    scenario::observation::Observation,
};

/// Builds the agent or team under test.
pub type Team = fn(&Environment) -> anyhow::Result<Arc<dyn Runnable>>;

/// A check that only one scenario has.
pub type Check = fn(&Observation) -> Result<(), String>;

/// All dialects.
pub(crate) const ALL_DIALECTS: &[WireDialect] =
    &[WireDialect::OpenaiChat, WireDialect::OpenaiResponses, WireDialect::Anthropic];

/// The final answer of the model, unless a script has another one.
pub(crate) const ANSWER: &str = "one two three four five six quetzalcoatlus";

/// One failure, and what must hold in spite of it.
#[derive(Clone)]
pub struct Scenario {
    /// `R13`, and the variant where there are several: `R13/first-event`.
    pub id: &'static str,
    /// What goes wrong, in a few words.
    pub title: &'static str,
    /// The dialects in which it can happen.
    pub dialects: &'static [WireDialect],
    /// The rules for the model's answers, in TOML. `$CANARY` is replaced with the word that must not leak.
    pub script: Cow<'static, str>,
    /// The faults that the provider injects, in TOML. Names in capitals after a `$` are replaced for each dialect.
    pub faults: Cow<'static, str>,
    /// The provider's rate limits for each model; none by default.
    pub limits: SimulatedRateLimits,
    /// How long the provider takes to answer.
    pub latency: Latency,
    /// Set if the main model's address does not lead to a provider.
    pub unreachable: Option<Unreachable>,
    /// Whether Chat Completions is served behind a strict chat template, as by Mistral, vLLM and llama.cpp.
    pub template: bool,
    /// Whether there is a fallback model.
    pub has_fallback: bool,
    /// Sends a second request after this time without an answer.
    pub hedge_after: Option<Duration>,
    /// Whether answers are streamed.
    pub streams: bool,
    /// How long each run may take; unlimited if absent.
    pub wall: Option<Duration>,
    /// How many model calls each run may make; core's default if absent.
    pub model_calls: Option<u64>,
    /// The agent or team under test.
    pub team: Team,
    /// Who calls it, and how.
    pub caller: Caller,
    /// What must result.
    pub expected: Expected,
}

/// Why a provider cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The address refuses connections.
    ConnectionRefused,
    /// The host name does not exist.
    UnknownHost,
}

/// What the caller of a team does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Asks a number of times, and waits for all answers. Amounts are US cents.
    Asks {
        /// How many runs.
        times: u32,
        /// The time from the start of one run to the start of the next.
        every: Duration,
        /// The budget of all runs together; unlimited if absent.
        key_cents: Option<u32>,
        /// The budget of each run; unlimited if absent.
        run_cents: Option<u32>,
    },
    /// Asks once, and drops the run after this time, as a server does when its client disconnects.
    Disconnects(Duration),
    /// Asks once, and cancels the run after this time.
    Cancels(Duration),
}

/// What must result from a scenario.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How each run ends.
    pub end: ExpectedEnd,
    /// How many requests reach the provider.
    pub requests: RangeInclusive<usize>,
    /// How long it takes, in virtual time.
    pub time: RangeInclusive<Duration>,
    /// How the calls are booked.
    pub bill: ExpectedBill,
    /// What else must hold.
    pub check: Check,
}

/// How every run of a scenario ends.
#[derive(Debug, Clone, Copy)]
pub enum ExpectedEnd {
    /// With this complete answer.
    Answer(&'static str),
    /// With an outcome that has this stop reason.
    Stop(StopReason),
    /// With a model error of this kind.
    Failure(ModelErrorKind),
    /// The run was dropped before its end.
    NotObserved,
    /// Differently; the scenario's check decides.
    Any,
}

/// How certain the booked costs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedBill {
    /// Every attempt is charged or free, so the total equals the provider's bill to the nano-dollar.
    Exact,
    /// Nothing was spent.
    Nothing,
    /// This number of attempts is booked as uncertain, the others exactly.
    Uncertain(usize),
    /// This number of attempts is booked as estimated, the others exactly.
    Estimated(usize),
    /// Attempts may be booked in any way.
    Mixed,
}

/// A script: the model answers `ANSWER` at once.
pub(crate) const ANSWERS_AT_ONCE: &str = r#"
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;

/// A script: the model calls the tool `lookup`, and then answers `ANSWER`.
pub(crate) const CALLS_TOOL_FIRST: &str = r#"
[[rule]]
when   = { turn = 0 }
answer = { tool_calls = [{ name = "lookup", arguments = '{"query":"the price of a ticket to Paris $CANARY"}' }] }
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;

impl Scenario {
    /// One streamed question to an agent without tools, which must be answered at once with `ANSWER`. No faults yet.
    pub fn new(id: &'static str, title: &'static str) -> Self {
        Self {
            id,
            title,
            dialects: ALL_DIALECTS,
            script: ANSWERS_AT_ONCE.into(),
            faults: "".into(),
            limits: SimulatedRateLimits::default(),
            latency: Latency::new(Duration::from_millis(100), Duration::from_millis(20)),
            unreachable: None,
            template: false,
            has_fallback: false,
            hedge_after: None,
            streams: true,
            wall: None,
            model_calls: None,
            team: |environment| Ok(Arc::new(environment.asker()?)),
            caller: Caller::once(),
            expected: Expected {
                end: ExpectedEnd::Answer(ANSWER),
                requests: 1..=1,
                time: Duration::ZERO..=Duration::from_secs(3),
                bill: ExpectedBill::Exact,
                check: |_| Ok(()),
            },
        }
    }

    /// Limits the scenario to these dialects.
    #[must_use]
    pub fn in_dialects(self, dialects: &'static [WireDialect]) -> Self {
        Self { dialects, ..self }
    }

    /// Adds a fault; `fault` is the TOML below `[[fault]]`.
    #[must_use]
    pub fn fault(mut self, fault: impl fmt::Display) -> Self {
        self.faults = format!("{}\n[[fault]]\nid = \"{}\"\n{fault}\n", self.faults, self.id).into();
        self
    }

    /// Sets the rules for the model's answers.
    #[must_use]
    pub fn with_script(self, script: impl Into<Cow<'static, str>>) -> Self {
        Self { script: script.into(), ..self }
    }

    /// Sets the agent or team under test.
    #[must_use]
    pub fn team(self, team: Team) -> Self {
        Self { team, ..self }
    }

    /// Tests an agent with one tool, which the model calls before it answers.
    #[must_use]
    pub fn with_tool(self) -> Self {
        self.with_script(CALLS_TOOL_FIRST).team(|environment| {
            let lookup = environment.tools().tool("lookup", crate::scenario::tools::ToolBehavior::Answers)?;
            Ok(Arc::new(environment.asker()?.tool(lookup)))
        })
    }

    /// Sets the caller.
    #[must_use]
    pub fn called_by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// Asks for answers in one piece, without streaming.
    #[must_use]
    pub fn unstreamed(self) -> Self {
        Self { streams: false, ..self }
    }

    /// Adds a fallback model.
    #[must_use]
    pub fn with_fallback(self) -> Self {
        Self { has_fallback: true, ..self }
    }

    /// Expects this end of every run, and this number of requests in total.
    #[must_use]
    pub fn expect_end(mut self, end: ExpectedEnd, requests: RangeInclusive<usize>) -> Self {
        self.expected.end = end;
        self.expected.requests = requests;
        self
    }

    /// Expects it to take this long, in milliseconds of virtual time.
    #[must_use]
    pub fn takes_millis(mut self, millis: RangeInclusive<u64>) -> Self {
        self.expected.time = Duration::from_millis(*millis.start())..=Duration::from_millis(*millis.end());
        self
    }

    /// Expects this bill, and that `check` holds.
    #[must_use]
    pub fn expect_bill(mut self, bill: ExpectedBill, check: Check) -> Self {
        self.expected.bill = bill;
        self.expected.check = check;
        self
    }

    /// The script for a dialect.
    pub(crate) fn script(&self, dialect: WireDialect) -> anyhow::Result<Script> {
        Script::from_toml(&filled(&self.script, dialect)).with_context(|| format!("the script of {}", self.id))
    }
}

impl Caller {
    /// Asks once, without a budget.
    pub const fn once() -> Self {
        Self::many(1, Duration::ZERO)
    }

    /// Asks several times, without a budget.
    pub const fn many(times: u32, every: Duration) -> Self {
        Self::Asks { times, every, key_cents: None, run_cents: None }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("id", &self.id).field("title", &self.title).finish_non_exhaustive()
    }
}

/// A fault plan or script with the names of a dialect filled in.
pub(crate) fn filled(text: &str, dialect: WireDialect) -> String {
    let anthropic = dialect == WireDialect::Anthropic;
    let words = [
        ("$CANARY", CANARY),
        ("$MAIN", main_model(dialect)),
        ("$FALLBACK", fallback_model(dialect)),
        ("$OVERLOADED", if anthropic { "overloaded_error" } else { "server_is_overloaded" }),
        ("$SERVER_ERROR", if anthropic { "api_error" } else { "server_error" }),
        ("$QUOTA", if anthropic { "enforced_spend_limit_reached" } else { "insufficient_quota" }),
        ("$KEY", crate::scenario::environment::API_KEY),
    ];
    words.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word))
}
