//! Chat Completions.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use brigade_core::{
    ChatReply, ChatRequest, FinishReason, Message, ModelError, ModelErrorKind, Part, ToolResult, Transcript, Usage,
};
use brigade_providers::{OpenAi, OpenAiChatModel, Quirks, Server};
use serde_json::{Value, json, value::RawValue};

use crate::{
    chat_request, ensure,
    expect::{self, count, same},
    recording::{DeltaTexts, Recording, Verdict},
};

const NO_RESOURCES: &str = "the server had no resources left";

pub(crate) fn check(recording: &Recording) -> Verdict {
    if recording.request["modalities"].as_array().is_some_and(|kinds| kinds.contains(&json!("audio"))) {
        return Verdict::Skipped("audio".to_owned());
    }
    match check_response(recording).and_then(|()| chat_request::check(recording)) {
        Ok(request_unchecked) => Verdict::Passed { request_unchecked },
        Err(why) => Verdict::Failed(why),
    }
}

/// The quirks of the server that a recording is from.
pub(crate) fn quirks(recording: &Recording) -> Quirks {
    let name = recording.provider.rsplit(':').next().unwrap_or_default();
    match name {
        "openai-chat" => Quirks::default(),
        name => name.parse::<Server>().map_or(Quirks::COMPATIBLE, Server::quirks),
    }
}

pub(crate) fn model(quirks: Quirks, name: &str) -> OpenAiChatModel {
    // Setting a client up reads the system's certificates, which takes longer than all that is tested here.
    static CLIENTS: Mutex<BTreeMap<String, OpenAi>> = Mutex::new(BTreeMap::new());
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let build = || OpenAi::builder().quirks(quirks).build().expect("no address is needed");
    clients.entry(format!("{quirks:?}")).or_insert_with(build).model(name)
}

fn check_response(recording: &Recording) -> Result<(), String> {
    let (run, texts) = DeltaTexts::observe(recording.stream.is_some());
    let result = model(quirks(recording), "asked").decode(&recording.response(), &run);
    if let Some(reported) = expect::reported_error(recording) {
        let error = result.err().ok_or("an error was read as an answer")?;
        return expect::check_error(recording, &reported, &error);
    }
    let expected = Expected::of(recording);
    if let Err(why) = &expected {
        let error = result.err().ok_or_else(|| format!("{why}, and yet it was read as an answer"))?;
        let kind = if why == NO_RESOURCES { ModelErrorKind::Overloaded } else { ModelErrorKind::Broken };
        return same("error kind", &error.kind(), &kind);
    }
    let (expected, reply) = (expected?, result.map_err(|error: ModelError| error.to_string())?);
    expect::check_request_id(recording, reply.request_id.as_deref())?;
    expect::check_usage(reply.usage, expected.usage)?;
    expected.check(&reply)?;
    if recording.stream.is_some() {
        let (text, thinking) = texts.texts();
        same("text texts on the way", &text, &expected.spoken())?;
        same("reasoning texts on the way", &thinking, &expected.readable_thinking())?;
    }
    expected.check_round_trip(&reply)
}

/// An answer as a simple reading of the JSON gives it.
#[derive(Debug, Default)]
struct Expected {
    text: String,
    refusal: String,
    /// Reasoning as a part of the content.
    inner_thinking: String,
    /// Reasoning between tags in the text.
    tagged_thinking: String,
    reasoning: String,
    reasoning_content: String,
    details: Vec<Value>,
    /// Name and arguments of each call.
    calls: Vec<ExpectedCall>,
    stop: Option<String>,
    native_stop: Option<String>,
    usage: Option<Usage>,
    service_tier: Option<String>,
}

