//! The runs with which `brigade demo --serve` begins, so that the console has something to show. Each goes wrong in its own
//! way, at a simulator of its own.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use brigade_config::{Config, LOCAL_CALLER, LoadedConfig};
use brigade_core::{Money, RunId, Task, TraceId};
use brigade_rehearsal::{Fault, FaultPlan, Script, Simulator, demo as script};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::{
    api::{
        api::Api,
        request_ids::RequestIds,
        start::{CallerLimits, RunRequest},
    },
    app::{App, SharedState},
    runs::event_log::EventPosition,
};

/// A run of the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoRun {
    user: String,
    /// Faults of the simulator.
    #[serde(default)]
    faults: Vec<Fault>,
    /// The most that the run may cost, in US dollars.
    usd: Option<Money>,
    turns: Option<u64>,
    /// Whether it is cancelled when it has begun.
    #[serde(default)]
    is_cancelled: bool,
    /// The configuration of another team than the demo's; `$URL` stands for the simulator.
    config: Option<String>,
}

/// The file beside this one.
#[derive(Debug, Deserialize)]
struct History {
    /// The oldest first.
    runs: Vec<DemoRun>,
}

/// Starts all runs, and ends when they have ended.
pub(super) async fn play(api: Arc<Api>) {
    let history: History = match toml::from_str(include_str!("demo_history.toml")) {
        Ok(history) => history,
        Err(error) => return tracing::warn!("the demo's history cannot be read: {error}"),
    };
    let mut runs = JoinSet::new();
    for run in history.runs {
        let api = Arc::clone(&api);
        // The list is in the order of the ids.
        let ids = RequestIds { run: RunId::new(), trace: TraceId::random(), parent: None };
        runs.spawn(async move {
            if let Err(error) = run.play(&api, ids).await {
                tracing::warn!("a run of the demo's history did not start: {error:#}");
            }
        });
    }
    while runs.join_next().await.is_some() {}
}

impl DemoRun {
    async fn play(self, api: &Api, ids: RequestIds) -> anyhow::Result<()> {
        let mut plan = FaultPlan::default();
        plan.faults = self.faults;
        let simulator = Simulator::builder().script(Script::demo()).faults(plan).build().serve_locally().await?;
        // State of its own, so that the failures of one run open no circuit breaker for the others.
        let state = SharedState::new(&Config::default());
        let app = match self.config {
            None => App::demo(&simulator.base_url(), &state)?,
            Some(config) => {
                let config = config.replace("$URL", &simulator.base_url());
                App::from_config(&LoadedConfig::parse(Path::new("(demo)"), &config, [])?, &state)?
            }
        };
        let agent = app.agents.into_iter().next().context("the demo has no agent")?;
        let mut request = RunRequest::new(Arc::new(agent), Task::from(script::QUESTION));
        request.settings.user = Some(self.user);
        request.keeps_events = true;
        request.limits = CallerLimits { usd: self.usd, turns: self.turns, ..CallerLimits::default() };
        let caller = api.setup().access.named(LOCAL_CALLER).cloned().context("there is no caller for the runs")?;
        let run = request.start(api, &caller, ids).await.map_err(|error| anyhow::anyhow!("{}", error.message))?;
        if self.is_cancelled
            && let Some(events) = run.events()
        {
            events.wait_for_more(EventPosition::of_event(5)).await;
            run.cancel();
        }
        run.wait().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_has_a_dozen_runs_whose_faults_and_configurations_are_valid() {
        let history: History = toml::from_str(include_str!("demo_history.toml")).unwrap();
        assert_eq!(history.runs.len(), 12);
        for config in history.runs.iter().filter_map(|run| run.config.as_deref()) {
            LoadedConfig::parse(Path::new("(demo)"), config, []).unwrap();
        }
    }
}
