//! An agent: a model with instructions, tools and limits.

use std::sync::Arc;

use schemars::JsonSchema;

use crate::{
    ChatModel, ChatRequest, ContextWindow, Effect, ErrorChain, JournalError, Message, OutputSchema, Part, Run, Schema,
    Settings, TaskNotes, Tool, ToolLimits, Toolbox, ToolboxError, Transcript, TurnLimits, agent::options::RunOptions,
    run::step::Step,
};

/// A model with a name, instructions, tools and limits.
///
/// An agent with [workers](Agent::worker) is a supervisor. See [`Worker`](crate::Worker) for an example.
///
/// ```
/// use brigade_core::{Agent, Budget, ToolOutput, TurnLimits, tool_fn};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Lookup {
///     word: String,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([
/// #     Turn::call("c1", "lookup", serde_json::json!({"word": "kefir"})), Turn::text("Kefir is a drink."),
/// # ]);
/// let clerk = Agent::new("clerk", model)
///     .instructions("Explain words.")
///     .tool(tool_fn("lookup", "Looks a word up.", |lookup: Lookup, _run| async move {
///         Ok(ToolOutput::text(format!("{}: a fermented milk drink", lookup.word)))
///     }))
///     .limits(TurnLimits::default().turns(5))
///     .budget(Budget::unlimited().tokens(20_000));
///
/// let outcome = clerk.run("What is kefir?").await?;
/// assert_eq!((outcome.text.as_str(), outcome.turns), ("Kefir is a drink.", 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Agent {
    pub(crate) options: RunOptions,
    pub(crate) model: Arc<dyn ChatModel>,
    pub(crate) limits: TurnLimits,
    pub(crate) window: ContextWindow,
    pub(crate) toolbox: Toolbox,
    /// The schema in the settings, compiled.
    pub(crate) output: Option<Schema>,
    instructions: Option<Message>,
    settings: Settings,
    notes: Option<Arc<dyn TaskNotes>>,
    /// The first invalid tool or output schema.
    problem: Option<ToolboxError>,
}

impl Agent {
    /// Creates an agent without instructions and tools.
    pub fn new(name: impl Into<Arc<str>>, model: impl ChatModel) -> Self {
        Self {
            options: RunOptions::new(name),
            model: Arc::new(model),
            limits: TurnLimits::default(),
            window: ContextWindow::default(),
            toolbox: Toolbox::new(),
            output: None,
            instructions: None,
            settings: Settings::default(),
            notes: None,
            problem: None,
        }
    }

    /// Sets the system message.
    #[must_use]
    pub fn instructions(self, instructions: impl Into<String>) -> Self {
        Self { instructions: Some(Message::system(instructions)), ..self }
    }

    /// Adds a tool. An invalid tool is reported when the agent runs, or by [`Agent::check`].
    #[must_use]
    pub fn tool(mut self, tool: impl Tool) -> Self {
        if let Err(problem) = self.toolbox.add(Arc::new(tool)) {
            self.keep_first_problem(problem);
        }
        self
    }

    /// Sets the model's settings. An output schema that was set before stays, unless these settings have one.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        let before = std::mem::replace(&mut self.settings, settings).output;
        match self.settings.output.take().or(before) {
            Some(output) => self.output_schema(output),
            None => self,
        }
    }

    /// Requires a final answer that is JSON of the form of `T`. The model is asked again if its answer does not match;
    /// [`Outcome::parse`](crate::Outcome::parse) reads it.
    #[must_use]
    pub fn output<T: JsonSchema>(self) -> Self {
        self.output_schema(OutputSchema { name: "answer".into(), schema: Schema::generate::<T>(), strict: false })
    }

    /// Requires a final answer that matches a JSON Schema. An invalid schema is reported like an invalid tool.
    #[must_use]
    pub fn output_schema(mut self, schema: OutputSchema) -> Self {
        match Schema::compile(&schema.schema) {
            Ok(compiled) => self.output = Some(compiled),
            Err(error) => self.keep_first_problem(ToolboxError::Output(error)),
        }
        self.settings.output = Some(schema);
        self
    }

    /// Limits turns, re-asks and repetition.
    #[must_use]
    pub fn limits(self, limits: TurnLimits) -> Self {
        Self { limits, ..self }
    }

    /// Limits the parallelism, time and output of the agent's tools and workers.
    #[must_use]
    pub fn tool_limits(mut self, limits: ToolLimits) -> Self {
        self.toolbox = self.toolbox.with_limits(limits);
        self
    }

    /// Sets how much of a long conversation is sent to the model.
    #[must_use]
    pub fn window(self, window: ContextWindow) -> Self {
        Self { window, ..self }
    }

    /// Adds notes from earlier runs to each task, as a part of its message.
    #[must_use]
    pub fn notes(self, notes: impl TaskNotes) -> Self {
        Self { notes: Some(Arc::new(notes)), ..self }
    }

    /// Returns the agent's model.
    pub fn model(&self) -> &Arc<dyn ChatModel> {
        &self.model
    }

    /// Returns the settings of the agent's model calls.
    pub fn model_settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the text of the system message, or an empty string without one.
    pub fn system_prompt(&self) -> String {
        self.instructions.as_ref().map(|message| message.text().into_owned()).unwrap_or_default()
    }

    /// Returns the agent's tools, which include its workers.
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// Returns the first invalid tool or output schema, if there is one.
    pub fn check(&self) -> Result<(), ToolboxError> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    fn keep_first_problem(&mut self, problem: ToolboxError) {
        self.problem.get_or_insert(problem);
    }

    /// Adds the notes that match the task after its text. Earlier messages do not change, so that prompt caches stay valid.
    pub(super) async fn with_notes(
        &self,
        task: Message,
        history: &Transcript,
        run: &Run,
    ) -> Result<Message, JournalError> {
        let Some(notes) = &self.notes else { return Ok(task) };
        let step = run.open_step(format_args!("0/notes"), "notes", Effect::Repeatable, || 0)?;
        let found: Option<String> = match step {
            Step::Recorded(found) => found,
            Step::New(step) => {
                let found = notes.find(&task, history, &step.run).await.unwrap_or_else(|error| {
                    step.run.report_degraded("notes", ErrorChain(&error).to_string());
                    None
                });
                step.done(&found).await?;
                found
            }
        };
        Ok(match found {
            Some(text) => Message::new(task.role(), [task.parts(), &[Part::text(text)]].concat()),
            None => task,
        })
    }

    /// A request with an empty transcript.
    pub(super) fn first_request(&self) -> ChatRequest {
        ChatRequest {
            instructions: self.instructions.clone(),
            transcript: Transcript::new(),
            tools: self.toolbox.specs().clone(),
            settings: self.settings.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
