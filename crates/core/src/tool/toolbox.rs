//! The tools of one agent, and how their calls are run.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use futures::{FutureExt, StreamExt, stream};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Arguments, Effect, Event, OnExhausted, ParseError, Run, Tool, ToolCall, ToolOutput, ToolResult, ToolSet,
    ToolStatus,
    run::{
        digest,
        step::{OpenStep, Step},
    },
    tool::arguments,
    tool::execution::{Execution, execution, failed, interrupted, panicked},
    tool::limits::ToolLimits,
    tool::outcome::ToolCallOutcome,
    tool::schema::Schema,
};

/// The tools that one agent may use.
///
/// It validates arguments against each tool's schema, runs the calls of one turn in parallel, and turns every failure,
/// timeout and panic of a tool into a result that the model can read. [`Agent::tool`](crate::Agent::tool) fills the
/// toolbox of an agent.
///
/// ```
/// use std::sync::Arc;
///
/// use brigade_core::{Arguments, Run, ToolCall, ToolOutput, Toolbox, tool_fn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), brigade_core::ToolboxError> {
/// let mut toolbox = Toolbox::new();
/// toolbox.add(Arc::new(tool_fn("add", "Adds two numbers.", |args: Add, _run| async move {
///     Ok(ToolOutput::text((args.a + args.b).to_string()))
/// })))?;
///
/// let good = ToolCall::new("call_1", "add", Arguments::parse(r#"{"a": 1, "b": 2}"#.into()));
/// let bad = ToolCall::new("call_2", "add", Arguments::parse(r#"{"a": 1, "b": "two"}"#.into()));
/// let results = toolbox.call_all(&[&good, &bad], &Run::new()).await;
/// assert_eq!(results[0].text(), "3");
/// assert!(results[1].is_error);
/// assert!(results[1].text().contains("at /b: "));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Toolbox {
    entries: Vec<Entry>,
    /// The position of each tool, by its name.
    positions: HashMap<Arc<str>, usize>,
    specs: ToolSet,
    limits: ToolLimits,
}

#[derive(Debug, Clone)]
struct Entry {
    tool: Arc<dyn Tool>,
    schema: Schema,
}

/// A tool cannot be added to a toolbox, or the schema of an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolboxError {
    /// Two tools have the same name.
    #[error("there are two tools called `{0}`; give one of them another name")]
    Duplicate(Arc<str>),
    /// Providers would refuse the name.
    #[error("`{0}` cannot be the name of a tool; use 1 to 64 of A-Z, a-z, 0-9, _ and -")]
    Name(Arc<str>),
    /// The schema of the tool's arguments cannot be used.
    #[error("the arguments of the tool `{tool}`: {error}")]
    Schema {
        /// The tool's name.
        tool: Arc<str>,
        /// The schema's error.
        error: ParseError,
    },
    /// The schema of the agent's answer cannot be used.
    #[error("the schema of its answer: {0}")]
    Output(ParseError),
}

/// The turn of an agent in which calls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallContext<'a> {
    pub(crate) run: &'a Run,
    /// The number of the turn, from 1.
    pub(crate) turn: u32,
    /// The names of tools that have failed too often in this run.
    pub(crate) disabled: &'a [String],
}

/// One call to be run.
#[derive(Clone, Copy)]
struct Job<'a> {
    call: &'a ToolCall,
    context: CallContext<'a>,
    /// The run that the tool is given. It can be cancelled without the agent's own run.
    tool_run: &'a Run,
    /// The position of the call within its turn.
    index: usize,
}

/// Arguments that match the schema, with the digest of the call.
struct Input {
    value: Value,
    signature: u64,
}

impl Job<'_> {
    /// Whether the journal has its outcome.
    fn is_recorded(&self) -> bool {
        let path = format_args!("{}/tool:{}", self.context.turn, self.index + 1);
        self.tool_run.recorded::<IgnoredAny>(path).is_some()
    }
}