#[derive(Debug, Default, Clone)]
struct ExpectedCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Expected {
    fn of(recording: &Recording) -> Result<Self, String> {
        let mut expected = Self::default();
        let documents = if recording.stream.is_some() { recording.events() } else { vec![recording.document.clone()] };
        let mut choices = 0;
        for document in &documents {
            for choice in document["choices"].as_array().into_iter().flatten() {
                if choice["index"].as_u64().unwrap_or(0) == 0 {
                    choices += 1;
                    expected.add_choice(choice);
                }
            }
            let usage = if document["usage"].is_object() { &document["usage"] } else { &document["x_groq"]["usage"] };
            expected.usage = usage_of(usage).or(expected.usage);
            add(&mut expected.service_tier, &document["service_tier"]);
        }
        expected.calls.retain(|call| !(call.name.is_empty() && call.arguments.is_empty()));
        ensure!(choices > 0, "the answer has no choices");
        let ended = recording.stream.as_ref().is_none_or(|stream| stream.contains("[DONE]")) || expected.stop.is_some();
        ensure!(ended, "the stream has no end");
        ensure!(!matches!(expected.stop.as_deref(), Some("error" | "abort")), "the server gave up");
        ensure!(expected.stop.as_deref() != Some("insufficient_system_resource"), "{NO_RESOURCES}");
        expected.separate_tags();
        Ok(expected)
    }

    /// Separates reasoning between tags. A chat template may have written the opening tag, and the token limit may have cut
    /// off the closing one.
    fn separate_tags(&mut self) {
        let Some((thinking, answer)) = self.text.split_once("</think>").or_else(|| {
            let cut = self.text.trim_start().starts_with("<think>") && self.stop.as_deref() == Some("length");
            cut.then_some((&self.text, ""))
        }) else {
            return;
        };
        let thinking = thinking.trim_start();
        let thinking = thinking.strip_prefix("<think>").unwrap_or(thinking).trim().to_owned();
        (self.tagged_thinking, self.text) = (thinking, answer.trim_start().to_owned());
    }

    fn add_choice(&mut self, choice: &Value) {
        let said = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        if let Some(parts) = said["content"].as_array() {
            for part in parts {
                if part["type"] == "text" {
                    self.text.push_str(part["text"].as_str().unwrap_or_default());
                }
                self.inner_thinking.push_str(part["thinking"].as_str().unwrap_or_default());
                for thought in part["thinking"].as_array().into_iter().flatten() {
                    self.inner_thinking.push_str(thought["text"].as_str().unwrap_or_default());
                }
            }
        }
        for (name, field) in [
            ("content", &mut self.text),
            ("refusal", &mut self.refusal),
            ("reasoning", &mut self.reasoning),
            ("reasoning_content", &mut self.reasoning_content),
        ] {
            field.push_str(said[name].as_str().unwrap_or_default());
        }
        self.details.extend(said["reasoning_details"].as_array().into_iter().flatten().cloned());
        let whole = !choice["delta"].is_object();
        for call in said["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(call, whole);
        }
        if said["function_call"].is_object() && said["function_call"]["name"] != "" {
            self.add_call(&json!({ "index": 0, "function": said["function_call"] }), whole);
        }
        add(&mut self.native_stop, &choice["native_finish_reason"]);
        if let Some(stop) = choice["finish_reason"].as_str().filter(|stop| !stop.is_empty()) {
            self.stop = Some(stop.to_owned());
        }
    }

