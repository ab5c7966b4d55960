//! The words that may become labels.

use std::{collections::HashMap, sync::Arc};

use brigade_core::{ModelErrorKind, ModelId, TimeoutPhase};

/// The names that an installation is configured with. Every distinct label value is a time series that is stored for
/// as long as the data base keeps it, and names that a model or a client made up have no end; so everything that is not
/// listed here is `other`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vocabulary {
    terms: Vec<Arc<str>>,
    agents: HashMap<Arc<str>, Term>,
    tools: HashMap<Arc<str>, Term>,
    models: HashMap<ModelId, ModelTerms>,
}

/// A configured name, as a number: it costs no allocation to look something up by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Term(usize);

/// A model as label values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelTerms {
    pub(crate) provider: Value,
    pub(crate) model: Value,
    /// Both, as `provider/model`.
    pub(crate) both: Value,
}

/// The value of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// A configured name.
    Name(Term),
    /// A word of the program; the empty word is no label at all.
    Word(&'static str),
}

pub(crate) const OTHER: Value = Value::Word("other");

impl Vocabulary {
    /// Learns names, and forgets none: what is known keeps its number. Agents are called as tools where they are workers,
    /// so their names count as tools too.
    pub(crate) fn learn(&mut self, agents: &[Arc<str>], tools: &[Arc<str>], models: &[ModelId]) {
        for agent in agents {
            let term = self.term(agent);
            self.agents.insert(Arc::clone(agent), term);
            self.tools.insert(Arc::clone(agent), term);
        }
        for tool in tools {
            let term = self.term(tool);
            self.tools.insert(Arc::clone(tool), term);
        }
        for id in models {
            let provider = Value::Name(self.term(id.provider()));
            let model = Value::Name(self.term(id.model()));
            let both = Value::Name(self.term(&id.to_string().into()));
            self.models.insert(id.clone(), ModelTerms { provider, model, both });
        }
    }

    /// The number of a name. The same name has the same number, so that it has one series.
    fn term(&mut self, name: &Arc<str>) -> Term {
        let known = self.terms.iter().position(|term| term == name);
        Term(known.unwrap_or_else(|| {
            self.terms.push(Arc::clone(name));
            self.terms.len() - 1
        }))
    }

    /// The last agent of a path. The path itself would be a label without bound where agents delegate to each other.
    pub(crate) fn agent(&self, path: &str) -> Value {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.agents.get(name).map_or(OTHER, |term| Value::Name(*term))
    }

    pub(crate) fn tool(&self, name: &str) -> Value {
        self.tools.get(name).map_or(OTHER, |term| Value::Name(*term))
    }

    pub(crate) fn model(&self, id: &ModelId) -> ModelTerms {
        self.models.get(id).copied().unwrap_or(ModelTerms { provider: OTHER, model: OTHER, both: OTHER })
    }

    /// What an account of the ledger is, from its name: names of keys are no labels.
    pub(crate) fn scope(&self, account: &str) -> Value {
        Value::Word(match account {
            "process" => "process",
            "the run" => "run",
            path if self.agent(path) != OTHER => "agent",
            _ => "account",
        })
    }

    /// The text of a value; absent for the empty word.
    pub(crate) fn text(&self, value: Value) -> Option<metrics::SharedString> {
        match value {
            Value::Word("") => None,
            Value::Word(word) => Some(word.into()),
            Value::Name(Term(index)) => self.terms.get(index).map(|name| Arc::clone(name).into()),
        }
    }
}

/// An error as a label: a closed set of words that begin with whose fault it is.
pub(crate) const fn fault(kind: ModelErrorKind) -> &'static str {
    match kind {
        ModelErrorKind::Caller => "caller_request",
        ModelErrorKind::ContextLength => "caller_context_length",
        ModelErrorKind::Cancelled => "caller_cancelled",
        ModelErrorKind::Budget => "policy_budget",
        ModelErrorKind::CircuitOpen => "policy_circuit_open",
        ModelErrorKind::Refused => "policy_refused",
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

/// A failure that is no model error: a required tool or worker, the session, the configuration.
pub(crate) const INTERNAL: &str = "internal_error";
