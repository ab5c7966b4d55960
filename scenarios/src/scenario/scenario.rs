//! A scenario as data: what goes wrong, who is asked, and what must come of it.

use std::{borrow::Cow, fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use anyhow::Context as _;
use brigade_core::{ModelErrorKind, Runnable, StopReason};
use brigade_rehearsal::{Latency, Script, SimulatedRateLimits, WireDialect};

use crate::{
    seen::Seen,
    stage::{CANARY, Stage, main_model, spare_model},
};

/// Builds the agent or team that is asked.
pub type Team = fn(&Stage) -> anyhow::Result<Arc<dyn Runnable>>;

/// Looks at what only one scenario is about.
pub type Check = fn(&Seen) -> Result<(), String>;

/// All dialects.
pub const ALL: &[WireDialect] = &[WireDialect::OpenaiChat, WireDialect::OpenaiResponses, WireDialect::Anthropic];

/// What the model says in the end, unless a script says otherwise.
pub const ANSWER: &str = "one two three four five six quetzalcoatlus";

/// A way in which things go wrong, and what must hold all the same.
#[derive(Clone)]
pub struct Scenario {
    /// `R13`, and the variant where there are several: `R13/first-event`.
    pub id: &'static str,
    /// What goes wrong, in a few words.
    pub title: &'static str,
    /// Where it can.
    pub dialects: &'static [WireDialect],
    /// The rules by which the model answers, in TOML; `$CANARY` stands for the word that must not leak.
    pub script: Cow<'static, str>,
    /// What goes wrong, in TOML. Names in capitals after a `$` are filled in for each dialect.
    pub faults: Cow<'static, str>,
    /// What the provider allows each model; nothing is limited unless it says so.
    pub limits: SimulatedRateLimits,
    /// How long answers take.
    pub latency: Latency,
    /// Where the model should be, if nobody is there.
    pub nobody_there: Option<Nowhere>,
    /// Another model stands behind the first one.
    pub has_fallback: bool,
    /// After how long without an answer the model is asked a second time.
    pub hedge_after: Option<Duration>,
    /// Whether answers are asked for piece by piece.
    pub streams: bool,
    /// How long each run may take; absent without limit.
    pub wall: Option<Duration>,
    /// How many model calls each run may make; absent as usual.
    pub model_calls: Option<u64>,
    /// Who is asked.
    pub team: Team,
    /// How it is asked.
    pub act: Act,
    /// What must come of it.
    pub expected: Expected,
}

/// Where nobody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nowhere {
    /// An address that refuses connections.
    Refuses,
    /// A name that no name server knows.
    Unknown,
}

/// How a team is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// So many times, each so long after the one before, and each with this budget of the common key in cents of a
    /// dollar.
    Ask {
        /// How often.
        times: u32,
        /// From one to the next.
        every: Duration,
        /// What all together may spend; absent without limit.
        key_cents: Option<u32>,
        /// What each may spend; absent without limit.
        run_cents: Option<u32>,
    },
    /// Once, by a caller who goes away after this time.
    HangUp(Duration),
    /// Once, and the run is cancelled after this time.
    Cancel(Duration),
}

/// What must come of a scenario.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How each run ends.
    pub ends: Ends,
    /// Requests that reach the provider.
    pub requests: RangeInclusive<usize>,
    /// How long it takes, in virtual time.
    pub time: RangeInclusive<Duration>,
    /// What is billed.
    pub bill: Bill,
    /// What else must hold.
    pub check: Check,
}

/// How runs end.
#[derive(Debug, Clone, Copy)]
pub enum Ends {
    /// Each with this answer, whole.
    Says(&'static str),
    /// Each for this reason.
    Stops(StopReason),
    /// Each with a failure of this kind of the model.
    Fails(ModelErrorKind),
    /// Nobody is there to see the end.
    Unseen,
    /// It differs; the check looks at it.
    Differ,
}

/// What the books say in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bill {
    /// Every attempt is charged or free, so that the books agree with the provider's to the last nano-dollar.
    Exact,
    /// Nothing was spent.
    Nothing,
    /// So many attempts are uncertain, and the others exact.
    Uncertain(usize),
    /// So many attempts are estimated, and the others exact.
    Estimated(usize),
    /// Attempts may be of any kind. What is charged is charged by the provider all the same.
    Mixed,
}

/// The model says [`ANSWER`].
pub const SAYS: &str = r#"
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;

/// The model looks something up, and then says [`ANSWER`].
pub const LOOKS_UP: &str = r#"
[[rule]]
when   = { turn = 0 }
answer = { tool_calls = [{ name = "lookup", arguments = '{"query":"the price of a ticket to Paris $CANARY"}' }] }
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;

