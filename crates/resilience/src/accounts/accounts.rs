//! The registry of shared state.

use std::{collections::BTreeMap, sync::Arc};

use brigade_core::ModelId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    BreakerSettings, ModelHealth, RateLimitSettings, RetrySettings,
    breaker::{breaker::Circuits, circuit::Circuit},
    rate_limit::{limiter::Limiter, pause::Pause},
    retry::budget::RetryBudget,
    shared::jitter::Jitter,
};

/// State that wrappers share for each provider account and model: rate limits, circuits and retry budgets.
///
/// Providers limit accounts, not agents. So all agents and runs of a program should share one `Accounts`. Cloning is
/// cheap.
///
/// # Examples
///
/// ```
/// use brigade_core::testing::{ScriptedModel, Turn};
/// use brigade_resilience::{Accounts, Breaker, BreakerSettings};
///
/// let accounts = Accounts::new();
/// let model = ScriptedModel::named("small", [Turn::text("Hello.")]);
/// let model = Breaker::new(model, BreakerSettings::default()).within(&accounts);
/// assert!(accounts.snapshot()[0].is_available());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    jitter: Arc<Jitter>,
    registry: Arc<Mutex<Registry>>,
}

#[derive(Debug, Default)]
struct Registry {
    accounts: BTreeMap<Arc<str>, AccountState>,
    models: BTreeMap<ModelId, ModelState>,
}

/// The state of one account. Each part is set up by the first wrapper that needs it.
#[derive(Debug, Default)]
struct AccountState {
    circuit: Option<Arc<Circuit>>,
    pause: Arc<Pause>,
    /// By the name of the model family.
    limiters: BTreeMap<Arc<str>, Arc<Limiter>>,
}

/// The state of one model. Each part is set up by the first wrapper that needs it.
#[derive(Debug, Default)]
struct ModelState {
    limiter: Option<Arc<Limiter>>,
    circuit: Option<Arc<Circuit>>,
    retry_budget: Option<Arc<RetryBudget>>,
}

impl Accounts {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry whose random delays are the same each time, for reproducible tests.
    pub fn seeded(seed: u64) -> Self {
        Self { jitter: Arc::new(Jitter::seeded(seed)), registry: Arc::default() }
    }

    /// The current health of each model, ordered by name.
    pub fn snapshot(&self) -> Vec<ModelHealth> {
        let registry = self.registry.lock();
        let models = registry.models.iter();
        models.map(|(id, model)| model.health(id, registry.accounts.get(id.provider()))).collect()
    }

    /// Refuses calls to `model` until [`Accounts::close`], for example while a provider is repaired. Returns false if the
    /// model has no breaker.
    pub fn open(&self, model: &ModelId) -> bool {
        let circuit = self.registry.lock().models.get(model).and_then(|state| state.circuit.clone());
        let Some(circuit) = circuit else { return false };
        circuit.open();
        tracing::warn!("the breaker of {model} was opened manually");
        true
    }

    /// Lets calls to `model` pass again, whether its own breaker or that of its account was open. Returns false if the
    /// model has no breaker.
    pub fn close(&self, model: &ModelId) -> bool {
        let registry = self.registry.lock();
        let Some(state) = registry.models.get(model) else { return false };
        let account = registry.accounts.get(model.provider()).and_then(|account| account.circuit.as_ref());
        let has_breaker = state.circuit.iter().chain(account).map(|circuit| circuit.close()).count() > 0;
        if has_breaker {
            tracing::warn!("the breaker of {model} was closed manually");
        }
        has_breaker
    }

    /// The source of random delays.
    pub(crate) fn jitter(&self) -> Arc<Jitter> {
        Arc::clone(&self.jitter)
    }

    /// The limiter of the model, or of its family.
    pub(crate) fn limiter(&self, id: &ModelId, settings: &RateLimitSettings) -> Arc<Limiter> {
        let mut registry = self.registry.lock();
        let Registry { accounts, models } = &mut *registry;
        let limiter = models.entry(id.clone()).or_default().limiter.get_or_insert_with(|| {
            let AccountState { limiters, pause, .. } = accounts.entry(id.provider().clone()).or_default();
            let family = settings.family.as_ref().unwrap_or(id.model());
            let limiter = limiters.entry(Arc::clone(family));
            Arc::clone(limiter.or_insert_with(|| Arc::new(Limiter::new(settings.clone(), Arc::clone(pause)))))
        });
        Arc::clone(limiter)
    }

    /// The circuits that must be closed for a call to the model.
    pub(crate) fn circuits(&self, id: &ModelId, settings: BreakerSettings) -> Circuits {
        let mut registry = self.registry.lock();
        let circuit = || Arc::new(Circuit::new(settings, self.jitter()));
        let account = registry.accounts.entry(id.provider().clone()).or_default().circuit.get_or_insert_with(circuit);
        let account = Arc::clone(account);
        let model = registry.models.entry(id.clone()).or_default().circuit.get_or_insert_with(circuit);
        Circuits { account, model: Arc::clone(model) }
    }

    /// The retry budget of the model.
    pub(crate) fn retry_budget(&self, id: &ModelId, settings: &RetrySettings) -> Arc<RetryBudget> {
        let mut registry = self.registry.lock();
        let budget = &mut registry.models.entry(id.clone()).or_default().retry_budget;
        Arc::clone(budget.get_or_insert_with(|| Arc::new(RetryBudget::new(settings))))
    }
}

impl ModelState {
    fn health(&self, id: &ModelId, account: Option<&AccountState>) -> ModelHealth {
        let credential = account.and_then(|account| account.circuit.as_ref());
        let paused_for = account.map(|account| account.pause.remaining(Instant::now()));
        ModelHealth {
            model: id.clone(),
            breaker: self.circuit.as_ref().map(|circuit| circuit.state()),
            credential: credential.map(|circuit| circuit.state()),
            last_error: self.circuit.as_ref().and_then(|circuit| circuit.last_error()),
            headroom: self.limiter.as_ref().map(|limiter| limiter.headroom()).unwrap_or_default(),
            waiting: self.limiter.as_ref().map_or(0, |limiter| limiter.queue_length()),
            in_flight: self.limiter.as_ref().map_or(0, |limiter| limiter.calls_in_flight()),
            paused_for: paused_for.filter(|left| !left.is_zero()),
            retries_left: self.retry_budget.as_ref().map(|budget| budget.remaining()),
        }
    }
}

#[cfg(test)]
mod tests;
