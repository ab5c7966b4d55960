//! What the ways in which providers break look like through a client, in all three protocols, streaming and not.
//!
//! Waits are not tested here: clients have none. A provider that stalls is for the wrapper that counts the time.
#![cfg(test)]

use std::{borrow::Cow, sync::Arc};

use brigade_core::{
    Arguments, ChatModel, ChatReply, ChatRequest, Event, FinishReason, Message, ModelError, ModelErrorKind as Kind,
    RawJson, Role, Run, ToolResult, ToolSet, ToolSpec, Transcript, testing::Recorder,
};
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses};
use brigade_rehearsal::{
    FaultPlan, RequestMatcher, RunningSimulator, Script, ScriptedAnswer, ScriptedToolCall, Simulator,
};

const CHAT: &str = "openai-chat";
const RESPONSES: &str = "openai-responses";
const ANTHROPIC: &str = "anthropic";
const ALL: [&str; 3] = [CHAT, RESPONSES, ANTHROPIC];

fn model(running: &RunningSimulator, protocol: &str) -> Arc<dyn ChatModel> {
    let v1 = format!("{}/v1", running.base_url());
    match protocol {
        CHAT => Arc::new(OpenAi::builder().base_url(v1).build().unwrap().model("gpt-5-mini")),
        RESPONSES => Arc::new(OpenAiResponses::builder().base_url(v1).build().unwrap().model("gpt-5-mini")),
        _ => Arc::new(Anthropic::builder().base_url(running.base_url()).build().unwrap().model("claude-sonnet-4-5")),
    }
}