impl Scenario {
    /// One question to an agent without tools, streamed, that is to be answered at once with [`ANSWER`]; nothing goes
    /// wrong yet.
    pub fn new(id: &'static str, title: &'static str) -> Self {
        Self {
            id,
            title,
            dialects: ALL,
            script: SAYS.into(),
            faults: "".into(),
            limits: SimulatedRateLimits::default(),
            latency: Latency { first: Duration::from_millis(100), between: Duration::from_millis(20) },
            nobody_there: None,
            has_fallback: false,
            hedge_after: None,
            streams: true,
            wall: None,
            model_calls: None,
            team: |stage| Ok(Arc::new(stage.asker()?)),
            act: Act::once(),
            expected: Expected {
                ends: Ends::Says(ANSWER),
                requests: 1..=1,
                time: Duration::ZERO..=Duration::from_secs(3),
                bill: Bill::Exact,
                check: |_| Ok(()),
            },
        }
    }

    /// Where it applies.
    #[must_use]
    pub fn only(self, dialects: &'static [WireDialect]) -> Self {
        Self { dialects, ..self }
    }

    /// What goes wrong with the model in question, after `[[fault]]`.
    #[must_use]
    pub fn fault(mut self, fault: impl fmt::Display) -> Self {
        self.faults = format!("{}\n[[fault]]\nid = \"{}\"\n{fault}\n", self.faults, self.id).into();
        self
    }

    /// How the model answers.
    #[must_use]
    pub fn script_of(self, script: impl Into<Cow<'static, str>>) -> Self {
        Self { script: script.into(), ..self }
    }

    /// Who is asked.
    #[must_use]
    pub fn team(self, team: Team) -> Self {
        Self { team, ..self }
    }

    /// An agent with one tool, which the model uses first.
    #[must_use]
    pub fn with_tool(self) -> Self {
        self.script_of(LOOKS_UP).team(|stage| {
            let lookup = stage.tools().tool("lookup", crate::tools::Behaviour::Answers)?;
            Ok(Arc::new(stage.asker()?.tool(lookup)))
        })
    }

    /// How it is asked.
    #[must_use]
    pub fn act(self, act: Act) -> Self {
        Self { act, ..self }
    }

    /// Asks for whole answers.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { streams: false, ..self }
    }

    /// Puts another model behind the first one.
    #[must_use]
    pub fn with_fallback(self) -> Self {
        Self { has_fallback: true, ..self }
    }

    /// How each run ends, and after how many requests in all.
    #[must_use]
    pub fn ends(mut self, ends: Ends, requests: RangeInclusive<usize>) -> Self {
        self.expected.ends = ends;
        self.expected.requests = requests;
        self
    }

    /// How long it takes, in milliseconds of virtual time.
    #[must_use]
    pub fn takes(mut self, millis: RangeInclusive<u64>) -> Self {
        self.expected.time = Duration::from_millis(*millis.start())..=Duration::from_millis(*millis.end());
        self
    }

    /// What is billed, and what else must hold.
    #[must_use]
    pub fn judged(mut self, bill: Bill, check: Check) -> Self {
        self.expected.bill = bill;
        self.expected.check = check;
        self
    }

    /// The script for a dialect.
    pub(crate) fn script(&self, dialect: WireDialect) -> anyhow::Result<Script> {
        Script::from_toml(&filled(&self.script, dialect)).with_context(|| format!("the script of {}", self.id))
    }
}

impl Act {
    /// Once, without limits.
    pub const fn once() -> Self {
        Self::many(1, Duration::ZERO)
    }

    /// So many times, without limits.
    pub const fn many(times: u32, every: Duration) -> Self {
        Self::Ask { times, every, key_cents: None, run_cents: None }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("id", &self.id).field("title", &self.title).finish_non_exhaustive()
    }
}

/// A plan or script with the words of a dialect.
pub(crate) fn filled(text: &str, dialect: WireDialect) -> String {
    let anthropic = dialect == WireDialect::Anthropic;
    let words = [
        ("$CANARY", CANARY),
        ("$MAIN", main_model(dialect)),
        ("$SPARE", spare_model(dialect)),
        ("$OVERLOADED", if anthropic { "overloaded_error" } else { "server_is_overloaded" }),
        ("$SERVER_ERROR", if anthropic { "api_error" } else { "server_error" }),
        ("$QUOTA", if anthropic { "enforced_spend_limit_reached" } else { "insufficient_quota" }),
        ("$KEY", crate::stage::API_KEY),
    ];
    words.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word))
}
