//! Writes a request.
//!
//! Messages and tools are written once each and their bytes kept with them, so that a turn only adds what is new.

use std::{collections::BTreeMap, convert::Infallible};

use async_openai::types::chat::{ChatCompletionNamedToolChoice, ChatCompletionToolChoiceOption, FunctionName};
use brigade_core::{Dialect, ModelError, OutputSchema, Reasoning, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    chat_completions::{ChatCompletions, DIALECT},
    message::{Words, write_message},
    server::{Quirks, ReasoningField},
};
use crate::{
    json::{body_writer::BodyWriter, json},
    protocol::{effort, protocol::ModelRequest},
};

/// What `extra` cannot replace: the framing of the answer, and what is written from kept bytes.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];

/// The body of a request.
pub(super) fn body(request: &ModelRequest<'_>, protocol: &ChatCompletions) -> Result<Vec<u8>, ModelError> {
    let quirks = &protocol.quirks;
    let ModelRequest { model, chat, settings, stream } = *request;
    let size = 512 + chat.transcript.visible_bytes() * 5 / 4 + chat.tools.size_bytes() * 5 / 4;
    let mut body = BodyWriter::new(size, &settings.extra);
    body.fixed("model", |out| json::write(out, model));
    let mut written = Ok(());
    body.fixed("messages", |out| written = messages(out, request, protocol));
    if !chat.tools.is_empty() {
        let dialect = Dialect { name: DIALECT, variant: 0 };
        body.fixed("tools", |out| {
            let Ok(()) = chat.tools.write_encoded(dialect, out, |specs, out| {
                write_tools(specs, out);
                Ok::<_, Infallible>(())
            });
        });
        write_tool_choice(&mut body, &settings.tool_choice, quirks);
        body.field("parallel_tool_calls", settings.parallel_tool_calls.as_ref());
    }
    if let Some(schema) = &settings.output {
        body.field("response_format", Some(&response_format(schema, quirks)));
    }
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
        body.fixed("stream", |out| out.extend_from_slice(b"true"));
        if quirks.stream_options {
            body.field("stream_options", Some(&json!({ "include_usage": true })));
        }
    }
    body.extras(&RESERVED);
    written.map(|()| body.finish())
}

fn messages(out: &mut Vec<u8>, request: &ModelRequest<'_>, protocol: &ChatCompletions) -> Result<(), ModelError> {
    let ChatCompletions { quirks, variant } = protocol;
    let dialect = Dialect { name: DIALECT, variant: *variant };
    out.push(b'[');
    for message in request.chat.instructions.iter().chain(request.chat.transcript.visible()) {
        separate(out);
        message.write_encoded(dialect, out, |message, out| write_message(message, out, quirks))?;
    }
    if let Some(schema) = request.settings.output.as_ref().filter(|_| !quirks.json_schema) {
        separate(out);
        let text = format!("Answer with one JSON document that matches this JSON Schema: {}", schema.schema.get());
        json::write(out, &Words { role: quirks.system_role, content: text.into() });
    }
    out.push(b']');
    Ok(())
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

/// A tool. The schema goes out as it was written, since the order of its properties is the order of the answer's;
/// `async-openai` would sort it.
#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn write_tools(specs: &[ToolSpec], out: &mut Vec<u8>) {
    let tools: Vec<Tool<'_>> = specs.iter().map(tool).collect();
    json::write(out, &tools);
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    Tool {
        r#type: "function",
        function: Function {
            name: &spec.name,
            description: &spec.description,
            parameters: spec.input_schema.as_raw(),
            strict: spec.strict.then_some(true),
        },
    }
}

fn write_tool_choice(body: &mut BodyWriter<'_>, choice: &ToolChoice, quirks: &Quirks) {
    match choice {
        ToolChoice::Auto => {}
        ToolChoice::None => body.field("tool_choice", Some("none")),
        ToolChoice::Required => body.field("tool_choice", Some(quirks.required_tool_choice)),
        ToolChoice::Named(name) => {
            let function = ChatCompletionNamedToolChoice { function: FunctionName { name: name.clone() } };
            body.field("tool_choice", Some(&ChatCompletionToolChoiceOption::Function(function)));
        }
    }
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

fn response_format<'a>(output: &'a OutputSchema, quirks: &Quirks) -> ResponseFormat<'a> {
    if !quirks.json_schema {
        return ResponseFormat::JsonObject;
    }
    let strict = output.strict.then_some(true);
    ResponseFormat::JsonSchema { json_schema: NamedSchema { name: &output.name, schema: output.raw(), strict } }
}

fn write_reasoning(body: &mut BodyWriter<'_>, model: &str, reasoning: Reasoning, field: ReasoningField) {
    let word = effort::effort_name(model, reasoning);
    match (field, reasoning) {
        (ReasoningField::Effort, _) => body.field("reasoning_effort", Some(word)),
        (ReasoningField::LooseObject, Reasoning::Budget(tokens)) => {
            body.field("reasoning", Some(&BTreeMap::from([("max_tokens", tokens)])));
        }
        (ReasoningField::LooseObject, _) => {
            body.field("reasoning", Some(&BTreeMap::from([("effort", word)])));
        }
        (ReasoningField::Thinking, Reasoning::Off) => {
            body.field("thinking", Some(&json!({ "type": "disabled" })));
        }
        (ReasoningField::Thinking, _) => {
            body.field("thinking", Some(&json!({ "type": "enabled" })));
            body.field("reasoning_effort", Some(word));
        }
    }
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests;
