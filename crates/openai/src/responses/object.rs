//! The response object.

use std::{collections::BTreeMap, str::FromStr};

use brigade_core::{Outcome, RunId, Settings, StopReason, Usage};
use brigade_edge::Object;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    body::{ResponseBody, TextFormat},
    output::{ItemStatus, OutputItem, OutputPart},
};
use crate::shared::{brigade_details::BrigadeDetails, client_tools::FunctionCall};

/// A response, as clients read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Response")]
#[non_exhaustive]
pub struct ResponseObject {
    /// `resp_` and the id of the run.
    pub id: String,
    #[schemars(extend("const" = "response"))]
    object: String,
    created_at: i64,
    /// Whether the agent has ended its work.
    pub status: ResponseStatus,
    background: bool,
    /// Why it failed.
    pub error: Option<ResponseFailure>,
    incomplete_details: Option<IncompleteDetails>,
    /// Instructions of the client, without the agent's own.
    instructions: Option<String>,
    max_output_tokens: Option<u32>,
    max_tool_calls: Option<u32>,
    metadata: BTreeMap<String, String>,
    /// The agent.
    pub model: String,
    /// What the agent has said.
    pub output: Vec<OutputItem>,
    parallel_tool_calls: bool,
    previous_response_id: Option<String>,
    reasoning: ReasoningEcho,
    service_tier: String,
    store: bool,
    temperature: Option<f32>,
    text: TextEcho,
    tool_choice: Value,
    tools: Vec<Value>,
    top_logprobs: u32,
    top_p: Option<f32>,
    /// Always `auto`: agents leave out old messages of a conversation that is too long for them.
    truncation: String,
    usage: Option<ResponseUsage>,
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    brigade: Option<BrigadeDetails>,
}

/// Whether the agent has ended its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    /// It works.
    InProgress,
    /// It has answered.
    Completed,
    /// It stopped before the end; `incomplete_details` and `brigade` say why.
    Incomplete,
    /// It failed; `error` says why.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseError")]
#[non_exhaustive]
pub struct ResponseFailure {
    /// A stable name for programs.
    pub code: String,
    /// What went wrong, why, and what to do next.
    pub message: String,
}

/// Why a response is incomplete: `max_output_tokens`, `waiting` for an approval, or the reason for which the run stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct IncompleteDetails {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseReasoning")]
struct ReasoningEcho {
    effort: Option<String>,
    summary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseText")]
struct TextEcho {
    format: FormatEcho,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "ResponseFormat")]
enum FormatEcho {
    Text,
    JsonObject,
    JsonSchema { name: String, schema: serde_json::Map<String, Value>, strict: bool },
}

/// Tokens of the agent and its workers. A number that no provider reported is 0, because the types of clients need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct ResponseUsage {
    input_tokens: u64,
    input_tokens_details: InputTokens,
    output_tokens: u64,
    output_tokens_details: OutputTokens,
    total_tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseInputTokens")]
struct InputTokens {
    cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseOutputTokens")]
struct OutputTokens {
    reasoning_tokens: u64,
}

const PREFIX: &str = "resp_";

impl ResponseObject {
    /// The response to a request that `run` works on since `created_at`, in seconds since 1970.
    pub fn new(body: &ResponseBody, settings: &Settings, run: RunId, created_at: i64) -> Self {
        let effort = body.reasoning.as_ref().and_then(|reasoning| reasoning.0.effort.clone());
        Self {
            id: Self::id_of(run),
            object: "response".to_owned(),
            created_at,
            status: ResponseStatus::InProgress,
            background: body.is_background(),
            error: None,
            incomplete_details: None,
            instructions: body.instructions.clone(),
            max_output_tokens: settings.max_output_tokens,
            max_tool_calls: None,
            metadata: settings.metadata.clone(),
            model: body.model.clone(),
            output: Vec::new(),
            parallel_tool_calls: settings.parallel_tool_calls != Some(false),
            previous_response_id: body.previous_response_id.clone(),
            reasoning: ReasoningEcho { effort, summary: None },
            service_tier: "default".to_owned(),
            store: body.is_stored(),
            temperature: settings.temperature,
            text: TextEcho { format: FormatEcho::of(body) },
            tool_choice: body.tool_choice.clone().unwrap_or_else(|| "auto".into()),
            tools: body.tools.clone().unwrap_or_default(),
            top_logprobs: 0,
            top_p: settings.top_p,
            truncation: "auto".to_owned(),
            usage: None,
            user: settings.user.clone(),
            brigade: None,
        }
    }

