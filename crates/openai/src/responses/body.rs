//! The body of `POST /v1/responses`, and what it sets.

use std::collections::BTreeMap;

use brigade_core::Settings;
use brigade_edge::{Object, TextOr, whole};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    input::{ResponseInput, read_input},
    input_item::InputItem,
};
use crate::shared::{
    client_tools::{self, ClientTools},
    field_error::FieldError,
    metadata::MetadataValue,
    settings::{FormFields, NamedForm, OutputForm, check_range, output_limit, output_schema, parse_effort},
};

/// A request. Unknown fields are ignored, as clients send many. Fields that would change the answer are refused.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ResponseBody {
    /// The name of an agent.
    pub model: String,
    /// A question, or the items of a conversation.
    input: TextOr<Vec<Object<InputItem>>>,
    /// Instructions that follow the agent's own. Those of an earlier response are not carried over.
    pub(super) instructions: Option<String>,
    /// Whether the response is streamed.
    pub stream: Option<bool>,
    /// Whether the response is kept, so that it can be read and continued. True by default.
    store: Option<bool>,
    /// Whether to respond at once, while the agent works.
    background: Option<bool>,
    /// The response that this one continues.
    pub previous_response_id: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    #[schemars(range(min = -1), extend("not" = { "const": 0 }))]
    max_output_tokens: Option<i64>,
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f32>,
    #[schemars(range(min = 0, max = 1))]
    top_p: Option<f32>,
    pub(super) text: Option<Object<TextForm>>,
    pub(super) reasoning: Option<Object<ReasoningForm>>,
    pub(super) metadata: Option<BTreeMap<String, MetadataValue>>,
    #[schemars(extend("enum" = ["auto", null]))]
    truncation: Option<String>,
    include: Option<Vec<String>>,
    user: Option<String>,
    parallel_tool_calls: Option<bool>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    #[schemars(extend("enum" = [0, null]))]
    top_logprobs: Option<i64>,
    #[schemars(with = "Option<()>")]
    max_tool_calls: Option<Value>,
    #[schemars(with = "Option<()>")]
    conversation: Option<Value>,
    #[schemars(with = "Option<()>")]
    prompt: Option<Value>,
    #[schemars(with = "Option<()>")]
    messages: Option<Value>,
    #[schemars(with = "Option<()>")]
    agent: Option<Value>,
    #[schemars(with = "Option<()>")]
    budget: Option<Value>,
    #[schemars(with = "Option<()>")]
    session: Option<Value>,
    #[schemars(with = "Option<()>")]
    session_id: Option<Value>,
    #[schemars(with = "Option<()>")]
    task: Option<Value>,
    #[schemars(with = "Option<()>")]
    timeout: Option<Value>,
}

/// The form of the answer.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct TextForm {
    pub(super) format: Option<Object<TextFormat>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseTextFormat")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum TextFormat {
    Text,
    JsonObject,
    JsonSchema { name: String, schema: serde_json::Map<String, Value>, strict: Option<bool> },
}

/// How much to reason before the answer.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReasoningForm {
    #[schemars(regex(pattern = "^(none|minimal|low|medium|high|xhigh|max)$"))]
    pub(super) effort: Option<String>,
}

const FORM: FormFields = FormFields { form: "text.format", schema: "text.format.schema" };

/// What `include` may ask for: additions to items that answers of agents do not have, and to items of the input, which are
/// returned whole in any case.
const NOTHING_TO_ADD: [&str; 6] = [
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
];

impl ResponseBody {
    /// Whether the response is kept.
    pub fn is_stored(&self) -> bool {
        self.store != Some(false)
    }

    /// Whether the agent works on after the request was answered.
    pub fn is_background(&self) -> bool {
        self.background == Some(true)
    }

    /// Refuses fields that would change the answer and are not supported. `accepts_tools` says whether the agent accepts tools
    /// of clients.
    pub fn refuse_unsupported(&self, accepts_tools: bool) -> Result<(), FieldError> {
        let has_tools = self.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        if has_tools && !accepts_tools {
            return Err(client_tools::refused("tools", &self.model));
        }
        if self.tool_choice.as_ref().is_some_and(|choice| choice != "none" && choice != "auto") && !accepts_tools {
            return Err(client_tools::refused("tool_choice", &self.model));
        }
        if has_tools && self.is_background() {
            let message = "a response in the background has no client that runs tools; remove `tools` or `background`";
            return Err(FieldError::unsupported("tools", message));
        }
        if self.top_logprobs.is_some_and(|number| number != 0) {
            let message = "agents do not return probabilities; remove `top_logprobs`";
            return Err(FieldError::unsupported("top_logprobs", message));
        }
        if let Some(truncation) = self.truncation.as_deref().filter(|truncation| *truncation != "auto") {
            let message = format!(
                "agents leave out old messages of a conversation that is too long for them; write \"auto\" in place of \
                 `{truncation}`, or remove `truncation`"
            );
            return Err(FieldError::unsupported("truncation", message));
        }
        for (index, what) in self.include.iter().flatten().enumerate() {
            if !NOTHING_TO_ADD.contains(&what.as_str()) {
                let message = format!("agents have no `{what}` to include; remove it");
                return Err(FieldError::unsupported(format!("include[{index}]"), message));
            }
        }
        if self.is_background() && !self.is_stored() {
            let message = "a response in the background can be read only if it is kept; remove `store`";
            return Err(FieldError::invalid("store", message));
        }
        self.refuse_misplaced()
    }

