//! R00: invariants broken on purpose. A judge who does not see that sees nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{
    Agent, ChatModel, ChatReply, ChatRequest, Delta, Event, ModelError, ModelErrorKind, ModelId, Run, Settings, Tool,
    ToolError, ToolOutput, ToolSpec,
};
use brigade_rehearsal::WireDialect;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    scenario::{ANSWER, Bill, Ends, Scenario, Team},
    stage::{CANARY, Stage},
    tools::{Behaviour, Prop},
};

/// What a sabotaged model does.
#[derive(Debug, Clone, Copy)]
enum Sabotage {
    /// Asks the provider once more, past the meter.
    AsksTwice,
    /// Writes the question to the log.
    Tells,
    /// Writes a line that belongs to no run.
    TalksOutOfTurn,
    /// Passes half an answer off as a whole one.
    Halves,
    /// Waits for ever, as far as anybody can tell.
    Dawdles,
    /// Does something else each time.
    Wavers,
    /// Begins an attempt that never ends.
    Forgets,
    /// Leaves a task behind.
    Leaks,
    /// Sends a history with a call that nobody answered.
    Orphans,
    /// Keeps the thread busy, so that everybody's time passes.
    Hogs,
}

/// A tool that runs what it wraps twice.
#[derive(Debug)]
struct Stutterer(Prop);

/// A model that breaks an invariant.
#[derive(Debug)]
struct Saboteur {
    inner: Arc<dyn ChatModel>,
    bare: Arc<dyn ChatModel>,
    provider: SocketAddr,
    sabotage: Sabotage,
}

/// Counts what goes wrong in another way each time.
static WAVERING: AtomicU64 = AtomicU64::new(0);

/// Each broken invariant, by the rule that must see it.
pub fn all() -> Vec<(&'static str, Scenario)> {
    let healthy =
        |id| Scenario::new(id, "broken on purpose").only(&[WireDialect::OpenaiChat]).judged(Bill::Exact, |_| Ok(()));
    let stutters: Team = |stage| {
        let lookup = Stutterer(stage.tools().tool("lookup", Behaviour::Answers)?);
        Ok(Arc::new(stage.asker()?.tool(lookup)))
    };
    vec![
        ("I1", healthy("R00/halves").team(|stage| sabotaged(stage, Sabotage::Halves))),
        ("I2", healthy("R00/unmetered").team(|stage| sabotaged(stage, Sabotage::AsksTwice))),
        ("I3", healthy("R00/orphans").team(|stage| sabotaged(stage, Sabotage::Orphans))),
        ("I4", healthy("R00/stutters").with_tool().team(stutters).ends(Ends::Says(ANSWER), 2..=2)),
        ("I5", healthy("R00/dawdles").team(|stage| sabotaged(stage, Sabotage::Dawdles))),
        ("I6", healthy("R00/asks-twice").team(|stage| sabotaged(stage, Sabotage::AsksTwice))),
        ("I7", healthy("R00/out-of-turn").team(|stage| sabotaged(stage, Sabotage::TalksOutOfTurn))),
        ("I7", healthy("R00/forgets").team(|stage| sabotaged(stage, Sabotage::Forgets))),
        ("I8", healthy("R00/tells").team(|stage| sabotaged(stage, Sabotage::Tells))),
        ("I8", healthy("R00/leaks").team(|stage| sabotaged(stage, Sabotage::Leaks))),
        ("I9", healthy("R00/hogs").team(|stage| sabotaged(stage, Sabotage::Hogs))),
        ("I10", healthy("R00/wavers").team(|stage| sabotaged(stage, Sabotage::Wavers))),
    ]
}

fn sabotaged(stage: &Stage, sabotage: Sabotage) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let (inner, bare, provider) = (stage.model()?, stage.bare_model()?, stage.address());
    let saboteur = Saboteur { inner, bare, provider, sabotage };
    Ok(Arc::new(Agent::new("asker", saboteur)))
}

#[async_trait]
impl ChatModel for Saboteur {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        match self.sabotage {
            Sabotage::AsksTwice => drop(self.bare.chat(request, run).await?),
            Sabotage::Tells => tracing::info!("asked about a {CANARY}"),
            Sabotage::TalksOutOfTurn => out_of_turn(),
            Sabotage::Dawdles => tokio::time::sleep(Duration::from_hours(1)).await,
            Sabotage::Wavers => {
                let count = WAVERING.fetch_add(1, Ordering::Relaxed);
                run.emit(&Event::Delta(Delta::Text(count.to_string())));
            }
            Sabotage::Forgets => run.emit(&Event::AttemptStarted { model: self.id().clone() }),
            Sabotage::Leaks => leak(),
            Sabotage::Orphans => orphan(self.provider).await.map_err(|error| {
                ModelError::new(ModelErrorKind::Transient, "the orphan was not sent").caused_by(error)
            })?,
            Sabotage::Hogs => tokio::time::advance(Duration::from_millis(1_500)).await,
            Sabotage::Halves => {
                let mut reply = self.inner.chat(request, run).await?;
                reply.message = brigade_core::Message::assistant("one two three");
                return Ok(reply);
            }
        }
        self.inner.chat(request, run).await
    }
}

#[async_trait]
impl Tool for Stutterer {
    fn spec(&self) -> &ToolSpec {
        self.0.spec()
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        self.0.call(input.clone(), run).await?;
        self.0.call(input, run).await
    }
}

/// What no client of ours can send: a call of a tool without its result.
const ORPHAN: &str = r#"{"model":"gpt-5-mini","messages":[{"role":"user","content":"And?"},{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"lookup","arguments":"{}"}}]},{"role":"user","content":"And?"}]}"#;

async fn orphan(provider: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(provider).await?;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: provider\r\nconnection: close\r\n";
    let request = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{ORPHAN}", ORPHAN.len());
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// A line without a run around it.
fn out_of_turn() {
    tracing::info!(parent: None, "nobody said this");
}

#[expect(clippy::disallowed_methods, reason = "a task without an owner is the point")]
fn leak() {
    drop(tokio::spawn(std::future::pending::<()>()));
}
