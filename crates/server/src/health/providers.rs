//! Whether agents can work: is there a model for each whose provider can be reached?

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use brigade_core::{ModelError, ModelErrorKind, ModelId};
use futures::future::join_all;
use serde::Serialize;
use tokio::time::timeout;

use crate::{api::Site, app::App};

/// What is known about reaching providers. Only calls that cost nothing are made to find out.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// What is wrong with each account, if something is.
    accounts: Mutex<BTreeMap<String, Option<String>>>,
}

/// One thing that must be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) passed: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

/// A list of models is a small file; who needs longer for it would not answer well either.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Until the first answers are in, they are asked for more often.
const FIRST_PROBES: Duration = Duration::from_secs(2);

impl Check {
    pub(crate) fn new(name: impl Into<String>, passed: bool, reason: impl Into<String>) -> Self {
        let reason = if passed { String::new() } else { reason.into() };
        Self { name: name.into(), passed, reason }
    }
}

impl Reach {
    /// Keeps asking all accounts, for ever.
    pub(crate) async fn watch(site: Arc<Site>) {
        loop {
            let current = site.current();
            let all_reached = site.reach.probe(&current.app).await;
            let pause = current.server.probe_every;
            drop(current);
            tokio::time::sleep(if all_reached { pause } else { pause.min(FIRST_PROBES) }).await;
        }
    }

    /// Asks all accounts once; whether all can be used.
    async fn probe(&self, app: &App) -> bool {
        let probes = app.accounts().map(|name| async move { (name.clone(), problem(app, name).await) });
        let found: BTreeMap<_, _> = join_all(probes).await.into_iter().collect();
        let all_reached = found.values().all(Option::is_none);
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = found;
        all_reached
    }

    /// One check for each agent.
    pub(crate) fn checks(&self, app: &App) -> Vec<Check> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let health: BTreeMap<ModelId, bool> =
            app.models().into_iter().map(|model| (model.model.clone(), model.is_available())).collect();
        let reason = |model: &ModelId| match accounts.get(&**model.provider()) {
            None => Some(format!("{model}: its provider was not asked yet")),
            Some(Some(problem)) => Some(format!("{model}: {problem}")),
            Some(None) if health.get(model) == Some(&false) => Some(format!("{model}: its circuit breaker is open")),
            Some(None) => None,
        };
        let check = |(name, served): (&String, &Arc<crate::agents::team::Served>)| {
            let reasons: Vec<_> = served.chain.iter().map(reason).collect();
            let passed = reasons.iter().any(Option::is_none);
            Check::new(format!("agent {name}"), passed, reasons.into_iter().flatten().collect::<Vec<_>>().join("; "))
        };
        app.agents.iter().map(check).collect()
    }
}

/// What is wrong with an account, if something is.
pub(crate) async fn problem(app: &App, account: &str) -> Option<String> {
    match timeout(PROBE_TIMEOUT, app.probe(account)).await {
        Ok(Some(Ok(_))) => None,
        Ok(Some(Err(error))) => unusable(&error),
        Ok(None) => Some("the account is not configured".to_owned()),
        Err(_) => Some(format!("it did not answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

/// A server that answers is there, also when it has no list of models.
fn unusable(error: &ModelError) -> Option<String> {
    let is_there = error.kind() == ModelErrorKind::Caller && error.details().status.is_some();
    (!is_there).then(|| error.to_string())
}
