use std::sync::Arc;

use brigade_core::{Arguments, Run, testing::Recorder};
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{OpenAi, tests::events::quirks};

/// Decodes an answer, and returns the reported quirks except for missing usage.
fn read(body: impl Into<Bytes>) -> (Result<ChatReply, ModelError>, Vec<&'static str>) {
    let body = body.into();
    let recorder = Recorder::new();
    let run = Run::builder().deltas(body.starts_with(b"data")).observer(Arc::new(recorder.clone())).build();
    let model = OpenAi::builder().build().unwrap().model("asked");
    let result = model.decode(&http::Response::new(body), &run);
    (result, quirks(&recorder).into_iter().filter(|kind| *kind != "usage_missing").collect())
}

fn stream(chunks: &[Value]) -> String {
    let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn delta(delta: &Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta }] })
}

fn finish(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn call(call: &Value) -> Value {
    delta(&json!({ "tool_calls": [call] }))
}

/// The calls that a stream of tool deltas makes.
fn calls(deltas: &[Value]) -> (Vec<(String, String, String)>, Vec<&'static str>) {
    let chunks: Vec<Value> = deltas.iter().map(call).chain([finish("tool_calls")]).collect();
    let (reply, quirks) = read(stream(&chunks));
    let reply = reply.unwrap();
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let own = |call: &brigade_core::ToolCall| (call.id.clone(), call.name.clone(), call.arguments.as_str().to_owned());
    (reply.message.tool_calls().map(own).collect(), quirks)
}

fn triple(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.into(), name.into(), arguments.into())
}

#[test]
fn values_of_another_type_count_as_absent_and_the_last_of_two_fields_counts() {
    let said = json!({ "content": "hi", "refusal": 7, "tool_calls": [null, "f"], "function_call": [] });
    let choice = json!({ "index": 0, "delta": "?", "message": said, "finish_reason": "stop" });
    let answer = json!({ "choices": [null, choice], "usage": "none", "x_groq": 1 }).to_string();
    let (reply, quirks) = read(answer.replacen('{', r#"{"model":"early","model":"late","#, 1));
    let reply = reply.unwrap();
    assert_eq!((reply.message.text(), &*reply.model, quirks), ("hi".into(), "late", vec![]));
    assert_eq!(reply.message.tool_calls().count(), 0);
}

#[test]
fn bytes_that_are_not_text_are_replaced() {
    let body = b"{\"choices\":[{\"message\":{\"content\":\"\xFF\"},\"finish_reason\":\"stop\"}]}";
    let (reply, quirks) = read(body.as_slice());
    assert_eq!((&*reply.unwrap().message.text(), quirks), ("\u{FFFD}", vec!["repaired"]));
}

#[test]
fn the_id_may_be_in_every_delta_or_only_in_the_first() {
    let expected = vec![triple("a", "f", r#"{"x":1}"#)];
    let always = [
        json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"x\"" } }),
        json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": ":1}" } }),
    ];
    assert_eq!(calls(&always), (expected.clone(), vec![]));
    let blank = [
        json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "" } }),
        json!({ "index": 0, "id": "", "type": "", "function": { "name": "", "arguments": "{\"x\"" } }),
        json!({ "index": 0, "id": null, "function": { "name": null, "arguments": ":1}" } }),
    ];
    assert_eq!(calls(&blank), (expected, vec![]));
}