    /// The id of the response that a run works on.
    pub fn id_of(run: RunId) -> String {
        format!("{PREFIX}{}", run.uuid().simple())
    }

    /// The run of the response with this id.
    pub fn run_of(id: &str) -> Option<RunId> {
        Uuid::from_str(id.strip_prefix(PREFIX)?).ok().map(RunId::from)
    }

    /// The run of the response that has an item with this id.
    pub fn run_of_item(item: &str) -> Option<RunId> {
        let (_, rest) = item.split_once('_').filter(|(kind, _)| ["msg", "fc"].contains(kind))?;
        let (run, _) = rest.split_once('_')?;
        Uuid::from_str(run).ok().map(RunId::from)
    }

    /// Whether the client did not wait for the end.
    pub fn background(&self) -> bool {
        self.background
    }

    /// Whether the agent has ended its work. One that waits, for example for an approval, goes on later.
    pub fn has_ended(&self) -> bool {
        let waits = self.brigade.as_ref().is_some_and(BrigadeDetails::waits);
        self.status != ResponseStatus::InProgress && !waits
    }

    /// The response with messages that the agent has shown so far.
    #[must_use]
    pub fn showing(mut self, messages: &[String]) -> Self {
        let shown = messages.iter().filter(|text| !text.is_empty()).enumerate();
        self.output =
            shown.map(|(index, text)| OutputItem::message(self.item_id(index), OutputPart::text(text))).collect();
        self
    }

    /// The response at the end of a run. `shown` are the messages that its stream has shown.
    #[must_use]
    pub fn ended(self, shown: &[String], outcome: &Outcome, brigade: BrigadeDetails) -> Self {
        let reason = if brigade.waits() { Some("waiting".to_owned()) } else { incomplete_reason(outcome.stop) };
        let status = match (&reason, outcome.stop) {
            (Some(_), StopReason::Cancelled) => ResponseStatus::Cancelled,
            (Some(_), _) => ResponseStatus::Incomplete,
            (None, _) => ResponseStatus::Completed,
        };
        let mut ended = self.showing(&messages_at_end(shown, &outcome.text));
        if ended.output.is_empty() && outcome.stop == StopReason::Refused {
            let refusal = OutputPart::Refusal { refusal: outcome.notice.clone() };
            ended.output.push(OutputItem::message(ended.item_id(0), refusal));
        }
        ended.status = status;
        ended.incomplete_details = reason.map(|reason| IncompleteDetails { reason });
        ended.usage = Some(ResponseUsage::from(&outcome.usage));
        ended.brigade = Some(brigade);
        ended
    }

    /// The response of a run that ended because it calls tools of the client. `shown` are its messages.
    #[must_use]
    pub fn calling(
        self,
        shown: &[String],
        calls: Vec<FunctionCall>,
        outcome: &Outcome,
        brigade: BrigadeDetails,
    ) -> Self {
        let mut calling = self.showing(shown);
        let first = calling.output.len();
        let run = calling.id.strip_prefix(PREFIX).unwrap_or(&calling.id).to_owned();
        calling.output.extend(calls.into_iter().enumerate().map(|(index, call)| OutputItem::FunctionCall {
            id: format!("fc_{run}_{}", first + index),
            call_id: call.id,
            name: call.name,
            arguments: call.arguments,
            status: ItemStatus::Completed,
        }));
        calling.status = ResponseStatus::Completed;
        calling.usage = Some(ResponseUsage::from(&outcome.usage));
        calling.brigade = Some(brigade);
        calling
    }