    /// Refuses fields that other endpoints have. If they were ignored, the client would get something else than it asks for.
    fn refuse_misplaced(&self) -> Result<(), FieldError> {
        let of_runs = "Responses have none of it; `POST /v1/runs` has sessions, budgets and timeouts";
        let fields = [
            ("max_tool_calls", &self.max_tool_calls, "the configuration limits the turns of agents; remove it"),
            ("conversation", &self.conversation, "use `previous_response_id` to continue a response"),
            ("prompt", &self.prompt, "this server keeps no prompts; agents have instructions of their own"),
            ("messages", &self.messages, "Responses take `input`; `POST /v1/chat/completions` takes `messages`"),
            ("agent", &self.agent, "write the name of the agent as `model`"),
            ("budget", &self.budget, of_runs),
            ("session", &self.session, of_runs),
            ("session_id", &self.session_id, of_runs),
            ("task", &self.task, "write the task as `input`"),
            ("timeout", &self.timeout, of_runs),
        ];
        match fields.into_iter().find(|(_, value, _)| value.is_some()) {
            Some((name, _, message)) => Err(FieldError::unsupported(name, format!("`{name}`: {message}"))),
            None => Ok(()),
        }
    }

    /// The agent's settings, with the settings of the request in their place. A request can lower the agent's limit of
    /// output tokens, but not raise it.
    pub fn settings(&self, agent: &Settings) -> Result<Settings, FieldError> {
        let mut settings = agent.clone();
        check_range("temperature", self.temperature, 0.0..=2.0)?;
        check_range("top_p", self.top_p, 0.0..=1.0)?;
        let limit = output_limit("max_output_tokens", self.max_output_tokens)?;
        settings.output = output_schema(&self.output_form(), &FORM, settings.output)?;
        settings.max_output_tokens = settings.max_output_tokens.into_iter().chain(limit).min();
        settings.temperature = self.temperature.or(settings.temperature);
        settings.top_p = self.top_p.or(settings.top_p);
        let effort = self.reasoning.as_ref().and_then(|reasoning| reasoning.0.effort.as_deref());
        let reasoning = effort.map(|effort| parse_effort("reasoning.effort", effort)).transpose()?;
        settings.reasoning = reasoning.or(settings.reasoning);
        settings.user = self.user.clone().or(settings.user);
        // Models call tools in parallel unless they are asked not to.
        settings.parallel_tool_calls =
            self.parallel_tool_calls.filter(|parallel| !parallel).or(settings.parallel_tool_calls);
        if let Some(metadata) = &self.metadata {
            settings.metadata = metadata.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        }
        Ok(settings)
    }

    /// The tools of the client.
    pub fn client_tools(&self) -> Result<ClientTools, FieldError> {
        client_tools::read(self.tools.as_deref(), self.tool_choice.as_ref(), None)
    }

    /// The ids of the items of earlier responses that the input refers to.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let items = match &self.input {
            TextOr::Text(_) => &[],
            TextOr::Other(items) => items.as_slice(),
        };
        items.iter().filter_map(|Object(item)| item.reference())
    }

    /// The input as messages. `find` returns an item of an earlier response by its id.
    pub fn input(self, find: &dyn Fn(&str) -> Option<Value>) -> Result<ResponseInput, FieldError> {
        let mut input = read_input(self.input, find)?;
        if let Some(instructions) = self.instructions.filter(|text| !text.is_empty()) {
            input.instructions.insert(0, instructions);
        }
        Ok(input)
    }

    fn output_form(&self) -> OutputForm<'_> {
        match self.text.as_ref().and_then(|text| text.0.format.as_ref()).map(|format| &format.0) {
            None | Some(TextFormat::Text) => OutputForm::Text,
            Some(TextFormat::JsonObject) => OutputForm::JsonObject,
            Some(TextFormat::JsonSchema { name, schema, strict }) => {
                OutputForm::JsonSchema(NamedForm { name, schema, strict: *strict })
            }
        }
    }
}
