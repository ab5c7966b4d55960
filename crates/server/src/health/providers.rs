//! Checks whether each agent has a model whose provider is available.
//!
//! An agent without one does not make the process unready while another agent can answer: the requests of the others
//! would fail too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{ErrorChain, ModelError, ModelErrorKind, ModelId};
use brigade_edge::{CheckResult, HealthCheck};
use brigade_providers::Probe;
use brigade_resilience::Accounts;
use futures::future::join_all;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;

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
    /// The agents that clients call.
    pub(crate) exposed: BTreeSet<String>,
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
            let probes = targets
                .accounts
                .iter()
                .map(|(name, account)| async move { (name.clone(), probe(account).await.map(|_| ())) });
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
        self.state.lock()
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
        // The problems of each agent, or none if one of its models is available.
        let problems = |models: &Vec<ModelId>| models.iter().map(problem).collect::<Option<Vec<_>>>();
        let agents: Vec<_> = targets.models.iter().map(|(agent, models)| (agent, problems(models))).collect();
        let serves_some = agents.iter().any(|(agent, problems)| problems.is_none() && targets.exposed.contains(*agent));
        let result = |(agent, problems): (&String, Option<Vec<String>>)| {
            let name = format!("agent {agent}");
            match problems.map(|problems| problems.join("; ")) {
                None => CheckResult::passed(name),
                Some(problems) if serves_some => CheckResult::degraded(name, problems),
                Some(problems) => CheckResult::failed(name, problems),
            }
        };
        agents.into_iter().map(result).collect()
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

/// Checks the address and the key of an account. The result is absent if the server has no list of models.
pub(crate) async fn probe(account: &Account) -> Result<Option<Probe>, String> {
    match timeout(PROBE_TIMEOUT, account.probe()).await {
        Ok(Ok(probe)) => Ok(Some(probe)),
        Ok(Err(error)) if is_reachable(&error) => Ok(None),
        Ok(Err(error)) => Err(ErrorChain(&error).to_string()),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

/// A server that refuses the request as invalid is reachable; it may have no list of models.
fn is_reachable(error: &ModelError) -> bool {
    matches!(error.kind(), ModelErrorKind::Caller | ModelErrorKind::NoSuchModel) && error.details().status.is_some()
}

#[cfg(test)]
mod tests {
    use brigade_core::testing::{ScriptedModel, Turn};
    use brigade_core::{ChatModel, ChatRequest, Run};
    use brigade_resilience::{Breaker, BreakerSettings};

    use super::*;

    /// Agents that each have one model at an account of the same name.
    fn health(agents: &[(&str, bool)], breakers: &Accounts) -> ProviderHealth {
        let models = agents.iter().map(|(name, _)| ((*name).to_owned(), vec![ModelId::new(*name, "m")])).collect();
        let exposed = agents.iter().filter(|(_, exposed)| *exposed).map(|(name, _)| (*name).to_owned()).collect();
        let targets = ProbeTargets { accounts: BTreeMap::new(), models, exposed, interval: Duration::from_mins(1) };
        ProviderHealth::new(targets, breakers.clone())
    }

    /// What the probe of each account found.
    fn probed(health: &ProviderHealth, results: &[(&str, bool)]) {
        let result = |(name, passed): &(&str, bool)| {
            ((*name).to_owned(), if *passed { Ok(()) } else { Err("it is down".to_owned()) })
        };
        health.state().results = results.iter().map(result).collect();
    }

    async fn readiness(health: &Arc<ProviderHealth>) -> (bool, Vec<String>) {
        let readiness = brigade_edge::Health::new().shared_check(Arc::clone(health) as _).readiness().await;
        let affected = readiness.checks.into_iter().filter(|check| !check.passed);
        (readiness.ready, affected.map(|check| check.name).collect())
    }

    #[tokio::test]
    async fn one_agents_provider_does_not_make_the_process_unready() {
        let health = Arc::new(health(&[("a", true), ("b", true), ("worker", false)], &Accounts::new()));
        assert!(!readiness(&health).await.0, "nothing is probed yet");
        for (results, ready, affected) in [
            ([true, true, true], true, vec![]),
            ([false, true, true], true, vec!["agent a"]),
            ([true, true, false], true, vec!["agent worker"]),
            ([false, true, false], true, vec!["agent a", "agent worker"]),
            ([false, false, true], false, vec!["agent a", "agent b"]),
            ([false, false, false], false, vec!["agent a", "agent b", "agent worker"]),
        ] {
            probed(&health, &[("a", results[0]), ("b", results[1]), ("worker", results[2])]);
            let (found, names) = readiness(&health).await;
            assert_eq!((found, names), (ready, affected.into_iter().map(str::to_owned).collect()), "{results:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_makes_the_process_unready_until_its_time_is_over_without_traffic() {
        let accounts = Accounts::new();
        let failing = ScriptedModel::named("m", [Turn::fails(ModelErrorKind::Overloaded)]);
        let id = failing.id().clone();
        let model = Breaker::new(failing, BreakerSettings::default().failures_in_row(1)).within(&accounts);
        let health = Arc::new(health(&[(id.provider(), true)], &accounts));
        probed(&health, &[(id.provider(), true)]);
        assert!(readiness(&health).await.0);
        model.chat(&ChatRequest::new("Hello?"), &Run::new()).await.unwrap_err();
        assert!(!readiness(&health).await.0, "the breaker is open");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(readiness(&health).await.0, "the next call is a probe");
    }
}