impl Toolbox {
    /// An empty toolbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool at the end. The order is part of the prompt.
    ///
    /// # Errors
    ///
    /// The name is not valid or taken, or the schema of the arguments cannot be compiled.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), ToolboxError> {
        let spec = tool.spec();
        let name = Arc::clone(&spec.name);
        let is_valid = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !is_valid {
            return Err(ToolboxError::Name(name));
        }
        if self.find(&name).is_some() {
            return Err(ToolboxError::Duplicate(name));
        }
        let compiled = Schema::compile(&spec.input_schema);
        let schema = compiled.map_err(|error| ToolboxError::Schema { tool: Arc::clone(&name), error })?;
        self.specs.push(spec.clone());
        self.positions.insert(name, self.entries.len());
        self.entries.push(Entry { tool, schema });
        Ok(())
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(self, limits: ToolLimits) -> Self {
        Self { limits, ..self }
    }

    /// The limits on the calls of one model turn.
    pub fn limits(&self) -> &ToolLimits {
        &self.limits
    }

    /// The descriptions of the tools, as they are sent to the model.
    pub fn specs(&self) -> &ToolSet {
        &self.specs
    }

    /// Runs calls in parallel, at most [`ToolLimits::parallel`] at a time, and returns their results in call order.
    ///
    /// Every call gets a result, even if it fails, panics, times out or is cancelled. After a fatal failure the calls
    /// that have not started are not run. Of identical calls only the first is run, unless the tool is
    /// [repeatable](Effect::Repeatable) or polling; the others get a copy of its result.
    pub async fn call_all(&self, calls: &[&ToolCall], run: &Run) -> Vec<ToolResult> {
        let outcomes = self.run_calls(calls, CallContext { run, turn: 1, disabled: &[] }).await;
        outcomes.into_iter().map(|outcome| outcome.result).collect()
    }

    /// [`Toolbox::call_all`] for the agent loop.
    pub(crate) async fn run_calls(&self, calls: &[&ToolCall], context: CallContext<'_>) -> Vec<ToolCallOutcome> {
        let tool_run = match self.limits.on_exhausted {
            OnExhausted::Finish => context.run.clone(),
            OnExhausted::Cancel => context.run.cancelled_on_exhaustion(),
        };
        let failed_tool = OnceLock::new();
        let job = |index, call| Job { call, context, tool_run: &tool_run, index };
        let original = |(index, call)| self.original(calls, index).filter(|_| !job(index, call).is_recorded());
        let originals: Vec<Option<usize>> = calls.iter().copied().enumerate().map(original).collect();
        let mut work = Vec::with_capacity(calls.len());
        for (index, (call, original)) in calls.iter().zip(&originals).enumerate() {
            if original.is_none() {
                work.push(self.recorded_call(job(index, call), &failed_tool).map(move |outcome| (index, outcome)));
            }
        }
        let skipped = calls.len() - work.len();
        if skipped > 0 {
            let count = u32::try_from(skipped).unwrap_or(u32::MAX);
            context.run.emit(&Event::LoopNoticed { kind: "duplicate_call".into(), count });
        }
        // Not `buffered`, whose finished calls count against the limit as long as an earlier call runs.
        let mut ran: Vec<_> = stream::iter(work).buffer_unordered(self.limits.parallel.max(1)).collect().await;
        ran.sort_unstable_by_key(|(index, _)| *index);
        let mut ran = ran.into_iter();
        let mut outcomes: Vec<ToolCallOutcome> = Vec::with_capacity(calls.len());
        for (index, (call, original)) in calls.iter().zip(originals).enumerate() {
            let outcome = match original.and_then(|index| outcomes.get(index)) {
                Some(original) => {
                    let outcome = original.duplicate_for(call);
                    Some(match self.open(job(index, call)) {
                        Step::Recorded(outcome) => outcome,
                        // The call that it is identical to may have no result yet.
                        Step::New(_) if context.run.stopped().is_some() => outcome,
                        Step::New(step) => recorded(&step, call, outcome).await,
                    })
                }
                None => ran.next().map(|(_, outcome)| outcome),
            };
            outcomes.extend(outcome);
        }
        outcomes
    }