#[test]
fn two_calls_with_one_index_are_distinguished_by_id() {
    let deltas = [
        json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } }),
        json!({ "index": 0, "id": "b", "function": { "name": "f", "arguments": "{\"x\"" } }),
        json!({ "index": 0, "function": { "arguments": ":1}" } }),
    ];
    assert_eq!(
        calls(&deltas),
        (vec![triple("a", "f", "{}"), triple("b", "f", r#"{"x":1}"#)], vec!["call_index_shared"])
    );
}

#[test]
fn calls_without_an_index_are_separate() {
    let deltas = [
        json!({ "id": "a", "function": { "name": "f", "arguments": "{\"x\"" } }),
        json!({ "function": { "arguments": ":1}" } }),
        json!({ "function": { "name": "g", "arguments": "{}" } }),
    ];
    let expected = vec![triple("a", "f", r#"{"x":1}"#), triple("call_2", "g", "{}")];
    assert_eq!(calls(&deltas), (expected, vec!["call_index_missing", "call_id_missing"]));
}

#[test]
fn deltas_of_two_calls_may_alternate_and_a_name_may_follow_its_arguments() {
    let deltas = [
        json!({ "index": 0, "id": "a", "function": { "arguments": "{\"x\"" } }),
        json!({ "index": 1, "id": "b", "function": { "name": "g", "arguments": "" } }),
        json!({ "index": 0, "function": { "name": "f", "arguments": ":1}" } }),
    ];
    assert_eq!(calls(&deltas), (vec![triple("a", "f", r#"{"x":1}"#), triple("b", "g", "{}")], vec![]));
}

#[test]
fn arguments_may_be_an_object_or_null() {
    let deltas = [
        json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": { "x": 1 } } }),
        json!({ "index": 1, "id": "b", "function": { "name": "g", "arguments": "null" } }),
    ];
    assert_eq!(calls(&deltas), (vec![triple("a", "f", r#"{"x":1}"#), triple("b", "g", "{}")], vec!["arguments_form"]));
}

#[test]
fn calls_with_the_same_id_stay_separate_and_are_reported() {
    let twin = |index| json!({ "index": index, "id": "a", "function": { "name": "f", "arguments": "{}" } });
    assert_eq!(calls(&[twin(0), twin(1)]), (vec![triple("a", "f", "{}"); 2], vec!["call_id_repeated"]));
}

#[test]
fn arguments_that_are_cut_off_mean_that_the_answer_was_cut_off() {
    let cut = call(&json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x\":" } }));
    let (reply, quirks) = read(stream(&[cut, finish("tool_calls")]));
    let reply = reply.unwrap();
    assert_eq!(
        (reply.finish_reason, reply.raw_finish_reason.as_deref()),
        (FinishReason::MaxTokens, Some("tool_calls"))
    );
    assert!(matches!(reply.message.tool_calls().next().unwrap().arguments, Arguments::Malformed(_)));
    assert_eq!(quirks, ["arguments_malformed", "stop_mismatch"]);
}

#[test]
fn one_terminal_marker_is_enough_and_none_is_broken() {
    let text = delta(&json!({ "content": "hi" }));
    let (reply, quirks) = read(stream(std::slice::from_ref(&text)));
    assert_eq!((reply.unwrap().finish_reason, quirks), (FinishReason::Unknown, vec!["stop_missing"]));
    let (reply, quirks) = read(format!("data: {text}\n\ndata: {}", finish("stop")));
    assert_eq!((reply.unwrap().finish_reason, quirks), (FinishReason::EndTurn, vec!["end_marker_missing"]));
    assert_eq!(read(format!("data: {text}\n\n")).0.unwrap_err().kind(), ModelErrorKind::Broken);
}

#[test]
fn every_stop_reason_maps_to_a_finish_reason_and_is_kept() {
    let cases = [
        ("stop", FinishReason::EndTurn),
        ("eos", FinishReason::EndTurn),
        ("length", FinishReason::MaxTokens),
        ("content_filter", FinishReason::ContentFilter),
        ("model_length", FinishReason::ContextWindow),
        ("unheard_of", FinishReason::Unknown),
    ];
    for (word, kind) in cases {
        let (reply, quirks) = read(stream(&[delta(&json!({ "content": "x" })), finish(word)]));
        let reply = reply.unwrap();
        assert_eq!((reply.finish_reason, reply.raw_finish_reason.as_deref()), (kind, Some(word)));
        assert_eq!(quirks.is_empty(), kind != FinishReason::Unknown);
    }
    let (error, _) = read(stream(&[finish("error")]));
    assert_eq!(error.unwrap_err().kind(), ModelErrorKind::Broken);
}

#[test]
fn the_refusal_field_alone_means_a_refusal() {
    let body = json!({ "choices": [{ "message": { "content": null, "refusal": "No." }, "finish_reason": "stop" }] });
    let reply = read(body.to_string()).0.unwrap();
    assert_eq!((reply.finish_reason, reply.message.text()), (FinishReason::Refusal, "No.".into()));
}

#[test]
fn the_last_usage_counts_and_only_the_first_choice_is_read() {
    let chunk = |tokens: u64| {
        json!({ "usage": { "prompt_tokens": 5, "completion_tokens": tokens }, "choices": [
        { "index": 1, "delta": { "content": "other" } }, { "index": 0, "delta": { "content": "a" } },
    ] })
    };
    let reply = read(stream(&[chunk(1), chunk(2), finish("stop")])).0.unwrap();
    assert_eq!(reply.message.text(), "aa");
    assert_eq!(reply.usage, Some(Usage::new(5, 2)));
}

#[test]
fn cached_tokens_in_the_prompt_count_are_not_added_again() {
    let usage = json!({ "prompt_tokens": 15, "completion_tokens": 1, "prompt_tokens_details": { "cached_tokens": 3 } });
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": "a" } }] });
    let end = json!({ "choices": [], "usage": usage });
    let usage = read(stream(&[chunk, finish("stop"), end])).0.unwrap().usage.unwrap();
    assert_eq!((usage.input_tokens, usage.uncached_input_tokens()), (15, 12));
}

#[test]
fn an_error_in_the_stream_fails_the_call_with_the_usage_so_far() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 1 } });
    let error = json!({ "id": "x", "choices": [], "error": { "code": 502, "message": "upstream" } });
    let error = read(stream(&[usage, error])).0.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Transient);
    assert_eq!(error.details().usage, Some(Usage::new(5, 1)));
}

#[test]
fn fields_of_an_unexpected_type_count_as_absent() {
    let body = json!({
        "id": 7, "model": null, "created": 1.5, "service_tier": ["x"], "usage": [],
        "choices": [{ "index": "0", "logprobs": 3, "finish_reason": "stop", "message": {
            "role": "", "content": "ok", "refusal": false, "reasoning": {}, "annotations": null, "tool_calls": null,
        } }],
    });
    let reply = read(body.to_string()).0.unwrap();
    assert_eq!((reply.message.text(), &*reply.model, reply.usage), ("ok".into(), "asked", None));
}

#[test]
fn a_whole_message_after_its_deltas_adds_only_what_is_missing() {
    let call = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } });
    for (last, text) in
        [("one\ntwo", "one\ntwo"), ("one\r\ntwo", "one\ntwo"), ("one\ntwo three", "one\ntwo three"), ("", "one\ntwo")]
    {
        let whole = json!({ "content": last, "tool_calls": [call] });
        let end = json!({ "choices": [{ "index": 0, "message": whole, "finish_reason": "tool_calls" }] });
        let deltas = [delta(&json!({ "content": "one" })), delta(&json!({ "content": "\ntwo" }))];
        let all = [deltas.as_slice(), &[delta(&json!({ "tool_calls": [call] })), end]].concat();
        let reply = read(stream(&all)).0.unwrap();
        assert_eq!((&*reply.message.text(), reply.message.tool_calls().count()), (text, 1), "{last}");
    }
    // Some servers write `message` where a `delta` belongs.
    let deltas = ["one ", "two"].map(|text| json!({ "choices": [{ "message": { "content": text } }] }));
    assert_eq!(read(stream(&[deltas.as_slice(), &[finish("stop")]].concat())).0.unwrap().message.text(), "one two");
}
