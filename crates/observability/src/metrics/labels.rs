//! The values that labels may have.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use brigade_core::{ModelErrorKind, ModelId, TimeoutPhase};
use foldhash::fast::RandomState;
use metrics::SharedString;

/// The names in the configuration. Every label value adds a time series to the metrics database, and models and clients
/// can invent any number of names, so a name that is not listed here is shown as `other`.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    agents: Names,
    tools: Names,
    models: HashMap<ModelId, ModelLabels, RandomState>,
}

type Names = HashSet<Arc<str>, RandomState>;

/// A model as label values.
#[derive(Debug, Clone)]
pub(crate) struct ModelLabels {
    pub(crate) provider: SharedString,
    pub(crate) model: SharedString,
    /// Both, as `provider/model`.
    pub(crate) both: SharedString,
}

pub(crate) const OTHER: SharedString = SharedString::const_str("other");

/// The value of a label that a series does not have.
pub(crate) const ABSENT: SharedString = SharedString::const_str("");

impl KnownNames {
    /// Adds names. Workers are called as tools, so agents count as tools, too.
    pub(crate) fn add(&mut self, agents: &[Arc<str>], tools: &[Arc<str>], models: &[ModelId]) {
        self.agents.extend(agents.iter().cloned());
        self.tools.extend(agents.iter().chain(tools).cloned());
        for id in models {
            let (provider, model) = (Arc::clone(id.provider()).into(), Arc::clone(id.model()).into());
            self.models.insert(id.clone(), ModelLabels { provider, model, both: id.to_string().into() });
        }
    }

    /// The last agent of a path. Paths themselves are unbounded where agents delegate to each other.
    pub(crate) fn agent(&self, path: &str) -> SharedString {
        known(&self.agents, path.rsplit('/').next().unwrap_or(path))
    }

    pub(crate) fn tool(&self, name: &str) -> SharedString {
        known(&self.tools, name)
    }

    pub(crate) fn model(&self, id: &ModelId) -> ModelLabels {
        let other = || ModelLabels { provider: OTHER, model: OTHER, both: OTHER };
        self.models.get(id).cloned().unwrap_or_else(other)
    }

    /// The kind of a ledger account. The names of keys must not become labels, so they are all shown as `account`.
    pub(crate) fn scope(&self, account: &str) -> SharedString {
        let is_agent = || self.agent(account) != OTHER;
        SharedString::const_str(match account {
            "process" => "process",
            "the run" => "run",
            _ if is_agent() => "agent",
            _ => "account",
        })
    }
}

fn known(names: &Names, name: &str) -> SharedString {
    names.get(name).map_or(OTHER, |name| Arc::clone(name).into())
}

/// A string constant as a label value. A string that was read from a file could have any value, so it is shown as
/// `other`.
#[expect(clippy::ptr_arg, reason = "the function depends on whether the string is borrowed")]
pub(crate) fn word(word: &Cow<'static, str>) -> SharedString {
    match word {
        Cow::Borrowed(word) => SharedString::const_str(word),
        Cow::Owned(_) => OTHER,
    }
}

/// An error as a label value: a closed set of words that start with the party at fault.
pub(crate) const fn error_type(kind: ModelErrorKind) -> &'static str {
    match kind {
        ModelErrorKind::Caller => "caller_request",
        ModelErrorKind::ContextLength => "caller_context_length",
        ModelErrorKind::Cancelled => "caller_cancelled",
        ModelErrorKind::Budget => "policy_budget",
        ModelErrorKind::CircuitOpen => "policy_circuit_open",
        ModelErrorKind::Refused => "policy_refused",
        ModelErrorKind::NoSuchModel => "provider_no_such_model",
        ModelErrorKind::Auth => "provider_auth",
        ModelErrorKind::Quota => "provider_quota",
        ModelErrorKind::RateLimited => "provider_rate_limited",
        ModelErrorKind::Overloaded => "provider_overloaded",
        ModelErrorKind::Unreachable => "provider_unreachable",
        ModelErrorKind::Transient => "provider_transient",
        ModelErrorKind::Broken => "provider_broken",
        ModelErrorKind::Timeout(TimeoutPhase::Connect) => "provider_timeout_connect",
        ModelErrorKind::Timeout(TimeoutPhase::FirstDelta) => "provider_timeout_first_delta",
        ModelErrorKind::Timeout(TimeoutPhase::Idle) => "provider_timeout_idle",
        ModelErrorKind::Timeout(TimeoutPhase::Attempt) => "provider_timeout_attempt",
    }
}

/// A failure that a model did not cause: of a required tool or worker, the session, or the configuration.
pub(crate) const INTERNAL_ERROR: &str = "internal_error";
