//! The runs with which `brigade demo --serve` begins, so that the console has something to show. Each goes wrong in its own
//! way, at a simulator of its own.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use brigade_config::{Config, LOCAL_CALLER, LoadedConfig};
use brigade_core::{RunId, Task, TraceId};
use brigade_rehearsal::{FaultPlan, Script, Simulator, demo as script};
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
struct DemoRun {
    user: &'static str,
    /// Faults of the simulator, in TOML.
    faults: &'static str,
    /// The most that the run may cost, in US dollars.
    usd: &'static str,
    turns: Option<u64>,
    /// Whether it is cancelled when it has begun.
    is_cancelled: bool,
    /// The configuration of another team than the demo's; `$URL` stands for the simulator.
    config: Option<&'static str>,
}

const GOOD: DemoRun = DemoRun { user: "ada", faults: "", usd: "", turns: None, is_cancelled: false, config: None };

/// Answers with its second model, because the first one has no capacity.
const SUMMARIZER: &str = r#"
[providers.openai]
kind = "compatible"
base_url = "$URL/v1"
agent_header = true
[models]
large = { provider = "openai", model = "gpt-5", fallbacks = ["mini"] }
mini = { provider = "openai", model = "gpt-5-mini" }
[agents.summarize]
model = "large"
instructions = "You are summarize."
"#;

/// The oldest first.
const RUNS: [DemoRun; 12] = [
    GOOD,
    DemoRun { user: "grace", ..GOOD },
    DemoRun {
        user: "grace",
        faults: r#"fault = [{ match = { agent = "desk", call = 1 }, do = { error = "authentication_error" } }]"#,
        ..GOOD
    },
    DemoRun {
        faults: r#"fault = [{ match = { model = "gpt-5" }, do = { status = 503 } }]"#,
        config: Some(SUMMARIZER),
        ..GOOD
    },
    DemoRun { user: "grace", usd: "0.035", ..GOOD },
    GOOD,
    DemoRun {
        user: "lin",
        faults: r#"fault = [{ match = { agent = "critic", call = 1 }, do = { status = 429, headers = [["retry-after", "1"]] } }]"#,
        ..GOOD
    },
    DemoRun { user: "lin", faults: r#"fault = [{ match = { agent = "researcher" }, do = { status = 503 } }]"#, ..GOOD },
    DemoRun { user: "grace", turns: Some(3), ..GOOD },
    DemoRun { is_cancelled: true, ..GOOD },
    DemoRun {
        faults: r#"fault = [{ match = { agent = "estimator", call = 2 }, at = { after_deltas = 9 }, do = { then = "close" } }]"#,
        ..GOOD
    },
    DemoRun {
        user: "lin",
        faults: r#"fault = [{ match = { agent = "researcher", call = 2 }, do = { status = 503 } }]"#,
        ..GOOD
    },
];

/// Starts all runs, and ends when they have ended.
pub(super) async fn play(api: Arc<Api>) {
    let mut runs = JoinSet::new();
    for run in &RUNS {
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
    async fn play(&self, api: &Api, ids: RequestIds) -> anyhow::Result<()> {
        let plan = FaultPlan::from_toml(self.faults)?;
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
        request.settings.user = Some(self.user.to_owned());
        request.keeps_events = true;
        let usd = Some(self.usd).filter(|usd| !usd.is_empty()).map(str::parse).transpose()?;
        request.limits = CallerLimits { usd, turns: self.turns, ..CallerLimits::default() };
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
