//! Encodes requests.
//!
//! Each message is encoded once and keeps its bytes, and so do the tools, so that a turn encodes only new messages.

use std::{borrow::Cow, convert::Infallible};

use async_openai::types::chat::{
    ChatCompletionNamedToolChoice, ChatCompletionStreamOptions, ChatCompletionToolChoiceOption, FunctionName,
    ToolChoiceOptions,
};
use brigade_core::{Dialect, Message, ModelError, OutputSchema, Reasoning, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    chat_completions::{ChatCompletions, DIALECT},
    message::{self, SystemMessage, write_message},
    role_order,
    server::{Quirks, ReasoningField},
};
use crate::{
    json::{body_writer::BodyWriter, json},
    protocol::{known_models, protocol::ModelRequest},
};

/// Fields that `extra` cannot replace.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];

/// The body of a request. Equal requests have equal bytes, so that providers can cache the prompt.
pub(super) fn body(request: &ModelRequest<'_>, protocol: &ChatCompletions) -> Result<Vec<u8>, ModelError> {
    let quirks = &protocol.quirks;
    let ModelRequest { model, chat, settings, stream, .. } = *request;
    // An estimate with room for JSON escapes, so that the buffer rarely grows.
    let size = 512 + chat.transcript.visible_bytes() * 5 / 4 + chat.tools.size_bytes() * 5 / 4;
    let mut body = BodyWriter::new(size, &settings.extra);
    body.fixed("model", |out| json::write(out, model));
    let mut written = Ok(());
    body.fixed("messages", |out| written = write_messages(out, request, protocol));
    if !chat.tools.is_empty() {
        let dialect = Dialect { name: DIALECT, variant: 0 };
        body.fixed("tools", |out| {
            let Ok(()) = chat.tools.write_encoded(dialect, out, |specs, out| {
                json::write(out, &specs.iter().map(Tool::new).collect::<Vec<_>>());
                Ok::<_, Infallible>(())
            });
        });
        write_tool_choice(&mut body, &settings.tool_choice, quirks);
        body.field("parallel_tool_calls", settings.parallel_tool_calls.as_ref());
    }
    let format = settings.output.as_ref().filter(|_| chat.tools.is_empty() || quirks.format_beside_tools);
    body.field("response_format", format.map(|output| ResponseFormat::new(output, quirks)).as_ref());
    body.field(quirks.max_tokens_field, settings.output_limit().as_ref());
    body.field("temperature", settings.temperature.as_ref());
    body.field("top_p", settings.top_p.as_ref());
    body.field("stop", Some(&settings.stop_sequences).filter(|stops| !stops.is_empty()));
    body.field(quirks.seed_field, settings.seed.as_ref());
    if let Some(reasoning) = settings.reasoning {
        write_reasoning(&mut body, model, reasoning, quirks.reasoning);
    }
    body.field("prompt_cache_key", settings.prompt_cache_key.as_ref());
    body.field("service_tier", settings.service_tier.as_ref());
    body.field("user", settings.user.as_ref());
    body.field("metadata", Some(&settings.metadata).filter(|labels| !labels.is_empty()));
    if stream {
        body.fixed("stream", |out| json::write(out, &true));
        let options = ChatCompletionStreamOptions { include_usage: Some(true), include_obfuscation: None };
        body.field("stream_options", Some(&options).filter(|_| quirks.stream_options));
    }
    body.extras(&RESERVED);
    written.map(|()| body.finish())
}

fn write_messages(out: &mut Vec<u8>, request: &ModelRequest<'_>, protocol: &ChatCompletions) -> Result<(), ModelError> {
    let ModelRequest { chat, settings, maker, .. } = *request;
    let ChatCompletions { quirks, variant } = protocol;
    out.push(b'[');
    // Templates accept one message of instructions, at the beginning.
    let enforced = quirks.json_schema && (chat.tools.is_empty() || quirks.format_beside_tools);
    if let Some(output) = settings.output.as_ref().filter(|_| !enforced) {
        let text = format!("Answer with one JSON document that matches this JSON Schema: {}", output.schema.get());
        let instructions = chat.instructions.iter().map(|instructions| instructions.text().into_owned() + "\n\n");
        let content = instructions.collect::<String>() + &text;
        json::write(out, &SystemMessage { role: quirks.system_role, content: &content });
    } else if let Some(instructions) = &chat.instructions {
        let dialect = Dialect { name: DIALECT, variant: *variant };
        instructions.write_encoded(dialect, out, |message, out| write_message(message, out, quirks))?;
    }
    let mut write = |message: &Message| {
        separate(out);
        let readable = maker.readable(message);
        // Two encodings are kept: with the data of the answer, for its maker, and without it, for others.
        let variant = variant ^ u64::from(matches!(readable, Cow::Owned(_)));
        message.write_encoded(Dialect { name: DIALECT, variant }, out, |_, out| write_message(&readable, out, quirks))
    };
    if quirks.strict_roles {
        let is_empty = |answer: &Message| message::is_empty(&maker.readable(answer), quirks);
        role_order::strict(chat.transcript.visible(), is_empty).iter().try_for_each(&mut write)?;
    } else {
        chat.transcript.visible().try_for_each(&mut write)?;
    }
    out.push(b']');
    Ok(())
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> Tool<'a> {
    fn new(spec: &'a ToolSpec) -> Self {
        let function = Function {
            name: &spec.name,
            description: &spec.description,
            parameters: spec.input_schema.as_raw(),
            strict: spec.strict.then_some(true),
        };
        Self { r#type: "function", function }
    }
}

fn write_tool_choice(body: &mut BodyWriter<'_>, choice: &ToolChoice, quirks: &Quirks) {
    let choice = match choice {
        ToolChoice::Auto => return,
        // Mistral has another name for this mode.
        ToolChoice::Required => return body.field("tool_choice", Some(quirks.required_tool_choice)),
        ToolChoice::None => ChatCompletionToolChoiceOption::Mode(ToolChoiceOptions::None),
        ToolChoice::Named(name) => ChatCompletionToolChoiceOption::Function(ChatCompletionNamedToolChoice {
            function: FunctionName { name: name.clone() },
        }),
    };
    body.field("tool_choice", Some(&choice));
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> ResponseFormat<'a> {
    fn new(output: &'a OutputSchema, quirks: &Quirks) -> Self {
        if !quirks.json_schema {
            return Self::JsonObject;
        }
        let strict = output.strict.then_some(true);
        Self::JsonSchema { json_schema: NamedSchema { name: &output.name, schema: output.schema.as_raw(), strict } }
    }
}

fn write_reasoning(body: &mut BodyWriter<'_>, model: &str, reasoning: Reasoning, field: ReasoningField) {
    let effort = known_models::reasoning_effort(model, reasoning);
    match (field, reasoning) {
        (ReasoningField::Effort, _) => body.field("reasoning_effort", Some(&effort)),
        (ReasoningField::Object, Reasoning::Budget(tokens)) => {
            body.field("reasoning", Some(&json!({ "max_tokens": tokens })));
        }
        (ReasoningField::Object, Reasoning::Off | Reasoning::Effort(_)) => {
            body.field("reasoning", Some(&json!({ "effort": effort })));
        }
        (ReasoningField::Thinking, Reasoning::Off) => body.field("thinking", Some(&json!({ "type": "disabled" }))),
        (ReasoningField::Thinking, Reasoning::Budget(_) | Reasoning::Effort(_)) => {
            body.field("thinking", Some(&json!({ "type": "enabled" })));
            body.field("reasoning_effort", Some(&effort));
        }
    }
}

#[cfg(test)]
mod tests;
