//! The tools of one agent, and how their calls are run.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Arguments, Effect, Event, Interruption, OnExhausted, Part, Run, Tool, ToolCall, ToolError, ToolOutput, ToolResult,
    ToolSet, ToolStatus,
    tool::arguments::{self, ArgumentLimits},
    tool::schema::{Schema, SchemaError},
};

use super::done::Done;
use super::done::with_twins;

/// The tight list of tools that one agent may use.
#[derive(Debug, Clone, Default)]
pub struct Toolbox {
    entries: Vec<Entry>,
    specs: ToolSet,
    limits: ToolLimits,
}

#[derive(Debug, Clone)]
struct Entry {
    tool: Arc<dyn Tool>,
    schema: Schema,
}

/// Limits on the tools of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolLimits {
    /// How many calls of one turn run at a time. Models ask for a handful; more at once only crowds what they reach.
    pub parallel: usize,
    /// How long one call may take, unless the tool says otherwise. A model waits with a full context meanwhile.
    pub timeout: Duration,
    /// How much of a tool's text is kept, in bytes. The rest is cut with a marker: it would be sent, and paid for, on
    /// every later turn.
    pub output_bytes: usize,
    /// Bounds on the arguments that a model may write.
    pub arguments: ArgumentLimits,
    /// What becomes of workers in flight when another one has met the end of a budget that they share. What they have
    /// begun is paid for either way; their answers are worth having unless time or the rest of a larger budget is worth
    /// more.
    pub on_exhausted: OnExhausted,
}

/// A tool cannot be put into a toolbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolboxError {
    /// Two tools have the same name.
    #[error("there are two tools called `{0}`; give one of them another name")]
    Duplicate(Arc<str>),
    /// Providers would refuse the name.
    #[error("`{0}` cannot be the name of a tool; use 1 to 64 of A-Z, a-z, 0-9, _ and -")]
    Name(Arc<str>),
    /// The schema of its arguments is of no use.
    #[error("the arguments of the tool `{tool}`: {error}")]
    Schema {
        /// The tool's name.
        tool: Arc<str>,
        /// What is wrong.
        error: SchemaError,
    },
    /// The schema of the agent's answer is of no use.
    #[error("the form of its answer: {0}")]
    Output(SchemaError),
}

/// The turn of a run in which calls are made.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// Whose.
    pub run: &'a Run,
    /// The turn of the agent, counted from 1.
    pub turn: u32,
    /// Names of tools that the run has to do without from here on.
    pub disabled: &'a [String],
}

/// One call to be run, and its place in the run.
#[derive(Clone, Copy)]
struct Job<'a> {
    call: &'a ToolCall,
    round: Round<'a>,
    /// The run as the tool sees it: it may be cancelled alone.
    paid: &'a Run,
    index: usize,
}

/// Arguments that fit, and what they are recognised by.
struct Input {
    value: Value,
    exact: Option<u64>,
    signature: u64,
}

impl Default for ToolLimits {
    fn default() -> Self {
        Self {
            parallel: 8,
            timeout: Duration::from_secs(30),
            output_bytes: 256 * 1024,
            arguments: ArgumentLimits::default(),
            on_exhausted: OnExhausted::default(),
        }
    }
}

impl Toolbox {
    /// An empty toolbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool at the end. The order is part of the prompt.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), ToolboxError> {
        let spec = tool.spec();
        let name = Arc::clone(&spec.name);
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !fits {
            return Err(ToolboxError::Name(name));
        }
        if self.find(&name).is_some() {
            return Err(ToolboxError::Duplicate(name));
        }
        let schema = Schema::compile(&spec.input_schema).map_err(|error| ToolboxError::Schema { tool: name, error })?;
        self.entries.push(Entry { tool, schema });
        self.specs = ToolSet::new(self.entries.iter().map(|entry| entry.tool.spec().clone()).collect());
        Ok(())
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(self, limits: ToolLimits) -> Self {
        Self { limits, ..self }
    }

    /// The limits.
    pub fn limits(&self) -> &ToolLimits {
        &self.limits
    }

    /// What the model is told.
    pub fn specs(&self) -> &ToolSet {
        &self.specs
    }

