//! A model that replies from a script.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Arguments, ChatModel, ChatReply, ChatRequest, Delta, FinishReason, Message, ModelError, ModelErrorKind, ModelId,
    Part, Role, Run, Settings, ToolCall, Usage, sync::unpoisoned,
};

/// A model that replies from a script, one [`Turn`] for each call, and records the requests. Clones share both.
///
/// ```
/// use brigade_core::{Agent, testing::{ScriptedModel, Turn}};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let model = ScriptedModel::new([Turn::text("Forty-two.")]);
/// let outcome = Agent::new("oracle", model.clone()).run("What is the answer?").await.unwrap();
/// assert_eq!(outcome.text, "Forty-two.");
/// assert_eq!(model.requests().len(), 1);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ScriptedModel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: ModelId,
    settings: Settings,
    script: Mutex<VecDeque<Turn>>,
    requests: Mutex<Vec<ChatRequest>>,
}

/// One reply of a script, or a failure.
#[derive(Debug, Clone)]
pub struct Turn {
    parts: Vec<Part>,
    stop: Option<FinishReason>,
    usage: Option<Usage>,
    delay: Duration,
    failure: Option<Failure>,
}

#[derive(Debug, Clone)]
enum Failure {
    Error(ModelErrorKind),
    Panic,
}

impl ScriptedModel {
    /// Creates a model called `scripted/model`. Calls after the end of the script fail with [`ModelErrorKind::Caller`].
    pub fn new(script: impl IntoIterator<Item = Turn>) -> Self {
        Self::named("model", script)
    }

    /// Creates a model called `scripted/{name}`.
    pub fn named(name: &str, script: impl IntoIterator<Item = Turn>) -> Self {
        Self(Arc::new(Inner {
            id: ModelId::new("scripted", name),
            settings: Settings::default(),
            script: Mutex::new(script.into_iter().collect()),
            requests: Mutex::default(),
        }))
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        unpoisoned(&self.0.requests).clone()
    }

    /// Returns how many turns of the script are left.
    pub fn turns_left(&self) -> usize {
        unpoisoned(&self.0.script).len()
    }
}

impl Turn {
    /// A reply with this text.
    pub fn text(text: &str) -> Self {
        Self::parts(vec![Part::text(text)])
    }

    /// A reply with these parts.
    pub fn parts(parts: Vec<Part>) -> Self {
        let usage = Some(Usage::new(100, 10));
        Self { parts, stop: None, usage, delay: Duration::ZERO, failure: None }
    }

    /// A reply that calls one tool.
    #[expect(clippy::needless_pass_by_value, reason = "scripts read better without borrowing literals")]
    pub fn call(id: &str, tool: &str, arguments: Value) -> Self {
        Self::parts(Vec::new()).and_call(id, tool, &arguments.to_string())
    }

    /// Adds a tool call, with its arguments as JSON text.
    #[must_use]
    pub fn and_call(mut self, id: &str, tool: &str, arguments: &str) -> Self {
        self.parts.push(Part::ToolCall(ToolCall::new(id, tool, Arguments::parse(arguments.to_owned()))));
        self
    }

    /// A failed call.
    pub fn fails(kind: ModelErrorKind) -> Self {
        Self { failure: Some(Failure::Error(kind)), ..Self::parts(Vec::new()) }
    }

    /// A call that panics.
    pub fn panics() -> Self {
        Self { failure: Some(Failure::Panic), ..Self::parts(Vec::new()) }
    }

    /// Waits before the reply.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Sets the finish reason.
    #[must_use]
    pub fn stopping(self, stop: FinishReason) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Sets the reported usage. 100 input and 10 output tokens by default.
    #[must_use]
    pub fn usage(self, usage: Option<Usage>) -> Self {
        Self { usage, ..self }
    }
}

#[async_trait]
impl ChatModel for ScriptedModel {
    fn id(&self) -> &ModelId {
        &self.0.id
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        unpoisoned(&self.0.requests).push(request.clone());
        let turn = unpoisoned(&self.0.script).pop_front();
        let Some(turn) = turn else {
            return Err(ModelError::new(ModelErrorKind::Caller, "the script has ended; add a turn for this call"));
        };
        tokio::time::sleep(turn.delay).await;
        match turn.failure {
            Some(Failure::Error(kind)) => return Err(ModelError::new(kind, "as the script says")),
            #[expect(clippy::panic, reason = "the script asks for it")]
            Some(Failure::Panic) => panic!("as the script says"),
            None => {}
        }
        let mut reply = ChatReply::new(Message::new(Role::Assistant, turn.parts));
        for word in reply.message.text().split_inclusive(' ') {
            run.emit_delta(|| Delta::Text(word.to_owned()));
        }
        reply.usage = turn.usage;
        reply.model = self.0.id.model().to_string();
        if let Some(reason) = turn.stop {
            reply.finish_reason = reason;
        }
        Ok(reply)
    }
}
