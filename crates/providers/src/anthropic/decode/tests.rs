use std::sync::Arc;

use brigade_core::{Arguments, Delta, Run, testing::Recorder};
use proptest::prelude::*;

use super::*;
use crate::{
    Messages,
    tests::events::{deltas, quirks, read_chunks},
};

/// Reads a stream that arrives in the given chunks.
fn read(chunks: &[&[u8]]) -> (Result<ChatReply, ModelError>, Recorder) {
    read_chunks(&Messages, chunks)
}

/// A stream of the given events, framed as Anthropic does.
fn stream(events: &[&str]) -> Vec<u8> {
    let name =
        |event: &str| serde_json::from_str::<serde_json::Value>(event).unwrap()["type"].as_str().unwrap().to_owned();
    events.iter().flat_map(|event| format!("event: {}\ndata: {event}\n\n", name(event)).into_bytes()).collect()
}

fn reply(events: &[&str]) -> (ChatReply, Recorder) {
    let (result, recorder) = read(&[&stream(events)]);
    (result.unwrap(), recorder)
}

fn body(json: &str) -> Result<ChatReply, ModelError> {
    let run = Run::new();
    let provider = Arc::from("test");
    MessagesDecoder::default().body(json.as_bytes(), &mut EventSink::new(&run, &provider))
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"usage":{"input_tokens":10,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"cache_creation":{"ephemeral_1h_input_tokens":2,"ephemeral_5m_input_tokens":0},"output_tokens":1,"service_tier":"standard"}}}"#;
const PING: &str = r#"{"type": "ping"}"#;
const TEXT: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}           }"#;
const HELLO: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hällo"}    }"#;
const WORLD: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":", world"}}"#;
const STOP_0: &str = r#"{"type":"content_block_stop","index":0        }"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":12}     }"#;
const STOP: &str = r#"{"type":"message_stop"         }"#;
const SIGNED: [&str; 5] = [
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me "}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"see."}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
    STOP_0,
];
const CALL: &str = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"lookup","input":{},"caller":{"type":"direct"}}}"#;
const HALF: &str =
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"q\": \"Pa"}}"#;
const REST: &str =
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"ris\"}"}}"#;
const CALLS: &str = r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":40}}"#;

fn thinking_call() -> Vec<&'static str> {
    [&[START, PING][..], &SIGNED, &[CALL, PING, HALF, REST, CALLS, STOP]].concat()
}

#[test]
fn a_text_answer_has_model_usage_and_finish_reason() {
    let (reply, recorder) = reply(&[START, TEXT, PING, HELLO, WORLD, STOP_0, END, STOP]);
    assert_eq!(reply.message.text(), "Hällo, world");
    assert_eq!((reply.finish_reason, reply.raw_finish_reason.as_deref()), (FinishReason::EndTurn, Some("end_turn")));
    assert_eq!(reply.model, "claude-sonnet-4-5-20250929");
    assert_eq!(reply.response_id.as_deref(), Some("msg_1"));
    assert_eq!(reply.service_tier.as_deref(), Some("standard"));
    let expected =
        Usage::new(15, 12).cache_read_tokens(Some(3)).cache_write_tokens(Some(2)).cache_write_1h_tokens(Some(2));
    assert_eq!(reply.usage, Some(expected));
    assert_eq!(deltas(&recorder), [Delta::Text("Hällo".into()), Delta::Text(", world".into())]);
    assert!(quirks(&recorder).is_empty());
}

#[test]
fn cached_tokens_outside_the_prompt_count_are_added_once() {
    let usage = reply(&[START, TEXT, HELLO, STOP_0, END, STOP]).0.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.uncached_input_tokens()), (10 + 3 + 2, 10));
}

