//! Chat completions: whole answers, and the chunks of streamed ones.
//!
//! The types come from `async-openai`, except where they cannot write what `OpenAI` writes:
//!
//! | own type | why |
//! |---|---|
//! | `ChatCompletion`, `Choice` | the vendor's type omits `logprobs: null`, which clients expect; `brigade` is our extension |
//! | `AnswerMessage` | adds `content: null` and `refusal: null`, which the vendor's type omits |
//! | `ChatChunk`, `ChunkChoice`, `ChunkDelta` | the vendor's types write `null` for every field of a delta that is not set |
//! | `ChatUsage` | the vendor's token details write `null` for every part that is not known |

use async_openai::types::chat::{
    self, ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls, ChatCompletionResponseMessage, FinishReason,
    Role,
};
use brigade_core::{Outcome, RunId, StopReason, Usage};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{BrigadeDetails, ChatUsage, ClientCalls, FunctionCall};

/// Which run answers.
#[derive(Debug, Clone, Copy)]
pub struct ChatHead<'a> {
    /// The run.
    pub run: RunId,
    /// When it was started, in seconds since 1970.
    pub created: i64,
    /// The agent's name, which clients use as the name of a model.
    pub agent: &'a str,
}

/// A complete answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChatCompletion<'a> {
    id: String,
    #[schemars(extend("const" = "chat.completion"))]
    object: &'static str,
    created: i64,
    /// The agent.
    model: &'a str,
    choices: [Choice; 1],
    usage: ChatUsage,
    brigade: BrigadeDetails,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Choice {
    index: u32,
    #[schemars(with = "AnswerMessageSchema")]
    message: AnswerMessage,
    logprobs: (),
    #[schemars(with = "FinishReasonSchema")]
    finish_reason: FinishReason,
}

#[derive(Debug, Serialize)]
struct AnswerMessage {
    #[serde(flatten)]
    message: ChatCompletionResponseMessage,
    content: Option<String>,
    refusal: Option<String>,
}

/// A part of a streamed answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionChunk")]
pub struct ChatChunk<'a> {
    id: String,
    #[schemars(extend("const" = "chat.completion.chunk"))]
    object: &'static str,
    created: i64,
    /// The agent.
    model: &'a str,
    /// Empty in the chunk that has the usage.
    choices: Vec<ChunkChoice<'a>>,
    /// Only if the client asks for it. Null in all chunks except the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<ChunkUsage>,
    /// In the chunk that has the `finish_reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    brigade: Option<BrigadeDetails>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum ChunkUsage {
    Pending,
    Known(ChatUsage),
}

/// New text, tool calls, or the end of the answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChunkChoice<'a> {
    index: u32,
    delta: ChunkDelta<'a>,
    logprobs: (),
    #[schemars(with = "Option<FinishReasonSchema>")]
    finish_reason: Option<FinishReason>,
}

/// New text, or the role in the first chunk.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct ChunkDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("const" = "assistant"))]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    /// What the run waits for, if the answer must have a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallChunk>,
}

/// A call of a client's tool, whole.
#[derive(Debug, Serialize, JsonSchema)]
struct ToolCallChunk {
    index: usize,
    /// The id under which the client sends the result.
    id: String,
    #[schemars(extend("const" = "function"))]
    r#type: &'static str,
    function: CalledFunction,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CalledFunction {
    name: String,
    /// JSON.
    arguments: String,
}

/// The schema of [`AnswerMessage`].
#[derive(JsonSchema)]
#[schemars(rename = "AnswerMessage")]
#[expect(dead_code, reason = "only its schema is used")]
struct AnswerMessageSchema {
    #[schemars(extend("const" = "assistant"))]
    role: String,
    /// Null if the run waits and the answer must have a form.
    content: Option<String>,
    /// What the run waits for, if the answer must have a form. Why the model declined, if it did.
    refusal: Option<String>,
    /// The calls of the client's tools, if there are any.
    #[schemars(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCallSchema>>,
}

/// The schema of a call of a client's tool.
#[derive(JsonSchema)]
#[schemars(rename = "ChatCompletionToolCall")]
#[expect(dead_code, reason = "only its schema is used")]
struct ToolCallSchema {
    /// The id under which the client sends the result.
    id: String,
    #[schemars(extend("const" = "function"))]
    r#type: String,
    function: CalledFunction,
}

/// The part of the vendor's values that this API uses.
#[derive(JsonSchema)]
#[schemars(rename = "FinishReason", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum FinishReasonSchema {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

impl ChatHead<'_> {
    fn id(self) -> String {
        format!("chatcmpl-{}", self.run)
    }
}

