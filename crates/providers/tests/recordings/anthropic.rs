//! Anthropic Messages.

mod request;

use std::sync::LazyLock;

use brigade_core::{
    Arguments, ChatReply, ChatRequest, FinishReason, Message, ModelErrorKind, Part, PromptCache, Settings, ToolResult,
    Transcript, Usage,
};
use brigade_providers::{Anthropic, AnthropicModel};
use serde_json::{Map, Value, json};

use crate::{
    ensure,
    expect::{self, count, same},
    recording::{DeltaTexts, Recording, Verdict},
};

pub(crate) fn check(recording: &Recording) -> Verdict {
    match check_response(recording).and_then(|()| request::check(recording)) {
        Ok(request_unchecked) => Verdict::Passed { request_unchecked },
        Err(why) => Verdict::Failed(why),
    }
}

fn model(name: &str) -> AnthropicModel {
    // Setting a client up reads the system's certificates, which takes longer than all that is tested here.
    static CLIENT: LazyLock<Anthropic> =
        LazyLock::new(|| Anthropic::builder().build().expect("the defaults are valid"));
    CLIENT.model(name)
}

fn check_response(recording: &Recording) -> Result<(), String> {
    let (run, texts) = DeltaTexts::observe(recording.stream.is_some());
    let result = model("claude-asked").decode(&recording.response(), &run);
    if let Some(reported) = expect::reported_error(recording) {
        let error = result.err().ok_or("an error was read as an answer")?;
        return expect::check_error(recording, &reported, &error);
    }
    let Some(expected) = Expected::of(recording) else {
        let error = result.err().ok_or("something without content was read as an answer")?;
        return same("error kind", &error.kind(), &ModelErrorKind::Broken);
    };
    let reply = result.map_err(|error| error.to_string())?;
    expect::check_request_id(recording, reply.request_id.as_deref())?;
    expect::check_usage(reply.usage, expected.usage())?;
    expected.check(&reply)?;
    if recording.stream.is_some() {
        let (text, thinking) = texts.texts();
        same("text texts on the way", &text, &expected.joined("text"))?;
        same("reasoning texts on the way", &thinking, &expected.joined("thinking"))?;
    }
    expected.check_round_trip(&reply)
}

/// An answer as a simple reading of the JSON gives it.
#[derive(Debug, Default)]
struct Expected {
    blocks: Vec<Value>,
    model: Value,
    stop: Value,
    usage: Map<String, Value>,
}

impl Expected {
    /// Absent if nothing in the response has content.
    fn of(recording: &Recording) -> Option<Self> {
        let mut expected = Self::default();
        if recording.stream.is_none() {
            expected.begin(&recording.document)?;
            return Some(expected);
        }
        let mut ended = false;
        let mut partial: Vec<String> = Vec::new();
        let mut indices: Vec<Value> = Vec::new();
        for event in recording.events() {
            match event["type"].as_str() {
                Some("message_start") => expected.begin(&event["message"])?,
                Some("content_block_start") => {
                    indices.resize(expected.blocks.len(), Value::Null);
                    indices.push(event["index"].clone());
                    expected.blocks.push(event["content_block"].clone());
                }
                Some("content_block_delta") => {
                    let place = indices.iter().rposition(|index| *index == event["index"])?;
                    partial.resize(partial.len().max(place + 1), String::new());
                    grow(&mut expected.blocks[place], &event["delta"], &mut partial[place]);
                }
                Some("message_delta") => {
                    expected.count(&event["usage"]);
                    if event["delta"]["stop_reason"].is_string() {
                        expected.stop = event["delta"]["stop_reason"].clone();
                    }
                }
                Some("message_stop") => ended = true,
                _ => {}
            }
        }
        for (block, partial) in expected.blocks.iter_mut().zip(partial) {
            if !partial.is_empty() {
                block["input"] = serde_json::from_str(&partial).unwrap_or(Value::String(partial));
            }
        }
        (ended || expected.stop.is_string()).then_some(expected)
    }

