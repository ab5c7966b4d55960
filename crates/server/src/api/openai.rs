//! `OpenAI`'s types for what this API writes, and how a run's outcome maps to them.
//!
//! The types come from `async-openai`, except where they cannot write what `OpenAI` writes:
//!
//! | own type | why |
//! |---|---|
//! | `ChatCompletion`, `Choice` | the vendor's type omits `logprobs: null`, which clients expect; `brigade` is our extension |
//! | `AnswerMessage` | adds `content: null` and `refusal: null`, which the vendor's type omits |
//! | `Chunk`, `ChunkChoice`, `ChunkDelta` | the vendor's types write `null` for every field of a delta that is not set |
//! | `ChatUsage` | the vendor's token details write `null` for every part that is not known |
//! | `AgentModel`, `ModelList` | an agent has a `description` |
//! | `ErrorBody`, `ErrorDetails` | `code` is one of our error codes, and the answer that has the wrong form is added as `output` |
//!
//! Tests check that `async-openai` can read all of them.

use std::borrow::Cow;

use async_openai::types::chat::{
    self, ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls, ChatCompletionResponseMessage, FinishReason,
    Role,
};
use axum::http::StatusCode;
use brigade_core::{Outcome, StopReason, Transcript, Usage};
use brigade_durable::Waiting;
use brigade_openai::{BrigadeDetails, ChatUsage, FunctionCall};
use schemars::JsonSchema;
use serde::Serialize;

use super::{ApiError, error_code::ErrorCode};
use crate::runs::run_handle::{RunEnd, RunHandle, SuspendedRun};

/// A complete answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatCompletion<'a> {
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
pub(crate) struct Chunk<'a> {
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

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChunkChoice<'a> {
    index: u32,
    delta: ChunkDelta<'a>,
    logprobs: (),
    #[schemars(with = "Option<FinishReasonSchema>")]
    finish_reason: Option<FinishReason>,
}

/// New text, or the role in the first chunk.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct ChunkDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("const" = "assistant"))]
    pub(crate) role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<&'a str>,
    /// What the run waits for, if the answer must have a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCallChunk>,
}

/// A call of a client's tool, whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolCallChunk {
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

impl<'a> ChatCompletion<'a> {
    /// With a schema, clients parse `content`. What a run waits for is then a `refusal`, which they know does not have the form
    /// that they asked for.
    pub(crate) fn new(run: &'a RunHandle, end: &RunEnd, outcome: &'a Outcome, has_schema: bool) -> Self {
        let refusal = (outcome.stop == StopReason::Refused).then(|| outcome.notice.clone());
        let client = run.client_calls().map(|client| (client.text_before(), client.of(outcome)));
        let called = client.filter(|(_, calls)| !calls.is_empty());
        let finish_reason = if called.is_some() { FinishReason::ToolCalls } else { finish_reason(outcome.stop) };
        let (content, tool_calls, refusal) = match (called, end) {
            (Some((text, calls)), _) => (text, Some(calls.into_iter().map(tool_call).collect()), refusal),
            (None, RunEnd::Suspended(_)) if has_schema => (None, None, Some(outcome.text.clone())),
            (None, _) => (Some(outcome.text.clone()), None, refusal),
        };
        let message = ChatCompletionResponseMessage { role: Role::Assistant, tool_calls, ..Default::default() };
        let message = AnswerMessage { message, content, refusal };
        let choice = Choice { index: 0, message, logprobs: (), finish_reason };
        Self {
            id: completion_id(run),
            object: "chat.completion",
            created: run.started().as_second(),
            model: run.agent(),
            choices: [choice],
            usage: ChatUsage::from(&outcome.usage),
            brigade: BrigadeDetails::new(run.id(), matches!(end, RunEnd::Suspended(_)), outcome),
        }
    }
}

impl<'a> Chunk<'a> {
    pub(crate) fn new(run: &'a RunHandle, choices: Vec<ChunkChoice<'a>>) -> Self {
        Self {
            id: completion_id(run),
            object: "chat.completion.chunk",
            created: run.started().as_second(),
            model: run.agent(),
            choices,
            usage: None,
            brigade: None,
        }
    }

    /// Adds `usage`: null unless it is known.
    pub(crate) fn usage(self, usage: Option<&Usage>) -> Self {
        let usage = usage.map_or(ChunkUsage::Pending, |usage| ChunkUsage::Known(ChatUsage::from(usage)));
        Self { usage: Some(usage), ..self }
    }

    pub(crate) fn brigade(self, brigade: BrigadeDetails) -> Self {
        Self { brigade: Some(brigade), ..self }
    }
}

impl<'a> ChunkChoice<'a> {
    pub(crate) fn delta(delta: ChunkDelta<'a>) -> Self {
        Self { index: 0, delta, logprobs: (), finish_reason: None }
    }

    /// The calls by which the run has ended.
    pub(crate) fn calls(calls: Vec<FunctionCall>) -> Self {
        let call = |(index, FunctionCall { id, name, arguments, .. })| ToolCallChunk {
            index,
            id,
            r#type: "function",
            function: CalledFunction { name, arguments },
        };
        let tool_calls = calls.into_iter().enumerate().map(call).collect();
        Self::delta(ChunkDelta { tool_calls, ..ChunkDelta::default() })
    }

    pub(crate) fn finish_calls() -> Self {
        Self { finish_reason: Some(FinishReason::ToolCalls), ..Self::delta(ChunkDelta::default()) }
    }

