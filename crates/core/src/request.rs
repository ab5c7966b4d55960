//! One question to a model.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Dialect, Message, RawJson, Transcript, encoded::Encodings};

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

/// How a model should answer. What is absent is left to the provider's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Whether and which tools may be called.
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// A JSON Schema that the answer must match.
    pub output: Option<OutputSchema>,
    /// The most tokens that may be generated, reasoning included.
    pub max_output_tokens: Option<u32>,
    /// Randomness, from 0 to 2 (Anthropic: to 1).
    pub temperature: Option<f32>,
    /// Nucleus sampling, from 0 to 1.
    pub top_p: Option<f32>,
    /// Texts at which generation ends.
    pub stop_sequences: Vec<String>,
    /// Asks for repeatable sampling where the provider offers it.
    pub seed: Option<u64>,
    /// How much to reason before the answer.
    pub reasoning: Option<Reasoning>,
    /// Groups requests that share a prompt prefix (OpenAI `prompt_cache_key`).
    pub prompt_cache_key: Option<String>,
    /// Whether stable prefixes are marked for caching where the provider wants marks (Anthropic `cache_control`).
    pub prompt_cache: PromptCache,
    /// Such as `auto`, `default`, `flex`, `priority`.
    pub service_tier: Option<String>,
    /// An opaque id of the end user, for the provider's abuse detection.
    pub user: Option<String>,
    /// Labels that the provider stores with the request.
    pub metadata: BTreeMap<String, String>,
    /// Further fields of the provider's request, merged into it as they are.
    pub extra: BTreeMap<String, RawJson>,
}

/// Whether and which tools a model may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None. The tools stay in the request: histories that used them need them, and prompt caches too.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// How much a model should reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// At most this many tokens.
    Budget(u32),
    /// A degree. Models with token budgets get one that fits it.
    Effort(Effort),
}

/// Degrees of reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

/// Whether stable prefixes are marked for the provider's prompt cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptCache {
    /// Instructions, tools and the conversation so far, with the provider's short life (Anthropic: 5 minutes).
    #[default]
    Auto,
    /// The same with a life of one hour, where offered.
    OneHour,
    /// No marks.
    Off,
}

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSchema {
    /// A short name, `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// A JSON Schema.
    pub schema: RawJson,
    /// Whether the provider should enforce it while generating, where it can. It is checked afterwards in any case.
    pub strict: bool,
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

    /// Roughly how many input tokens this request is, at four bytes of UTF-8 a token.
    pub fn estimated_input_tokens(&self) -> u64 {
        let instructions = self.instructions.as_ref().map_or(0, Message::size_bytes);
        let output = self.settings.output.as_ref().map_or(0, |output| output.schema.get().len());
        let bytes = instructions + self.tools.size_bytes() + self.transcript.visible_bytes() + output;
        (bytes as u64).div_ceil(4)
    }
}

impl OutputSchema {
    /// The schema as serde sees it.
    pub fn raw(&self) -> &RawValue {
        self.schema.as_raw()
    }
}
