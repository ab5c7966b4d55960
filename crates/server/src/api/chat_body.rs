//! The body of `POST /v1/chat/completions`, and what it sets.

use std::{collections::BTreeMap, ops::RangeInclusive};

use brigade_core::{Effort, OutputSchema, RawJson, Reasoning, Schema, Settings};
use brigade_edge::{Object, TextOr, whole};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::{ApiError, chat_messages::ChatMessage};
use crate::agents::served::ServedAgent;

/// A request. Unknown fields are ignored, as clients send many. Fields that would change the answer are refused.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatBody {
    pub(super) model: String,
    #[schemars(length(min = 1))]
    pub(super) messages: Vec<Object<ChatMessage>>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<Object<StreamOptions>>,
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
    #[schemars(length(max = 0))]
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
    #[schemars(extend("enum" = ["none", "auto", null]))]
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
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

/// A text. Clients also send numbers and booleans.
#[derive(Debug, Clone, JsonSchema)]
struct MetadataValue(#[schemars(with = "MetadataSchema")] String);

/// The schema of [`MetadataValue`].
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum MetadataSchema {
    Text(String),
    Number(f64),
    Boolean(bool),
}

impl<'de> Deserialize<'de> for MetadataValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(Self(value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(de::Error::custom("expected a string")),
        }
    }
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

impl ChatBody {
    pub(super) fn refuse_unsupported(&self) -> Result<(), ApiError> {
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
        if self.top_logprobs.is_some_and(|number| number != 0) {
            let message = "agents do not return probabilities; remove `top_logprobs`";
            return Err(ApiError::unsupported("top_logprobs", message));
        }
        if self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
            let message = "an agent may ask several models, which have other tokens; remove `logit_bias`";
            return Err(ApiError::unsupported("logit_bias", message));
        }
        let has_other_modality =
            self.modalities.as_ref().is_some_and(|modalities| modalities.iter().any(|name| name != "text"));
        for (name, is_set) in [("audio", self.audio.is_some()), ("modalities", has_other_modality)] {
            if is_set {
                return Err(ApiError::unsupported(name, format!("agents answer in text; remove `{name}`")));
            }
        }
        let forces =
            |choice: &Option<Value>| choice.as_ref().is_some_and(|choice| choice != "none" && choice != "auto");
        for (name, choice) in [("tool_choice", &self.tool_choice), ("function_call", &self.function_call)] {
            if forces(choice) {
                return Err(ApiError::unsupported(name, tools));
            }
        }
        self.refuse_misplaced()
    }

    /// Refuses fields that other endpoints have. If they were ignored, the client would get something else than it asks for.
    fn refuse_misplaced(&self) -> Result<(), ApiError> {
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
            return Err(ApiError::unsupported(name, message));
        }
        let kept = "this server keeps no conversations for Chat Completions; send all messages, or use a session of \
                    `POST /v1/runs`";
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
            Some((name, _, message)) => Err(ApiError::unsupported(name, message)),
            None => Ok(()),
        }
    }

    /// The agent's settings, with the settings of the request in their place. A request can lower the agent's limit of
    /// output tokens, but not raise it.
    pub(super) fn settings(&self, agent: &ServedAgent) -> Result<Settings, ApiError> {
        let mut settings = agent.agent.model_settings().clone();
        let max_tokens = output_limit("max_tokens", self.max_tokens)?;
        let max_completion_tokens = output_limit("max_completion_tokens", self.max_completion_tokens)?;
        check_range("temperature", self.temperature, 0.0..=2.0)?;
        check_range("top_p", self.top_p, 0.0..=1.0)?;
        let penalties = [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)];
        for (name, penalty) in penalties {
            check_range(name, penalty, -2.0..=2.0)?;
            // Each client leaves them out for the models that refuse them. Zero is the default.
            if let Some(penalty) = penalty.filter(|penalty| *penalty != 0.0) {
                let penalty = RawJson::of(&penalty).map_err(|error| ApiError::field(name, error.to_string()))?;
                settings.extra.insert(name.to_owned(), penalty);
            }
        }
        settings.output = self.output_schema(settings.output)?;
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
        let reasoning = self.reasoning_effort.as_deref().map(parse_effort).transpose()?;
        settings.reasoning = reasoning.or(settings.reasoning);
        settings.user = self.user.clone().or(settings.user);
        if let Some(metadata) = &self.metadata {
            settings.metadata = metadata.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        }
        Ok(settings)
    }

    fn output_schema(&self, configured: Option<OutputSchema>) -> Result<Option<OutputSchema>, ApiError> {
        let (name, schema, strict) = match self.response_format.as_ref().map(|format| &format.0) {
            None | Some(ResponseFormat::Text) => return Ok(configured),
            Some(ResponseFormat::JsonObject) => ("answer", RawJson::of(&json!({ "type": "object" })), false),
            Some(ResponseFormat::JsonSchema { json_schema: Object(NamedSchema { name, schema, strict }) }) => {
                (name.as_str(), RawJson::of(schema), *strict == Some(true))
            }
        };
        if configured.is_some() {
            let message = "the answers of this agent have a configured schema; remove `response_format`";
            return Err(ApiError::unsupported("response_format", message));
        }
        let invalid = |error: String| ApiError::field("response_format.json_schema.schema", error);
        let schema = schema.map_err(|error| invalid(error.to_string()))?;
        Schema::compile(&schema).map_err(|error| invalid(error.to_string()))?;
        Ok(Some(OutputSchema::new(name, schema).strict(strict)))
    }
}

