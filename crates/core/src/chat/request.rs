//! Requests to models, and the tools that they offer.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Dialect, Message, RawJson, Settings, Transcript, chat::encoded::Encodings};

/// A request to a model: the conversation, the tools that it may call, and how it should answer.
///
/// ```
/// use brigade_core::{ChatRequest, Message, Settings};
///
/// let request = ChatRequest::new("Why is the sky blue?")
///     .instructions(Some(Message::system("Answer in one sentence.")))
///     .settings(Settings::default().max_output_tokens(Some(200)));
/// assert_eq!(request.transcript.messages()[0].text(), "Why is the sky blue?");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The system prompt, a message of [`Role::System`](crate::Role::System).
    pub instructions: Option<Message>,
    /// The conversation. The model is sent its [visible](Transcript::visible) messages.
    pub transcript: Transcript,
    /// The tools that the model may call.
    pub tools: ToolSet,
    /// How to answer.
    pub settings: Settings,
}

/// A tool as the model sees it, and how the toolbox must run it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolSpec {
    /// `[A-Za-z0-9_-]{1,64}`, the form that all providers accept.
    pub name: Arc<str>,
    /// What the tool does and when to use it, for the model.
    pub description: String,
    /// The JSON Schema of its arguments: an object.
    pub input_schema: RawJson,
    /// Whether the provider should enforce the schema while generating, if it can. False by default, because providers
    /// accept only some schemas.
    pub strict: bool,
    /// What a second call with the same arguments would do. Decides whether a call may be repeated.
    pub effect: Effect,
    /// Whether the tool is called again with the same arguments, for example to wait for a result. Identical calls of
    /// one turn are then all run. False by default.
    pub polling: bool,
    /// How long one call may take; absent, [`ToolLimits::timeout`](crate::ToolLimits::timeout) applies.
    pub timeout: Option<Duration>,
}

/// What a second call of a tool with the same arguments would do. Decides what may be repeated after a crash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// No further effect: the tool only reads, or writes the same value again.
    Repeatable,
    /// No further effect if the call has the same [`Run::idempotency_key`](crate::Run::idempotency_key).
    Keyed,
    /// Possibly a second effect, such as a second payment. The call is not repeated automatically.
    #[default]
    Once,
    /// The effects of the steps inside it, which have records of their own: a delegation to a worker.
    Composite,
}

/// The tools of one agent in a fixed order, which prompt caches depend on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ToolSet(Arc<Inner>);

#[derive(Debug, Clone, Default)]
struct Inner {
    specs: Vec<ToolSpec>,
    encodings: Encodings,
}

setters!(ChatRequest { instructions: Option<Message>, transcript: Transcript, tools: ToolSet, settings: Settings });

setters!(ToolSpec { strict: bool, effect: Effect, polling: bool, timeout: Option<Duration> });

impl ToolSpec {
    /// A tool with the given schema of its arguments. It has [`Effect::Once`] and no timeout of its own.
    pub fn new(name: impl Into<Arc<str>>, description: impl Into<String>, input_schema: RawJson) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input_schema,
            strict: false,
            effect: Effect::default(),
            polling: false,
            timeout: None,
        }
    }
}

impl ToolSet {
    /// A set of tools in this order.
    pub fn new(specs: Vec<ToolSpec>) -> Self {
        Self(Arc::new(Inner { specs, encodings: Encodings::default() }))
    }

    /// Adds a tool at the end.
    pub(crate) fn push(&mut self, spec: ToolSpec) {
        let inner = Arc::make_mut(&mut self.0);
        inner.specs.push(spec);
        inner.encodings = Encodings::default();
    }

    /// The tools in order.
    pub fn specs(&self) -> &[ToolSpec] {
        &self.0.specs
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.specs.is_empty()
    }

    /// The approximate size of the tools in a request.
    pub fn size_bytes(&self) -> usize {
        let size = |spec: &ToolSpec| spec.name.len() + spec.description.len() + spec.input_schema.get().len();
        self.specs().iter().map(size).sum()
    }

    /// Appends the tools, encoded in `dialect`, to `out`. The bytes are cached: `encode` is called the first time only.
    pub fn write_encoded<E>(
        &self,
        dialect: Dialect,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&[ToolSpec], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.encodings.write(dialect, out, |out| encode(self.specs(), out))
    }
}

impl ChatRequest {
    /// A request of one user message, without tools.
    pub fn new(question: impl Into<String>) -> Self {
        let mut transcript = Transcript::new();
        // An empty transcript accepts every user message.
        let _ = transcript.push_task(Message::user(question));
        Self { transcript, ..Self::default() }
    }

    /// An estimate of the input tokens: one per four bytes of UTF-8, and the tokens that vendors add for each message and
    /// for the prompt. For short prompts it is within a fifth of the vendors' counts.
    pub fn estimated_input_tokens(&self) -> u64 {
        const PROMPT: u64 = 3;
        const MESSAGE: u64 = 4;
        let instructions = self.instructions.as_ref().map_or(0, Message::size_bytes);
        let output = self.settings.output.as_ref().map_or(0, |output| output.schema.get().len());
        let bytes = instructions + self.tools.size_bytes() + self.transcript.visible_bytes() + output;
        let messages = self.transcript.visible().count() + usize::from(self.instructions.is_some());
        PROMPT + MESSAGE * messages as u64 + (bytes as u64).div_ceil(4)
    }
}