    /// Runs calls in parallel, as many at a time as the limits allow, and answers in call order. Every call gets a
    /// result, whatever happens to it, to its siblings or to the run. None begins once one has failed fatally. A call
    /// that a model makes twice in one breath is run once, unless the tool may be [run again](Effect::Repeatable).
    pub async fn call_all(&self, calls: &[&ToolCall], round: Round<'_>) -> Vec<Done> {
        let paid = match self.limits.on_exhausted {
            OnExhausted::Finish => round.run.clone(),
            OnExhausted::Cancel => round.run.cancelled_on_exhaustion(),
        };
        let paid = &paid;
        // Most turns make one call, which runs beside nothing.
        if let [call] = calls {
            return vec![Box::pin(self.call(Job { call, round, paid, index: 0 })).await];
        }
        let failed = OnceLock::new();
        let failed = &failed;
        let twins: Vec<Option<usize>> = (0..calls.len()).map(|index| self.twin(calls, index)).collect();
        let mut work: Vec<BoxFuture<'_, Done>> = Vec::with_capacity(calls.len());
        for (index, (call, _)) in calls.iter().zip(&twins).enumerate().filter(|(_, (_, twin))| twin.is_none()) {
            work.push(Box::pin(async move {
                if let Some(tool) = failed.get() {
                    return Done::failed(
                        call,
                        ToolStatus::Stopped,
                        format!("The tool was not run, because {tool} failed."),
                    );
                }
                let done = self.call(Job { call, round, paid, index }).await;
                if done.end == ToolStatus::Fatal {
                    failed.get_or_init(|| call.name.clone());
                }
                done
            }));
        }
        let ran: Vec<Done> = stream::iter(work).buffered(self.limits.parallel.max(1)).collect().await;
        if ran.len() == calls.len() {
            return ran;
        }
        round.run.emit(&Event::LoopNoticed {
            kind: "twin_call",
            count: u32::try_from(calls.len() - ran.len()).unwrap_or(u32::MAX),
        });
        with_twins(calls, &twins, ran)
    }

