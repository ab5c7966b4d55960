//! What is known about provider accounts and their models, shared by all who use them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use brigade_core::{ModelErrorKind, ModelId};
use tokio::time::Instant;

use crate::{
    BreakerSettings, BreakerState, RateLimitSettings, RetrySettings,
    breaker::{breaker::Circuits, circuit::Circuit},
    rate_limit::{limiter::Limiter, pause::Pause},
    retry::retry_budget::RetryBudget,
    shared::jitter::Jitter,
};

/// What is known about provider accounts and their models: limits, circuits, budgets of retries.
///
/// A provider limits and fails accounts, not agents; so all agents and runs of a program should share one of these.
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    jitter: Arc<Jitter>,
    accounts: Mutex<BTreeMap<Arc<str>, Arc<Account>>>,
}

/// One provider account.
#[derive(Debug, Default)]
struct Account {
    credential: OnceLock<Arc<Circuit>>,
    pause: Arc<Pause>,
    families: Mutex<BTreeMap<Arc<str>, Arc<Limiter>>>,
    models: Mutex<BTreeMap<Arc<str>, Arc<ModelState>>>,
}

/// What is known about one model of an account. Each part comes into being with the first wrapper that needs it, which
/// also sets it up.
#[derive(Debug)]
pub(crate) struct ModelState {
    id: ModelId,
    account: Arc<Account>,
    jitter: Arc<Jitter>,
    limiter: OnceLock<Arc<Limiter>>,
    circuit: OnceLock<Arc<Circuit>>,
    retry_budget: OnceLock<Arc<RetryBudget>>,
}

/// What is known about one model at one account. What no wrapper has set up is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelHealth {
    /// Which model.
    pub model: ModelId,
    /// Its breaker.
    pub breaker: Option<BreakerState>,
    /// The breaker of its account's credentials and money.
    pub credential: Option<BreakerState>,
    /// What went wrong last, however long ago.
    pub last_error: Option<ModelErrorKind>,
    /// What is left of each limit that is known.
    pub headroom: Vec<LimitHealth>,
    /// How many calls wait for the rate limit, the model's family together.
    pub waiting: usize,
    /// How many calls are with the provider, the model's family together.
    pub in_flight: u64,
    /// How long the account is not asked, because the provider said so.
    pub paused_for: Option<Duration>,
    /// How many retries could be made now.
    pub retries_left: Option<u64>,
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitHealth {
    /// Which, as a stable name: `requests_per_minute`.
    pub name: &'static str,
    /// The limit.
    pub limit: u64,
    /// What is left of it.
    pub left: u64,
}

impl ModelHealth {
    /// Whether a call would be let through, as far as breakers are concerned.
    pub fn is_available(&self) -> bool {
        [self.breaker, self.credential].iter().all(|state| *state != Some(BreakerState::Open))
    }
}

impl Accounts {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with delays that are the same each time, for tests that repeat.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Inner { jitter: Arc::new(Jitter::seeded(seed)), accounts: Mutex::default() }))
    }

    /// What is known about each model now, in the order of their names: for health checks and metrics.
    pub fn snapshot(&self) -> Vec<ModelHealth> {
        let accounts: Vec<_> = locked(&self.0.accounts).values().cloned().collect();
        let models = accounts.iter().flat_map(|account| locked(&account.models).values().cloned().collect::<Vec<_>>());
        models.map(|model| model.health()).collect()
    }

    /// Refuses calls to `model` until [`Accounts::close`], for example while a provider is being repaired. False if no
    /// breaker of that name exists.
    pub fn open(&self, model: &ModelId) -> bool {
        self.switch(model, "opened", |state| {
            let circuit = state.circuit.get();
            circuit.inspect(|circuit| circuit.open()).is_some()
        })
    }

    /// Lets calls to `model` pass again, whatever had opened its breaker or that of its account's credentials. False if
    /// no breaker of that name exists.
    pub fn close(&self, model: &ModelId) -> bool {
        self.switch(model, "closed", |state| {
            let circuits = state.circuit.get().into_iter().chain(state.account.credential.get());
            circuits.map(|circuit| circuit.close()).count() > 0
        })
    }

    fn switch(&self, model: &ModelId, action: &str, change: impl FnOnce(&ModelState) -> bool) -> bool {
        let account = locked(&self.0.accounts).get(model.provider()).cloned();
        let state = account.and_then(|account| locked(&account.models).get(model.model()).cloned());
        let is_known = state.is_some_and(|state| change(&state));
        if is_known {
            tracing::warn!("the breaker of {model} was {action} by hand");
        }
        is_known
    }

    /// What is known about one model.
    pub(crate) fn model(&self, id: &ModelId) -> Arc<ModelState> {
        let account = Arc::clone(locked(&self.0.accounts).entry(id.provider().clone()).or_default());
        let mut models = locked(&account.models);
        let state = models.entry(id.model().clone()).or_insert_with(|| {
            Arc::new(ModelState {
                id: id.clone(),
                account: Arc::clone(&account),
                jitter: Arc::clone(&self.0.jitter),
                limiter: OnceLock::new(),
                circuit: OnceLock::new(),
                retry_budget: OnceLock::new(),
            })
        });
        Arc::clone(state)
    }
}

impl ModelState {
    /// Where random delays come from.
    pub(crate) fn jitter(&self) -> Arc<Jitter> {
        Arc::clone(&self.jitter)
    }

    /// What admits calls within the limits of the model, or of its family.
    pub(crate) fn limiter(&self, limits: &RateLimitSettings) -> Arc<Limiter> {
        let limiter = self.limiter.get_or_init(|| {
            let family = limits.family.as_ref().unwrap_or(self.id.model());
            let mut families = locked(&self.account.families);
            let limiter = families
                .entry(Arc::clone(family))
                .or_insert_with(|| Arc::new(Limiter::new(limits.clone(), Arc::clone(&self.account.pause))));
            Arc::clone(limiter)
        });
        Arc::clone(limiter)
    }

    /// What must be closed for a call to pass.
    pub(crate) fn circuits(&self, thresholds: BreakerSettings) -> Circuits {
        let circuit = || Arc::new(Circuit::new(thresholds, Arc::clone(&self.jitter)));
        Circuits {
            credential: Arc::clone(self.account.credential.get_or_init(circuit)),
            model: Arc::clone(self.circuit.get_or_init(circuit)),
        }
    }

    /// How many retries all callers may make together.
    pub(crate) fn retry_budget(&self, backoff: &RetrySettings) -> Arc<RetryBudget> {
        Arc::clone(self.retry_budget.get_or_init(|| Arc::new(RetryBudget::new(backoff))))
    }
}

impl ModelState {
    fn health(&self) -> ModelHealth {
        let (model, credential) = (self.circuit.get(), self.account.credential.get());
        let limiter = self.limiter.get();
        let headroom = limiter.map(|limiter| limiter.headroom()).unwrap_or_default();
        ModelHealth {
            model: self.id.clone(),
            breaker: model.map(|circuit| circuit.state()),
            credential: credential.map(|circuit| circuit.state()),
            last_error: model.and_then(|circuit| circuit.last_error()),
            headroom: headroom.into_iter().map(|(name, limit, left)| LimitHealth { name, limit, left }).collect(),
            waiting: limiter.map_or(0, |limiter| limiter.queue_length()),
            in_flight: limiter.map_or(0, |limiter| limiter.calls_in_flight()),
            paused_for: Some(self.account.pause.left(Instant::now())).filter(|left| !left.is_zero()),
            retries_left: self.retry_budget.get().map(|budget| budget.balance()),
        }
    }
}

/// A panic while one of these locks was held leaves a whole map behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