/// A simulator that says three words, or calls a tool where one is offered, and breaks every call in one way.
async fn simulator(fault: &str) -> RunningSimulator {
    let calls = [ScriptedToolCall::new("lookup", r#"{"query":"a"}"#)];
    let offered = RequestMatcher::default().tools(true);
    let script = Script::default()
        .rule(offered, ScriptedAnswer::calls(calls))
        .rule(RequestMatcher::default(), ScriptedAnswer::text("one two three"));
    let plan = FaultPlan::from_toml(&format!("[[fault]]\nid = \"it\"\n{fault}")).unwrap();
    Simulator::builder().script(script).faults(plan).build().serve_locally().await.unwrap()
}

fn question(tools: bool) -> ChatRequest {
    let schema = RawJson::parse(r#"{"type":"object"}"#.to_owned()).unwrap();
    let tools = if tools { vec![ToolSpec::new("lookup", "Looks it up.", schema)] } else { vec![] };
    ChatRequest::new("Say three words.").tools(ToolSet::new(tools))
}

struct Seen {
    result: Result<ChatReply, ModelError>,
    heard: Recorder,
}

impl Seen {
    fn error(&self) -> &ModelError {
        self.result.as_ref().unwrap_err()
    }

    fn reply(&self) -> &ChatReply {
        self.result.as_ref().unwrap()
    }

    fn quirks(&self) -> Vec<&'static str> {
        let events = self.heard.events();
        let quirk = |(_, event): &(Arc<str>, Event)| {
            if let Event::WireQuirk { kind: Cow::Borrowed(kind), .. } = event { Some(*kind) } else { None }
        };
        events.iter().filter_map(quirk).collect()
    }

    fn calls(&self) -> Vec<(String, String)> {
        let own = |call: &brigade_core::ToolCall| (call.name.clone(), call.arguments.as_str().to_owned());
        self.reply().message.tool_calls().map(own).collect()
    }
}

#[derive(Clone, Copy)]
struct Ask {
    stream: bool,
    tools: bool,
}

const STREAM: Ask = Ask { stream: true, tools: false };
const WHOLE: Ask = Ask { stream: false, tools: false };
const CALL: Ask = Ask { stream: true, tools: true };

async fn asked(running: &RunningSimulator, protocol: &str, ask: Ask) -> Seen {
    let heard = Recorder::new();
    let run = Run::builder().deltas(ask.stream).observer(Arc::new(heard.clone())).build();
    let result = model(running, protocol).chat(&question(ask.tools), &run).await;
    Seen { result, heard }
}

async fn struck(fault: &str, protocol: &str, ask: Ask) -> Seen {
    asked(&simulator(fault).await, protocol, ask).await
}

#[tokio::test]
async fn every_client_keeps_the_contract_of_models() {
    let running = simulator("match = { call = 1000 }").await;
    for protocol in ALL {
        brigade_core::testing::model_contract(&*model(&running, protocol)).await;
    }
}

#[tokio::test]
async fn the_probe_costs_nothing_and_sees_a_wrong_address() {
    let running = simulator("match = { call = 1000 }").await;
    let v1 = format!("{}/v1", running.base_url());
    assert!(OpenAi::builder().base_url(&v1).build().unwrap().probe().await.is_ok());
    assert!(OpenAiResponses::builder().base_url(&v1).build().unwrap().probe().await.is_ok());
    assert!(Anthropic::builder().base_url(running.base_url()).build().unwrap().probe().await.is_ok());
    assert_eq!(running.call_log().totals().usage, brigade_rehearsal::BilledUsage::default());
    let gone = running.base_url();
    running.shutdown().await;
    let error = OpenAi::builder().base_url(gone).build().unwrap().probe().await.unwrap_err();
    assert_eq!((error.kind(), error.details().sent), (Kind::Unreachable, false));
}

#[tokio::test]
async fn r01_nobody_there_is_told_before_anything_is_sent() {
    let running = simulator("match = { call = 1000 }").await;
    for protocol in ALL {
        let model = model(&running, protocol);
        assert!(model.chat(&question(false), &Run::new()).await.is_ok());
    }
    let models = ALL.map(|protocol| model(&running, protocol));
    running.shutdown().await;
    for model in models {
        let error = model.chat(&question(false), &Run::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.details().sent), (Kind::Unreachable, false), "{error}");
    }
}

#[tokio::test]
async fn r05_a_spend_cap_is_no_rate_limit() {
    for (protocol, error) in [
        (CHAT, "insufficient_quota"),
        (RESPONSES, "insufficient_quota"),
        (ANTHROPIC, "enforced_spend_limit_reached"),
        (ANTHROPIC, "credit_balance_too_low"),
        (ANTHROPIC, "spend_limit_reached"),
    ] {
        let seen = struck(&format!("do = {{ error = \"{error}\" }}"), protocol, WHOLE).await;
        assert_eq!(seen.error().kind(), Kind::Quota, "{error}");
        assert_eq!(seen.error().retry(), brigade_core::RetryAdvice::Never);
    }
}

#[tokio::test]
async fn r07_a_proxys_page_is_a_passing_failure_and_kept_in_part() {
    for protocol in ALL {
        for (status, content_type) in [(502, "text/html"), (503, "application/json")] {
            let headers = format!("headers = [[\"content-type\", \"{content_type}\"]]");
            let fault = format!("do = {{ status = {status}, html_bytes = 1048576, {headers} }}");
            let seen = struck(&fault, protocol, STREAM).await;
            let error = seen.error();
            assert_eq!((error.kind(), error.details().status), (Kind::Transient, Some(status)), "{protocol}");
            assert!(error.details().message.len() <= 2048);
        }
    }
}

#[tokio::test]
async fn r08_a_permanent_failure_is_typed_and_has_the_id_of_the_exchange() {
    let kinds = [
        (400, Kind::Caller),
        (401, Kind::Auth),
        (403, Kind::Auth),
        (404, Kind::Caller),
        (413, Kind::Caller),
        (422, Kind::Caller),
    ];
    for protocol in ALL {
        for (status, kind) in kinds {
            let seen = struck(&format!("do = {{ status = {status} }}"), protocol, WHOLE).await;
            let error = seen.error();
            assert_eq!((error.kind(), error.retry()), (kind, brigade_core::RetryAdvice::Never), "{protocol} {status}");
            assert!(error.details().request_id.is_some(), "{protocol} {status}");
            assert!(error.details().sent);
        }
    }
}

#[tokio::test]
async fn r09_an_error_dressed_as_success_is_an_error() {
    for protocol in ALL {
        for ask in [STREAM, WHOLE] {
            for body in ["", "OK", "<html></html>", "{}", "{\\\"choices\\\":[]}", "[]"] {
                let seen = struck(&format!("do = {{ status = 200, body = \"{body}\" }}"), protocol, ask).await;
                assert_eq!(seen.error().kind(), Kind::Broken, "{protocol} {body}");
            }
            let seen = struck("do = { status = 200, error = \"server_error\" }", protocol, ask).await;
            assert_eq!(seen.error().kind(), Kind::Transient, "{protocol}");
        }
    }
}

#[tokio::test]
async fn r10_a_body_that_is_cut_is_broken() {
    for protocol in ALL {
        for fault in [
            "at = { after_bytes = 100 }\ndo = { content_length = 5000, then = \"close\" }",
            "at = { after_bytes = 100 }\ndo = { gzip = true, then = \"close\" }",
            "at = { after_bytes = 100 }\ndo = { then = \"close\" }",
        ] {
            let seen = struck(fault, protocol, WHOLE).await;
            assert_eq!(seen.error().kind(), Kind::Broken, "{protocol} {fault}");
            assert!(seen.error().details().sent);
        }
    }
}

#[tokio::test]
async fn r11_and_r12_a_stream_without_its_end_is_never_success() {
    for protocol in ALL {
        for then in ["end", "close", "reset"] {
            let seen =
                struck(&format!("at = {{ after_deltas = 2 }}\ndo = {{ then = \"{then}\" }}"), protocol, STREAM).await;
            assert_eq!(seen.error().kind(), Kind::Broken, "{protocol} {then}");
            let seen =
                struck(&format!("at = {{ mid_arguments = true }}\ndo = {{ then = \"{then}\" }}"), protocol, CALL).await;
            assert_eq!(seen.error().kind(), Kind::Broken, "{protocol} {then}");
        }
    }
}

#[tokio::test]
async fn r13_an_error_event_has_its_own_class() {
    for (protocol, name) in
        [(CHAT, "server_is_overloaded"), (RESPONSES, "server_is_overloaded"), (ANTHROPIC, "overloaded_error")]
    {
        for at in ["after_deltas = 1", "after_events = 0"] {
            let seen = struck(&format!("at = {{ {at} }}\ndo = {{ sse_error = \"{name}\" }}"), protocol, STREAM).await;
            assert_eq!(seen.error().kind(), Kind::Overloaded, "{protocol} {at}");
        }
    }
}

#[tokio::test]
async fn r16_one_terminal_marker_is_enough() {
    for (markers, stop) in [
        ("no_finish", FinishReason::Unknown),
        ("null_finish", FinishReason::Unknown),
        ("no_done", FinishReason::EndTurn),
    ] {
        let seen = struck(&format!("do = {{ markers = \"{markers}\" }}"), CHAT, STREAM).await;
        assert_eq!(
            (seen.reply().finish_reason, seen.reply().message.text()),
            (stop, "one two three".into()),
            "{markers}"
        );
        assert!(!seen.quirks().is_empty());
    }
    for protocol in ALL {
        assert_eq!(struck("do = { markers = \"neither\" }", protocol, STREAM).await.error().kind(), Kind::Broken);
        for markers in ["held_open", "data_after_done"] {
            let seen = struck(&format!("do = {{ markers = \"{markers}\" }}"), protocol, STREAM).await;
            assert_eq!(seen.reply().message.text(), "one two three", "{protocol} {markers}");
        }
    }
}

#[tokio::test]
async fn r17_every_legal_framing_reads_the_same() {
    for protocol in ALL {
        for framing in
            ["crlf", "cr", "mixed", "bom", "no_space", "comments", "multi_line", "byte_segments", "no_event_names"]
        {
            let seen = struck(&format!("do = {{ framing = [\"{framing}\"] }}"), protocol, STREAM).await;
            assert_eq!(seen.reply().message.text(), "one two three", "{protocol} {framing}");
        }
        let seen = struck("do = { framing = [\"unknown_events\"] }", protocol, STREAM).await;
        assert_eq!(seen.reply().message.text(), "one two three");
        assert!(seen.quirks().contains(&"unknown_event"), "{protocol} {:?}", seen.quirks());
        let seen = struck("do = { framing = [\"leading_blanks\"] }", protocol, WHOLE).await;
        assert_eq!(seen.reply().message.text(), "one two three");
        for framing in ["bad_json", "oversize_line"] {
            let seen = struck(&format!("do = {{ framing = [\"{framing}\"] }}"), protocol, STREAM).await;
            assert_eq!(seen.error().kind(), Kind::Broken, "{protocol} {framing}");
        }
    }
}

#[tokio::test]
async fn r18_tool_deltas_of_every_shape_make_the_right_calls() {
    let expected = vec![("lookup".to_owned(), r#"{"query":"a"}"#.to_owned())];
    for shape in [
        "id_every_chunk",
        "index_zero",
        "no_index",
        "name_after_arguments",
        "blank_later",
        "whole_call",
        "arguments_object",
        "interleaved",
        "finish_twice",
    ] {
        let seen = struck(&format!("do = {{ tool_deltas = \"{shape}\" }}"), CHAT, CALL).await;
        assert_eq!((seen.calls(), seen.reply().finish_reason), (expected.clone(), FinishReason::ToolCalls), "{shape}");
    }
    let seen = struck("do = { tool_deltas = \"empty_name\" }", CHAT, CALL).await;
    assert_eq!(seen.calls(), [(String::new(), r#"{"query":"a"}"#.to_owned())]);
}

#[tokio::test]
async fn r19_usage_is_the_last_that_was_told_or_absent() {
    for protocol in ALL {
        let running = simulator("match = { call = 1000 }").await;
        let truth = asked(&running, protocol, STREAM).await.reply().usage.unwrap();
        for lie in ["every_chunk", "on_finish"] {
            let seen = struck(&format!("do = {{ usage = \"{lie}\" }}"), protocol, STREAM).await;
            assert_eq!(seen.reply().usage, Some(truth), "{protocol} {lie}");
        }
        for lie in ["none", "null"] {
            let seen = struck(&format!("do = {{ usage = \"{lie}\" }}"), protocol, WHOLE).await;
            assert_eq!(seen.reply().usage, None, "{protocol} {lie}");
            assert!(seen.quirks().contains(&"usage_missing"));
        }
        let seen = struck("do = { usage = \"negative\" }", protocol, WHOLE).await;
        assert_eq!(seen.reply().message.text(), "one two three");
        assert!(seen.quirks().contains(&"usage_implausible"), "{protocol} {:?}", seen.quirks());
    }
}

#[tokio::test]
async fn r20_and_r21_an_empty_answer_is_an_answer() {
    for protocol in ALL {
        for (say, stop) in [
            ("empty", FinishReason::EndTurn),
            ("nothing", FinishReason::EndTurn),
            ("whitespace", FinishReason::EndTurn),
            ("reasoning_only", FinishReason::EndTurn),
            ("out_of_tokens", FinishReason::MaxTokens),
        ] {
            for ask in [STREAM, WHOLE] {
                let seen = struck(&format!("do = {{ say = \"{say}\" }}"), protocol, ask).await;
                assert_eq!(seen.reply().message.text().trim(), "", "{protocol} {say}");
                assert_eq!(seen.reply().finish_reason, stop, "{protocol} {say}");
            }
        }
    }
}

#[tokio::test]
async fn r22_and_r23_cut_arguments_are_kept_as_text_and_mean_the_limit() {
    for protocol in ALL {
        for say in ["cut_arguments", "cut_arguments_mislabelled"] {
            // A document of Anthropic's holds arguments as JSON, which cannot be cut.
            let asks = [CALL, Ask { stream: false, ..CALL }];
            for ask in asks.into_iter().filter(|ask| ask.stream || protocol != ANTHROPIC) {
                let seen = struck(&format!("do = {{ say = \"{say}\" }}"), protocol, ask).await;
                let reply = seen.reply();
                assert_eq!(reply.finish_reason, FinishReason::MaxTokens, "{protocol} {say} {:?}", reply.message);
                assert!(reply.message.tool_calls().all(|call| matches!(call.arguments, Arguments::Malformed(_))));
            }
        }
    }
}

#[tokio::test]
async fn r24_odd_arguments_come_through_without_being_parsed() {
    for (protocol, say) in [(CHAT, "empty_arguments"), (CHAT, "null_arguments"), (RESPONSES, "empty_arguments")] {
        let seen = struck(&format!("do = {{ say = \"{say}\" }}"), protocol, CALL).await;
        assert_eq!(seen.calls()[0].1, "{}", "{protocol} {say}");
    }
    for protocol in ALL {
        for (say, least) in [("huge_arguments", 5_000_000), ("deep_arguments", 100_000), ("duplicate_keys", 10)] {
            let seen = struck(&format!("do = {{ say = \"{say}\" }}"), protocol, CALL).await;
            assert!(seen.calls()[0].1.len() >= least, "{protocol} {say}");
        }
        let seen = struck("do = { say = \"nan_arguments\" }", protocol, CALL).await;
        assert!(
            matches!(seen.reply().message.tool_calls().next().unwrap().arguments, Arguments::Malformed(_)),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn r26_twin_ids_are_both_kept_and_the_next_request_is_accepted() {
    let plan = "match = { call = 1 }\ndo = { say = \"twin_ids\" }";
    for protocol in ALL {
        let plan = FaultPlan::from_toml(&format!("[[fault]]\n{plan}")).unwrap();
        let running = Simulator::builder().faults(plan).strict(true).build().serve_locally().await.unwrap();
        let mut request = question(true);
        let model = model(&running, protocol);
        let reply = model.chat(&request, &Run::new()).await.unwrap();
        assert_eq!(reply.message.tool_calls().count(), 2, "{protocol}");
        request.transcript.push(reply.message).unwrap();
        answer_all(&mut request.transcript);
        let reply = model.chat(&request, &Run::new()).await;
        assert!(reply.is_ok(), "{protocol}: {reply:?}");
    }
}

#[tokio::test]
async fn r27_a_refusal_and_a_filter_are_typed_outcomes() {
    for protocol in ALL {
        for ask in [STREAM, WHOLE] {
            let refused = struck("do = { say = \"refusal\" }", protocol, ask).await;
            assert_eq!(refused.reply().finish_reason, FinishReason::Refusal, "{protocol}");
        }
    }
    for protocol in [CHAT, RESPONSES] {
        let filtered = struck("do = { say = \"content_filter\" }", protocol, STREAM).await;
        assert_eq!(filtered.reply().finish_reason, FinishReason::ContentFilter, "{protocol}");
    }
}

#[tokio::test]
async fn a_conversation_moves_between_protocols_in_the_middle() {
    let script = Script::default()
        .rule(
            RequestMatcher::default().turn(0),
            ScriptedAnswer::calls([ScriptedToolCall::new("lookup", "{}")]).thinking("Let me look."),
        )
        .rule(RequestMatcher::default(), ScriptedAnswer::text("{{tool_results}}").thinking("Now I know."));
    let running = Simulator::builder().script(script).strict(true).build().serve_locally().await.unwrap();
    for first in ALL {
        for second in ALL {
            let mut request = question(true);
            let reply = model(&running, first).chat(&request, &Run::new()).await.unwrap();
            request.transcript.push(reply.message).unwrap();
            answer_all(&mut request.transcript);
            let reply = model(&running, second).chat(&request, &Run::new()).await;
            let reply = reply.unwrap_or_else(|error| panic!("{first} to {second}: {error}"));
            assert_eq!(reply.message.text(), "found", "{first} to {second}");
            request.transcript.push(reply.message).unwrap();
            request.transcript.push(Message::user("And?")).unwrap();
            let again = model(&running, first).chat(&request, &Run::new()).await;
            assert!(again.is_ok(), "{first} to {second} and back: {again:?}");
        }
    }
}

fn answer_all(transcript: &mut Transcript) {
    let found = |call: &brigade_core::ToolCall| ToolResult {
        call_id: call.id.clone(),
        name: call.name.clone(),
        content: Message::new(Role::User, vec![brigade_core::Part::text("found")]).parts().to_vec(),
        is_error: false,
    };
    let results = transcript.open_calls().into_iter().map(found).collect();
    transcript.answer_calls(results).unwrap();
}