    /// Where the same call stands before the one at `index`, if it is not to be run a second time.
    fn twin(&self, calls: &[&ToolCall], index: usize) -> Option<usize> {
        let call = calls.get(index)?;
        let same = |other: &&ToolCall| other.name == call.name && other.arguments == call.arguments;
        let first = calls.iter().take(index).position(same)?;
        let spec = self.find(&call.name)?.tool.spec();
        (spec.effect != Effect::Repeatable && !spec.polling).then_some(first)
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.tool.spec().name == name)
    }

    async fn call(&self, job: Job<'_>) -> Done {
        let Job { call, round: Round { run, .. }, .. } = job;
        let Some(entry) = self.find(&call.name) else {
            run.emit(&Event::UnknownTool { name: call.name.as_str().into() });
            return Done::failed(call, ToolStatus::UnknownTool, self.unknown(&call.name));
        };
        let started = Instant::now();
        let (tool, call_id) = (Arc::clone(&entry.tool.spec().name), Arc::<str>::from(call.id.as_str()));
        run.emit(&Event::ToolStarted { tool: Arc::clone(&tool), call_id: Arc::clone(&call_id) });
        let done = match self.input(entry, call) {
            Ok(Input { value, exact, signature }) => Done { exact, signature, ..self.attempt(job, entry, value).await },
            Err(why) if call.arguments.are_truncated() => Done::failed(call, ToolStatus::TruncatedArguments, why),
            Err(why) => Done::failed(call, ToolStatus::InvalidArguments, why),
        };
        run.emit(&Event::ToolEnded { tool, call_id, outcome: done.end.name(), elapsed: started.elapsed() });
        done
    }

    /// The arguments as a value that fits the schema, or what is wrong with them, for the model.
    fn input(&self, entry: &Entry, call: &ToolCall) -> Result<Input, String> {
        let text = match &call.arguments {
            Arguments::Json(raw) => raw.get(),
            Arguments::Malformed(text) => {
                return Err(format!(
                    "The arguments are no JSON document: they break off or are malformed after {} bytes. The tool was \
                     not run. Send complete arguments; make them shorter if they were cut off.",
                    text.len()
                ));
            }
        };
        let value = arguments::parse(text, &self.limits.arguments)?;
        entry.schema.check(&value).map_err(|violations| {
            // They say where and what kind of value, not which.
            tracing::debug!(target: "brigade_core::tool", tool = %call.name, "the arguments do not fit: {violations}");
            format!("The arguments do not match the schema of `{}`: {violations}. The tool was not run.", call.name)
        })?;
        let polling = entry.tool.spec().polling;
        let exact = (!polling).then(|| arguments::exact_signature(&call.name, text));
        let signature = arguments::signature(&call.name, &value, &entry.schema);
        Ok(Input { value, exact, signature })
    }

    async fn attempt(&self, job: Job<'_>, entry: &Entry, input: Value) -> Done {
        let Job { call, round: Round { run, turn, disabled }, paid, index } = job;
        if disabled.contains(&call.name) {
            let why = format!("`{}` is switched off, because it failed again and again. Go on without it.", call.name);
            return Done::failed(call, ToolStatus::Disabled, why);
        }
        // It may have waited for its siblings.
        if let Err(stopped) = paid.check() {
            return Done::failed(call, ToolStatus::Stopped, stopped_notice(stopped, paid).to_owned());
        }
        let spec = entry.tool.spec();
        if let Err(refusal) = run.ledger().take_tool_call(run.agent(), &spec.name) {
            run.emit(&Event::BudgetRefused(refusal.clone()));
            let done = Done::failed(call, ToolStatus::Budget, format!("The tool was not run: {refusal}."));
            return Done { used_up: Some(refusal), ..done };
        }
        let timeout = spec.timeout.unwrap_or(self.limits.timeout);
        let work = AssertUnwindSafe(entry.tool.call(input, paid)).catch_unwind();
        let work = run.until_stopped(paid.until_exhausted(tokio::time::timeout(timeout, work)));
        match run.step(turn, Some(index), spec.effect, work).await.flatten() {
            Ok(Ok(Ok(Ok(output)))) => self.finished(call, output),
            Ok(Ok(Ok(Err(error)))) => {
                log_cause(&spec.name, &error);
                let end = if error.is_fatal() { ToolStatus::Fatal } else { ToolStatus::Error };
                Done::failed(call, end, cut(error.to_string(), self.limits.output_bytes))
            }
            Ok(Ok(Err(panic))) => {
                tracing::error!(tool = %spec.name, "panicked: {}", panic_message(&*panic));
                Done::failed(call, ToolStatus::Panic, "The tool failed with an internal error.".to_owned())
            }
            Ok(Err(_)) => {
                let why = format!("The tool did not answer within {timeout:?} and was stopped.");
                Done::failed(call, ToolStatus::Timeout, why)
            }
            Err(stopped) => Done::failed(call, ToolStatus::Stopped, stopped_notice(stopped, paid).to_owned()),
        }
    }

    fn finished(&self, call: &ToolCall, output: ToolOutput) -> Done {
        // What is left for text; nothing more is kept after the first cut.
        let mut left = Some(self.limits.output_bytes);
        let content = output.content.into_iter().filter_map(|part| match part {
            Part::Text(text) => {
                let room = left?;
                left = room.checked_sub(text.text.len());
                Some(Part::text(cut(text.text, room)))
            }
            part => Some(part),
        });
        let content = content.collect();
        let result = ToolResult { call_id: call.id.clone(), name: call.name.clone(), content, is_error: false };
        Done { ends_run: output.ends_run, ..Done::new(result, ToolStatus::Ok) }
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

fn stopped_notice(stopped: Interruption, run: &Run) -> &'static str {
    match stopped {
        Interruption::Cancelled if run.is_out_of_budget() => "The budget was used up before the tool was done.",
        Interruption::Cancelled => "The run was cancelled before the tool was done.",
        Interruption::Deadline => "The time of the run was up before the tool was done.",
    }
}

/// Cuts at a character boundary and says so. What is cut off is not kept in memory either.
fn cut(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let shown = text.get(..text.floor_char_boundary(limit)).unwrap_or_default();
    let mark = format!("\n[cut: {limit} of {} bytes shown]", text.len());
    // Of exactly this size, unlike a string that grows.
    [shown, &mark].concat()
}

fn log_cause(tool: &str, error: &ToolError) {
    if let Some(cause) = std::error::Error::source(error) {
        tracing::debug!(tool, "{error}: {cause}");
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
