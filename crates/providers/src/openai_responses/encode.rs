//! A question becomes the body of a request to the Responses API.

use std::{collections::BTreeMap, convert::Infallible};

use brigade_core::{ChatRequest, Dialect, Message, OutputSchema, Role, Settings, ToolChoice, ToolSpec};
use serde_json::json;

use super::{DIALECT, items};
use crate::{
    effort,
    json::{self, Body},
    protocol::Question,
};

/// The API refuses a smaller limit.
const MIN_OUTPUT_TOKENS: u32 = 16;
/// Fields that `extra` cannot replace.
const RESERVED: [&str; 4] = ["model", "stream", "tools", "input"];

/// The body of a request. Its bytes depend on the question alone.
pub(super) fn body(question: &Question<'_>, summary: Option<&str>) -> Vec<u8> {
    let Question { model, request, settings, stream } = *question;
    let state = State::of(settings);
    let mut body = Body::new(size_hint(request), &settings.extra);
    body.fixed("model", |out| json::string(out, model));
    if stream {
        body.fixed("stream", |out| json::value(out, &true));
    }
    if state == State::Ours {
        body.optional("store", Some(&false));
        if reasons(model) {
            body.optional("include", Some(&["reasoning.encrypted_content"]));
        }
    }
    if let Some(instructions) = &request.instructions {
        body.field("instructions", |out| write_instructions(out, instructions));
    }
    body.optional("max_output_tokens", settings.output_limit().map(|tokens| tokens.max(MIN_OUTPUT_TOKENS)).as_ref());
    body.optional("temperature", settings.temperature.as_ref());
    body.optional("top_p", settings.top_p.as_ref());
    if reasons(model) {
        let effort = settings.reasoning.map(|reasoning| effort::word(model, reasoning));
        write_reasoning(&mut body, effort, summary);
    }
    if let Some(output) = &settings.output {
        write_format(&mut body, output);
    }
    write_tools(&mut body, request, settings);
    body.optional("prompt_cache_key", settings.prompt_cache_key.as_ref());
    body.optional("service_tier", settings.service_tier.as_ref());
    body.optional("user", settings.user.as_ref());
    body.optional("metadata", Some(&settings.metadata).filter(|labels| !labels.is_empty()));
    body.extras(&RESERVED);
    body.fixed("input", |out| write_input(out, request, state));
    body.finish()
}

/// Who keeps the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// We do: all of it is sent each time.
    Ours,
    /// We do, but the provider stores answers as well and knows their items by id.
    Stored,
    /// The provider does: only what is new is sent.
    Theirs,
}

impl State {
    fn of(settings: &Settings) -> Self {
        let given = |name: &str| settings.extra.get(name).map(brigade_core::RawJson::get).filter(|raw| *raw != "null");
        if given("previous_response_id").or(given("conversation")).is_some() {
            Self::Theirs
        } else if given("store") == Some("true") {
            Self::Stored
        } else {
            Self::Ours
        }
    }
}

/// Whether a model may reason. Those that cannot refuse every field about it; of unknown ones the better is assumed.
fn reasons(model: &str) -> bool {
    const WITHOUT: [&str; 5] = ["gpt-3", "gpt-4", "chatgpt", "gpt-5-chat", "computer-use"];
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("openai.").or_else(|| name.strip_prefix("ft:")).unwrap_or(name);
    !WITHOUT.iter().any(|start| name.starts_with(start))
}

fn size_hint(request: &ChatRequest) -> usize {
    const PER_MESSAGE: usize = 160;
    let instructions = request.instructions.as_ref().map_or(0, Message::size_bytes);
    let visible = request.transcript.visible_bytes() + request.transcript.len() * PER_MESSAGE;
    1_024 + instructions + request.tools.size_bytes() * 5 / 4 + visible
}

/// Instructions are a string here, not items; the variant keeps the two apart.
fn write_instructions(out: &mut Vec<u8>, instructions: &Message) {
    const AS_STRING: Dialect = Dialect { name: DIALECT, variant: 2 };
    let Ok(()) = instructions.write_encoded(AS_STRING, out, |message, out| {
        json::string(out, &message.text());
        Ok::<_, Infallible>(())
    });
}

fn write_reasoning(body: &mut Body<'_>, effort: Option<&str>, summary: Option<&str>) {
    let fields = [("effort", effort), ("summary", summary)];
    let fields: BTreeMap<_, _> = fields.into_iter().filter_map(|(name, word)| Some((name, word?))).collect();
    body.optional("reasoning", Some(&fields).filter(|fields| !fields.is_empty()));
}

fn write_format(body: &mut Body<'_>, output: &OutputSchema) {
    body.field("text", |out| {
        out.extend_from_slice(b"{\"format\":{\"type\":\"json_schema\",\"name\":");
        json::string(out, &output.name);
        out.extend_from_slice(if output.strict { b",\"strict\":true,\"schema\":" } else { b",\"schema\":" });
        out.extend_from_slice(output.schema.get().as_bytes());
        out.extend_from_slice(b"}}");
    });
}

/// Writes the tools, followed by those in `extra` (the provider's own, such as web search).
fn write_tools(body: &mut Body<'_>, request: &ChatRequest, settings: &Settings) {
    let more = settings.extra.get("tools").map(|tools| json::inside(tools.get())).unwrap_or_default();
    if request.tools.is_empty() && more.is_empty() {
        return;
    }
    body.fixed("tools", |out| {
        out.push(b'[');
        let Ok(()) = request.tools.write_encoded(Dialect { name: DIALECT, variant: 0 }, out, |specs, out| {
            write_specs(out, specs);
            Ok::<_, Infallible>(())
        });
        if !request.tools.is_empty() && !more.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(more.as_bytes());
        out.push(b']');
    });
    let choice = match &settings.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Named(name) => Some(json!({ "type": "function", "name": name })),
    };
    body.optional("tool_choice", choice.as_ref());
    body.optional("parallel_tool_calls", settings.parallel_tool_calls.as_ref());
}

fn write_specs(out: &mut Vec<u8>, specs: &[ToolSpec]) {
    for (position, spec) in specs.iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"{\"type\":" } else { b",{\"type\":" });
        out.extend_from_slice(b"\"function\",\"name\":");
        json::string(out, &spec.name);
        if !spec.description.is_empty() {
            out.extend_from_slice(b",\"description\":");
            json::string(out, &spec.description);
        }
        out.extend_from_slice(b",\"parameters\":");
        out.extend_from_slice(spec.input_schema.get().as_bytes());
        // Said in any case: left out, it means true, and most schemas do not follow the rules that this brings.
        out.extend_from_slice(if spec.strict { b",\"strict\":true}" } else { b",\"strict\":false}" });
    }
}

fn write_input(out: &mut Vec<u8>, request: &ChatRequest, state: State) {
    let messages: Vec<&Message> = request.transcript.visible().collect();
    let known = messages.iter().rposition(|message| message.role() == Role::Assistant).map_or(0, |last| last + 1);
    let skipped = if state == State::Theirs { known } else { 0 };
    let stored = state != State::Ours;
    out.push(b'[');
    let start = out.len();
    for message in messages.into_iter().skip(skipped) {
        let before = out.len();
        items::separate(out, start);
        let content = out.len();
        let dialect = Dialect { name: DIALECT, variant: u64::from(stored) };
        let Ok(()) = message.write_encoded(dialect, out, |message, out| {
            items::write(out, message, stored);
            Ok::<_, Infallible>(())
        });
        if out.len() == content {
            out.truncate(before);
        }
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
