//! Checks whether each agent has a model whose provider is available.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{ModelError, ModelErrorKind, ModelId};
use brigade_resilience::Accounts;
use futures::future::join_all;
use tokio::time::timeout;

use super::check::{CheckResult, HealthCheck};
use crate::models::account::Account;

/// Probes all accounts at intervals, at no cost, and reports one check per agent.
#[derive(Debug)]
pub(crate) struct ProviderHealth {
    state: Mutex<ProbeState>,
    breakers: Accounts,
}

#[derive(Debug)]
struct ProbeState {
    targets: Arc<ProbeTargets>,
    results: ProbeResults,
}

/// The last result of each account.
type ProbeResults = BTreeMap<String, Result<(), String>>;

/// What a configuration says to probe.
#[derive(Debug)]
pub(crate) struct ProbeTargets {
    pub(crate) accounts: BTreeMap<String, Account>,
    /// The models of each agent, in order of preference.
    pub(crate) models: BTreeMap<String, Vec<ModelId>>,
    pub(crate) interval: Duration,
}

/// Providers answer the list of models in well under a second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval while an account fails.
const FAILING_INTERVAL: Duration = Duration::from_secs(2);

impl ProviderHealth {
    pub(crate) fn new(targets: ProbeTargets, breakers: Accounts) -> Self {
        let state = ProbeState { targets: Arc::new(targets), results: BTreeMap::new() };
        Self { state: Mutex::new(state), breakers }
    }

    /// Probes these targets from now on. Results of accounts with the same name are kept until the next probe.
    pub(crate) fn replace(&self, targets: ProbeTargets) {
        self.state().targets = Arc::new(targets);
    }

    /// Probes forever.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            let targets = Arc::clone(&self.state().targets);
            let probes =
                targets.accounts.iter().map(|(name, account)| async move { (name.clone(), probe(account).await) });
            let results: ProbeResults = join_all(probes).await.into_iter().collect();
            let all_passed = results.values().all(Result::is_ok);
            let previous = std::mem::replace(&mut self.state().results, results.clone());
            log_changes(&previous, &results);
            let interval = targets.interval;
            drop(targets);
            tokio::time::sleep(if all_passed { interval } else { interval.min(FAILING_INTERVAL) }).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HealthCheck for ProviderHealth {
    async fn check(&self) -> Vec<CheckResult> {
        let (targets, results) = {
            let state = self.state();
            (Arc::clone(&state.targets), state.results.clone())
        };
        let available: BTreeMap<ModelId, bool> =
            self.breakers.snapshot().into_iter().map(|model| (model.model.clone(), model.is_available())).collect();
        let problem = |model: &ModelId| match results.get(&**model.provider()) {
            None => Some(format!("{model}: its provider has not been probed yet")),
            Some(Err(problem)) => Some(format!("{model}: {problem}")),
            Some(Ok(())) if available.get(model) == Some(&false) => {
                Some(format!("{model}: its circuit breaker is open"))
            }
            Some(Ok(())) => None,
        };
        let check = |(agent, models): (&String, &Vec<ModelId>)| {
            let problems: Vec<_> = models.iter().map(problem).collect();
            let name = format!("agent {agent}");
            if problems.iter().any(Option::is_none) {
                return CheckResult::passed(name);
            }
            CheckResult::failed(name, problems.into_iter().flatten().collect::<Vec<_>>().join("; "))
        };
        targets.models.iter().map(check).collect()
    }
}

/// Logs which providers went down or came up again. A probe with the same result as the one before is not logged.
fn log_changes(previous: &ProbeResults, results: &ProbeResults) {
    for (name, result) in results {
        match (previous.get(name), result) {
            (None | Some(Ok(())), Err(problem)) => tracing::warn!("provider down: {name}: {problem}"),
            (Some(Err(_)), Ok(())) => tracing::info!("provider up again: {name}"),
            (None | Some(Ok(())), Ok(())) | (Some(Err(_)), Err(_)) => {}
        }
    }
}

/// Checks the address and the key of an account.
pub(crate) async fn probe(account: &Account) -> Result<(), String> {
    match timeout(PROBE_TIMEOUT, account.probe()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if is_reachable(&error) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

/// A server that refuses the request as invalid is reachable; it may have no list of models.
fn is_reachable(error: &ModelError) -> bool {
    matches!(error.kind(), ModelErrorKind::Caller | ModelErrorKind::NoSuchModel) && error.details().status.is_some()
}
