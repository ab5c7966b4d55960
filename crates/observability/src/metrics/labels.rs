//! The values that labels may have.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
};

use brigade_core::{ModelErrorKind, ModelId, TimeoutPhase};
use foldhash::fast::RandomState;

use crate::unpoisoned;

/// The names in the configuration. Every label value adds a time series to the metrics database, and models and clients
/// can invent any number of names, so a name that is not listed here is shown as `other`.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    agents: Names,
    tools: Names,
    models: HashMap<ModelId, ModelLabels, RandomState>,
}

type Names = HashSet<LabelValue, RandomState>;

/// The value of a label: a word of the program, or an [`interned`] name. A copy costs nothing.
pub(crate) type LabelValue = &'static str;

/// A model as label values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelLabels {
    pub(crate) provider: LabelValue,
    pub(crate) model: LabelValue,
    /// Both, as `provider/model`.
    pub(crate) both: LabelValue,
}

pub(crate) const OTHER: LabelValue = "other";

/// The value of a label that a series does not have.
pub(crate) const ABSENT: LabelValue = "";

impl KnownNames {
    /// Adds names. Workers are called as tools, so agents count as tools, too.
    pub(crate) fn add(&mut self, agents: &[Arc<str>], tools: &[Arc<str>], models: &[ModelId]) {
        self.agents.extend(agents.iter().map(|name| interned(name)));
        self.tools.extend(agents.iter().chain(tools).map(|name| interned(name)));
        for id in models {
            let [provider, model, both] = [id.provider(), id.model(), &*id.to_string()].map(interned);
            self.models.insert(id.clone(), ModelLabels { provider, model, both });
        }
    }

    /// The last agent of a path. Paths themselves are unbounded where agents delegate to each other.
    pub(crate) fn agent(&self, path: &str) -> LabelValue {
        known(&self.agents, path.rsplit('/').next().unwrap_or(path))
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = LabelValue> {
        self.agents.iter().copied()
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = ModelLabels> {
        self.models.values().copied()
    }

    pub(crate) fn tool(&self, name: &str) -> LabelValue {
        known(&self.tools, name)
    }

    pub(crate) fn model(&self, id: &ModelId) -> ModelLabels {
        self.models.get(id).copied().unwrap_or(ModelLabels { provider: OTHER, model: OTHER, both: OTHER })
    }

    /// The kind of a ledger account. The names of keys must not become labels, so they are all shown as `account`.
    pub(crate) fn scope(&self, account: &str) -> LabelValue {
        match account {
            "process" => "process",
            "the run" => "run",
            _ if self.agent(account) != OTHER => "agent",
            _ => "account",
        }
    }
}

fn known(names: &Names, name: &str) -> LabelValue {
    names.get(name).copied().unwrap_or(OTHER)
}

/// The name as a string that lives as long as the process. Only names of the configuration come here: they are few, and a
/// reload adds only new ones.
pub(crate) fn interned(name: &str) -> LabelValue {
    static NAMES: Mutex<BTreeSet<LabelValue>> = Mutex::new(BTreeSet::new());
    let mut names = unpoisoned(NAMES.lock());
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept = Box::leak(Box::from(name));
    names.insert(kept);
    kept
}

/// A string constant as a label value. A string that was read from a file could have any value, so it is shown as
/// `other`.
#[expect(clippy::ptr_arg, reason = "the function depends on whether the string is borrowed")]
pub(crate) fn word(word: &Cow<'static, str>) -> LabelValue {
    match word {
        Cow::Borrowed(word) => word,
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