    fn begin(&mut self, message: &Value) -> Option<()> {
        self.blocks.clone_from(message["content"].as_array()?);
        self.model = message["model"].clone();
        self.stop = message["stop_reason"].clone();
        self.count(&message["usage"]);
        Some(())
    }

    fn count(&mut self, usage: &Value) {
        // A count that cannot be right does not replace one that can.
        let odd = |value: &Value| value.is_null() || value.as_f64().is_some_and(|number| number < 0.0);
        let stated = usage.as_object().into_iter().flatten().filter(|(_, value)| !odd(value));
        self.usage.extend(stated.map(|(name, value)| (name.clone(), value.clone())));
    }

    fn usage(&self) -> Option<Usage> {
        let usage = Value::Object(self.usage.clone());
        let (input, output) = (count(&usage, &["/input_tokens"])?, count(&usage, &["/output_tokens"])?);
        let mut total = with_cache(&usage, input, output)
            .cache_write_1h_tokens(
                count(&usage, &["/cache_creation/ephemeral_1h_input_tokens"])
                    .map(|tokens| tokens.min(count(&usage, &["/cache_creation_input_tokens"]).unwrap_or(0))),
            )
            .reasoning_tokens(count(&usage, &["/output_tokens_details/thinking_tokens"]))
            .web_searches(count(&usage, &["/server_tool_use/web_search_requests"]));
        for side in usage["iterations"].as_array().into_iter().flatten() {
            if ![json!("message"), json!("fallback_message"), Value::Null].contains(&side["type"]) {
                let tokens = |name| count(side, &[name]).unwrap_or(0);
                total += with_cache(side, tokens("/input_tokens"), tokens("/output_tokens"));
            }
        }
        Some(total)
    }

    fn joined(&self, kind: &str) -> String {
        self.of_kind(kind).filter_map(|block| block[kind].as_str()).collect()
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.blocks.iter().filter(move |block| block["type"] == kind)
    }

    fn check(&self, reply: &ChatReply) -> Result<(), String> {
        same("text", &reply.message.text().into_owned(), &self.joined("text"))?;
        let thoughts = reply.message.parts().iter().filter_map(|part| match part {
            Part::Thinking(thinking) => Some(thinking.text.as_str()),
            _ => None,
        });
        same("thinking", &thoughts.collect::<String>(), &self.joined("thinking"))?;
        let calls = reply.message.tool_calls();
        let calls: Vec<_> =
            calls.map(|call| (call.id.clone(), call.name.clone(), arguments(&call.arguments))).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let expected = self.of_kind("tool_use");
        let expected = expected.map(|call| (text(&call["id"]), text(&call["name"]), call["input"].clone()));
        same("tool calls", &calls, &expected.collect())?;
        same("raw stop", &reply.raw_finish_reason.as_deref(), &self.stop.as_str())?;
        let malformed = reply.message.tool_calls().any(|call| matches!(call.arguments, Arguments::Malformed(_)));
        let kind = match self.stop.as_str().unwrap_or_default() {
            "end_turn" | "tool_use" if malformed => FinishReason::MaxTokens,
            "end_turn" => FinishReason::EndTurn,
            "tool_use" => FinishReason::ToolCalls,
            "max_tokens" => FinishReason::MaxTokens,
            "stop_sequence" => FinishReason::StopSequence,
            "refusal" => FinishReason::Refusal,
            "pause_turn" | "compaction" => FinishReason::Pause,
            "model_context_window_exceeded" => FinishReason::ContextWindow,
            _ => FinishReason::Unknown,
        };
        same("stop", &reply.finish_reason, &kind)?;
        same("service tier", &reply.service_tier.as_deref(), &self.usage.get("service_tier").and_then(Value::as_str))?;
        let successor = self.of_kind("fallback").last().map(|block| &block["to"]["model"]);
        same("model", &reply.model.as_str(), &successor.unwrap_or(&self.model).as_str().unwrap_or("asked"))
    }