    pub(crate) fn finish(stop: StopReason) -> Self {
        Self { finish_reason: Some(finish_reason(stop)), ..Self::delta(ChunkDelta::default()) }
    }
}

fn tool_call(call: FunctionCall) -> ChatCompletionMessageToolCalls {
    let FunctionCall { id, name, arguments, .. } = call;
    let function = chat::FunctionCall { name, arguments };
    ChatCompletionMessageToolCalls::Function(ChatCompletionMessageToolCall { id, function })
}

fn completion_id(run: &RunHandle) -> String {
    format!("chatcmpl-{}", run.id())
}

/// The answer of a run that waits: it says what for.
fn waiting_outcome(run: &RunHandle, suspended: &SuspendedRun) -> Result<Outcome, ApiError> {
    let id = run.id();
    let Some(Waiting { note, .. }) = &suspended.waiting else {
        let message = format!(
            "this process does not carry on the run any more; it goes on later, and `GET /v1/runs/{id}` shows its answer"
        );
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Stopping, message));
    };
    let text = format!(
        "This is not the answer yet: {note}. The run goes on once a person has decided; its id is {id}, and \
         `GET /v1/runs/{id}` shows its answer."
    );
    let mut outcome = Outcome::new(run.trace(), StopReason::Finished, text, Transcript::new());
    outcome.usage = suspended.cost.total.usage;
    outcome.cost = suspended.cost.clone();
    Ok(outcome)
}

/// The outcome of a run, or the error that the client gets instead. A limit that was reached before there was any text is
/// an error.
pub(crate) fn outcome<'e>(run: &RunHandle, end: &'e RunEnd) -> Result<Cow<'e, Outcome>, ApiError> {
    let outcome = match end {
        RunEnd::Finished(outcome) => outcome,
        RunEnd::Failed(error) => return Err(ApiError::from(error)),
        RunEnd::Panicked => return Err(ApiError::panicked()),
        RunEnd::Suspended(suspended) => return waiting_outcome(run, suspended).map(Cow::Owned),
    };
    // A program that asked for a schema cannot use other text as the answer.
    if outcome.stop == StopReason::InvalidOutput {
        let message = format!("the answer does not have the form that was asked for: {}", outcome.notice);
        let error = ApiError::new(StatusCode::BAD_GATEWAY, ErrorCode::InvalidOutput, message);
        return Err(ApiError { was_retried: true, output: Some(outcome.text.clone()), ..error });
    }
    if !outcome.text.is_empty() {
        return Ok(Cow::Borrowed(outcome));
    }
    let failed = |status, code| Err(ApiError::new(status, code, outcome.notice.clone()));
    match outcome.stop {
        StopReason::Budget => failed(StatusCode::PAYMENT_REQUIRED, ErrorCode::BudgetExhausted),
        StopReason::Deadline => failed(StatusCode::GATEWAY_TIMEOUT, ErrorCode::DeadlineExceeded),
        StopReason::Cancelled => failed(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Cancelled),
        StopReason::Finished
        | StopReason::MaxTurns
        | StopReason::LoopDetected
        | StopReason::DelegationCycle
        | StopReason::UnknownToolLimit
        | StopReason::ToolArgumentsTruncated
        | StopReason::ToolArgumentsInvalid
        | StopReason::Refused
        | StopReason::Truncated
        | StopReason::Empty
        | StopReason::InvalidOutput => Ok(Cow::Borrowed(outcome)),
    }
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

#[cfg(test)]
mod tests {
    use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse};
    use brigade_core::testing::{ScriptedModel, Turn};
    use brigade_core::{Agent, Run};
    use serde_json::{Value, json};

    use super::*;
    use crate::runs::{manager::Runs, new_run::NewRun};

    /// Parses JSON as the vendor's type, and returns what that type writes.
    fn vendor_form<T: Serialize + serde::de::DeserializeOwned>(ours: &impl Serialize) -> Value {
        let parsed: T = serde_json::from_value(serde_json::to_value(ours).unwrap()).unwrap();
        serde_json::to_value(parsed).unwrap()
    }

    #[tokio::test]
    async fn the_vendors_types_read_answers_and_chunks() {
        let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Hello.")]));
        let runs = Runs::new(1, 1);
        let run = runs.start(NewRun::new(Run::new(), agent, "Hello?")).unwrap();
        let end = run.wait().await;
        let outcome = outcome(&run, &end).unwrap();

        let answer = vendor_form::<CreateChatCompletionResponse>(&ChatCompletion::new(&run, &end, &outcome, true));
        assert_eq!(answer["choices"][0]["message"], json!({ "role": "assistant", "content": "Hello." }));
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert!(answer["usage"]["total_tokens"].is_u64(), "{answer}");

        let delta = ChunkDelta { role: Some(Role::Assistant), content: Some("Hello."), ..ChunkDelta::default() };
        let chunk = Chunk::new(&run, vec![ChunkChoice::delta(delta)]);
        let chunk = vendor_form::<CreateChatCompletionStreamResponse>(&chunk);
        assert_eq!(chunk["choices"][0]["delta"]["content"], "Hello.");
        let last = Chunk::new(&run, vec![ChunkChoice::finish(outcome.stop)]).usage(Some(&outcome.usage));
        let last = vendor_form::<CreateChatCompletionStreamResponse>(&last);
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert!(last["usage"]["total_tokens"].is_u64(), "{last}");
    }
}
