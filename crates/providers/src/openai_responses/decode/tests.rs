use std::sync::Arc;

use brigade_core::{Delta, Run, testing::Recorder};
use proptest::prelude::*;

use super::*;
use crate::{
    Responses,
    tests::events::{deltas, quirks, read_chunks},
};

/// Reads a stream that arrives in the given chunks.
fn read(chunks: &[&[u8]]) -> (Result<ChatReply, ModelError>, Recorder) {
    read_chunks(&Responses::default(), chunks)
}

/// A stream of the given events; like Bedrock's, without names.
fn stream(events: &[&str]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect()
}

fn reply(events: &[&str]) -> (ChatReply, Recorder) {
    let (result, recorder) = read(&[&stream(events)]);
    (result.unwrap(), recorder)
}

fn body(json: &str) -> Result<ChatReply, ModelError> {
    let run = Run::new();
    let provider = Arc::from("test");
    ResponsesDecoder::default().body(json.as_bytes(), &mut EventSink::new(&run, &provider))
}

const CREATED: &str = r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","output":[]}}"#;
const REASONING: &str = r#"{"id":"rs_1","type":"reasoning","encrypted_content":"gAAA","summary":[{"type":"summary_text","text":"First."},{"type":"summary_text","text":"Then."}]}"#;
const CALL: &str = r#"{"id":"fc_1","type":"function_call","status":"completed","arguments":"{\"q\":\"Päris\"}","call_id":"call_1","name":"lookup"}"#;
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","status":"completed","phase":"final_answer","content":[{"type":"output_text","annotations":[],"text":"Hello, "},{"type":"output_text","annotations":[],"text":"world"}],"role":"assistant"}"#;
const HELLO: &str =
    r#"{"type":"response.output_text.delta","item_id":"x","output_index":1,"delta":"Hello, ","obfuscation":"aB"}"#;

fn done(index: u64, item: &str) -> String {
    format!(r#"{{"type":"response.output_item.done","output_index":{index},"item":{item}}}"#)
}

fn completed(output: &[&str]) -> String {
    let output = output.join(",");
    format!(
        r#"{{"type":"response.completed","response":{{"id":"resp_1","model":"gpt-5-mini-2025-08-07","status":"completed","error":null,"incomplete_details":null,"service_tier":"default","output":[{output}],"usage":{{"input_tokens":20,"input_tokens_details":{{"cached_tokens":8,"cache_write_tokens":2}},"output_tokens":9,"output_tokens_details":{{"reasoning_tokens":4}},"total_tokens":29}}}}}}"#
    )
}

fn tool_stream() -> Vec<String> {
    let texts = [
        CREATED,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"other","type":"reasoning","summary":[]}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"First."}"#,
        &done(0, REASONING),
        r#"{"type":"response.output_item.added","output_index":2,"item":{"id":"fc_0","type":"function_call","arguments":"","call_id":"call_1","name":"lookup"}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"q\":"}"#,
        &done(2, CALL),
        &completed(&[]),
        "[DONE]",
    ];
    texts.map(str::to_owned).to_vec()
}

