//! The body of `POST /v1/chat/completions`, and what it sets.

use std::collections::BTreeMap;

use brigade_core::{RawJson, Settings};
use brigade_edge::{Object, TextOr, whole};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::chat_messages::{ChatConversation, ChatMessage};
use crate::shared::{
    client_tools::{self, ClientTools},
    field_error::FieldError,
    metadata::MetadataValue,
    settings::{FormFields, NamedForm, OutputForm, check_range, output_limit, output_schema, parse_effort},
};

/// A request. Unknown fields are ignored, as clients send many. Fields that would change the answer are refused.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ChatBody {
    /// The name of an agent.
    pub model: String,
    #[schemars(length(min = 1))]
    messages: Vec<Object<ChatMessage>>,
    /// Whether the answer is streamed.
    pub stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    #[serde(default, deserialize_with = "whole")]
    #[schemars(range(min = -1), extend("not" = { "const": 0 }))]
    max_tokens: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    #[schemars(range(min = -1), extend("not" = { "const": 0 }))]
    max_completion_tokens: Option<i64>,
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f32>,
    #[schemars(range(min = 0, max = 1))]
    top_p: Option<f32>,
    #[schemars(range(min = -2, max = 2))]
    frequency_penalty: Option<f32>,
    #[schemars(range(min = -2, max = 2))]
    presence_penalty: Option<f32>,
    stop: Option<TextOr<Vec<String>>>,
    #[serde(default, deserialize_with = "whole")]
    seed: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    #[schemars(range(min = 1, max = 1))]
    n: Option<i64>,
    user: Option<String>,
    metadata: Option<BTreeMap<String, MetadataValue>>,
    #[schemars(regex(pattern = "^(none|minimal|low|medium|high|xhigh|max)$"))]
    reasoning_effort: Option<String>,
    response_format: Option<Object<ResponseFormat>>,
    tools: Option<Vec<Value>>,
    #[schemars(length(max = 0))]
    functions: Option<Vec<Value>>,
    #[schemars(extend("enum" = [false, null]))]
    logprobs: Option<bool>,
    #[schemars(extend("enum" = [0, null]))]
    top_logprobs: Option<i64>,
    #[schemars(length(max = 0))]
    logit_bias: Option<BTreeMap<String, Value>>,
    #[schemars(with = "Option<()>")]
    audio: Option<Value>,
    #[schemars(inner(regex(pattern = "^text$")))]
    modalities: Option<Vec<String>>,
    tool_choice: Option<Value>,
    #[schemars(extend("enum" = ["none", "auto", null]))]
    function_call: Option<Value>,
    #[schemars(with = "Option<()>")]
    agent: Option<Value>,
    #[schemars(with = "Option<()>")]
    background: Option<Value>,
    #[schemars(with = "Option<()>")]
    budget: Option<Value>,
    #[schemars(with = "Option<()>")]
    durable: Option<Value>,
    #[schemars(with = "Option<()>")]
    instructions: Option<Value>,
    #[schemars(with = "Option<()>")]
    session: Option<Value>,
    #[schemars(with = "Option<()>")]
    session_id: Option<Value>,
    #[schemars(with = "Option<()>")]
    task: Option<Value>,
    #[schemars(with = "Option<()>")]
    timeout: Option<Value>,
    #[schemars(with = "Option<()>")]
    conversation: Option<Value>,
    #[schemars(with = "Option<()>")]
    previous_response_id: Option<Value>,
    #[schemars(with = "Option<()>")]
    web_search_options: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct StreamOptions {
    include_usage: Option<bool>,
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
    schema: serde_json::Map<String, Value>,
    strict: Option<bool>,
}

const FORM: FormFields = FormFields { form: "response_format", schema: "response_format.json_schema.schema" };