fn check_range(name: &str, value: Option<f32>, range: RangeInclusive<f32>) -> Result<(), ApiError> {
    if value.is_some_and(|value| !range.contains(&value)) {
        return Err(ApiError::field(name, format!("`{name}` must be between {} and {}", range.start(), range.end())));
    }
    Ok(())
}

/// The limit of output tokens. Clients of local servers write -1 for no limit.
fn output_limit(name: &str, value: Option<i64>) -> Result<Option<u32>, ApiError> {
    match value {
        None | Some(-1) => Ok(None),
        Some(tokens @ 1..) => Ok(Some(u32::try_from(tokens).unwrap_or(u32::MAX))),
        Some(_) => Err(ApiError::field(name, format!("`{name}` must be at least 1, or -1 for the agent's own limit"))),
    }
}

/// Providers take seeds from 0 on. Clients of local servers write -1 for a random one.
fn seed(seed: i64) -> Option<u64> {
    (seed != -1).then(|| seed.unsigned_abs())
}

fn parse_effort(effort: &str) -> Result<Reasoning, ApiError> {
    Ok(Reasoning::Effort(match effort {
        "none" => return Ok(Reasoning::Off),
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        "max" => Effort::Max,
        other => {
            let message = format!("unknown effort `{other}`; use none, minimal, low, medium, high, xhigh or max");
            return Err(ApiError::field("reasoning_effort", message));
        }
    }))
}

#[cfg(test)]
mod tests {
    use brigade_core::Agent;
    use brigade_core::testing::ScriptedModel;

    use super::*;
    use crate::api::{chat_messages::Conversation, json_body::parse};

    /// The settings of a request with these fields, or the field and the message of its error.
    fn settings(fields: Value) -> Result<Settings, (String, String)> {
        let Value::Object(fields) = fields else { panic!("{fields} is not an object") };
        let mut body = json!({ "model": "clerk", "messages": [{ "role": "user", "content": "Hello?" }] });
        body.as_object_mut().unwrap().extend(fields);
        let mut configured = Settings::default();
        configured.max_output_tokens = Some(500);
        let agent = ServedAgent::new(Agent::new("clerk", ScriptedModel::new([])).settings(configured));
        let result = parse::<ChatBody>(body.to_string().as_bytes()).and_then(|body| {
            body.refuse_unsupported()?;
            let settings = body.settings(&agent)?;
            Conversation::new(body.messages).map(|_| settings)
        });
        result.map_err(|error| (error.param.unwrap_or_default(), error.message))
    }