#[test]
fn thinking_keeps_its_signature_and_a_call_its_extra_fields() {
    let (reply, recorder) = reply(&thinking_call());
    let [Part::Thinking(thinking), Part::ToolCall(call)] = reply.message.parts() else { panic!("{reply:?}") };
    assert_eq!(thinking.text, "Let me see.");
    let raw = thinking.data.as_ref().unwrap().raw.get();
    assert_eq!(raw, r#"{"signature":"c2ln","thinking":"Let me see.","type":"thinking"}"#);
    assert_eq!((call.id.as_str(), call.name.as_str()), ("toolu_1", "lookup"));
    assert_eq!(call.arguments.as_str(), r#"{"q": "Paris"}"#);
    assert_eq!(call.data.as_ref().unwrap().raw.get(), r#"{"caller":{"type":"direct"}}"#);
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    assert!(deltas(&recorder).contains(&Delta::ToolCall { name: "lookup".into() }));
    assert!(deltas(&recorder).contains(&Delta::Arguments { bytes: 9 }));
}

#[test]
fn a_call_without_parameters_gets_an_empty_object() {
    let empty = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#;
    for deltas in [vec![], vec![empty]] {
        let (reply, _) = reply(&[&[START, CALL][..], &deltas, &[CALLS, STOP]].concat());
        assert_eq!(reply.message.tool_calls().next().unwrap().arguments, Arguments::default());
    }
}

#[test]
fn cut_arguments_are_kept_as_text_and_reported() {
    let cut = r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":40}}"#;
    let (honest, recorder) = reply(&[START, CALL, HALF, cut, STOP]);
    assert_eq!(honest.finish_reason, FinishReason::MaxTokens);
    assert_eq!(honest.message.tool_calls().next().unwrap().arguments, Arguments::Malformed("{\"q\": \"Pa".into()));
    assert_eq!(quirks(&recorder), ["arguments_malformed"]);
    let (mislabelled, recorder) = reply(&[START, CALL, HALF, CALLS, STOP]);
    assert!(matches!(mislabelled.message.tool_calls().next().unwrap().arguments, Arguments::Malformed(_)));
    assert_eq!(
        (mislabelled.finish_reason, mislabelled.raw_finish_reason.as_deref()),
        (FinishReason::MaxTokens, Some("tool_use"))
    );
    assert_eq!(quirks(&recorder), ["arguments_malformed", "stop_mismatch"]);
}

#[test]
fn a_stream_may_begin_with_the_whole_answer() {
    let start = r#"{"type":"message_start","message":{"id":"m","model":"c","content":[{"type":"tool_use","id":"t","name":"add","input":{"a":1}}],"stop_reason":"tool_use","usage":{"input_tokens":0,"output_tokens":0}}}"#;
    let (reply, _) = reply(&[start, STOP]);
    let call = reply.message.tool_calls().next().unwrap();
    assert_eq!((call.name.as_str(), call.arguments.as_str()), ("add", r#"{"a":1}"#));
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    assert_eq!(reply.usage, Some(Usage::new(0, 0)));
}

#[test]
fn a_later_usage_counts_and_extra_samplings_are_added() {
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":612,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":2819,"output_tokens_details":{"thinking_tokens":7},"server_tool_use":{"web_search_requests":2},"iterations":[{"type":"compaction","input_tokens":60385,"output_tokens":522},{"type":"message","input_tokens":612,"output_tokens":2819}]}}"#;
    let usage = reply(&[START, end, STOP]).0.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (612 + 60_385, 2_819 + 522));
    assert_eq!((usage.reasoning_tokens, usage.web_searches), (Some(7), Some(2)));
}

#[test]
fn implausible_usage_is_reported_and_replaces_nothing() {
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":null,"output_tokens":-5}}"#;
    let (odd, recorder) = reply(&[START, end, STOP]);
    assert_eq!(odd.usage.unwrap().output_tokens, 1);
    assert_eq!(quirks(&recorder), ["usage_implausible"]);
    let bare = r#"{"type":"message_start","message":{"content":[]}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    assert_eq!(reply(&[bare, end, STOP]).0.usage, None);
}

#[test]
fn a_stream_without_a_terminal_marker_is_broken_and_its_usage_is_kept() {
    let run = Run::new();
    let provider = Arc::from("test");
    let mut sink = EventSink::new(&run, &provider);
    let mut decoder = MessagesDecoder::default();
    let event = SseEvent { name: "message_start".into(), data: START.into() };
    decoder.event(&event, &mut sink).unwrap();
    assert_eq!(decoder.finish(&mut sink).unwrap_err().kind(), ModelErrorKind::Broken);
    assert_eq!(decoder.usage().unwrap().input_tokens, 15);
}

#[test]
fn a_stop_reason_is_a_sufficient_end() {
    let (reply, recorder) = reply(&[START, TEXT, HELLO, END]);
    assert_eq!(reply.message.text(), "Hällo");
    assert_eq!(quirks(&recorder), ["end_marker_missing"]);
}

#[test]
fn an_error_event_fails_the_call_with_its_own_kind() {
    let error = r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}"#;
    for events in [vec![error], vec![START, TEXT, HELLO, error]] {
        let failed = read(&[&stream(&events)]).0.unwrap_err();
        assert_eq!(failed.kind(), ModelErrorKind::Overloaded);
    }
}

#[test]
fn unknown_events_deltas_and_blocks_are_kept_or_skipped_and_reported() {
    let (odd, recorder) = reply(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"compaction","content":null}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"Short"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":" story"}}"#,
        r#"{"type":"moon_phase","phase":3}"#,
        r#"{"type":"moon_phase","phase":4}"#,
        r#"{"type":"content_block_delta","index":7,"delta":{"type":"text_delta","text":"late"}}"#,
        END,
        STOP,
    ]);
    let [Part::Opaque(kept), Part::Text(late)] = odd.message.parts() else { panic!("{odd:?}") };
    assert_eq!(kept.raw.get(), r#"{"content":"Short story","type":"compaction"}"#);
    assert_eq!(late.text, "late");
    assert_eq!(quirks(&recorder), ["unknown_part", "unknown_event"]);
}

