//! OpenAI Responses.

mod request;

use std::{collections::BTreeMap, sync::LazyLock};

use brigade_core::{
    Arguments, ChatReply, ChatRequest, FinishReason, Message, ModelErrorKind, Part, RawJson, Settings, ToolResult,
    Transcript, Usage,
};
use brigade_providers::{OpenAiResponses, OpenAiResponsesModel};
use serde_json::{Value, json};

use crate::{
    expect::{self, count, same},
    recording::{DeltaTexts, Recording, Verdict},
};

pub(crate) fn check(recording: &Recording) -> Verdict {
    match check_response(recording).and_then(|()| request::check(recording)) {
        Ok(request_unchecked) => Verdict::Passed { request_unchecked },
        Err(why) => Verdict::Failed(why),
    }
}

fn model(name: &str) -> OpenAiResponsesModel {
    // Setting a client up reads the system's certificates, which takes longer than all that is tested here.
    static CLIENT: LazyLock<OpenAiResponses> =
        LazyLock::new(|| OpenAiResponses::builder().build().expect("the defaults are valid"));
    CLIENT.model(name)
}

fn check_response(recording: &Recording) -> Result<(), String> {
    let (run, texts) = DeltaTexts::observe(recording.stream.is_some());
    let result = model("asked").decode(&recording.response(), &run);
    if let Some(reported) = expect::reported_error(recording) {
        let error = result.err().ok_or("an error was read as an answer")?;
        return expect::check_error(recording, &reported, &error);
    }
    let expected = match Expected::of(recording) {
        Ok(expected) => expected,
        Err(kind) => {
            let error = result.err().ok_or("something unfinished was read as an answer")?;
            return same("error kind", &error.kind(), &kind);
        }
    };
    let reply = result.map_err(|error| error.to_string())?;
    expect::check_request_id(recording, reply.request_id.as_deref())?;
    expect::check_usage(reply.usage, expected.usage())?;
    expected.check(&reply)?;
    if recording.stream.is_some() {
        let (text, thinking) = texts.texts();
        same("text texts on the way", &text, &expected.deltas(&["output_text", "refusal"]))?;
        let reasoning = ["reasoning_summary_text", "reasoning_text"];
        same("reasoning texts on the way", &thinking, &expected.deltas(&reasoning))?;
    }
    expected.check_round_trip(&reply)
}

/// An answer as a simple reading of the JSON gives it.
#[derive(Debug, Default)]
struct Expected {
    items: Vec<Value>,
    response: Value,
    events: Vec<Value>,
}

impl Expected {
    fn of(recording: &Recording) -> Result<Self, ModelErrorKind> {
        let events = recording.events();
        let ends = ["response.completed", "response.incomplete", "response.done", "response.cancelled"];
        let end = events.iter().find(|event| ends.contains(&event["type"].as_str().unwrap_or_default()));
        let response = match (&recording.stream, end) {
            (None, _) => recording.document.clone(),
            (Some(_), Some(end)) => end["response"].clone(),
            (Some(_), None) => return Err(ModelErrorKind::Broken),
        };
        if response["status"] == "cancelled" {
            return Err(ModelErrorKind::Transient);
        }
        if ["queued", "in_progress"].contains(&response["status"].as_str().unwrap_or_default()) {
            return Err(ModelErrorKind::Caller);
        }
        if !response["output"].is_array() && recording.stream.is_none() {
            return Err(ModelErrorKind::Broken);
        }
        let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
        let mut items: BTreeMap<u64, Value> = BTreeMap::new();
        for event in done.filter(|event| !event["item"].is_null()) {
            let next = items.last_key_value().map_or(0, |(last, _)| last + 1);
            items.insert(event["output_index"].as_u64().unwrap_or(next), event["item"].clone());
        }
        let finally = response["output"].as_array().cloned().unwrap_or_default();
        let items = if items.len() < finally.len() { finally } else { items.into_values().collect() };
        Ok(Self { items, response, events })
    }

    fn deltas(&self, topics: &[&str]) -> String {
        let kinds: Vec<String> = topics.iter().map(|topic| format!("response.{topic}.delta")).collect();
        let texts = self.events.iter().filter(|event| kinds.iter().any(|kind| event["type"] == kind.as_str()));
        texts.filter_map(|event| event["delta"].as_str()).collect()
    }

