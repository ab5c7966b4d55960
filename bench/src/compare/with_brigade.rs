//! The same work with Brigade's agents, tools and workers, as its documentation shows them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use brigade_core::{Agent, Budget, ChatModel, Ledger, ModelExt, ModelId, Observer, Run, ToolOutput, Worker, tool_fn};
use brigade_observability::{
    LogTarget, Logging, LoggingHandle, Metrics, MetricsConfig, MetricsHandle, PriceBook, mask_event,
};
use brigade_providers::OpenAi;
use brigade_resilience::{Accounts, Policy};
use brigade_store::{Database, History};
use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::TempDir;

use crate::compare::contender::Form;
use crate::workload::{AgentSpec, CLERK, DESK, LOOKUP, LOOKUP_PURPOSE, ORACLE, WORKERS, Workload, look_up};

/// The agent for one workload.
#[derive(Debug)]
pub(crate) struct Brigade {
    agent: Agent,
    production: Option<Production>,
}

/// What a server adds to each run.
#[derive(Debug)]
struct Production {
    process: Ledger,
    metrics: Arc<dyn Observer>,
    history: Option<History>,
    logging: LoggingHandle,
    _metrics: MetricsHandle,
    /// Deleted at the end.
    _folder: TempDir,
}

/// The client and the state that all models share.
struct Shared {
    form: Form,
    openai: OpenAi,
    prices: PriceBook,
    accounts: Accounts,
    history: Option<History>,
}

#[derive(Deserialize, JsonSchema)]
struct Topic {
    /// The subject, in a few words.
    topic: String,
}

impl Brigade {
    pub(crate) async fn new(base_url: &str, workload: Workload, form: Form) -> Result<Self> {
        let openai = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").build()?;
        let production = match form {
            Form::Bare | Form::Wrappers => None,
            Form::Production | Form::Stored => Some(Production::start(form == Form::Stored).await?),
        };
        let history = production.as_ref().and_then(|production| production.history.clone());
        let shared = Shared { form, openai, prices: PriceBook::bundled(), accounts: Accounts::new(), history };
        let agent = match workload {
            Workload::Chat => shared.agent(&ORACLE),
            Workload::ToolLoop => with_lookup(shared.agent(&CLERK)),
            Workload::Supervisor => {
                let worker = |agent| Worker::new(with_lookup(shared.agent(agent)));
                WORKERS.iter().map(worker).fold(shared.agent(&DESK), Agent::worker)
            }
        };
        agent.check()?;
        Ok(Self { agent, production })
    }

    /// The answer of one run.
    pub(crate) async fn run(&self, workload: Workload) -> Result<String> {
        let outcome = match &self.production {
            None => self.agent.run(workload.task()).await?,
            Some(production) => {
                let run = Run::builder().account(production.process.clone()).observer(Arc::clone(&production.metrics));
                match &production.history {
                    None => self.agent.run_in(&run.build(), workload.task()).await?,
                    Some(history) => {
                        let run = run.observer(history.of_account("bench")).build();
                        let outcome = self.agent.run_in(&run, workload.task()).await?;
                        // As in the server, an answer is passed on once its cost is on disk.
                        history.flush().await?;
                        outcome
                    }
                }
            }
        };
        ensure!(outcome.is_finished() && outcome.degraded.is_empty(), "the run did not finish: {}", outcome.notice);
        Ok(outcome.text)
    }

    /// Fails if anything was lost that should have been recorded.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(Production { logging, history, .. }) = &self.production else { return Ok(()) };
        ensure!(logging.dropped_lines() == 0, "{} log lines were dropped", logging.dropped_lines());
        let lost = history.as_ref().map_or(0, History::lost);
        ensure!(lost == 0, "{lost} events were lost");
        Ok(())
    }
}

impl Production {
    async fn start(stored: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = LogTarget::File(folder.path().join("brigade.log"));
        let logging = Logging::new().variable(None).target(log).init()?;
        let models = [ORACLE, DESK].map(|agent| ModelId::new("openai", agent.model));
        let agents = WORKERS.iter().chain([&ORACLE, &CLERK, &DESK]);
        let config = agents.fold(MetricsConfig::default(), |config, agent| config.agent(agent.name)).tool(LOOKUP);
        let metrics = Metrics::install(&models.into_iter().fold(config, MetricsConfig::model))?;
        let history = if stored {
            Some(History::start(Database::open(folder.path().join("brigade.db"))?, mask_event).await?)
        } else {
            None
        };
        let process = Ledger::root("process", Budget::default().usd("1000000")?);
        let observer = metrics.observer();
        Ok(Self { process, metrics: observer, history, logging, _metrics: metrics, _folder: folder })
    }
}

impl Shared {
    fn agent(&self, agent: &AgentSpec) -> Agent {
        let built =
            Agent::new(agent.name, self.model(agent.model)).purpose(agent.purpose).instructions(agent.instructions);
        match self.form {
            Form::Bare | Form::Wrappers => built,
            Form::Production | Form::Stored => built.budget(Budget::default().tokens(10_000_000)),
        }
    }

    /// A model in the stack of wrappers that the form has.
    fn model(&self, name: &str) -> Arc<dyn ChatModel> {
        let model = self.openai.model(name);
        match (self.form, &self.history) {
            (Form::Bare, _) => Arc::new(model),
            (_, None) => Policy::default().wrap(model.metered(&self.prices), [], &self.accounts),
            (_, Some(history)) => {
                Policy::default().wrap(history.write_barrier(model).metered(&self.prices), [], &self.accounts)
            }
        }
    }
}

fn with_lookup(agent: Agent) -> Agent {
    agent.tool(tool_fn(
        LOOKUP,
        LOOKUP_PURPOSE,
        |Topic { topic }, _run| async move { Ok(ToolOutput::text(look_up(&topic))) },
    ))
}