    #[test]
    fn numbers_of_common_clients_are_taken() {
        let seed = |value: Value| settings(json!({ "seed": value })).unwrap().seed;
        assert_eq!(
            [json!(7), json!(7.0), json!(-7), json!(-1), json!(null)].map(seed),
            [Some(7), Some(7), Some(7), None, None]
        );
        for name in ["max_tokens", "max_completion_tokens"] {
            let limit = |value: Value| settings(json!({ name: value })).unwrap().max_output_tokens;
            let values = [json!(100), json!(100.0), json!(-1), json!(null), json!(9_000_000_000_u64), json!(u64::MAX)];
            assert_eq!(values.map(limit), [Some(100), Some(100), Some(500), Some(500), Some(500), Some(500)], "{name}");
        }
        let both = settings(json!({ "max_tokens": 300, "max_completion_tokens": 200 })).unwrap();
        assert_eq!(both.max_output_tokens, Some(200));
        let metadata = settings(json!({ "metadata": { "a": 1, "b": 1.5, "c": true, "d": "x" } })).unwrap().metadata;
        assert_eq!(metadata.values().collect::<Vec<_>>(), ["1", "1.5", "true", "x"]);
        assert_eq!(
            settings(json!({ "reasoning_effort": "max" })).unwrap().reasoning,
            Some(Reasoning::Effort(Effort::Max))
        );
        assert!(settings(json!({ "n": 1.0 })).is_ok());
        assert_eq!(settings(json!({ "stop": "x" })).unwrap().stop_sequences, ["x"]);
        assert_eq!(settings(json!({ "stop": ["x", "y"] })).unwrap().stop_sequences, ["x", "y"]);
    }

    #[test]
    fn penalties_are_passed_on_and_probabilities_refused_by_name() {
        let sent = settings(json!({ "frequency_penalty": 0.5, "presence_penalty": -1, "logprobs": false, "n": 1,
            "top_logprobs": 0, "logit_bias": {} }));
        let extra: Vec<_> =
            sent.unwrap().extra.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
        let penalty = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(extra, [penalty("frequency_penalty", "0.5"), penalty("presence_penalty", "-1.0")]);
        assert!(settings(json!({ "frequency_penalty": 0.0, "presence_penalty": null })).unwrap().extra.is_empty());
        for (fields, param) in [
            (json!({ "n": 2 }), "n"),
            (json!({ "logprobs": true }), "logprobs"),
            (json!({ "top_logprobs": 3 }), "top_logprobs"),
            (json!({ "logit_bias": { "50256": -100 } }), "logit_bias"),
            (json!({ "frequency_penalty": 2.5 }), "frequency_penalty"),
            (json!({ "presence_penalty": -3 }), "presence_penalty"),
        ] {
            assert_eq!(settings(fields).unwrap_err().0, param);
        }
    }

