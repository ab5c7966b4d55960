//! `POST /v1/chat/completions`, as `OpenAI` documents it: <https://platform.openai.com/docs/api-reference/chat/create>.
//!
//! The model is the name of an agent. The agent brings its own instructions and tools, so a client's tools are refused;
//! a client's instructions follow the agent's own.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use brigade_core::{
    Effort, Image, Message, Outcome, OutputSchema, Part, RawJson, Reasoning, Role, Settings, StopReason, Task,
    Transcript,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ApiError, Site,
    access::Caller,
    answer::{self, Details, Tokens},
    body::{JsonBody, Object},
    chat_stream,
    ids::Ids,
    launch::{Ask, Tighter},
    models,
};
use crate::{
    agents::team::Served,
    runs::manager::{CancelOnDrop, Record},
};

/// What a client asks. Fields that change nothing here are not read.
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
    stop: Option<OneOrMore>,
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
enum OneOrMore {
    One(String),
    More(Vec<String>),
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

/// What the messages of a request come to.
struct Conversation {
    instructions: String,
    task: Task,
}

/// Answers as the agent that `model` names.
pub(crate) async fn complete(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Extension(ids): Extension<Ids>,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Response, ApiError> {
    let served = models::find(&site.current(), &body.model)?;
    body.refuse_what_is_not_done()?;
    let settings = body.settings(&served)?;
    let Conversation { instructions, task } = conversation(body.messages)?;
    let ask = Ask {
        served,
        task,
        instructions,
        settings,
        limits: Tighter::default(),
        observer: None,
        deltas: false,
        append_only: false,
    };
    if body.stream == Some(true) {
        let include_usage = body.stream_options.is_some_and(|options| options.0.include_usage == Some(true));
        return chat_stream::respond(&site, &caller, (ids, ask, include_usage)).await;
    }
    let record = ask.start(&site, &caller, ids)?;
    // The client hanging up drops this future, and the run is cancelled.
    let _guard = CancelOnDrop(Arc::clone(&record));
    let end = record.ended().await;
    let outcome = answer::outcome(&end)?;
    Ok(Json(Completion::of(&record, outcome)).into_response())
}

/// A whole answer.
#[derive(Debug, Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: Tokens,
    brigade: Details<'a>,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Said<'a>,
    logprobs: (),
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Said<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<&'a str>,
}

impl<'a> Completion<'a> {
    fn of(record: &'a Record, outcome: &'a Outcome) -> Self {
        let refusal = (outcome.stop == StopReason::Refused).then_some(&*outcome.notice);
        let message = Said { role: "assistant", content: &outcome.text, refusal };
        let finish_reason = answer::finish_reason(outcome.stop);
        Self {
            id: completion_id(record),
            object: "chat.completion",
            created: record.began.as_second(),
            model: &record.agent,
            choices: [Choice { index: 0, message, logprobs: (), finish_reason }],
            usage: Tokens::from(&outcome.usage),
            brigade: Details::of(record.id, outcome),
        }
    }
}

/// The run's id, in the form that clients expect.
pub(crate) fn completion_id(record: &Record) -> String {
    format!("chatcmpl-{}", record.id)
}

impl ChatBody {
    fn refuse_what_is_not_done(&self) -> Result<(), ApiError> {
        let has_tools = |tools: &Option<Vec<Value>>| tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let own_tools = "agents use the tools that the server configures for them; take the client's own out";
        if has_tools(&self.tools) {
            return Err(ApiError::unsupported("tools", own_tools));
        }
        if has_tools(&self.functions) {
            return Err(ApiError::unsupported("functions", own_tools));
        }
        if self.n.is_some_and(|n| n != 1) {
            return Err(ApiError::unsupported("n", "an agent gives one answer; ask again for another"));
        }
        if self.logprobs == Some(true) {
            return Err(ApiError::unsupported("logprobs", "agents do not tell probabilities of tokens"));
        }
        if self.audio.is_some() {
            return Err(ApiError::unsupported("audio", "agents answer in text"));
        }
        Ok(())
    }

