//! Builds agents from the configuration.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use brigade_config::{AgentConfig, Config, FailurePolicy, InDoubtConfig, OnExhaustedConfig, Secrets, WorkerConfig};
use brigade_core::{
    Agent, ChatModel, ContextWindow, ModelId, OnExhausted, OnFailure, OutputSchema, RawJson, Schema, Settings, Tool,
    ToolLimits, TurnLimits, Worker,
};
use brigade_durable::InDoubt;
use brigade_notes::Recall;

use super::{mcp::McpServers, recall, served::ServedAgent, tools};
use crate::setup::error::{SetupContext as _, SetupError};

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
    pub(crate) secrets: &'a Secrets<'a>,
    pub(crate) models: &'a BTreeMap<String, ConfiguredModel>,
    pub(crate) mcp: &'a McpServers,
    pub(crate) recall: Arc<dyn Recall>,
}

struct AgentFactory<'a> {
    builder: &'a AgentBuilder<'a>,
    tools: BTreeMap<&'a str, Arc<dyn Tool>>,
}

impl AgentBuilder<'_> {
    /// Builds all agents. Errors name the agent or the tool.
    pub(crate) fn build(&self) -> Result<Vec<ServedAgent>, SetupError> {
        let tools = self.config.tools.iter().map(|(name, config)| {
            let tool = tools::build(name, config, self.folder, self.secrets, self.config.server.commands);
            let tool = tool.and_then(|tool| tools::with_approvals(tool, &config.approve, self.config.approvals.expire));
            Ok((name.as_str(), tool.context(format!("the tool `{name}`"))?))
        });
        let factory = AgentFactory { builder: self, tools: tools.collect::<Result<_, SetupError>>()? };
        self.config.agents.keys().map(|name| factory.served(name)).collect()
    }
}

impl AgentFactory<'_> {
    fn served(&self, name: &str) -> Result<ServedAgent, SetupError> {
        let agent = self.agent(name).context(place(name))?;
        let config = self.config(name)?;
        let model = self.builder.models.get(config.model.as_ref());
        let served = ServedAgent::new(agent)
            .purpose(&config.purpose)
            .caller_instructions(config.caller_instructions)
            .budget(config.budget.to_core())
            .exposed(config.exposed)
            .accepts_client_tools(config.accepts_client_tools())
            .asks_for_approvals(self.builder.config.agent_asks_for_approvals(config))
            .models(model.map(|model| model.ids.clone()).unwrap_or_default());
        let served = self.builder.config.tools.iter().fold(served, |served, (tool, config)| match config.in_doubt {
            InDoubtConfig::Fail => served.in_doubt(tool, InDoubt::Fail),
            InDoubtConfig::TellModel => served.in_doubt(tool, InDoubt::TellModel),
            _ => served,
        });
        served.check().context(format!("the agent {name} cannot run"))
    }

    /// Recursive. It ends, because the configuration is checked for cycles when it is read.
    fn agent(&self, name: &str) -> Result<Agent, SetupError> {
        let config = self.config(name)?;
        let model = self.builder.models.get(config.model.as_ref()).ok_or_else(|| SetupError::missing("a model"))?;
        let mut agent = Agent::new(name, Arc::clone(&model.model))
            .purpose(&config.purpose)
            .settings(self.settings(name, config)?)
            .budget(config.budget.to_core())
            .tool_limits(tool_limits(config));
        let instructions = self.instructions(name, config);
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
            let (all, expire) = (self.builder.config, self.builder.config.approvals.expire);
            if let Some(tools) = self.builder.mcp.tools(all, tool.as_ref(), expire) {
                agent = tools?.into_iter().fold(agent, Agent::tool);
                continue;
            }
            let tool = self.tools.get(tool.as_ref().as_str()).ok_or_else(|| SetupError::missing("a tool"))?;
            agent = agent.tool(Arc::clone(tool));
        }
        if let Some(notes) = &config.recall {
            agent = recall::add_notes(agent, notes, &self.builder.recall);
        }
        for worker in &config.workers {
            let tool = Arc::new(self.worker(worker)?.into_tool());
            let expire = self.builder.config.approvals.expire;
            let tool = tools::with_approvals(tool, &worker.approve, expire);
            agent = agent.tool(tool.context(format!("its worker `{}`", worker.agent.as_ref()))?);
        }
        Ok(agent)
    }

    fn worker(&self, config: &WorkerConfig) -> Result<Worker, SetupError> {
        let name = config.agent.as_ref();
        let agent = self.agent(name).context(format!("its worker `{name}`"))?;
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
    fn settings(&self, name: &str, config: &AgentConfig) -> Result<Settings, SetupError> {
        let model = self.builder.config.models.get(config.model.as_ref());
        let output = config.output_schema.as_deref().map(|path| self.output_schema(name, path)).transpose()?.flatten();
        Ok(Settings::default()
            .output(output)
            .max_output_tokens(config.max_output_tokens.or(model.and_then(|model| model.max_output_tokens)))
            .temperature(config.temperature))
    }

    fn output_schema(&self, agent: &str, path: &Path) -> Result<Option<OutputSchema>, SetupError> {
        let Some(text) = self.builder.secrets.file(path, &place(agent), "`output_schema`: ") else { return Ok(None) };
        let path = self.builder.folder.join(path);
        let schema = RawJson::parse(text).context(format!("{} is not valid JSON", path.display()))?;
        Schema::compile(&schema).context(path.display().to_string())?;
        Ok(Some(OutputSchema::new("answer", schema)))
    }

    fn instructions(&self, agent: &str, config: &AgentConfig) -> String {
        let text = config.instructions.as_ref();
        text.map(|text| self.builder.secrets.instructions(text, &place(agent), "`instructions`: ")).unwrap_or_default()
    }

    fn config(&self, name: &str) -> Result<&AgentConfig, SetupError> {
        self.builder.config.agents.get(name).ok_or_else(|| SetupError::missing("an agent"))
    }
}

/// The start of the text of a problem.
fn place(agent: &str) -> String {
    format!("the agent `{agent}`")
}

fn tool_limits(config: &AgentConfig) -> ToolLimits {
    let defaults = ToolLimits::default();
    let on_exhausted = match config.when_spent {
        OnExhaustedConfig::Finish => OnExhausted::Finish,
        OnExhaustedConfig::Cancel => OnExhausted::Cancel,
    };
    defaults.parallel(config.parallel.unwrap_or(defaults.parallel)).on_exhausted(on_exhausted)
}
