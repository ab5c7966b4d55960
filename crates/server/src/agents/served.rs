//! An agent that clients can call.

use std::collections::BTreeMap;

use brigade_config::CallerInstructions;
use brigade_core::{Agent, Budget, ModelId, ToolboxError};
use brigade_durable::InDoubt;
use brigade_observability::MetricsConfig;

/// An agent that clients can call, by its name.
///
/// ```
/// # fn example(model: impl brigade_core::ChatModel) -> Result<(), Box<dyn std::error::Error>> {
/// use brigade_core::{Agent, Budget};
/// use brigade_server::ServedAgent;
///
/// let clerk = Agent::new("clerk", model).instructions("You are a clerk.");
/// let clerk = ServedAgent::new(clerk).purpose("Answers letters.").budget(Budget::default().usd("0.50")?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServedAgent {
    pub(crate) agent: Agent,
    pub(crate) purpose: String,
    pub(crate) caller_instructions: CallerInstructions,
    /// The budget of one run.
    pub(crate) budget: Budget,
    pub(crate) exposed: bool,
    pub(crate) asks_for_approvals: bool,
    /// What is done with calls of these tools that may have had their effect before a crash.
    in_doubt: BTreeMap<String, InDoubt>,
    /// Whether clients may bring their own tools along.
    pub(crate) accepts_client_tools: bool,
    /// The models that may answer, in order of preference.
    pub(crate) models: Vec<ModelId>,
}

impl ServedAgent {
    /// Serves an agent under its name.
    pub fn new(agent: Agent) -> Self {
        let models = vec![agent.model().id().clone()];
        Self {
            accepts_client_tools: agent.toolbox().specs().is_empty(),
            agent,
            purpose: String::new(),
            caller_instructions: CallerInstructions::Append,
            budget: Budget::default(),
            exposed: true,
            asks_for_approvals: false,
            in_doubt: BTreeMap::new(),
            models,
        }
    }

    /// The agent's purpose in one sentence. Clients see it in the list of models.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// The budget of one run. Clients can only lower it. Unlimited by default, but the agent's own budget applies too.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Sets how system and developer messages of clients are handled. By default, they are appended to the agent's own
    /// instructions.
    #[must_use]
    pub fn caller_instructions(self, instructions: CallerInstructions) -> Self {
        Self { caller_instructions: instructions, ..self }
    }

    /// Sets whether calls of its tools or workers may wait for an approval: see `brigade_durable::ApprovedTool`. Then its chat
    /// completions are stored too, so that they can go on later. False by default.
    #[must_use]
    pub fn asks_for_approvals(self, asks: bool) -> Self {
        Self { asks_for_approvals: asks, ..self }
    }

    /// Sets what is done with a call of the tool with this name, by the agent or a worker of it, that may have had its effect
    /// before a crash. By default the run waits until a person decides.
    #[must_use]
    pub fn in_doubt(mut self, tool: impl Into<String>, policy: InDoubt) -> Self {
        self.in_doubt.insert(tool.into(), policy);
        self
    }

    pub(crate) fn policy_in_doubt(&self, tool: &str) -> InDoubt {
        self.in_doubt.get(tool).copied().unwrap_or_default()
    }

    /// Sets whether clients may bring tools along, which they run themselves. By default an agent without tools accepts them,
    /// because it is a model with a budget. One with tools does not: its list of tools is short on purpose.
    #[must_use]
    pub fn accepts_client_tools(self, accepts: bool) -> Self {
        Self { accepts_client_tools: accepts, ..self }
    }

    pub(crate) fn exposed(self, exposed: bool) -> Self {
        Self { exposed, ..self }
    }

    pub(crate) fn models(self, models: Vec<ModelId>) -> Self {
        Self { models, ..self }
    }

    /// Finds mistakes in the agent's tools and workers before the first request does.
    pub(crate) fn check(self) -> Result<Self, ToolboxError> {
        self.agent.check().map(|()| self)
    }

    /// Adds the names that may become metric labels.
    pub(crate) fn add_labels(&self, labels: MetricsConfig) -> MetricsConfig {
        self.models.iter().cloned().fold(labels.agent(self.agent.name().as_ref()), MetricsConfig::model)
    }

    /// Whether text can be shown while it is generated. An answer with a schema may be rejected once it is complete.
    pub(crate) fn streams_text(&self) -> bool {
        self.agent.model_settings().output.is_none()
    }
}