fn tool_bytes() -> Vec<u8> {
    let events = tool_stream();
    stream(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_text_answer_has_model_usage_and_finish_reason() {
    let (reply, recorder) = reply(&[CREATED, HELLO, &done(0, MESSAGE), &completed(&[MESSAGE])]);
    let [Part::Text(text)] = reply.message.parts() else { panic!("{reply:?}") };
    assert_eq!(text.text, "Hello, world");
    assert_eq!(text.data.as_ref().unwrap().raw.get(), MESSAGE);
    assert_eq!((reply.finish_reason, reply.raw_finish_reason.as_deref()), (FinishReason::EndTurn, Some("completed")));
    assert_eq!((reply.model.as_str(), reply.response_id.as_deref()), ("gpt-5-mini-2025-08-07", Some("resp_1")));
    assert_eq!(reply.service_tier.as_deref(), Some("default"));
    let expected = Usage::new(20, 9).cache_read_tokens(Some(8)).cache_write_tokens(Some(2)).reasoning_tokens(Some(4));
    assert_eq!(reply.usage, Some(expected));
    assert_eq!(deltas(&recorder), [Delta::Text("Hello, ".into())]);
    assert!(quirks(&recorder).is_empty());
}

#[test]
fn streamed_items_are_kept_if_the_final_response_has_none() {
    let (result, recorder) = read(&[&tool_bytes()]);
    let reply = result.unwrap();
    let [Part::Thinking(thinking), Part::ToolCall(call)] = reply.message.parts() else { panic!("{reply:?}") };
    assert_eq!(thinking.text, "First.\n\nThen.");
    assert_eq!(thinking.data.as_ref().unwrap().raw.get(), REASONING);
    assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1", "lookup"));
    assert_eq!(call.arguments.as_str(), r#"{"q":"Päris"}"#);
    assert_eq!(call.data.as_ref().unwrap().raw.get(), r#"{"id":"fc_1","status":"completed"}"#);
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let expected =
        [Delta::Thinking("First.".into()), Delta::ToolCall { name: "lookup".into() }, Delta::Arguments { bytes: 5 }];
    assert_eq!(deltas(&recorder), expected);
}

#[test]
fn a_final_response_with_more_items_is_used() {
    let (reply, _) = reply(&[&done(1, CALL), &completed(&[REASONING, CALL])]);
    assert!(matches!(reply.message.parts(), [Part::Thinking(_), Part::ToolCall(_)]));
}

#[test]
fn items_completed_out_of_order_are_sorted() {
    let (reply, _) = reply(&[&done(1, MESSAGE), &done(0, REASONING), &completed(&[MESSAGE, REASONING])]);
    assert!(matches!(reply.message.parts(), [Part::Thinking(_), Part::Text(_)]));
}

#[test]
fn a_refusal_is_text_with_its_own_finish_reason() {
    let refused = r#"{"type":"message","role":"assistant","content":[{"type":"refusal","refusal":"No."}]}"#;
    let (reply, recorder) =
        reply(&[r#"{"type":"response.refusal.delta","delta":"No."}"#, &done(0, refused), &completed(&[refused])]);
    assert_eq!((reply.message.text().as_ref(), reply.finish_reason), ("No.", FinishReason::Refusal));
    assert_eq!(deltas(&recorder), [Delta::Text("No.".into())]);
}

#[test]
fn an_incomplete_response_says_why() {
    let incomplete = |reason: &str| {
        let json = format!(r#"{{"status":"incomplete","incomplete_details":{{"reason":"{reason}"}},"output":[]}}"#);
        let reply = body(&json).unwrap();
        assert_eq!(reply.raw_finish_reason.as_deref(), Some(reason));
        reply.finish_reason
    };
    assert_eq!(incomplete("max_output_tokens"), FinishReason::MaxTokens);
    assert_eq!(incomplete("content_filter"), FinishReason::ContentFilter);
    assert_eq!(incomplete("tired"), FinishReason::Unknown);
}

#[test]
fn cut_arguments_mean_that_the_token_limit_was_reached() {
    let cut = CALL.replace(r#"Päris\"}"#, "P");
    let (reply, recorder) = reply(&[&done(0, &cut), &completed(&[&cut])]);
    assert_eq!(reply.message.tool_calls().next().unwrap().arguments, Arguments::Malformed("{\"q\":\"P".into()));
    assert_eq!((reply.finish_reason, reply.raw_finish_reason.as_deref()), (FinishReason::MaxTokens, Some("completed")));
    assert_eq!(quirks(&recorder), ["arguments_malformed", "stop_mismatch"]);
}

#[test]
fn arguments_of_undocumented_forms_are_read() {
    for (given, expected) in [(r#""""#, "{}"), ("null", "{}"), (r#"{"a":1}"#, r#"{"a":1}"#)] {
        let call = format!(r#"{{"type":"function_call","call_id":"c","name":"f","arguments":{given}}}"#);
        let reply = body(&format!(r#"{{"status":"completed","output":[{call}]}}"#)).unwrap();
        assert_eq!(reply.message.tool_calls().next().unwrap().arguments.as_str(), expected);
    }
}

#[test]
fn items_of_unknown_types_are_kept_unchanged() {
    let item = r#"{"type":"hologram","id":"h_1","beams":[1, 2]}"#;
    let search = r#"{"type":"web_search_call","action":{"type":"search"}}"#;
    let opened = r#"{"type":"web_search_call","action":{"type":"open_page"}}"#;
    let (reply, recorder) = reply(&[
        r#"{"type":"response.hologram_call.in_progress"}"#,
        r#"{"type":"weather.report"}"#,
        &done(0, item),
        &done(1, search),
        &done(2, opened),
        &completed(&[]),
    ]);
    let [Part::Opaque(kept), Part::Opaque(_), Part::Opaque(_)] = reply.message.parts() else { panic!("{reply:?}") };
    assert_eq!(kept.raw.get(), item);
    assert_eq!(reply.usage.unwrap().web_searches, Some(1));
    assert_eq!(quirks(&recorder), ["unknown_event"]);
}

#[test]
fn the_costs_that_servers_state_are_kept() {
    let cost = |field: &str| {
        let json =
            format!(r#"{{"status":"completed","output":[],"usage":{{"input_tokens":1,"output_tokens":1,{field}}}}}"#);
        body(&json).unwrap().usage.unwrap().stated_cost
    };
    assert_eq!(cost(r#""cost":0.025265"#), Some("0.025265".parse().unwrap()));
    assert_eq!(cost(r#""cost_in_usd_ticks":161508500"#), Some("0.01615085".parse().unwrap()));
    assert_eq!(cost(r#""cost":null"#), None);
}

#[test]
fn a_failed_response_fails_with_the_kind_of_its_error_and_keeps_its_usage() {
    let error = r#"{"type":"error","sequence_number":2,"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"Empty."}}"#;
    assert_eq!(read(&[&stream(&[CREATED, error])]).0.unwrap_err().kind(), ModelErrorKind::Quota);
    let bare = r#"{"type":"error","code":"rate_limit_exceeded","message":"Too fast.","param":null}"#;
    assert_eq!(read(&[&stream(&[bare])]).0.unwrap_err().kind(), ModelErrorKind::RateLimited);
    let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"Oops."},"output":[],"usage":{"input_tokens":7,"output_tokens":3}}}"#;
    let run = Run::new();
    let provider = Arc::from("test");
    let mut decoder = ResponsesDecoder::default();
    let event = SseEvent { name: "".into(), data: failed.into() };
    let error = decoder.event(&event, &mut EventSink::new(&run, &provider)).unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Transient);
    assert_eq!(decoder.usage(), Some(Usage::new(7, 3)));
}

#[test]
fn a_document_that_is_not_an_answer_is_an_error() {
    assert_eq!(read(&[&stream(&[CREATED, HELLO])]).0.unwrap_err().kind(), ModelErrorKind::Broken);
    assert_eq!(read(&[&stream(&[CREATED, HELLO, "[DONE]"])]).0.unwrap_err().kind(), ModelErrorKind::Broken);
    assert_eq!(read(&[b"data: nonsense\n\n"]).0.unwrap_err().kind(), ModelErrorKind::Broken);
    for odd in ["{}", "[]", "hello", r#"{"output":"#] {
        assert_eq!(body(odd).unwrap_err().kind(), ModelErrorKind::Broken, "{odd}");
    }
    let queued = body(r#"{"status":"queued","output":[]}"#).unwrap_err();
    assert_eq!(queued.kind(), ModelErrorKind::Caller);
    let error = body(r#"{"error":{"message":"Bad key","code":"invalid_api_key"}}"#).unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Auth);
}

#[test]
fn every_split_into_two_gives_the_same_reply() {
    let bytes = tool_bytes();
    let whole = read(&[&bytes]).0.unwrap();
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        let split = read(&[head, tail]).0.unwrap();
        assert_eq!(
            (&split.message, split.usage, split.finish_reason),
            (&whole.message, whole.usage, whole.finish_reason),
            "{at}"
        );
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_reply(cuts in proptest::collection::vec(0_usize..2_000, 0..40)) {
        let bytes = tool_bytes();
        let whole = read(&[&bytes]).0.unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let split = read(&chunks).0.unwrap();
        prop_assert_eq!(split.message, whole.message);
        prop_assert_eq!(split.usage, whole.usage);
    }

    #[test]
    fn no_bytes_make_it_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        order in proptest::collection::vec(0_usize..9, 0..20),
    ) {
        let _ = read(&[&noise]);
        let _ = body(&String::from_utf8_lossy(&noise));
        let known = tool_stream();
        let shuffled: Vec<&str> = order.iter().filter_map(|index| known.get(*index).map(String::as_str)).collect();
        let mut bytes = stream(&shuffled);
        bytes.truncate(bytes.len().saturating_sub(noise.len()));
        bytes.extend_from_slice(&noise);
        let _ = read(&[&bytes]);
    }
}

#[test]
fn what_was_shown_stands_if_the_final_text_differs() {
    let item = |text: &str| {
        let content = serde_json::json!([{ "type": "output_text", "text": text }]);
        serde_json::json!({ "type": "message", "content": content }).to_string()
    };
    let delta = |text: &str| {
        serde_json::json!({ "type": "response.output_text.delta", "output_index": 0, "delta": text }).to_string()
    };
    for (shown, last, text) in [
        (["one", "\r\ntwo"], "one\ntwo", "one\r\ntwo"),
        (["one", " \u{e200}cite\u{e201} two"], "one two", "one \u{e200}cite\u{e201} two"),
        (["one", " e\u{301}"], "one é", "one e\u{301}"),
        (["one", " two"], "one two three", "one two three"),
        (["o", "t"], "one two three", "one two three"),
    ] {
        let item = item(last);
        let events = [CREATED, &delta(shown[0]), &delta(shown[1]), &done(0, &item), &completed(&[&item])];
        let (reply, recorder) = reply(&events);
        assert_eq!(reply.message.text(), text);
        assert_eq!(deltas(&recorder), shown.map(|text| Delta::Text(text.into())));
    }
}
