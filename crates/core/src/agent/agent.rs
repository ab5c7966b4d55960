//! An agent: a model with instructions, tools and limits.

use std::sync::Arc;

use schemars::JsonSchema;

use crate::{
    Budget, ChatModel, ChatRequest, Memory, Message, Notes, Observer, Outcome, OutputSchema, Run, RunError, Settings,
    Task, Tool, Transcript, TurnLimits,
    agent::agent_loop::Turns,
    agent::outcome::SetupError,
    agent::runnable::{Runnable, carry_out},
    agent::window::ContextWindow,
    memory::notes::ShownNotes,
    tool::schema::Schema,
    tool::toolbox::{ToolLimits, Toolbox, ToolboxError},
};

/// A model with a name, instructions, tools and limits.
///
/// ```no_run
/// # async fn example(model: impl brigade_core::ChatModel) -> Result<(), brigade_core::RunError> {
/// use brigade_core::Agent;
///
/// let critic = Agent::new("critic", model).instructions("List what the draft has not proven.");
/// let outcome = critic.run("Kafka is always faster than SQS.").await?;
/// println!("{}\n{}", outcome.text, outcome.summary());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Agent {
    pub(crate) name: Arc<str>,
    pub(crate) purpose: String,
    pub(crate) instructions: Option<Message>,
    pub(crate) model: Arc<dyn ChatModel>,
    pub(crate) toolbox: Toolbox,
    pub(crate) settings: Settings,
    /// The schema in the settings, compiled.
    pub(crate) output: Option<Schema>,
    pub(crate) limits: TurnLimits,
    pub(crate) window: ContextWindow,
    pub(crate) memory: Option<Arc<dyn Memory>>,
    pub(crate) notes: Option<ShownNotes>,
    budget: Budget,
    observers: Vec<Arc<dyn Observer>>,
    problem: Option<SetupError>,
}

impl Agent {
    /// An agent without instructions and tools.
    pub fn new(name: impl Into<Arc<str>>, model: impl ChatModel) -> Self {
        Self {
            name: name.into(),
            purpose: String::new(),
            instructions: None,
            model: Arc::new(model),
            toolbox: Toolbox::new(),
            settings: Settings::default(),
            output: None,
            limits: TurnLimits::default(),
            window: ContextWindow::default(),
            memory: None,
            notes: None,
            budget: Budget::unlimited(),
            observers: Vec::new(),
            problem: None,
        }
    }

    /// What it is for, in a sentence: what a supervisor is told about it. Its instructions are its own affair.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// What it is told before everything else.
    #[must_use]
    pub fn instructions(self, instructions: impl Into<String>) -> Self {
        Self { instructions: Some(Message::system(instructions)), ..self }
    }

    /// Gives it a tool. A tool that cannot be used is reported when the agent runs, or by [`Agent::check`].
    #[must_use]
    pub fn tool(mut self, tool: impl Tool) -> Self {
        if let Err(problem) = self.toolbox.add(Arc::new(tool)) {
            self.cannot_run(problem);
        }
        self
    }

    /// How the model should answer. A form of the answer that was set before stays, unless these settings have one.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        let before = std::mem::replace(&mut self.settings, settings).output;
        match self.settings.output.take().or(before) {
            Some(output) => self.output_schema(output),
            None => self,
        }
    }

    /// The form of the final answer: JSON that reads as `T`. It is checked, and the model asked again if it does not
    /// fit; read it with [`Outcome::parse`].
    #[must_use]
    pub fn output<T: JsonSchema>(self) -> Self {
        self.output_schema(OutputSchema { name: "answer".into(), schema: Schema::generate::<T>(), strict: false })
    }

    /// The form of the final answer, as a JSON Schema. One that cannot be used is reported like a tool.
    #[must_use]
    pub fn output_schema(mut self, schema: OutputSchema) -> Self {
        match Schema::compile(&schema.schema) {
            Ok(compiled) => self.output = Some(compiled),
            Err(error) => self.cannot_run(ToolboxError::Output(error)),
        }
        self.settings.output = Some(schema);
        self
    }

    /// Turns, re-asks and repetition.
    #[must_use]
    pub fn limits(self, limits: TurnLimits) -> Self {
        Self { limits, ..self }
    }

    /// Parallelism, time and output of its tools.
    #[must_use]
    pub fn tool_limits(mut self, limits: ToolLimits) -> Self {
        self.toolbox = self.toolbox.with_limits(limits);
        self
    }

    /// What it may spend on one task, workers included, also as a part of a larger run.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// How much of a long conversation it is shown.
    #[must_use]
    pub fn window(self, window: ContextWindow) -> Self {
        Self { window, ..self }
    }

    /// Where its sessions are kept.
    #[must_use]
    pub fn memory(self, memory: impl Memory) -> Self {
        Self { memory: Some(Arc::new(memory)), ..self }
    }

    /// Shows it, with each task, the notes from earlier runs that fit best: quoted, after the task, and not more than so
    /// many tokens of them, at four bytes each.
    #[must_use]
    pub fn notes(self, notes: Notes, max_tokens: u32) -> Self {
        Self { notes: Some(ShownNotes::new(notes, max_tokens)), ..self }
    }

    /// Adds somebody who watches the runs that [`Agent::run`] starts.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The model that it asks.
    pub fn model(&self) -> &Arc<dyn ChatModel> {
        &self.model
    }

    /// Its tools; a supervisor's workers are among them.
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// Whether it can run at all.
    pub fn check(&self) -> Result<(), SetupError> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// Works on a task in a run of its own.
    pub async fn run(&self, task: impl Into<Task>) -> Result<Outcome, RunError> {
        Runnable::run(self, &self.new_run(), task.into()).await
    }

    /// Works on a task within `run`: with its ids, deadline, account and observers. The agent's own budget holds too.
    pub async fn run_in(&self, run: &Run, task: impl Into<Task>) -> Result<Outcome, RunError> {
        Runnable::run(self, run, task.into()).await
    }

    fn cannot_run(&mut self, problem: ToolboxError) {
        self.problem.get_or_insert(SetupError { agent: Arc::clone(&self.name), problem });
    }

    /// A run of this agent, with its observers, and with its limit of model calls in place of the usual one.
    pub(crate) fn new_run(&self) -> Run {
        let budget = Budget { model_calls: self.budget.model_calls, ..Budget::unlimited() };
        let builder = Run::builder().agent(Arc::clone(&self.name)).budget(budget);
        self.observers.iter().cloned().fold(builder, crate::RunBuilder::observer).build()
    }

    /// The task with what its notes know about it.
    pub(crate) async fn with_notes(&self, task: Message, said: &Transcript, run: &Run) -> Message {
        match &self.notes {
            Some(notes) => notes.with(task, said, run).await,
            None => task,
        }
    }

    pub(crate) fn first_request(&self, transcript: Transcript) -> ChatRequest {
        ChatRequest {
            instructions: self.instructions.clone(),
            transcript,
            tools: self.toolbox.specs().clone(),
            settings: self.settings.clone(),
        }
    }
}

#[async_trait::async_trait]
impl Runnable for Agent {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &str {
        &self.purpose
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        // In a box, as each of the futures around the loop keeps room for it.
        let task = Box::new(task);
        carry_out(run, &self.name, |run| async move { Turns::new(self, &run.limited_to(&self.budget)).run(task).await })
            .await
    }
}

#[cfg(test)]
mod tests;