impl<'a> ChatCompletion<'a> {
    /// The answer of a run, with the calls of its client's tools. `waits` says that the run has not ended: `outcome` then has the text
    /// that says what it waits for. With a schema, clients parse `content`. What a run waits for is then a `refusal`, which they know does not have the form
    /// that they asked for.
    pub fn new(
        head: ChatHead<'a>,
        outcome: &Outcome,
        client: Option<&ClientCalls>,
        waits: bool,
        has_schema: bool,
    ) -> Self {
        let refusal = (outcome.stop == StopReason::Refused).then(|| outcome.notice.clone());
        let client = client.map(|client| (client.text_before(), client.of(outcome)));
        let called = client.filter(|(_, calls)| !calls.is_empty());
        let finish_reason = if called.is_some() { FinishReason::ToolCalls } else { finish_reason(outcome.stop) };
        let (content, tool_calls, refusal) = match (called, waits && has_schema) {
            (Some((text, calls)), _) => (text, Some(calls.into_iter().map(tool_call).collect()), refusal),
            (None, true) => (None, None, Some(outcome.text.clone())),
            (None, false) => (Some(outcome.text.clone()), None, refusal),
        };
        let message = ChatCompletionResponseMessage { role: Role::Assistant, tool_calls, ..Default::default() };
        let message = AnswerMessage { message, content, refusal };
        let choice = Choice { index: 0, message, logprobs: (), finish_reason };
        Self {
            id: head.id(),
            object: "chat.completion",
            created: head.created,
            model: head.agent,
            choices: [choice],
            usage: ChatUsage::from(&outcome.usage),
            brigade: BrigadeDetails::new(head.run, waits, outcome),
        }
    }
}

impl<'a> ChatChunk<'a> {
    /// A part of the answer.
    #[must_use]
    pub fn new(head: ChatHead<'a>, choices: Vec<ChunkChoice<'a>>) -> Self {
        Self {
            id: head.id(),
            object: "chat.completion.chunk",
            created: head.created,
            model: head.agent,
            choices,
            usage: None,
            brigade: None,
        }
    }

    /// Adds `usage`: null unless it is known.
    #[must_use]
    pub fn usage(self, usage: Option<&Usage>) -> Self {
        let usage = usage.map_or(ChunkUsage::Pending, |usage| ChunkUsage::Known(ChatUsage::from(usage)));
        Self { usage: Some(usage), ..self }
    }

    /// Adds what `OpenAI`'s form has no field for.
    #[must_use]
    pub fn brigade(self, brigade: BrigadeDetails) -> Self {
        Self { brigade: Some(brigade), ..self }
    }
}

impl<'a> ChunkChoice<'a> {
    fn delta(delta: ChunkDelta<'a>) -> Self {
        Self { index: 0, delta, logprobs: (), finish_reason: None }
    }

    /// The role, which the first chunk has.
    #[must_use]
    pub fn role() -> Self {
        Self::delta(ChunkDelta { role: Some(Role::Assistant), content: Some(""), ..ChunkDelta::default() })
    }

    /// New text.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::delta(ChunkDelta { content: Some(text), ..ChunkDelta::default() })
    }

    /// What the run waits for, if the answer must have a form.
    #[must_use]
    pub fn refusal(text: &'a str) -> Self {
        Self::delta(ChunkDelta { role: Some(Role::Assistant), refusal: Some(text), ..ChunkDelta::default() })
    }

    /// The calls by which the run has ended.
    #[must_use]
    pub fn calls(calls: Vec<FunctionCall>) -> Self {
        let call = |(index, FunctionCall { id, name, arguments, .. })| ToolCallChunk {
            index,
            id,
            r#type: "function",
            function: CalledFunction { name, arguments },
        };
        let tool_calls = calls.into_iter().enumerate().map(call).collect();
        Self::delta(ChunkDelta { tool_calls, ..ChunkDelta::default() })
    }

    /// The end of an answer with calls.
    #[must_use]
    pub fn finish_calls() -> Self {
        Self { finish_reason: Some(FinishReason::ToolCalls), ..Self::delta(ChunkDelta::default()) }
    }

    /// The end of an answer.
    #[must_use]
    pub fn finish(stop: StopReason) -> Self {
        Self { finish_reason: Some(finish_reason(stop)), ..Self::delta(ChunkDelta::default()) }
    }
}

fn tool_call(call: FunctionCall) -> ChatCompletionMessageToolCalls {
    let FunctionCall { id, name, arguments, .. } = call;
    let function = chat::FunctionCall { name, arguments };
    ChatCompletionMessageToolCalls::Function(ChatCompletionMessageToolCall { id, function })
}

/// `OpenAI` has few reasons; the exact one is in [`BrigadeDetails`].
fn finish_reason(stop: StopReason) -> FinishReason {
    match stop {
        StopReason::Refused => FinishReason::ContentFilter,
        // Clients report these as "the length limit was reached".
        StopReason::Truncated | StopReason::ToolArgumentsTruncated => FinishReason::Length,
        StopReason::Finished
        | StopReason::MaxTurns
        | StopReason::Budget
        | StopReason::Deadline
        | StopReason::Cancelled
        | StopReason::LoopDetected
        | StopReason::DelegationCycle
        | StopReason::UnknownToolLimit
        | StopReason::ToolArgumentsInvalid
        | StopReason::Empty
        | StopReason::InvalidOutput => FinishReason::Stop,
    }
}
