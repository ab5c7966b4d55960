//! What is measured: histories, tool turns, tools, workers and sessions.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use brigade_core::{
    Agent, Budget, ContextWindow, Message, Run, Task, ToolLimits, ToolOutput, Transcript, TurnLimits, Worker, tool_fn,
};
use brigade_store::{Database, Exchange, MemorySettings, SqliteMemory};
use schemars::JsonSchema;
use serde::Deserialize;

use super::model::{EncodingModel, Plan};
use crate::process::resources::cpu_time;
use crate::workload::{LOOKUP, LOOKUP_PURPOSE, TASK_PURPOSE, look_up};

/// One measured size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) size: usize,
    pub(super) cpu: Duration,
    /// What must be handled: bytes sent, tools or workers.
    pub(super) amount: u64,
}

/// How often each size is measured. The least time counts, because a busy machine only adds to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repetitions(pub(super) u32);

#[derive(Deserialize, JsonSchema)]
struct Topic {
    /// The subject, in a few words.
    topic: String,
}

/// A question after a history of this many turns.
pub(super) async fn history(size: usize, repetitions: Repetitions) -> Result<Sample> {
    let model = EncodingModel::new(Plan::Text)?;
    let agent = agent(&model);
    let mut sample = Sample { size, cpu: Duration::MAX, amount: 0 };
    for _ in 0..repetitions.0 {
        // Each time anew, because a message keeps its encoded form.
        let task = Task::from("And now?").history(transcript(size)?);
        sample.cpu = sample.cpu.min(run(&agent, task).await?);
        sample.amount = model.take_sent();
    }
    Ok(sample)
}

/// A run of this many tool turns.
pub(super) async fn tool_turns(size: usize, repetitions: Repetitions) -> Result<Sample> {
    let model = EncodingModel::new(Plan::Turns(size))?;
    let agent = agent(&model).tool(lookup(LOOKUP));
    repeat(size, repetitions, &agent, &model, "Look everything up.").await
}

/// A question to an agent with this many tools.
pub(super) async fn tools(size: usize, repetitions: Repetitions) -> Result<Sample> {
    let model = EncodingModel::new(Plan::Text)?;
    let mut sample = Sample { size, cpu: Duration::MAX, amount: 0 };
    for _ in 0..repetitions.0 {
        // Each time anew, because a set of tools keeps its encoded form.
        let agent = with_tools(&model, size);
        sample.cpu = sample.cpu.min(run(&agent, "Hello?".into()).await?);
        sample.amount = model.take_sent();
    }
    Ok(sample)
}

/// An agent with this many tools is built.
pub(super) fn building(size: usize, repetitions: Repetitions) -> Result<Sample> {
    let model = EncodingModel::new(Plan::Text)?;
    let mut cpu = Duration::MAX;
    for _ in 0..repetitions.0 {
        let before = cpu_time();
        with_tools(&model, size).check()?;
        cpu = cpu.min(cpu_time().saturating_sub(before));
    }
    Ok(Sample { size, cpu, amount: size as u64 })
}

/// A supervisor that calls this many workers at once.
pub(super) async fn workers(size: usize, repetitions: Repetitions) -> Result<Sample> {
    let names: Vec<String> = (0..size).map(|number| format!("worker{number}")).collect();
    let model = EncodingModel::new(Plan::Workers(names.clone().into()))?;
    let worker = EncodingModel::new(Plan::Text)?;
    let workers = names.iter().map(|name| Worker::new(named(name, &worker)).purpose(TASK_PURPOSE));
    let limits = ToolLimits::default().parallel(size);
    let supervisor = workers.fold(agent(&model), Agent::worker).tool_limits(limits);
    let sample = repeat(size, repetitions, &supervisor, &model, "Do it.").await?;
    Ok(Sample { amount: size as u64, ..sample })
}

/// A question in a stored session of this many messages. All of them are sent.
pub(super) async fn session(size: usize, repetitions: Repetitions, folder: &Path) -> Result<Sample> {
    let database = Database::open(folder.join(format!("{size}.db")))?;
    let memory = SqliteMemory::with_settings(database, MemorySettings::default().window_tokens(u64::from(u32::MAX)));
    let messages: Vec<Message> = transcript(size / 2)?.messages().to_vec();
    for part in messages.chunks(100) {
        memory.append_exchange("long", Exchange::new(part)).await?;
    }
    let model = EncodingModel::new(Plan::Text)?;
    let agent = agent(&model).memory(memory);
    let mut sample = Sample { size, cpu: Duration::MAX, amount: 0 };
    for _ in 0..repetitions.0 {
        sample.cpu = sample.cpu.min(run(&agent, Task::from("And now?").session("long")).await?);
        sample.amount = model.take_sent();
    }
    Ok(sample)
}

async fn repeat(
    size: usize,
    repetitions: Repetitions,
    agent: &Agent,
    model: &EncodingModel,
    task: &str,
) -> Result<Sample> {
    let mut sample = Sample { size, cpu: Duration::MAX, amount: 0 };
    for _ in 0..repetitions.0 {
        sample.cpu = sample.cpu.min(run(agent, task.into()).await?);
        sample.amount = model.take_sent();
    }
    Ok(sample)
}

/// The CPU time of one run.
async fn run(agent: &Agent, task: Task) -> Result<Duration> {
    let run = Run::builder().budget(Budget::unlimited().model_calls(u64::MAX)).build();
    let before = cpu_time();
    let outcome = agent.run_in(&run, task).await?;
    let spent = cpu_time().saturating_sub(before);
    ensure!(outcome.is_finished(), "the run did not finish: {}", outcome.notice);
    Ok(spent)
}

/// An agent without limits, so that everything is sent.
fn agent(model: &EncodingModel) -> Agent {
    named("clerk", model)
}

fn named(name: &str, model: &EncodingModel) -> Agent {
    Agent::new(name, model.clone())
        .window(ContextWindow::default().max_tokens(u64::MAX))
        .limits(TurnLimits::default().turns(u32::MAX))
}

fn with_tools(model: &EncodingModel, tools: usize) -> Agent {
    (0..tools).fold(agent(model), |agent, number| agent.tool(lookup(&format!("{LOOKUP}{number}"))))
}

fn lookup(name: &str) -> impl brigade_core::Tool {
    tool_fn(name, LOOKUP_PURPOSE, |Topic { topic }, _run| async move { Ok(ToolOutput::text(look_up(&topic))) })
}

/// A conversation of this many questions and answers.
fn transcript(turns: usize) -> Result<Transcript> {
    let mut transcript = Transcript::new();
    for number in 0..turns {
        transcript.push_task(Message::user(format!("Question {number}: {}", "what of it? ".repeat(16))))?;
        transcript.push(Message::assistant("It is so. ".repeat(20)))?;
    }
    Ok(transcript)
}