    /// The agent's settings, with what the client asks for. Its answers get shorter that way, never longer.
    fn settings(&self, served: &Served) -> Result<Settings, ApiError> {
        let own = served.settings.clone();
        let asked = self.max_completion_tokens.into_iter().chain(self.max_tokens).min();
        if asked == Some(0) {
            return Err(ApiError::field("max_tokens", "an answer has at least one token"));
        }
        for (name, value, most) in [("temperature", self.temperature, 2.0), ("top_p", self.top_p, 1.0)] {
            if value.is_some_and(|value| !(0.0..=most).contains(&value)) {
                return Err(ApiError::field(name, format!("`{name}` is between 0 and {most}")));
            }
        }
        let output = self.output(&own)?;
        let mut settings = own;
        settings.output = output;
        settings.max_output_tokens = settings.max_output_tokens.into_iter().chain(asked).min();
        settings.temperature = self.temperature.or(settings.temperature);
        settings.top_p = self.top_p.or(settings.top_p);
        match &self.stop {
            None => {}
            Some(OneOrMore::One(text)) => settings.stop_sequences = vec![text.clone()],
            Some(OneOrMore::More(texts)) => settings.stop_sequences.clone_from(texts),
        }
        settings.seed = self.seed.and_then(|seed| u64::try_from(seed).ok()).or(settings.seed);
        let asked_reasoning = self.reasoning_effort.as_deref().map(reasoning).transpose()?;
        settings.reasoning = asked_reasoning.or(settings.reasoning);
        settings.user = self.user.clone().or(settings.user);
        settings.metadata = self.metadata.clone().unwrap_or(settings.metadata);
        Ok(settings)
    }

    fn output(&self, own: &Settings) -> Result<Option<OutputSchema>, ApiError> {
        let (name, schema, strict) = match self.response_format.as_ref().map(|format| &format.0) {
            None | Some(ResponseFormat::Text) => return Ok(own.output.clone()),
            Some(ResponseFormat::JsonObject) => ("answer", &json!({ "type": "object" }), false),
            Some(ResponseFormat::JsonSchema { json_schema: Object(NamedSchema { name, schema, strict }) }) => {
                (name.as_str(), schema, *strict == Some(true))
            }
        };
        if own.output.is_some() {
            let message = "the answers of this agent have a form of their own; leave `response_format` out";
            return Err(ApiError::unsupported("response_format", message));
        }
        let wrong = |error: String| ApiError::field("response_format.json_schema.schema", error);
        let schema = RawJson::of(schema).map_err(|error| wrong(error.to_string()))?;
        brigade_core::Schema::compile(&schema).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(OutputSchema::new(name, schema).strict(strict)))
    }
}

fn reasoning(effort: &str) -> Result<Reasoning, ApiError> {
    Ok(Reasoning::Effort(match effort {
        "none" => return Ok(Reasoning::Off),
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        other => {
            let message = format!("`{other}` is no effort; there are none, minimal, low, medium, high, xhigh");
            return Err(ApiError::field("reasoning_effort", message));
        }
    }))
}

fn conversation(messages: Vec<Object<ChatMessage>>) -> Result<Conversation, ApiError> {
    let (mut instructions, mut history) = (Vec::new(), Vec::new());
    for (index, Object(message)) in messages.into_iter().enumerate() {
        let param = format!("messages[{index}]");
        let calls_tools = message.tool_calls.is_some_and(|calls| !calls.is_empty());
        if calls_tools || matches!(message.role, ChatRole::Tool | ChatRole::Function) {
            let why = "agents use their own tools, whose calls are not part of the conversation; leave them out";
            return Err(ApiError::unsupported(&param, why));
        }
        let parts = parts(message.content, &param)?;
        match message.role {
            ChatRole::System | ChatRole::Developer => {
                instructions.push(Message::new(Role::System, parts).text().into_owned());
            }
            ChatRole::Assistant => history.push(Message::new(Role::Assistant, parts)),
            _ => history.push(Message::new(Role::User, parts)),
        }
    }
    let question = history.pop().filter(|message| message.role() == Role::User && !message.parts().is_empty());
    let question = question.ok_or_else(|| {
        ApiError::field("messages", "the last message must be a question: `role` \"user\", with some content")
    })?;
    let task = Task::from(question).history(Transcript::repaired(history));
    Ok(Conversation { instructions: instructions.join("\n\n"), task })
}

fn parts(content: Option<Content>, param: &str) -> Result<Vec<Part>, ApiError> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Content::Parts(parts)) => parts.into_iter().map(|Object(part)| read_part(part, param)).collect(),
    }
}

fn read_part(part: ContentPart, param: &str) -> Result<Part, ApiError> {
    let url = match part {
        ContentPart::Text { text } => return Ok(Part::text(text)),
        ContentPart::ImageUrl { image_url: Object(image) } => image.url,
    };
    let Some(inline) = url.strip_prefix("data:") else {
        if url.starts_with("https://") || url.starts_with("http://") {
            return Ok(Part::Image(Image::Url(url)));
        }
        return Err(ApiError::field(param, "a picture has an `https` address or is a `data:` URL"));
    };
    let (media_type, data) = inline
        .split_once(";base64,")
        .ok_or_else(|| ApiError::field(param, "a picture in the request is written as `data:image/png;base64,…`"))?;
    Ok(Part::Image(Image::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }))
}