    /// Opens the step of a call. Also a call that is not run is recorded.
    fn open(&self, job: Job<'_>) -> Step<ToolCallOutcome> {
        let Job { call, context, tool_run, index } = job;
        let effect = self.find(&call.name).map_or(Effect::Repeatable, |entry| entry.tool.spec().effect);
        let digest = || digest::of_call(&call.name, call.arguments.as_str());
        let step = tool_run.open_step(format_args!("{}/tool:{}", context.turn, index + 1), &call.name, effect, digest);
        step.unwrap_or_else(|error| Step::Recorded(ToolCallOutcome::not_recorded(call, &error)))
    }

    /// Runs the call, unless it is recorded or another call of the turn has failed fatally by now.
    async fn recorded_call(&self, job: Job<'_>, failed_tool: &OnceLock<String>) -> ToolCallOutcome {
        let outcome = match self.open(job) {
            Step::Recorded(outcome) => outcome.of_call(job.call),
            Step::New(step) => {
                let outcome = match failed_tool.get() {
                    Some(tool) => {
                        let why = format!("The tool was not run, because {tool} failed.");
                        ToolCallOutcome::failed(job.call, ToolStatus::Stopped, why)
                    }
                    None => self.call(Job { tool_run: &step.run, ..job }).await,
                };
                recorded(&step, job.call, outcome).await
            }
        };
        if outcome.status == ToolStatus::Fatal {
            failed_tool.get_or_init(|| job.call.name.clone());
        }
        outcome
    }

