//! `POST /v1/chat/completions`, as documented by `OpenAI`:
//! <https://platform.openai.com/docs/api-reference/chat/create>.
//!
//! The model is the name of an agent. The agent has its own instructions and tools: a client's instructions follow the
//! agent's, and a client's tools are refused.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use brigade_core::{
    Effort, Image, Message, OutputSchema, Part, RawJson, Reasoning, Role, Schema, Settings, Task, Transcript,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ApiError,
    access::Runner,
    api::Api,
    chat_stream,
    json_body::{JsonBody, Object},
    models,
    openai::{self, ChatCompletion},
    request_ids::RequestIds,
    start::RunRequest,
};
use crate::{agents::served::ServedAgent, runs::manager::CancelOnDrop};

/// A request. Fields without an effect are ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatBody {
    model: String,
    #[schemars(length(min = 1))]
    messages: Vec<Object<ChatMessage>>,
    stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    #[schemars(range(min = 1))]
    max_tokens: Option<u32>,
    #[schemars(range(min = 1))]
    max_completion_tokens: Option<u32>,
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f32>,
    #[schemars(range(min = 0, max = 1))]
    top_p: Option<f32>,
    stop: Option<OneOrMany>,
    seed: Option<i64>,
    #[schemars(range(min = 1, max = 1))]
    n: Option<u32>,
    user: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    #[schemars(regex(pattern = "^(none|minimal|low|medium|high|xhigh)$"))]
    reasoning_effort: Option<String>,
    response_format: Option<Object<ResponseFormat>>,
    #[schemars(length(max = 0))]
    tools: Option<Vec<Value>>,
    #[schemars(length(max = 0))]
    functions: Option<Vec<Value>>,
    #[schemars(extend("enum" = [false, null]))]
    logprobs: Option<bool>,
    #[schemars(with = "Option<()>")]
    audio: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: Object<NamedSchema> },
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NamedSchema {
    name: String,
    #[schemars(with = "BTreeMap<String, Value>")]
    schema: Value,
    strict: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ChatMessage {
    role: ChatRole,
    content: Option<Content>,
    #[schemars(length(max = 0))]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    System,
    Developer,
    User,
    Assistant,
    #[schemars(skip)]
    Tool,
    #[schemars(skip)]
    Function,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Object<ContentPart>>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart {
    Text { text: String },
    ImageUrl { image_url: Object<ImageUrl> },
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ImageUrl {
    url: String,
}

/// The messages of a request, split by purpose.
struct Conversation {
    instructions: String,
    task: Task,
}

/// Runs the agent that `model` names.
pub(crate) async fn complete(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    Extension(ids): Extension<RequestIds>,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Response, ApiError> {
    let agent = models::find(&api.setup(), &body.model)?;
    body.refuse_unsupported()?;
    let settings = body.settings(&agent)?;
    let Conversation { instructions, task } = conversation(body.messages)?;
    let request = RunRequest { instructions, settings, ..RunRequest::new(agent, task) };
    if body.stream == Some(true) {
        let include_usage = body.stream_options.is_some_and(|options| options.0.include_usage == Some(true));
        return chat_stream::respond(&api, &caller, ids, request, include_usage).await;
    }
    let run = request.start(&api, &caller, ids)?;
    // If the client disconnects, this future is dropped and the run is cancelled.
    let _guard = CancelOnDrop(Arc::clone(&run));
    let end = run.wait().await;
    let outcome = openai::outcome(&end)?;
    Ok(Json(ChatCompletion::new(&run, outcome)).into_response())
}

impl ChatBody {
    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let has_tools = |tools: &Option<Vec<Value>>| tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let tools = "agents use the tools that the server configures; remove the tools from the request";
        if has_tools(&self.tools) {
            return Err(ApiError::unsupported("tools", tools));
        }
        if has_tools(&self.functions) {
            return Err(ApiError::unsupported("functions", tools));
        }
        if self.n.is_some_and(|n| n != 1) {
            return Err(ApiError::unsupported("n", "an agent returns one answer; send several requests for more"));
        }
        if self.logprobs == Some(true) {
            return Err(ApiError::unsupported("logprobs", "agents do not return probabilities; remove `logprobs`"));
        }
        if self.audio.is_some() {
            return Err(ApiError::unsupported("audio", "agents answer in text; remove `audio`"));
        }
        Ok(())
    }

    /// The agent's settings, with the settings of the request in their place. A request can lower the agent's limit of
    /// output tokens, but not raise it.
    fn settings(&self, agent: &ServedAgent) -> Result<Settings, ApiError> {
        let mut settings = agent.agent.model_settings().clone();
        let max_tokens = self.max_completion_tokens.into_iter().chain(self.max_tokens).min();
        if max_tokens == Some(0) {
            return Err(ApiError::field("max_tokens", "`max_tokens` must be at least 1"));
        }
        check_range("temperature", self.temperature, 2.0)?;
        check_range("top_p", self.top_p, 1.0)?;
        settings.output = self.output_schema(settings.output)?;
        settings.max_output_tokens = settings.max_output_tokens.into_iter().chain(max_tokens).min();
        settings.temperature = self.temperature.or(settings.temperature);
        settings.top_p = self.top_p.or(settings.top_p);
        match &self.stop {
            None => {}
            Some(OneOrMany::One(text)) => settings.stop_sequences = vec![text.clone()],
            Some(OneOrMany::Many(texts)) => settings.stop_sequences.clone_from(texts),
        }
        settings.seed = self.seed.and_then(|seed| u64::try_from(seed).ok()).or(settings.seed);
        let reasoning = self.reasoning_effort.as_deref().map(parse_effort).transpose()?;
        settings.reasoning = reasoning.or(settings.reasoning);
        settings.user = self.user.clone().or(settings.user);
        if let Some(metadata) = &self.metadata {
            settings.metadata.clone_from(metadata);
        }
        Ok(settings)
    }

    fn output_schema(&self, configured: Option<OutputSchema>) -> Result<Option<OutputSchema>, ApiError> {
        let (name, schema, strict) = match self.response_format.as_ref().map(|format| &format.0) {
            None | Some(ResponseFormat::Text) => return Ok(configured),
            Some(ResponseFormat::JsonObject) => ("answer", &json!({ "type": "object" }), false),
            Some(ResponseFormat::JsonSchema { json_schema: Object(NamedSchema { name, schema, strict }) }) => {
                (name.as_str(), schema, *strict == Some(true))
            }
        };
        if configured.is_some() {
            let message = "the answers of this agent have a configured schema; remove `response_format`";
            return Err(ApiError::unsupported("response_format", message));
        }
        let invalid = |error: String| ApiError::field("response_format.json_schema.schema", error);
        let schema = RawJson::of(schema).map_err(|error| invalid(error.to_string()))?;
        Schema::compile(&schema).map_err(|error| invalid(error.to_string()))?;
        Ok(Some(OutputSchema::new(name, schema).strict(strict)))
    }
}

fn check_range(name: &str, value: Option<f32>, max: f32) -> Result<(), ApiError> {
    if value.is_some_and(|value| !(0.0..=max).contains(&value)) {
        return Err(ApiError::field(name, format!("`{name}` must be between 0 and {max}")));
    }
    Ok(())
}

fn parse_effort(effort: &str) -> Result<Reasoning, ApiError> {
    Ok(Reasoning::Effort(match effort {
        "none" => return Ok(Reasoning::Off),
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        other => {
            let message = format!("unknown effort `{other}`; use none, minimal, low, medium, high or xhigh");
            return Err(ApiError::field("reasoning_effort", message));
        }
    }))
}

fn conversation(messages: Vec<Object<ChatMessage>>) -> Result<Conversation, ApiError> {
    let (mut instructions, mut history) = (Vec::new(), Vec::new());
    for (index, Object(message)) in messages.into_iter().enumerate() {
        let param = format!("messages[{index}]");
        let has_calls = message.tool_calls.is_some_and(|calls| !calls.is_empty());
        let parts = parts(message.content, &param)?;
        match message.role {
            ChatRole::System | ChatRole::Developer if !has_calls => {
                instructions.push(Message::new(Role::System, parts).text().into_owned());
            }
            ChatRole::Assistant if !has_calls => history.push(Message::new(Role::Assistant, parts)),
            ChatRole::User if !has_calls => history.push(Message::new(Role::User, parts)),
            ChatRole::System
            | ChatRole::Developer
            | ChatRole::Assistant
            | ChatRole::User
            | ChatRole::Tool
            | ChatRole::Function => {
                let message =
                    "the tool calls of agents are not part of the conversation; remove tool calls and tool results";
                return Err(ApiError::unsupported(&param, message));
            }
        }
    }
    let question = history.pop().filter(|message| message.role() == Role::User && !message.parts().is_empty());
    let question = question
        .ok_or_else(|| ApiError::field("messages", "the last message must have the role \"user\" and some content"))?;
    let task = Task::from(question).history(Transcript::repaired(history));
    Ok(Conversation { instructions: instructions.join("\n\n"), task })
}

fn parts(content: Option<Content>, param: &str) -> Result<Vec<Part>, ApiError> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Content::Parts(parts)) => parts.into_iter().map(|Object(part)| parse_part(part, param)).collect(),
    }
}

fn parse_part(part: ContentPart, param: &str) -> Result<Part, ApiError> {
    let url = match part {
        ContentPart::Text { text } => return Ok(Part::text(text)),
        ContentPart::ImageUrl { image_url: Object(image) } => image.url,
    };
    let Some(inline) = url.strip_prefix("data:") else {
        if url.starts_with("https://") || url.starts_with("http://") {
            return Ok(Part::Image(Image::Url(url)));
        }
        return Err(ApiError::field(param, "the URL of an image must start with `https://`, `http://` or `data:`"));
    };
    let (media_type, data) = inline
        .split_once(";base64,")
        .ok_or_else(|| ApiError::field(param, "an inline image must be written as `data:image/png;base64,…`"))?;
    Ok(Part::Image(Image::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }))
}