impl ChatBody {
    /// Refuses fields that would change the answer and are not supported. `accepts_tools` says whether the agent accepts tools
    /// of clients.
    pub fn refuse_unsupported(&self, accepts_tools: bool) -> Result<(), FieldError> {
        let has_tools = |tools: &Option<Vec<Value>>| tools.as_ref().is_some_and(|tools| !tools.is_empty());
        if has_tools(&self.tools) && !accepts_tools {
            return Err(client_tools::refused("tools", &self.model));
        }
        if has_tools(&self.functions) {
            let message = "`functions` is the old name of `tools`; write `tools`";
            return Err(FieldError::unsupported("functions", message));
        }
        if self.n.is_some_and(|n| n != 1) {
            return Err(FieldError::unsupported("n", "an agent returns one answer; send several requests for more"));
        }
        if self.logprobs == Some(true) {
            return Err(FieldError::unsupported("logprobs", "agents do not return probabilities; remove `logprobs`"));
        }
        if self.top_logprobs.is_some_and(|number| number != 0) {
            let message = "agents do not return probabilities; remove `top_logprobs`";
            return Err(FieldError::unsupported("top_logprobs", message));
        }
        if self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
            let message = "an agent may ask several models, which have other tokens; remove `logit_bias`";
            return Err(FieldError::unsupported("logit_bias", message));
        }
        let has_other_modality =
            self.modalities.as_ref().is_some_and(|modalities| modalities.iter().any(|name| name != "text"));
        for (name, is_set) in [("audio", self.audio.is_some()), ("modalities", has_other_modality)] {
            if is_set {
                return Err(FieldError::unsupported(name, format!("agents answer in text; remove `{name}`")));
            }
        }
        let forces =
            |choice: &Option<Value>| choice.as_ref().is_some_and(|choice| choice != "none" && choice != "auto");
        if forces(&self.tool_choice) && !accepts_tools {
            return Err(client_tools::refused("tool_choice", &self.model));
        }
        if forces(&self.function_call) {
            let message = "`function_call` is the old name of `tool_choice`; write `tool_choice`";
            return Err(FieldError::unsupported("function_call", message));
        }
        self.refuse_misplaced()
    }

    /// Refuses fields that other endpoints have. If they were ignored, the client would get something else than it asks for.
    fn refuse_misplaced(&self) -> Result<(), FieldError> {
        let of_runs = [
            ("agent", &self.agent),
            ("background", &self.background),
            ("budget", &self.budget),
            ("durable", &self.durable),
            ("instructions", &self.instructions),
            ("session", &self.session),
            ("session_id", &self.session_id),
            ("task", &self.task),
            ("timeout", &self.timeout),
        ];
        if let Some((name, _)) = of_runs.into_iter().find(|(_, value)| value.is_some()) {
            let message =
                format!("Chat Completions has no `{name}`; `POST /v1/runs` has sessions, budgets and timeouts");
            return Err(FieldError::unsupported(name, message));
        }
        let kept = "this server keeps no conversations for Chat Completions; send all messages, or use \
                    `POST /v1/responses` or a session of `POST /v1/runs`";
        let others = [
            ("conversation", &self.conversation, kept),
            ("previous_response_id", &self.previous_response_id, kept),
            (
                "web_search_options",
                &self.web_search_options,
                "agents use the tools that the server configures; remove it",
            ),
        ];
        match others.into_iter().find(|(_, value, _)| value.is_some()) {
            Some((name, _, message)) => Err(FieldError::unsupported(name, message)),
            None => Ok(()),
        }
    }

    /// The agent's settings, with the settings of the request in their place. A request can lower the agent's limit of
    /// output tokens, but not raise it.
    pub fn settings(&self, agent: &Settings) -> Result<Settings, FieldError> {
        let mut settings = agent.clone();
        let max_tokens = output_limit("max_tokens", self.max_tokens)?;
        let max_completion_tokens = output_limit("max_completion_tokens", self.max_completion_tokens)?;
        check_range("temperature", self.temperature, 0.0..=2.0)?;
        check_range("top_p", self.top_p, 0.0..=1.0)?;
        let penalties = [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)];
        for (name, penalty) in penalties {
            check_range(name, penalty, -2.0..=2.0)?;
            // Each client leaves them out for the models that refuse them. Zero is the default.
            if let Some(penalty) = penalty.filter(|penalty| *penalty != 0.0) {
                let penalty = RawJson::of(&penalty).map_err(|error| FieldError::invalid(name, error.to_string()))?;
                settings.extra.insert(name.to_owned(), penalty);
            }
        }
        settings.output = output_schema(&self.output_form(), &FORM, settings.output)?;
        let limits = [settings.max_output_tokens, max_tokens, max_completion_tokens];
        settings.max_output_tokens = limits.into_iter().flatten().min();
        settings.temperature = self.temperature.or(settings.temperature);
        settings.top_p = self.top_p.or(settings.top_p);
        match &self.stop {
            None => {}
            Some(TextOr::Text(text)) => settings.stop_sequences = vec![text.clone()],
            Some(TextOr::Other(texts)) => settings.stop_sequences.clone_from(texts),
        }
        settings.seed = self.seed.map_or(settings.seed, seed);
        let reasoning =
            self.reasoning_effort.as_deref().map(|effort| parse_effort("reasoning_effort", effort)).transpose()?;
        settings.reasoning = reasoning.or(settings.reasoning);
        settings.user = self.user.clone().or(settings.user);
        if let Some(metadata) = &self.metadata {
            settings.metadata = metadata.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        }
        Ok(settings)
    }

    /// The tools of the client.
    pub fn client_tools(&self) -> Result<ClientTools, FieldError> {
        client_tools::read(self.tools.as_deref(), self.tool_choice.as_ref(), Some("function"))
    }

    /// The conversation. `accepts_tools` says whether the agent accepts tools of clients.
    pub fn conversation(self, accepts_tools: bool) -> Result<ChatConversation, FieldError> {
        ChatConversation::new(self.messages, accepts_tools)
    }

    /// Whether the last chunk of a stream has the usage.
    pub fn include_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.0.include_usage == Some(true))
    }

    fn output_form(&self) -> OutputForm<'_> {
        match self.response_format.as_ref().map(|format| &format.0) {
            None | Some(ResponseFormat::Text) => OutputForm::Text,
            Some(ResponseFormat::JsonObject) => OutputForm::JsonObject,
            Some(ResponseFormat::JsonSchema { json_schema: Object(NamedSchema { name, schema, strict }) }) => {
                OutputForm::JsonSchema(NamedForm { name, schema, strict: *strict })
            }
        }
    }
}

/// Providers take seeds from 0 on. Clients of local servers write -1 for a random one.
fn seed(seed: i64) -> Option<u64> {
    (seed != -1).then(|| seed.unsigned_abs())
}
