//! Agents as the configuration describes them.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use brigade_core::{
    Agent, Budget, ContextWindow, LocalMemory, ModelId, OnExhausted, OnFailure, OutputSchema, RawJson, Recall,
    Settings, Tool, ToolLimits, TurnLimits, Worker,
};

use crate::{
    agents::recall,
    agents::tools,
    app::Guarded,
    config::{self, CallerInstructions, Config, FailurePolicy},
};

/// An agent that clients can ask.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) agent: Agent,
    pub(crate) purpose: String,
    pub(crate) settings: Settings,
    pub(crate) instructions: String,
    pub(crate) caller_instructions: CallerInstructions,
    /// What one run may spend.
    pub(crate) budget: Budget,
    /// Whether clients may ask for it.
    pub(crate) exposed: bool,
    /// The models that may answer for it, the first choice first.
    pub(crate) chain: Vec<ModelId>,
}

impl Served {
    /// The demo's supervisor.
    pub(crate) fn of_demo(agent: Agent, chain: Vec<ModelId>) -> anyhow::Result<Self> {
        agent.check()?;
        Ok(Self {
            agent,
            purpose: "Settles a question with a researcher, a critic and an estimator.".to_owned(),
            settings: Settings::default(),
            instructions: crate::cli::demo::INSTRUCTIONS.to_owned(),
            caller_instructions: CallerInstructions::Append,
            budget: crate::cli::demo::budget()?,
            exposed: true,
            chain,
        })
    }

    /// Whether what it says can be shown while it says it. An answer with a schema may be rejected when it is whole.
    pub(crate) fn speaks_live(&self) -> bool {
        self.settings.output.is_none()
    }
}

/// Builds all agents; what makes one impossible is an error that names it.
pub(crate) fn build(
    config: &Config,
    folder: &Path,
    (models, recall): (&BTreeMap<String, Guarded>, Arc<dyn Recall>),
) -> anyhow::Result<BTreeMap<String, Arc<Served>>> {
    let tools = config.tools.iter().map(|(name, written)| {
        let tool = tools::build(name, written, folder, config.server.commands);
        Ok((name.as_str(), tool.with_context(|| format!("the tool `{name}`"))?))
    });
    let build = Build { config, folder, models, recall, tools: tools.collect::<anyhow::Result<_>>()? };
    let agents = config.agents.keys();
    agents.map(|name| Ok((name.clone(), Arc::new(build.served(name)?)))).collect()
}

struct Build<'a> {
    config: &'a Config,
    folder: &'a Path,
    models: &'a BTreeMap<String, Guarded>,
    recall: Arc<dyn Recall>,
    tools: BTreeMap<&'a str, Arc<dyn Tool>>,
}

impl Build<'_> {
    fn served(&self, name: &str) -> anyhow::Result<Served> {
        let agent = self.agent(name).with_context(|| format!("the agent `{name}`"))?;
        agent.check().with_context(|| format!("the agent {name} cannot run"))?;
        let written = self.written(name)?;
        let chain = self.models.get(written.model.as_ref()).map(|guarded| guarded.chain.clone()).unwrap_or_default();
        Ok(Served {
            agent: agent.memory(LocalMemory::new()),
            purpose: written.purpose.clone(),
            settings: self.settings(written)?,
            instructions: self.instructions(written)?,
            caller_instructions: written.caller_instructions,
            budget: written.budget.to_core(),
            exposed: written.exposed,
            chain,
        })
    }

    /// References are checked when the file is read, and circles refused, so this ends.
    fn agent(&self, name: &str) -> anyhow::Result<Agent> {
        let written = self.written(name)?;
        let guarded = self.models.get(written.model.as_ref()).context("its model is missing")?;
        let mut agent = Agent::new(name, Arc::clone(&guarded.model))
            .purpose(&written.purpose)
            .settings(self.settings(written)?)
            .budget(written.budget.to_core());
        let instructions = self.instructions(written)?;
        if !instructions.is_empty() {
            agent = agent.instructions(instructions);
        }
        if let Some(turns) = written.turns {
            agent = agent.limits(TurnLimits::default().turns(turns));
        }
        if let Some(max_tokens) = written.context_tokens {
            agent = agent.window(ContextWindow::default().max_tokens(max_tokens));
        }
        let on_exhausted = match written.when_spent {
            config::OnExhausted::Finish => OnExhausted::Finish,
            config::OnExhausted::Cancel => OnExhausted::Cancel,
        };
        let usual = ToolLimits::default();
        let parallel = written.parallel.unwrap_or(usual.parallel);
        agent = agent.tool_limits(usual.parallel(parallel).on_exhausted(on_exhausted));
        for tool in &written.tools {
            let tool = self.tools.get(tool.as_ref().as_str()).context("its tool is missing")?;
            agent = agent.tool(Arc::clone(tool));
        }
        if let Some(notes) = &written.recall {
            agent = recall::give(agent, notes, &self.recall);
        }
        for worker in &written.workers {
            agent = agent.worker(self.worker(worker)?);
        }
        Ok(agent)
    }

    fn worker(&self, written: &config::Worker) -> anyhow::Result<Worker> {
        let name = written.agent.as_ref();
        let agent = self.agent(name).with_context(|| format!("its worker `{name}`"))?;
        let budget = match &written.budget {
            Some(budget) => budget.to_core(),
            None => self.written(name)?.budget.to_core(),
        };
        let mut worker = Worker::new(agent).budget(budget).on_failure(match &written.on_failure {
            FailurePolicy::Isolate => OnFailure::Isolate,
            FailurePolicy::Required => OnFailure::Required,
            FailurePolicy::Fallback(text) => OnFailure::fallback(text),
        });
        if let Some(timeout) = written.timeout {
            worker = worker.timeout(timeout);
        }
        if let Some(max_calls) = written.max_calls {
            worker = worker.max_calls(max_calls);
        }
        Ok(worker)
    }

    /// The agent's own, and where it says nothing about the length of answers, its model's: budgets must know it.
    fn settings(&self, written: &config::Agent) -> anyhow::Result<Settings> {
        let model = self.config.models.get(written.model.as_ref());
        let output = written.output_schema.as_deref().map(|path| self.schema(path)).transpose()?;
        Ok(Settings::default()
            .output(output)
            .max_output_tokens(written.max_output_tokens.or(model.and_then(|model| model.max_output_tokens)))
            .temperature(written.temperature))
    }

    fn schema(&self, path: &Path) -> anyhow::Result<OutputSchema> {
        let path = self.folder.join(path);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let schema = RawJson::parse(text).with_context(|| format!("{} is no JSON", path.display()))?;
        brigade_core::Schema::compile(&schema).with_context(|| path.display().to_string())?;
        Ok(OutputSchema::new("answer", schema))
    }

    fn instructions(&self, written: &config::Agent) -> anyhow::Result<String> {
        let read = written.instructions.as_ref().map(|text| text.read(self.folder)).transpose();
        read.map(Option::unwrap_or_default).map_err(|error| anyhow!("its instructions: {error}"))
    }

    fn written(&self, name: &str) -> anyhow::Result<&config::Agent> {
        self.config.agents.get(name).with_context(|| format!("there is no agent `{name}`"))
    }
}