    /// The response of a run that failed after it had shown these messages.
    #[must_use]
    pub fn failed(self, shown: &[String], code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut failed = self.showing(shown);
        failed.status = ResponseStatus::Failed;
        failed.error = Some(ResponseFailure { code: code.into(), message: message.into() });
        failed
    }

    pub(super) fn item_id(&self, index: usize) -> String {
        format!("msg_{}_{index}", self.id.strip_prefix(PREFIX).unwrap_or(&self.id))
    }
}

/// The messages of a run whose stream has shown some of them, the last one perhaps in part.
fn messages_at_end(shown: &[String], answer: &str) -> Vec<String> {
    let mut messages: Vec<String> = shown.to_vec();
    let last = messages.last().map_or("", |last| last.trim());
    let rest = missing_rest(last, answer);
    match messages.last_mut() {
        Some(last) if rest.len() < answer.len() => last.push_str(rest),
        _ => messages.extend(Some(rest.to_owned()).filter(|rest| !rest.is_empty())),
    }
    messages
}

/// The part of an answer that a stream has not shown. What was shown stands, even if the answer has other blanks or is only
/// a part of it, for example a document without the prose around it.
pub fn missing_rest<'t>(sent: &str, answer: &'t str) -> &'t str {
    let visible = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
    match answer.strip_prefix(sent) {
        Some(rest) => rest,
        None if visible(sent).contains(&visible(answer)) => "",
        None => answer,
    }
}

/// Why a response is incomplete after a run that stopped like this.
fn incomplete_reason(stop: StopReason) -> Option<String> {
    match stop {
        // A refusal is an answer.
        StopReason::Finished | StopReason::Refused => None,
        StopReason::Truncated | StopReason::ToolArgumentsTruncated => Some("max_output_tokens".to_owned()),
        StopReason::MaxTurns
        | StopReason::Budget
        | StopReason::Deadline
        | StopReason::Cancelled
        | StopReason::LoopDetected
        | StopReason::DelegationCycle
        | StopReason::UnknownToolLimit
        | StopReason::ToolArgumentsInvalid
        | StopReason::Empty
        | StopReason::InvalidOutput => Some(stop.name().to_owned()),
    }
}

impl FormatEcho {
    fn of(body: &ResponseBody) -> Self {
        match body.text.as_ref().and_then(|text| text.0.format.as_ref()) {
            None | Some(Object(TextFormat::Text)) => Self::Text,
            Some(Object(TextFormat::JsonObject)) => Self::JsonObject,
            Some(Object(TextFormat::JsonSchema { name, schema, strict })) => {
                Self::JsonSchema { name: name.clone(), schema: schema.clone(), strict: *strict == Some(true) }
            }
        }
    }
}

impl From<&Usage> for ResponseUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            input_tokens_details: InputTokens { cached_tokens: usage.cache_read_tokens.unwrap_or_default() },
            output_tokens: usage.output_tokens,
            output_tokens_details: OutputTokens { reasoning_tokens: usage.reasoning_tokens.unwrap_or_default() },
            total_tokens: usage.total_tokens(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_stands_and_only_the_missing_rest_follows() {
        for (sent, answer, rest) in [
            ("", "one two", "one two"),
            ("one", "one two", " two"),
            ("one two", "one two", ""),
            ("one\r\ntwo", "one\ntwo", ""),
            ("I think.\n</think>\n\none two", "one two", ""),
            ("Here it is:\n```json\n{\"a\": 1}\n```", "{\"a\": 1}", ""),
            ("Let me", "No answer.", "No answer."),
        ] {
            assert_eq!(missing_rest(sent, answer), rest, "{sent}");
        }
    }
}
