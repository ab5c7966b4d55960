//! The time that each part of the runtime adds to a call of a model that answers at once.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use brigade_core::{
    Agent, Budget, Certainty, Charge, ChatModel, ChatReply, ChatRequest, Estimate, Ledger, Message, ModelError,
    ModelExt, ModelId, Money, Rates, Run, Settings, Usage,
};
use brigade_observability::{LogTarget, Logging, Metrics, MetricsConfig, PriceBook};
use brigade_resilience::{Accounts, Policy};
use tokio::runtime::Builder;
use tracing_subscriber::layer::SubscriberExt;

use crate::micro::micro::{Part, Repeat};

/// A model that answers at once, always with the same text.
#[derive(Debug, Clone)]
struct InstantModel {
    id: ModelId,
    reply: ChatReply,
}

#[async_trait]
impl ChatModel for InstantModel {
    fn id(&self) -> &ModelId {
        &self.id
    }

    fn settings(&self) -> &Settings {
        Settings::none()
    }

    async fn chat(&self, _request: &ChatRequest, _run: &Run) -> Result<ChatReply, ModelError> {
        Ok(self.reply.clone())
    }
}

impl InstantModel {
    fn new() -> Self {
        let mut reply = ChatReply::new(Message::assistant("Because of the sky."));
        reply.usage = Some(Usage::new(400, 12));
        Self { id: ModelId::new("openai", "gpt-5-mini"), reply }
    }
}

pub(crate) fn measure(repeat: Repeat) -> Result<Vec<Part>> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let ledger = nested_ledger()?;
    let unlimited = Budget::unlimited().model_calls(u64::MAX);
    let run = Run::builder().account(ledger.clone()).budget(unlimited).build();
    let request = ChatRequest::new("Why is the sky blue?");
    let bare = InstantModel::new();
    let added_time = |model: &dyn ChatModel| {
        let wrapped_call = async || drop(model.chat(&request, &run).await);
        let bare_call = async || drop(bare.chat(&request, &run).await);
        runtime.block_on(repeat.fewer(2).time_beyond(wrapped_call, bare_call))
    };
    let metered = InstantModel::new().metered(&PriceBook::bundled());
    let resilient = Policy::default().wrap(InstantModel::new(), [], &Accounts::new());
    Ok(vec![
        Part::new("a reservation through four accounts, settled", reservation(&ledger, repeat), "µs").at_most(1.0),
        Part::new("Metered with PriceBook, per call", added_time(&metered), "µs").at_most(10.0),
        Part::new("the standard resilience stack, per call", added_time(&resilient), "µs").at_most(25.0),
        Part::new("the agent loop, per run of one call", agent_loop(&bare, repeat)?, "µs"),
        Part::new("log at INFO and metrics, per run of one call", observing(&bare, repeat)?, "µs").at_most(15.0),
    ])
}

/// Accounts of a process, a team, a key and an agent, each with a limit that is never reached.
fn nested_ledger() -> Result<Ledger> {
    let ample = Budget::default().usd("1000000")?;
    let process = Ledger::root("process", ample.clone());
    Ok(process.child("team", ample.clone()).child("key", ample.clone()).child("agent", ample))
}

fn reservation(ledger: &Ledger, repeat: Repeat) -> f64 {
    let (agent, model) = ("desk".into(), ModelId::new("openai", "gpt-5-mini"));
    let estimate = Estimate::new(400, 800).least_output_tokens(256).rates(Rates::default());
    let charge = Charge::new(Certainty::Charged, Usage::new(400, 12), Some(Money::ZERO));
    repeat.time(|| ledger.reserve(&agent, &model, estimate, false).map(|hold| hold.settle(&charge)).is_ok())
}

fn agent_loop(model: &InstantModel, repeat: Repeat) -> Result<f64> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let agent = Agent::new("oracle", model.clone());
    let request = ChatRequest::new("Why is the sky blue?");
    let run = Run::new();
    let agent_run = async || drop(agent.run("Why is the sky blue?").await);
    let model_call = async || drop(model.chat(&request, &run).await);
    Ok(runtime.block_on(repeat.fewer(5).time_beyond(agent_run, model_call)))
}

/// The log goes to `/dev/null`, so that the disk is not measured.
fn observing(model: &InstantModel, repeat: Repeat) -> Result<f64> {
    let logging = Logging::new().variable(None).target(LogTarget::File("/dev/null".into()));
    let (layer, _handle) = logging.layer::<tracing_subscriber::Registry>()?;
    let subscriber = tracing_subscriber::registry().with(layer);
    let config = MetricsConfig::default().agent("oracle").model(model.id.clone());
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let metrics = Arc::new(Metrics::with_recorder(&config, Arc::new(recorder)));
    let metered = model.clone().metered(&PriceBook::bundled());
    let watched = Agent::new("oracle", metered.clone()).observer(metrics);
    let unwatched = Agent::new("oracle", metered);
    let dispatch = tracing::Dispatch::new(subscriber);
    let time = |agent: &Agent| {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let once = || runtime.block_on(agent.run("Why is the sky blue?")).is_ok();
        anyhow::Ok(repeat.fewer(5).time(once))
    };
    let with = tracing::dispatcher::with_default(&dispatch, || time(&watched))?;
    Ok(with - time(&unwatched)?)
}