    fn usage(&self) -> Option<Usage> {
        let usage = &self.response["usage"];
        let (input, output) = (count(usage, &["/input_tokens"])?, count(usage, &["/output_tokens"])?);
        let mut read = count(usage, &["/input_tokens_details/cached_tokens"]);
        let mut write = count(usage, &["/input_tokens_details/cache_write_tokens"]);
        if read.unwrap_or(0) + write.unwrap_or(0) > input {
            (read, write) = (None, None);
        }
        let searches = self.items.iter().filter(|item| {
            item["type"] == "web_search_call" && (item["action"].is_null() || item["action"]["type"] == "search")
        });
        let searches = u64::try_from(searches.count()).unwrap_or_default();
        let reasoning = count(usage, &["/output_tokens_details/reasoning_tokens"]);
        Some(
            Usage::new(input, output)
                .cache_read_tokens(read)
                .cache_write_tokens(write)
                .reasoning_tokens(reasoning.filter(|tokens| *tokens <= output))
                .web_searches((searches > 0).then_some(searches)),
        )
    }

    fn check(&self, reply: &ChatReply) -> Result<(), String> {
        let asked = |item: &Value| ["user", "system", "developer"].iter().any(|role| item["role"] == *role);
        let spoken = self.items.iter().filter(|item| item["type"] == "message" && !asked(item));
        let spoken: String = spoken.map(|item| words(&item["content"], "")).collect();
        same("text", &reply.message.text().into_owned(), &spoken)?;
        let thoughts = reply.message.parts().iter().filter_map(|part| match part {
            Part::Thinking(thinking) => Some(thinking.text.clone()),
            _ => None,
        });
        let reasoning = self.items.iter().filter(|item| item["type"] == "reasoning").map(|item| {
            let summary = words(&item["summary"], "\n\n");
            if summary.is_empty() { words(&item["content"], "") } else { summary }
        });
        same("thinking", &thoughts.collect::<Vec<_>>(), &reasoning.collect())?;
        let calls = reply.message.tool_calls();
        let calls = calls.map(|call| (call.id.clone(), call.name.clone(), call.arguments.as_str().to_owned()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let expected = self.items.iter().filter(|item| item["type"] == "function_call").map(|item| {
            let arguments = item["arguments"].as_str().map(str::trim).filter(|text| !text.is_empty()).unwrap_or("{}");
            let id = if item["call_id"] == "" || item["call_id"].is_null() { &item["id"] } else { &item["call_id"] };
            (text(id), text(&item["name"]), arguments.to_owned())
        });
        same("tool calls", &calls.collect::<Vec<_>>(), &expected.collect())?;
        let reason = self.response["incomplete_details"]["reason"].as_str();
        same("raw stop", &reply.raw_finish_reason.as_deref(), &reason.or(self.response["status"].as_str()))?;
        same("stop", &reply.finish_reason, &self.stop(reply))?;
        same("service tier", &reply.service_tier.as_deref(), &self.response["service_tier"].as_str())?;
        same("response id", &reply.response_id.as_deref(), &self.response["id"].as_str())?;
        same("model", &reply.model.as_str(), &self.response["model"].as_str().unwrap_or("asked"))
    }

    fn stop(&self, reply: &ChatReply) -> FinishReason {
        let malformed = reply.message.tool_calls().any(|call| matches!(call.arguments, Arguments::Malformed(_)));
        let pieces = self.items.iter().flat_map(|item| item["content"].as_array().into_iter().flatten());
        let refused = pieces.filter(|piece| piece["type"] == "refusal").count() > 0;
        match self.response["incomplete_details"]["reason"].as_str() {
            Some("max_output_tokens" | "max_tokens") => FinishReason::MaxTokens,
            Some("content_filter") => FinishReason::ContentFilter,
            _ if self.response["status"] == "incomplete" => FinishReason::Unknown,
            _ if malformed => FinishReason::MaxTokens,
            _ if self.items.iter().any(|item| item["type"] == "function_call") => FinishReason::ToolCalls,
            _ if refused => FinishReason::Refusal,
            _ => FinishReason::EndTurn,
        }
    }

    /// Checks that a decoded message is stored, loaded and encoded with every item unchanged. If the provider does not
    /// store answers, reasoning without content is left out.
    fn check_round_trip(&self, reply: &ChatReply) -> Result<(), String> {
        let stored = serde_json::to_string(&reply.message).map_err(|error| error.to_string())?;
        let message: Message = serde_json::from_str(&stored).map_err(|error| error.to_string())?;
        let mut transcript = Transcript::new();
        let pushed = transcript.push_task(Message::user("?")).and_then(|()| transcript.push(message));
        pushed.map_err(|error| error.to_string())?;
        let calls: Vec<_> = transcript.open_calls().into_iter().cloned().collect();
        let renamed = calls.iter().zip(reply.message.tool_calls()).any(|(now, then)| now.id != then.id);
        let results = calls.iter().map(|call| ToolResult::error(call, "no")).collect();
        transcript.answer_calls(results).map_err(|error| error.to_string())?;
        if renamed {
            return Ok(());
        }
        for stores in [true, false] {
            let mut settings = Settings::default();
            settings.extra.insert("store".to_owned(), RawJson::of(&stores).expect("a flag can be written"));
            let request = ChatRequest::default().transcript(transcript.clone()).settings(settings);
            let body = model("asked").encode(&request, false).map_err(|error| error.to_string())?;
            let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            let input = body["input"].as_array().cloned().unwrap_or_default();
            let (_, sent) = input.split_first().ok_or("nothing was sent")?;
            let (sent, results) = sent.split_at(sent.len() - calls.len());
            let mut expected = self.returned(stores);
            for (expected, sent) in expected.iter_mut().zip(sent) {
                // An id that is too long to be sent back gets another; that calls and results still pair is seen below.
                if expected["call_id"].as_str().is_some_and(|id| id.len() > 64) && expected["type"] == "function_call" {
                    expected["call_id"] = sent["call_id"].clone();
                }
                if expected["type"] == "function_call" {
                    expect::allow_renaming(expected, sent, &["name"]);
                }
            }
            same("items sent back", &sent.to_vec(), &expected)?;
            for (result, call) in results.iter().zip(&calls) {
                let id = result["call_id"].as_str().unwrap_or_default();
                let asked = sent.iter().any(|item| item["type"] == "function_call" && item["call_id"] == id);
                same("a result has its call", &(asked && (id == call.id || call.id.len() > 64)), &true)?;
            }
        }
        Ok(())
    }

    fn returned(&self, stores: bool) -> Vec<Value> {
        let mut items = self.items.clone();
        while items.last().is_some_and(|item| item["type"] == "reasoning") {
            items.pop();
        }
        let filled = |value: &Value| !matches!(value, Value::Null) && *value != json!([]) && *value != json!("");
        let lost = |item: &Value| {
            item["type"] == "reasoning" && !stores && !filled(&item["encrypted_content"]) && !filled(&item["content"])
        };
        let some_lost = items.iter().any(lost);
        items.retain(|item| !lost(item));
        for item in &mut items {
            if item["type"] == "function_call" {
                normalise_call(item);
            }
            let reasons = item["type"] == "reasoning";
            if let Some(fields) = item.as_object_mut().filter(|_| some_lost && !reasons) {
                fields.remove("id");
            }
        }
        items
    }
}

/// A call as it is sent.
fn normalise_call(item: &mut Value) {
    let arguments = item["arguments"].as_str().map(str::trim).filter(|text| !text.is_empty()).unwrap_or("{}");
    item["arguments"] = match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(_)) => arguments.into(),
        _ => json!({ "_malformed": arguments }).to_string().into(),
    };
}

/// The text of a list of parts.
fn words(pieces: &Value, separator: &str) -> String {
    let text = |piece: &Value| piece["text"].as_str().or_else(|| piece["refusal"].as_str()).map(str::to_owned);
    let words: Vec<String> = pieces.as_array().into_iter().flatten().filter_map(text).collect();
    words.join(separator)
}
