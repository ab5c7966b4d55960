//! What is known about provider accounts and their models, shared by all who use them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use brigade_core::ModelId;

use crate::{backoff::Backoff, jitter::Jitter, retry_budget::RetryBudget};

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
    models: Mutex<BTreeMap<Arc<str>, Arc<ModelState>>>,
}

/// What is known about one model of an account. Each part comes into being with the first wrapper that needs it, which
/// also sets it up.
#[derive(Debug)]
pub(crate) struct ModelState {
    id: ModelId,
    account: Arc<Account>,
    jitter: Arc<Jitter>,
    retry_budget: OnceLock<Arc<RetryBudget>>,
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

    /// What is known about one model.
    pub(crate) fn model(&self, id: &ModelId) -> Arc<ModelState> {
        let account = Arc::clone(locked(&self.0.accounts).entry(id.provider().clone()).or_default());
        let mut models = locked(&account.models);
        let state = models.entry(id.model().clone()).or_insert_with(|| {
            Arc::new(ModelState {
                id: id.clone(),
                account: Arc::clone(&account),
                jitter: Arc::clone(&self.0.jitter),
                retry_budget: OnceLock::new(),
            })
        });
        Arc::clone(state)
    }
}

impl ModelState {
    /// Where random delays come from.
    pub(crate) fn jitter(&self) -> &Jitter {
        &self.jitter
    }

    /// How many retries all callers may make together.
    pub(crate) fn retry_budget(&self, backoff: &Backoff) -> Arc<RetryBudget> {
        Arc::clone(self.retry_budget.get_or_init(|| Arc::new(RetryBudget::new(backoff))))
    }
}

/// A panic while one of these locks was held leaves a whole map behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