    #[test]
    fn fields_of_other_endpoints_are_refused_by_name_and_unknown_ones_ignored() {
        for (name, value, expected) in [
            ("session", json!("s1"), "`POST /v1/runs` has sessions"),
            ("session_id", json!("s1"), "`POST /v1/runs` has sessions"),
            ("budget", json!({ "usd": "0.10" }), "budgets"),
            ("agent", json!("clerk"), "Chat Completions has no `agent`"),
            ("task", json!("Add."), "Chat Completions has no `task`"),
            ("instructions", json!("Be brief."), "Chat Completions has no `instructions`"),
            ("background", json!(true), "Chat Completions has no `background`"),
            ("durable", json!(false), "Chat Completions has no `durable`"),
            ("timeout", json!("5s"), "timeouts"),
            ("conversation", json!("c1"), "send all messages"),
            ("previous_response_id", json!("r1"), "send all messages"),
            ("web_search_options", json!({}), "tools that the server configures"),
            ("modalities", json!(["text", "audio"]), "agents answer in text"),
            ("audio", json!({ "voice": "alloy" }), "agents answer in text"),
            ("tool_choice", json!("required"), "tools that the server configures"),
            ("tool_choice", json!({ "type": "function", "function": { "name": "f" } }), "tools that the server"),
            ("function_call", json!({ "name": "f" }), "tools that the server configures"),
        ] {
            let (param, message) = settings(json!({ name: value })).unwrap_err();
            assert!(param == name && message.contains(expected), "{name}: {param}: {message}");
            assert!(settings(json!({ name: null })).is_ok(), "{name}: null is as good as absent");
        }
        let harmless = json!({ "modalities": ["text"], "tool_choice": "none", "function_call": "auto", "store": false,
            "parallel_tool_calls": true, "service_tier": "auto", "prompt_cache_key": "x", "safety_identifier": "u",
            "prediction": null, "verbosity": "low", "chat_template_kwargs": {}, "num_ctx": 4096 });
        assert!(settings(harmless).is_ok());
    }

    #[test]
    fn values_that_are_not_taken_are_named_exactly() {
        for (fields, param, expected) in [
            (json!({ "max_tokens": 0 }), "max_tokens", "`max_tokens` must be at least 1"),
            (
                json!({ "max_completion_tokens": 0 }),
                "max_completion_tokens",
                "`max_completion_tokens` must be at least 1",
            ),
            (json!({ "max_completion_tokens": -2 }), "max_completion_tokens", "at least 1"),
            (json!({ "max_tokens": 1.5 }), "max_tokens", "`1.5` is not a valid number here; write a whole one"),
            (json!({ "max_tokens": "100" }), "max_tokens", "expected a JSON number; found a string"),
            (json!({ "temperature": "warm" }), "temperature", "expected a number; found a string"),
            (json!({ "stream": 1 }), "stream", "expected `true` or `false`; found `1`"),
            (json!({ "messages": "Hi." }), "messages", "expected a list; found a string"),
            (json!({ "metadata": 5 }), "metadata", "expected a map; found `5`"),
            (json!({ "seed": 0.5 }), "seed", "write a whole one"),
            (json!({ "seed": -1e300 }), "seed", "write a whole one"),
            (json!({ "metadata": { "a": null } }), "metadata.a", "expected a string"),
            (json!({ "metadata": { "a": { "b": 1 } } }), "metadata.a", "expected a string"),
            (json!({ "stop": 5 }), "stop", "expected a string"),
            (json!({ "stop": [5] }), "stop[0]", "expected a string"),
            (json!({ "reasoning_effort": "maximal" }), "reasoning_effort", "xhigh or max"),
            (
                json!({ "response_format": { "type": "regex" } }),
                "response_format.type",
                "unknown choice `regex`; expected one of `text`",
            ),
            (
                json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a", "schema": false } } }),
                "response_format",
                "expected a map; found `false`",
            ),
        ] {
            let (found, message) = settings(fields.clone()).unwrap_err();
            assert_eq!(found, param, "{fields}: {message}");
            assert!(message.contains(expected) && !message.contains("untagged"), "{fields}: {message}");
        }
    }