    /// A known index begins a new call if the delta has another name and id. Without an index the id decides, and without
    /// both the order. Outside streams each entry is a call.
    fn add_call(&mut self, call: &Value, whole: bool) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, index) = (text(&call["id"]), call["index"].as_u64());
        let function = if call["function"].is_object() { &call["function"] } else { &call["custom"] };
        let arguments = text(&function["arguments"]) + &text(&function["input"]);
        let name = text(&function["name"]);
        let begins = !name.is_empty() && !id.is_empty();
        let is_whole = |open: &ExpectedCall| serde_json::from_str::<&RawValue>(&open.arguments).is_ok();
        let mut open = self.calls.iter_mut().rev();
        let found = match index {
            _ if whole => None,
            Some(_) => open.find(|open| open.index == index && !(begins && !open.id.is_empty() && open.id != id)),
            None if !id.is_empty() => open.find(|open| open.id == id && (name.is_empty() || !is_whole(open))),
            None if name.is_empty() => open.next(),
            None => None,
        };
        match found {
            Some(open) => {
                open.arguments.push_str(&arguments);
                if open.name.is_empty() {
                    open.name = name;
                }
                if open.id.is_empty() {
                    open.id = id;
                }
            }
            None => self.calls.push(ExpectedCall { index, id, name, arguments }),
        }
    }

    fn check(&self, reply: &ChatReply) -> Result<(), String> {
        same("text", &reply.message.text().into_owned(), &self.spoken())?;
        let thought = reply.message.parts().iter().filter_map(|part| match part {
            Part::Thinking(thinking) => Some(thinking.text.as_str()),
            _ => None,
        });
        same("thinking", &thought.collect::<String>(), &self.readable_thinking())?;
        let calls = reply.message.tool_calls().map(|call| (call.name.clone(), arguments(call.arguments.as_str())));
        let expected = self.calls.iter().map(|call| (call.name.clone(), arguments(&call.arguments)));
        same("tool calls", &calls.collect::<Vec<_>>(), &expected.collect())?;
        same("raw stop", &reply.raw_finish_reason, &self.stop)?;
        same("service tier", &reply.service_tier, &self.service_tier)?;
        let cut =
            |call: &ExpectedCall| serde_json::from_str::<&RawValue>(&call.arguments).is_err_and(|error| error.is_eof());
        let cut = self.calls.iter().any(|call| !call.arguments.is_empty() && cut(call));
        let native = ["max_output_tokens", "length", "MAX_TOKENS"].map(Some).contains(&self.native_stop.as_deref());
        let expected = match self.stop.as_deref() {
            Some("length" | "max_tokens" | "max_output_tokens" | "MAX_TOKENS") => FinishReason::MaxTokens,
            Some("content_filter" | "safety" | "SAFETY" | "RECITATION") => FinishReason::ContentFilter,
            Some("refusal" | "stop_sequence" | "model_length" | "model_context_window_exceeded") => reply.finish_reason,
            Some("stop" | "eos" | "end_turn" | "STOP") if !self.refusal.is_empty() => FinishReason::Refusal,
            _ if cut || native => FinishReason::MaxTokens,
            _ if !self.calls.is_empty() => FinishReason::ToolCalls,
            None => FinishReason::Unknown,
            Some("stop" | "eos" | "end_turn" | "STOP" | "tool_calls" | "function_call" | "tool_use") => {
                FinishReason::EndTurn
            }
            // Another word: that it is kept was seen above.
            Some(_) => reply.finish_reason,
        };
        let sequence = reply.finish_reason == FinishReason::StopSequence;
        ensure!(
            reply.finish_reason == expected || sequence,
            "stop: got {:?}, expected {expected:?}",
            reply.finish_reason
        );
        Ok(())
    }

    fn spoken(&self) -> String {
        self.text.clone() + &self.refusal
    }

    fn readable_thinking(&self) -> String {
        let detail = |detail: &Value| {
            detail["text"].as_str().or_else(|| detail["summary"].as_str()).unwrap_or_default().to_owned()
        };
        let outer = [&self.reasoning_content, &self.reasoning].into_iter().find(|text| !text.is_empty()).cloned();
        outer.unwrap_or_else(|| self.details.iter().map(detail).collect())
            + &self.inner_thinking
            + &self.tagged_thinking
    }

    /// Checks that a decoded message is encoded without loss.
    fn check_round_trip(&self, reply: &ChatReply) -> Result<(), String> {
        let mut transcript = Transcript::new();
        let stored = serde_json::to_string(&reply.message).map_err(|error| error.to_string())?;
        let message: Message = serde_json::from_str(&stored).map_err(|error| error.to_string())?;
        let pushed = transcript.push_task(Message::user("?")).and_then(|()| transcript.push(message));
        pushed.map_err(|error| error.to_string())?;
        let results: Vec<ToolResult> =
            transcript.open_calls().into_iter().map(|call| ToolResult::error(call, "no")).collect();
        let ids: Vec<String> = results.iter().map(|result| result.call_id.clone()).collect();
        transcript.answer_calls(results).map_err(|error| error.to_string())?;
        let request = ChatRequest::default().transcript(transcript);
        let mut everything = Quirks::COMPATIBLE;
        everything.echo = &["content", "reasoning", "reasoning_content", "reasoning_details", "extra_content"];
        let body = model(everything, "asked").encode(&request, false).map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        self.check_sent_back(&body["messages"][1])?;
        let answered =
            body["messages"].as_array().into_iter().flatten().filter_map(|message| message["tool_call_id"].as_str());
        same("ids in results", &answered.collect::<Vec<_>>().len(), &ids.len())
    }

    fn check_sent_back(&self, message: &Value) -> Result<(), String> {
        let listed = |kind: &str, field: &str| -> String {
            let parts = message["content"].as_array().into_iter().flatten().filter(|part| part["type"] == kind);
            parts
                .filter_map(|part| match &part[field] {
                    Value::Array(inner) => {
                        inner.iter().filter_map(|inner| inner["text"].as_str()).collect::<String>().into()
                    }
                    text => text.as_str().map(str::to_owned),
                })
                .collect()
        };
        let text = message["content"].as_str().map_or_else(|| listed("text", "text"), str::to_owned);
        same("text sent back", &text, &self.text)?;
        same("inner reasoning sent back", &listed("thinking", "thinking"), &self.inner_thinking)?;
        for (name, expected) in
            [("refusal", &self.refusal), ("reasoning", &self.reasoning), ("reasoning_content", &self.reasoning_content)]
        {
            same(name, &message[name].as_str().unwrap_or_default(), &expected.as_str())?;
        }
        let details = message["reasoning_details"].as_array().cloned().unwrap_or_default();
        same("reasoning details sent back", &details, &merged(&self.details))?;
        let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
            let function = if call["function"].is_object() { &call["function"] } else { &call["custom"] };
            let text = function["arguments"].as_str().or_else(|| function["input"].as_str());
            (function["name"].as_str().unwrap_or_default().to_owned(), arguments(text.unwrap_or_default()))
        });
        let calls: Vec<(String, String)> = calls.collect();
        // A name that not every provider takes is written in another way.
        let name = |(place, call): (usize, &ExpectedCall)| {
            let sent = calls.get(place).filter(|_| !expect::is_plain(&call.name.as_str().into()));
            // Arguments that are not an object are sent back inside one.
            let written = arguments(&call.arguments);
            let is_object = serde_json::from_str::<serde_json::Map<String, Value>>(&written).is_ok();
            let is_custom = message["tool_calls"][place]["custom"].is_object();
            let written = if is_object || is_custom { written } else { json!({ "_malformed": written }).to_string() };
            (sent.map_or(&call.name, |(name, _)| name).clone(), written)
        };
        same("tool calls sent back", &calls, &self.calls.iter().enumerate().map(name).collect())
    }
}

