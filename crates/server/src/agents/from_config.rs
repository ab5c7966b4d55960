//! Builds agents from the configuration.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use brigade_config::{AgentConfig, Config, FailurePolicy, OnExhaustedConfig, WorkerConfig};
use brigade_core::{
    Agent, ChatModel, ContextWindow, ModelId, OnExhausted, OnFailure, OutputSchema, RawJson, Schema, Settings, Tool,
    ToolLimits, TurnLimits, Worker,
};
use brigade_notes::Recall;

use super::{recall, served::ServedAgent, tools};

/// A model with its policy and fallbacks.
#[derive(Debug, Clone)]
pub(crate) struct ConfiguredModel {
    pub(crate) model: Arc<dyn ChatModel>,
    /// The model itself and its fallbacks.
    pub(crate) ids: Vec<ModelId>,
}

/// Builds all agents of a configuration.
#[derive(Debug)]
pub(crate) struct AgentBuilder<'a> {
    pub(crate) config: &'a Config,
    pub(crate) folder: &'a Path,
    pub(crate) models: &'a BTreeMap<String, ConfiguredModel>,
    pub(crate) recall: Arc<dyn Recall>,
}

struct AgentFactory<'a> {
    builder: &'a AgentBuilder<'a>,
    tools: BTreeMap<&'a str, Arc<dyn Tool>>,
}

impl AgentBuilder<'_> {
    /// Builds all agents. Errors name the agent or the tool.
    pub(crate) fn build(&self) -> anyhow::Result<Vec<ServedAgent>> {
        let tools = self.config.tools.iter().map(|(name, tool)| {
            let tool = tools::build(name, tool, self.folder, self.config.server.commands);
            Ok((name.as_str(), tool.with_context(|| format!("the tool `{name}`"))?))
        });
        let factory = AgentFactory { builder: self, tools: tools.collect::<anyhow::Result<_>>()? };
        self.config.agents.keys().map(|name| factory.served(name)).collect()
    }
}

impl AgentFactory<'_> {
    fn served(&self, name: &str) -> anyhow::Result<ServedAgent> {
        let agent = self.agent(name).with_context(|| format!("the agent `{name}`"))?;
        let config = self.config(name)?;
        let model = self.builder.models.get(config.model.as_ref());
        let served = ServedAgent::new(agent)
            .purpose(&config.purpose)
            .caller_instructions(config.caller_instructions)
            .budget(config.budget.to_core())
            .exposed(config.exposed)
            .models(model.map(|model| model.ids.clone()).unwrap_or_default());
        served.check().with_context(|| format!("the agent {name} cannot run"))
    }

    /// Recursive. It ends, because the configuration is checked for cycles when it is read.
    fn agent(&self, name: &str) -> anyhow::Result<Agent> {
        let config = self.config(name)?;
        let model = self.builder.models.get(config.model.as_ref()).context("its model does not exist")?;
        let mut agent = Agent::new(name, Arc::clone(&model.model))
            .purpose(&config.purpose)
            .settings(self.settings(config)?)
            .budget(config.budget.to_core())
            .tool_limits(tool_limits(config));
        let instructions = self.instructions(config)?;
        if !instructions.is_empty() {
            agent = agent.instructions(instructions);
        }
        if let Some(turns) = config.turns {
            agent = agent.limits(TurnLimits::default().turns(turns));
        }
        if let Some(max_tokens) = config.context_tokens {
            agent = agent.window(ContextWindow::default().max_tokens(max_tokens));
        }
        for tool in &config.tools {
            let tool = self.tools.get(tool.as_ref().as_str()).context("its tool does not exist")?;
            agent = agent.tool(Arc::clone(tool));
        }
        if let Some(notes) = &config.recall {
            agent = recall::add_notes(agent, notes, &self.builder.recall);
        }
        for worker in &config.workers {
            agent = agent.worker(self.worker(worker)?);
        }
        Ok(agent)
    }

    fn worker(&self, config: &WorkerConfig) -> anyhow::Result<Worker> {
        let name = config.agent.as_ref();
        let agent = self.agent(name).with_context(|| format!("its worker `{name}`"))?;
        let budget = match &config.budget {
            Some(budget) => budget.to_core(),
            None => self.config(name)?.budget.to_core(),
        };
        let mut worker = Worker::new(agent).budget(budget).on_failure(match &config.on_failure {
            FailurePolicy::Isolate => OnFailure::Isolate,
            FailurePolicy::Required => OnFailure::Required,
            FailurePolicy::Fallback(text) => OnFailure::fallback(text),
        });
        if let Some(timeout) = config.timeout {
            worker = worker.timeout(timeout);
        }
        if let Some(max_calls) = config.max_calls {
            worker = worker.max_calls(max_calls);
        }
        Ok(worker)
    }

    /// The agent's settings. Without a limit of its own it has the output limit of its model, because budgets reserve
    /// money by that limit.
    fn settings(&self, config: &AgentConfig) -> anyhow::Result<Settings> {
        let model = self.builder.config.models.get(config.model.as_ref());
        let output = config.output_schema.as_deref().map(|path| self.output_schema(path)).transpose()?;
        Ok(Settings::default()
            .output(output)
            .max_output_tokens(config.max_output_tokens.or(model.and_then(|model| model.max_output_tokens)))
            .temperature(config.temperature))
    }

    fn output_schema(&self, path: &Path) -> anyhow::Result<OutputSchema> {
        let path = self.builder.folder.join(path);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let schema = RawJson::parse(text).with_context(|| format!("{} is not valid JSON", path.display()))?;
        Schema::compile(&schema).with_context(|| path.display().to_string())?;
        Ok(OutputSchema::new("answer", schema))
    }

    fn instructions(&self, config: &AgentConfig) -> anyhow::Result<String> {
        let text = config.instructions.as_ref().map(|text| text.read(self.builder.folder)).transpose();
        text.map(Option::unwrap_or_default).map_err(|error| anyhow!("`instructions`: {error}"))
    }

    fn config(&self, name: &str) -> anyhow::Result<&AgentConfig> {
        self.builder.config.agents.get(name).with_context(|| format!("there is no agent `{name}`"))
    }
}

fn tool_limits(config: &AgentConfig) -> ToolLimits {
    let defaults = ToolLimits::default();
    let on_exhausted = match config.when_spent {
        OnExhaustedConfig::Finish => OnExhausted::Finish,
        OnExhaustedConfig::Cancel => OnExhausted::Cancel,
    };
    defaults.parallel(config.parallel.unwrap_or(defaults.parallel)).on_exhausted(on_exhausted)
}