#[test]
fn citations_and_server_tools_are_sent_back_unchanged() {
    let (cited, _) = reply(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"","citations":[]}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"web","url":"u"}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"So."}}"#,
        END,
        STOP,
    ]);
    let [Part::Opaque(search), Part::Text(text)] = cited.message.parts() else { panic!("{cited:?}") };
    assert_eq!(
        search.raw.get(),
        r#"{"id":"srvtoolu_1","input":{"query":"x"},"name":"web_search","type":"server_tool_use"}"#
    );
    let raw = text.data.as_ref().unwrap().raw.get();
    assert_eq!(raw, r#"{"citations":[{"type":"web","url":"u"}],"text":"So.","type":"text"}"#);
}

#[test]
fn thinking_that_the_token_limit_cut_off_is_not_sent_back() {
    let cut = r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":40}}"#;
    let (reply, _) = reply(&[START, SIGNED[0], SIGNED[1], cut, STOP]);
    assert!(matches!(reply.message.parts(), [Part::Thinking(TextPart { data: None, .. })]));
}

#[test]
fn every_stop_reason_has_a_kind() {
    let kinds = [
        ("end_turn", FinishReason::EndTurn),
        ("tool_use", FinishReason::ToolCalls),
        ("max_tokens", FinishReason::MaxTokens),
        ("stop_sequence", FinishReason::StopSequence),
        ("refusal", FinishReason::Refusal),
        ("pause_turn", FinishReason::Pause),
        ("model_context_window_exceeded", FinishReason::ContextWindow),
        ("new_reason", FinishReason::Unknown),
    ];
    for (raw, kind) in kinds {
        let reply = body(&format!(r#"{{"type":"message","content":[],"stop_reason":"{raw}"}}"#)).unwrap();
        assert_eq!((reply.finish_reason, reply.raw_finish_reason.as_deref()), (kind, Some(raw)));
    }
}

#[test]
fn a_document_is_read_like_a_stream_and_blocks_stay_byte_for_byte() {
    let thinking = r#"{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}"#;
    let redacted = r#"{"type":"redacted_thinking","data":"ZGF0YQ=="}"#;
    let json = format!(
        r#"{{"id":"m","type":"message","model":"c","content":[{thinking},{redacted},{{"type":"text","text":"Hi","citations":null}}],"stop_reason":"end_turn","usage":{{"input_tokens":1,"output_tokens":2}}}}"#
    );
    let reply = body(&json).unwrap();
    let [Part::Thinking(first), Part::Thinking(second), Part::Text(text)] = reply.message.parts() else {
        panic!("{reply:?}")
    };
    assert_eq!((first.data.as_ref().unwrap().raw.get(), first.text.as_str()), (thinking, "Hm."));
    assert_eq!(second.data.as_ref().unwrap().raw.get(), redacted);
    assert_eq!(text, &TextPart::new("Hi"));
}

#[test]
fn a_document_that_is_not_an_answer_fails_with_its_kind() {
    let error = r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}"#;
    assert_eq!(body(error).unwrap_err().kind(), ModelErrorKind::RateLimited);
    for odd in ["{}", "[]", "hello", r#"{"type":"message","content":"#] {
        assert_eq!(body(odd).unwrap_err().kind(), ModelErrorKind::Broken, "{odd}");
    }
    assert_eq!(read(&[b"data: not json\n\n"]).0.unwrap_err().kind(), ModelErrorKind::Broken);
}

#[test]
fn every_split_into_two_gives_the_same_reply() {
    let bytes = stream(&thinking_call());
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
        let bytes = stream(&thinking_call());
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
        order in proptest::collection::vec(0_usize..12, 0..20),
    ) {
        let _ = read(&[&noise]);
        let _ = body(&String::from_utf8_lossy(&noise));
        let known = thinking_call();
        let shuffled: Vec<&str> = order.iter().filter_map(|index| known.get(*index).copied()).collect();
        let mut bytes = stream(&shuffled);
        bytes.truncate(bytes.len().saturating_sub(noise.len()));
        bytes.extend_from_slice(&noise);
        let _ = read(&[&bytes]);
    }
}