/// Merges the deltas of one detail.
fn merged(pieces: &[Value]) -> Vec<Value> {
    let mut details: Vec<Value> = Vec::new();
    for piece in pieces {
        let last = details.last_mut().filter(|last| {
            piece["index"].is_number() && last["index"] == piece["index"] && last["type"] == piece["type"]
        });
        let Some(last) = last else {
            details.push(piece.clone());
            continue;
        };
        for (name, value) in piece.as_object().into_iter().flatten() {
            let grown = last[name].as_str().filter(|_| ["text", "summary", "data"].contains(&name.as_str()));
            let grown = grown.map(|text| text.to_owned() + value.as_str().unwrap_or_default());
            if let Some(grown) = grown {
                last[name] = grown.into();
            } else if last[name].is_null() {
                last[name] = value.clone();
            }
        }
    }
    details
}

/// Arguments in comparable form. Empty and `null` mean none.
fn arguments(text: &str) -> String {
    if matches!(text.trim(), "" | "null") { "{}".to_owned() } else { text.to_owned() }
}

fn add(known: &mut Option<String>, value: &Value) {
    if known.is_none() {
        *known = value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    }
}

fn usage_of(usage: &Value) -> Option<Usage> {
    let prompt = count(usage, &["/prompt_tokens"]);
    let completion = count(usage, &["/completion_tokens"]);
    prompt.or(completion)?;
    let (mut input, mut output) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    let hidden = count(usage, &["/total_tokens"]).unwrap_or(0).saturating_sub(input + output);
    if usage["prompt_audio_seconds"].is_null() {
        output += hidden;
    } else {
        input += hidden;
    }
    let read = [
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cache_read_input_tokens",
        "/cached_tokens",
    ];
    let mut parts = BTreeMap::from([
        ("read", count(usage, &read)),
        ("write", count(usage, &["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"])),
    ]);
    if parts.values().flatten().sum::<u64>() > input {
        parts.clear();
    }
    let reasoning = count(usage, &["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]);
    Some(
        Usage::new(input, output)
            .cache_read_tokens(parts.get("read").copied().flatten())
            .cache_write_tokens(parts.get("write").copied().flatten())
            .reasoning_tokens(reasoning.filter(|reasoning| *reasoning <= output)),
    )
}
