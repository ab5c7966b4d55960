//! One question to a model.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Dialect, Message, RawJson, Settings, Transcript, chat::encoded::Encodings};

/// One question to a model: what was said so far, which tools it may ask for, and how it should answer.
#[derive(Debug, Clone, Default)]
pub struct ChatRequest {
    /// Standing instructions, a message of [`Role::System`](crate::Role::System).
    pub instructions: Option<Message>,
    /// The conversation; [`Transcript::visible`] is what the model gets to see.
    pub transcript: Transcript,
    /// The tools that the model may ask for.
    pub tools: ToolSet,
    /// How to answer.
    pub settings: Settings,
}

/// What a model is told about a tool, and what the runtime must know to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSpec {
    /// `[A-Za-z0-9_-]{1,64}`, the form that all providers accept.
    pub name: Arc<str>,
    /// What it does and when to use it, for the model.
    pub description: String,
    /// The JSON Schema of its arguments: an object.
    pub input_schema: RawJson,
    /// Whether the provider should hold the model to the schema while generating, where it can.
    pub strict: bool,
    /// Whether the tool may be run again.
    pub effect: Effect,
    /// Whether it is meant to be called again with the same arguments: it waits, or asks whether something is done. The
    /// loop guard then counts only calls that also bring the same result.
    pub polling: bool,
    /// How long one call may take; absent means the toolbox decides.
    pub timeout: Option<Duration>,
}

/// What running a tool a second time would do. Decides what may be repeated after a crash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing new: it only reads, or writes the same again.
    Repeatable,
    /// Nothing new if the same idempotency key is given; the call's step path serves as one.
    Keyed,
    /// Possibly harm: it is not repeated without a decision.
    #[default]
    Once,
}

/// The tools of one agent in a fixed order. Cheap to clone; the order is part of the prompt, and caches depend on it.
#[derive(Debug, Clone, Default)]
pub struct ToolSet(Arc<SetInner>);

#[derive(Debug, Default)]
struct SetInner {
    specs: Vec<ToolSpec>,
    encodings: Encodings,
}

impl ToolSpec {
    /// A tool with the given schema of arguments, run at most once per call and without a time limit of its own.
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
    /// The tools in the order given.
    pub fn new(specs: Vec<ToolSpec>) -> Self {
        Self(Arc::new(SetInner { specs, encodings: Encodings::default() }))
    }

    /// The tools in order.
    pub fn specs(&self) -> &[ToolSpec] {
        &self.0.specs
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.specs.is_empty()
    }

    /// Roughly how many bytes the tools are on the wire.
    pub fn size_bytes(&self) -> usize {
        let size = |spec: &ToolSpec| spec.name.len() + spec.description.len() + spec.input_schema.get().len();
        self.specs().iter().map(size).sum()
    }

    /// Appends all tools in `dialect` to `out`; `encode` is called only the first time.
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
    /// A question without history or tools.
    pub fn new(question: impl Into<String>) -> Self {
        let mut transcript = Transcript::new();
        // An empty transcript takes any user message.
        let _ = transcript.push_task(Message::user(question));
        Self { transcript, ..Self::default() }
    }

    /// Roughly how many input tokens this request is: one for four bytes of UTF-8, and what vendors add for each message
    /// and to the whole. Of short prompts that is within a fifth of what they count.
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