    /// The index of an earlier identical call, if the call at `index` must not be run a second time.
    fn original(&self, calls: &[&ToolCall], index: usize) -> Option<usize> {
        let call = calls.get(index)?;
        let is_same = |other: &&ToolCall| other.name == call.name && other.arguments == call.arguments;
        let first = calls.iter().take(index).position(is_same)?;
        let spec = self.find(&call.name)?.tool.spec();
        (spec.effect != Effect::Repeatable && !spec.polling).then_some(first)
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.positions.get(name)?)
    }

    async fn call(&self, job: Job<'_>) -> ToolCallOutcome {
        let Job { call, context: CallContext { run, .. }, .. } = job;
        let Some(entry) = self.find(&call.name) else {
            run.emit(&Event::UnknownTool { name: call.name.as_str().into() });
            return ToolCallOutcome::failed(call, ToolStatus::UnknownTool, self.unknown(&call.name));
        };
        let started = Instant::now();
        let (tool, call_id) = (Arc::clone(&entry.tool.spec().name), Arc::<str>::from(call.id.as_str()));
        run.emit(&Event::ToolStarted { tool: Arc::clone(&tool), call_id: Arc::clone(&call_id) });
        let outcome = match self.input(entry, call) {
            Ok(Input { value, signature }) => ToolCallOutcome { signature, ..self.execute(job, entry, value).await },
            Err(why) if call.arguments.are_truncated() => {
                ToolCallOutcome::failed(call, ToolStatus::TruncatedArguments, why)
            }
            Err(why) => ToolCallOutcome::failed(call, ToolStatus::InvalidArguments, why),
        };
        let (reason, elapsed) = (outcome.reason.as_deref().map(Into::into), started.elapsed());
        run.emit(&Event::ToolEnded { tool, call_id, outcome: outcome.status, reason, elapsed });
        outcome
    }

    /// Parses and validates the arguments. The error is written for the model.
    fn input(&self, entry: &Entry, call: &ToolCall) -> Result<Input, String> {
        let text = match &call.arguments {
            Arguments::Json(raw) => raw.get(),
            Arguments::Malformed(text) => {
                return Err(format!(
                    "The arguments are not a JSON document: they break off or are malformed after {} bytes. The tool \
                     was not run. Send complete arguments; make them shorter if they were cut off.",
                    text.len()
                ));
            }
        };
        let mut value = arguments::parse(text, self.limits.argument_bytes)?;
        let mut checked = entry.schema.check(&value);
        // Some servers encode objects within the arguments as strings.
        while checked.is_err() && entry.schema.unwrap_strings(&mut value) {
            checked = entry.schema.check(&value);
        }
        checked.map_err(|violations| {
            format!("The arguments do not match the schema of `{}`: {violations}. The tool was not run.", call.name)
        })?;
        let signature = arguments::signature(&call.name, &value, &entry.schema);
        Ok(Input { value, signature })
    }

    async fn execute(&self, job: Job<'_>, entry: &Entry, input: Value) -> ToolCallOutcome {
        let Job { call, context: CallContext { run, disabled, .. }, tool_run, .. } = job;
        if disabled.contains(&call.name) {
            let why = format!("`{}` is switched off, because it failed again and again. Go on without it.", call.name);
            return ToolCallOutcome::failed(call, ToolStatus::Disabled, why);
        }
        // The run may have been stopped while this call waited for other calls.
        if let Err(interruption) = tool_run.check() {
            return interrupted(call, interruption, tool_run);
        }
        let spec = entry.tool.spec();
        if let Err(refusal) = tool_run.ledger().take_tool_call(run.agent(), &spec.name) {
            run.emit(&Event::budget_refused(&refusal));
            let why = format!("The tool was not run: {refusal}.");
            let outcome = ToolCallOutcome::failed(call, ToolStatus::Budget, why);
            return ToolCallOutcome { used_up: Some(refusal), ..outcome };
        }
        if let Err(error) = tool_run.note_began(None).await {
            return ToolCallOutcome::not_recorded(call, &error);
        }
        let timeout = spec.timeout.unwrap_or(self.limits.timeout);
        let work = execution(&*entry.tool, input, tool_run, timeout);
        let done = run.until_stopped(tool_run.until_exhausted(work)).await.flatten();
        if let Some(stopped) = tool_run.stopped() {
            return ToolCallOutcome::not_recorded(call, stopped);
        }
        match done {
            Ok(Execution::Returned(Ok(output))) => self.succeeded(call, output),
            Ok(Execution::Returned(Err(error))) => failed(call, &error, self.limits.output_bytes),
            Ok(Execution::Panicked(panic)) => panicked(call, &*panic),
            Ok(Execution::TimedOut) => {
                let why = format!("The tool did not answer within {timeout:?} and was stopped.");
                ToolCallOutcome::failed(call, ToolStatus::Timeout, why)
            }
            Err(interruption) => interrupted(call, interruption, tool_run),
        }
    }

    fn succeeded(&self, call: &ToolCall, output: ToolOutput) -> ToolCallOutcome {
        let ToolOutput { content, ends_run, stands_for: reason } = output.cut(self.limits.output_bytes);
        let result = ToolResult::new(call, content);
        let status = if reason.is_some() { ToolStatus::Fallback } else { ToolStatus::Ok };
        ToolCallOutcome { reason, ends_run, ..ToolCallOutcome::new(result, status) }
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<_> = self.entries.iter().map(|entry| &*entry.tool.spec().name).collect();
        let name: String = name.chars().take(64).collect();
        if names.is_empty() {
            format!("There is no tool called `{name}`; there are no tools at all. Answer without tools.")
        } else {
            format!("There is no tool called `{name}`. The tools are: {}.", names.join(", "))
        }
    }
}

async fn recorded(step: &OpenStep, call: &ToolCall, outcome: ToolCallOutcome) -> ToolCallOutcome {
    match step.done(&outcome).await {
        Ok(()) => outcome,
        Err(error) => ToolCallOutcome::not_recorded(call, &error),
    }
}

#[cfg(test)]
mod tests;
