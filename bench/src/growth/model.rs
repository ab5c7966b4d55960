//! A model that encodes each request as it would be sent, and answers at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use async_trait::async_trait;
use brigade_core::{
    Arguments, ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelId, Part, Role, Run, Settings, ToolCall,
    Usage,
};
use brigade_providers::{OpenAi, OpenAiChatModel};

/// What the model answers.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Text,
    /// A tool call in each of this many turns, then text.
    Turns(usize),
    /// Calls of all these workers in the first turn, then text.
    Workers(Arc<[String]>),
}

#[derive(Debug, Clone)]
pub(super) struct EncodingModel {
    model: OpenAiChatModel,
    plan: Plan,
    sent: Arc<AtomicU64>,
}

impl EncodingModel {
    pub(super) fn new(plan: Plan) -> Result<Self> {
        let model = OpenAi::builder().api_key("none").build()?.model("gpt-5-mini");
        Ok(Self { model, plan, sent: Arc::default() })
    }

    /// The bytes that were encoded since the last call.
    pub(super) fn take_sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    fn reply(&self, request: &ChatRequest) -> Message {
        let call = |number: usize, name: &str, arguments: String| {
            Part::ToolCall(ToolCall::new(format!("call_{number}"), name, Arguments::parse(arguments)))
        };
        let messages = request.transcript.messages();
        let calls: Vec<Part> = match &self.plan {
            // The task, and two messages of each turn before.
            Plan::Turns(turns) if messages.len() / 2 < *turns => {
                vec![call(messages.len(), "lookup", format!(r#"{{"topic":"subject {}"}}"#, messages.len()))]
            }
            Plan::Workers(names) if messages.len() == 1 => names
                .iter()
                .enumerate()
                .map(|(number, name)| call(number, name, format!(r#"{{"task":"Part {number} of the work."}}"#)))
                .collect(),
            Plan::Text | Plan::Turns(_) | Plan::Workers(_) => return Message::assistant("Done."),
        };
        Message::new(Role::Assistant, calls)
    }
}

#[async_trait]
impl ChatModel for EncodingModel {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    fn settings(&self) -> &Settings {
        Settings::none()
    }

    async fn chat(&self, request: &ChatRequest, _run: &Run) -> Result<ChatReply, ModelError> {
        let body = self.model.encode(request, false)?;
        self.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        let mut reply = ChatReply::new(self.reply(request));
        reply.usage = Some(Usage::new(400, 12));
        Ok(reply)
    }
}
