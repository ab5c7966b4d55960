//! R00: scenarios that break an invariant on purpose, to test that the judge reports it.

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
    scenario::environment::{CANARY, Environment},
    scenario::scenario::{ANSWER, ExpectedBill, ExpectedEnd, Scenario, Team},
    scenario::tools::{ScriptedTool, ToolBehavior},
};

/// How a defective model breaks an invariant.
#[derive(Debug, Clone, Copy)]
enum Defect {
    /// Sends one more request past the meter.
    UnmeteredCall,
    /// Writes the question to the log.
    LogsPrompt,
    /// Logs a line that does not belong to a run.
    LogsOutsideRun,
    /// Returns a part of the answer as if it were complete.
    CutsAnswer,
    /// Waits for an hour.
    Waits,
    /// Emits a different event each time.
    VariesEvents,
    /// Emits the start of an attempt that never ends.
    OpenAttempt,
    /// Spawns a task that is never aborted.
    LeaksTask,
    /// Sends a conversation with a tool call that has no result.
    InvalidConversation,
    /// Blocks the thread, so that time passes for all runs.
    BlocksThread,
}

/// A tool that runs the wrapped tool twice.
#[derive(Debug)]
struct RunsTwice(ScriptedTool);

/// A model that breaks an invariant.
#[derive(Debug)]
struct DefectiveModel {
    inner: Arc<dyn ChatModel>,
    bare: Arc<dyn ChatModel>,
    provider: SocketAddr,
    defect: Defect,
}

/// Makes each event different.
static EVENT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Scenarios that break an invariant, each with the name of the invariant.
pub fn broken_on_purpose() -> Vec<(&'static str, Scenario)> {
    let scenario = |id| {
        Scenario::new(id, "broken on purpose")
            .in_dialects(&[WireDialect::OpenaiChat])
            .expect_bill(ExpectedBill::Exact, |_| Ok(()))
    };
    let run_twice: Team = |environment| {
        let lookup = RunsTwice(environment.tools().tool("lookup", ToolBehavior::Answers)?);
        Ok(Arc::new(environment.asker()?.tool(lookup)))
    };
    vec![
        ("I1", scenario("R00/cut-answer").team(|environment| with_defect(environment, Defect::CutsAnswer))),
        ("I2", scenario("R00/unmetered").team(|environment| with_defect(environment, Defect::UnmeteredCall))),
        (
            "I3",
            scenario("R00/invalid-conversation")
                .team(|environment| with_defect(environment, Defect::InvalidConversation)),
        ),
        (
            "I4",
            scenario("R00/tool-run-twice").with_tool().team(run_twice).expect_end(ExpectedEnd::Answer(ANSWER), 2..=2),
        ),
        ("I5", scenario("R00/waits").team(|environment| with_defect(environment, Defect::Waits))),
        ("I6", scenario("R00/second-request").team(|environment| with_defect(environment, Defect::UnmeteredCall))),
        ("I7", scenario("R00/log-outside-run").team(|environment| with_defect(environment, Defect::LogsOutsideRun))),
        ("I7", scenario("R00/open-attempt").team(|environment| with_defect(environment, Defect::OpenAttempt))),
        ("I8", scenario("R00/logs-prompt").team(|environment| with_defect(environment, Defect::LogsPrompt))),
        ("I8", scenario("R00/leaks-task").team(|environment| with_defect(environment, Defect::LeaksTask))),
        ("I9", scenario("R00/blocks-thread").team(|environment| with_defect(environment, Defect::BlocksThread))),
        ("I10", scenario("R00/varies-events").team(|environment| with_defect(environment, Defect::VariesEvents))),
    ]
}

fn with_defect(environment: &Environment, defect: Defect) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let (inner, bare, provider) = (environment.model()?, environment.unmetered_model()?, environment.address());
    let saboteur = DefectiveModel { inner, bare, provider, defect };
    Ok(Arc::new(Agent::new("asker", saboteur)))
}

#[async_trait]
impl ChatModel for DefectiveModel {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        match self.defect {
            Defect::UnmeteredCall => drop(self.bare.chat(request, run).await?),
            Defect::LogsPrompt => tracing::info!("asked about a {CANARY}"),
            Defect::LogsOutsideRun => log_outside_run(),
            Defect::Waits => tokio::time::sleep(Duration::from_hours(1)).await,
            Defect::VariesEvents => {
                let count = EVENT_NUMBER.fetch_add(1, Ordering::Relaxed);
                run.emit(&Event::Delta(Delta::Text(count.to_string())));
            }
            Defect::OpenAttempt => run.emit(&Event::AttemptStarted { model: self.id().clone() }),
            Defect::LeaksTask => leak(),
            Defect::InvalidConversation => send_invalid_conversation(self.provider).await.map_err(|error| {
                ModelError::new(ModelErrorKind::Transient, "the invalid conversation was not sent").caused_by(error)
            })?,
            Defect::BlocksThread => tokio::time::advance(Duration::from_millis(1_500)).await,
            Defect::CutsAnswer => {
                let mut reply = self.inner.chat(request, run).await?;
                reply.message = brigade_core::Message::assistant("one two three");
                return Ok(reply);
            }
        }
        self.inner.chat(request, run).await
    }
}

#[async_trait]
impl Tool for RunsTwice {
    fn spec(&self) -> &ToolSpec {
        self.0.spec()
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        self.0.call(input.clone(), run).await?;
        self.0.call(input, run).await
    }
}

/// A tool call without its result, which our clients cannot send.
const INVALID_CONVERSATION: &str = r#"{"model":"gpt-5-mini","messages":[{"role":"user","content":"And?"},{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"lookup","arguments":"{}"}}]},{"role":"user","content":"And?"}]}"#;

async fn send_invalid_conversation(provider: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(provider).await?;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: provider\r\nconnection: close\r\n";
    let request = format!(
        "{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{INVALID_CONVERSATION}",
        INVALID_CONVERSATION.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

fn log_outside_run() {
    tracing::info!(parent: None, "this line has no run");
}

#[expect(clippy::disallowed_methods, reason = "a task without an owner is the point")]
fn leak() {
    drop(tokio::spawn(std::future::pending::<()>()));
}