    /// Checks that a decoded message is stored, loaded and encoded with every block unchanged.
    fn check_round_trip(&self, reply: &ChatReply) -> Result<(), String> {
        let stored = serde_json::to_string(&reply.message).map_err(|error| error.to_string())?;
        let message: Message = serde_json::from_str(&stored).map_err(|error| error.to_string())?;
        let mut transcript = Transcript::new();
        let pushed = transcript.push_task(Message::user("?")).and_then(|()| transcript.push(message));
        pushed.map_err(|error| error.to_string())?;
        let results = transcript.open_calls().into_iter().map(|call| ToolResult::error(call, "no")).collect();
        transcript.answer_calls(results).map_err(|error| error.to_string())?;
        let settings = Settings::default().prompt_cache(PromptCache::Off);
        let request = ChatRequest::default().transcript(transcript).settings(settings);
        let body = model("claude-sonnet-4-5").encode(&request, false).map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let sent = &body["messages"][1]["content"];
        let mut expected = request::content(&self.returned().into());
        ensure!(expected != json!([]) || body["messages"][1].is_null(), "an empty answer was sent back");
        if expected != json!([]) {
            let pairs = expected.as_array_mut().into_iter().flatten().zip(sent.as_array().into_iter().flatten());
            for (block, sent) in pairs.filter(|(block, _)| block["type"] == "tool_use") {
                expect::allow_renaming(block, sent, &["id", "name"]);
            }
            same("blocks sent back", &request::content(sent), &expected)?;
        }
        let calls = sent.as_array().into_iter().flatten().filter(|block| block["type"] == "tool_use");
        let results = body["messages"][2]["content"].as_array().into_iter().flatten();
        let answered: Vec<&Value> = results.map(|block| &block["tool_use_id"]).collect();
        same("ids in results", &answered, &calls.map(|block| &block["id"]).collect())
    }

    /// The blocks that can be sent back. Thinking without a signature, because it was cut off, cannot.
    fn returned(&self) -> Vec<Value> {
        let cut = self.stop == "max_tokens";
        let unsigned = |block: &Value| block["signature"].as_str().unwrap_or_default().is_empty();
        let lost = |block: &&Value| block["type"] == "thinking" && cut && unsigned(block);
        let mut blocks: Vec<Value> = self.blocks.iter().filter(|block| !lost(block)).cloned().collect();
        for block in blocks.iter_mut().filter(|block| block["type"] == "tool_use") {
            if !block["input"].is_object() {
                block["input"] = json!({ "_malformed": block["input"] });
            }
        }
        blocks
    }
}

/// Applies a delta. One of a known kind has one field; one of another kind continues each of its fields.
fn grow(block: &mut Value, delta: &Value, partial: &mut String) {
    let counts = match delta["type"].as_str().unwrap_or_default() {
        "text_delta" => "text",
        "thinking_delta" => "thinking",
        "signature_delta" => "signature",
        "citations_delta" => "citation",
        "input_json_delta" => {
            partial.push_str(delta["partial_json"].as_str().unwrap_or_default());
            return;
        }
        _ => "",
    };
    for (name, value) in delta.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("type", _) => {}
            (name, _) if !counts.is_empty() && name != counts => {}
            ("citation", citation) => {
                let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
                citations.push(citation.clone());
                block["citations"] = citations.into();
            }
            (name, Value::String(more)) => {
                block[name] = (block[name].as_str().unwrap_or_default().to_owned() + more).into();
            }
            (_, Value::Null) => {}
            (name, value) => block[name] = value.clone(),
        }
    }
}

fn with_cache(usage: &Value, uncached: u64, output: u64) -> Usage {
    let (read, write) = (count(usage, &["/cache_read_input_tokens"]), count(usage, &["/cache_creation_input_tokens"]));
    Usage::new(uncached + read.unwrap_or(0) + write.unwrap_or(0), output)
        .cache_read_tokens(read)
        .cache_write_tokens(write)
}

/// Arguments as JSON, or as text if they are not JSON.
fn arguments(arguments: &Arguments) -> Value {
    match arguments {
        Arguments::Json(raw) => serde_json::from_str(raw.get()).expect("it was checked"),
        Arguments::Malformed(text) => text.clone().into(),
    }
}