    #[test]
    fn parts_are_taken_or_refused_by_their_type() {
        let with = |part: Value| settings(json!({ "messages": [{ "role": "user", "content": [part] }] }));
        let png = "data:image/png;base64,AAAA";
        for part in [
            json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } }),
            json!({ "type": "image_url", "image_url": "https://a.example/x.png" }),
            json!({ "type": "image_url", "image_url": png }),
            json!({ "type": "image_url", "image_url": { "url": png, "detail": "low" } }),
        ] {
            assert!(with(part.clone()).is_ok(), "{part}");
        }
        let refusals = [
            json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "I can't." }] }),
            json!({ "role": "assistant", "content": null, "refusal": "I can't." }),
        ];
        for refusal in refusals {
            let messages =
                [json!({ "role": "user", "content": "x" }), refusal, json!({ "role": "user", "content": "y" })];
            assert!(settings(json!({ "messages": messages })).is_ok());
        }
        for (part, param, expected) in [
            (
                json!({ "type": "file", "file": { "file_id": "x" } }),
                "messages[0].content[0]",
                "parts of the type `file`",
            ),
            (
                json!({ "type": "input_audio", "input_audio": {} }),
                "messages[0].content[0]",
                "parts of the type `input_audio`",
            ),
            (json!({ "type": "video_url" }), "messages[0].content[0]", "unknown type of part `video_url`"),
            (json!({ "type": "text" }), "messages[0].content[0]", "needs the field `text`"),
            (json!({ "type": "image_url" }), "messages[0].content[0]", "needs the field `image_url`"),
            (json!({ "type": "text", "text": 5 }), "messages[0].content[0].text", "expected a string"),
            (json!({ "type": "image_url", "image_url": 5 }), "messages[0].content[0].image_url", "expected a string"),
            (
                json!({ "type": "image_url", "image_url": {} }),
                "messages[0].content[0].image_url",
                "the key `url` is missing",
            ),
            (json!({ "type": "image_url", "image_url": "x.png" }), "messages[0].content[0]", "must start with"),
            (json!({ "text": "x" }), "messages[0].content[0]", "the key `type` is missing"),
            (json!("x"), "messages[0].content[0]", "expected an object"),
        ] {
            let (found, message) = with(part.clone()).unwrap_err();
            assert!(message.contains(expected) && !message.contains("untagged"), "{part}: {message}");
            assert_eq!(found, param, "{part}: {message}");
        }
        let blank = [json!(""), json!(" \n"), json!(null), json!([]), json!([{ "type": "text", "text": " " }])];
        for content in blank {
            let (found, message) =
                settings(json!({ "messages": [{ "role": "user", "content": content }] })).unwrap_err();
            assert!(found == "messages" && message.contains("some content"), "{content}: {message}");
        }
        for content in [json!(5), json!(true), json!({ "type": "text", "text": "x" })] {
            let (found, message) =
                settings(json!({ "messages": [{ "role": "user", "content": content }] })).unwrap_err();
            assert!(found == "messages[0].content" && !message.contains("untagged"), "{found}: {message}");
        }
    }

    #[test]
    fn text_that_is_not_json_or_has_no_value_here_is_named_exactly() {
        for (body, param, expected) in [
            (
                r#"{"model":"clerk","temperature":1e999,"messages":[]}"#,
                Some("temperature"),
                "`temperature`: the number is too large",
            ),
            (r#"{"model":"\ud83d"}"#, Some("model"), "and its like are half a character; send both"),
            (r#"{"model":"\ude00 x"}"#, Some("model"), "and its like are half a character; send both"),
            (r#"{"model":"\ud83dx"}"#, Some("model"), "and its like are half a character; send both"),
            (r#"{"model":"clerk"}"#, None, "the body: the key `messages` is missing; add it"),
            (r#"{"model":"a","model":"b"}"#, None, "the body: the key `model` is there twice; remove one"),
            ("[]", None, "the body: expected an object; found a list"),
            ("", None, "the body is not valid JSON: EOF while parsing a value at line 1 column 0"),
            ("{'model':1}", None, "the body is not valid JSON: key must be a string at line 1 column 2"),
        ] {
            let error = parse::<ChatBody>(body.as_bytes()).unwrap_err();
            assert!(error.message.contains(expected) && error.param.as_deref() == param, "{body}: {error:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_before_the_body_is_skipped() {
        let body = "\u{feff}{\"model\":\"clerk\",\"messages\":[]}";
        assert_eq!(parse::<ChatBody>(body.as_bytes()).unwrap().model, "clerk");
    }
}
