//! How clients report the faults of providers, in all three protocols, streamed and not.
//!
//! Stalls are not tested here, because clients have no timeouts.
#![cfg(test)]

use std::{borrow::Cow, sync::Arc};

use brigade_core::{
    Arguments, ChatModel, ChatReply, ChatRequest, Event, FinishReason, Message, ModelError, ModelErrorKind as Kind,
    Part, RawJson, Run, ToolResult, ToolSet, ToolSpec, Transcript, testing::Recorder,
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

/// A simulator that answers with three words, or calls a tool if one is offered, with one fault in every call.
async fn simulator(fault: &str) -> RunningSimulator {
    let calls = [ScriptedToolCall::new("lookup", r#"{"query":"a"}"#)];
    let offered = RequestMatcher::default().tools(true);
    let script = Script::default()
        .rule(offered, ScriptedAnswer::calls(calls))
        .rule(RequestMatcher::default(), ScriptedAnswer::text("one two three"));
    let plan = FaultPlan::from_toml(&format!("[[fault]]\nid = \"fault\"\n{fault}")).unwrap();
    Simulator::builder().script(script).faults(plan).build().serve_locally().await.unwrap()
}

fn chat_request(tools: bool) -> ChatRequest {
    let schema = RawJson::parse(r#"{"type":"object"}"#.to_owned()).unwrap();
    let tools = if tools { vec![ToolSpec::new("lookup", "Looks it up.", schema)] } else { vec![] };
    ChatRequest::new("Say three words.").tools(ToolSet::new(tools))
}

struct CallResult {
    result: Result<ChatReply, ModelError>,
    recorder: Recorder,
}

impl CallResult {
    fn error(&self) -> &ModelError {
        self.result.as_ref().unwrap_err()
    }

    fn reply(&self) -> &ChatReply {
        self.result.as_ref().unwrap()
    }

    fn quirks(&self) -> Vec<&'static str> {
        let events = self.recorder.events();
        let quirk = |(_, event): &(Arc<str>, Event)| {
            if let Event::WireQuirk { kind: Cow::Borrowed(kind), .. } = event { Some(*kind) } else { None }
        };
        events.iter().filter_map(quirk).collect()
    }

    fn calls(&self) -> Vec<(String, String)> {
        let name_and_arguments =
            |call: &brigade_core::ToolCall| (call.name.clone(), call.arguments.as_str().to_owned());
        self.reply().message.tool_calls().map(name_and_arguments).collect()
    }
}

#[derive(Clone, Copy)]
struct CallOptions {
    stream: bool,
    tools: bool,
}

const STREAMED: CallOptions = CallOptions { stream: true, tools: false };
const DOCUMENT: CallOptions = CallOptions { stream: false, tools: false };
const TOOL_CALL: CallOptions = CallOptions { stream: true, tools: true };

async fn call_model(running: &RunningSimulator, protocol: &str, options: CallOptions) -> CallResult {
    let recorder = Recorder::new();
    let run = Run::builder().deltas(options.stream).observer(Arc::new(recorder.clone())).build();
    let result = model(running, protocol).chat(&chat_request(options.tools), &run).await;
    CallResult { result, recorder }
}

async fn call_with_fault(fault: &str, protocol: &str, options: CallOptions) -> CallResult {
    call_model(&simulator(fault).await, protocol, options).await
}

#[tokio::test]
async fn every_client_keeps_the_contract_of_models() {
    let running = simulator("match = { call = 1000 }").await;
    for protocol in ALL {
        brigade_core::testing::model_contract(&*model(&running, protocol)).await;
    }
}

/// An account that thinks before it calls a tool, and refuses reasoning of other accounts.
async fn thinker(protocol: &str) -> (RunningSimulator, Arc<dyn ChatModel>) {
    let answer = ScriptedAnswer::calls([ScriptedToolCall::new("lookup", r#"{"query":"a"}"#)]).thinking("Hm, well.");
    let builder = Simulator::builder().script(Script::always(answer)).own_reasoning_only(true);
    let running = builder.reasoning_content(protocol == SHOWN).build().serve_locally().await.unwrap();
    let v1 = format!("{}/v1", running.base_url());
    let model: Arc<dyn ChatModel> = match protocol {
        SHOWN => Arc::new(OpenAi::compatible("shown", v1).build().unwrap().model("deepseek-reasoner")),
        ANTHROPIC => {
            let client = Anthropic::builder().base_url(running.base_url()).build().unwrap();
            Arc::new(client.model("claude-sonnet-4-5").thinking(1_024))
        }
        _ => model(&running, protocol),
    };
    (running, model)
}

/// Chat Completions with readable reasoning.
const SHOWN: &str = "openai-chat with reasoning";

#[tokio::test]
async fn a_conversation_may_change_its_provider_after_every_turn() {
    for first in [CHAT, SHOWN, RESPONSES, ANTHROPIC] {
        for second in [CHAT, SHOWN, RESPONSES, ANTHROPIC] {
            for stream in [false, true] {
                let accounts = [thinker(first).await, thinker(second).await];
                let mut request = chat_request(true);
                for turn in 0..5 {
                    let run = Run::builder().deltas(stream).build();
                    let answer = accounts[turn % 2].1.chat(&request, &run).await;
                    let reply = answer.unwrap_or_else(|error| panic!("{first}, {second}, turn {turn}: {error}"));
                    request.transcript.push(reply.message).unwrap();
                    let calls = request.transcript.open_calls().into_iter();
                    let results = calls.map(|call| ToolResult::new(call, vec![Part::text("It is blue.")])).collect();
                    request.transcript.answer_calls(results).unwrap();
                }
                // The first account also takes its own reasoning of several turns.
                let again = accounts[0].1.chat(&request, &Run::new()).await;
                assert!(again.is_ok(), "{first}, {second}: {again:?}");
            }
        }
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
async fn r01_an_unreachable_server_is_an_error_and_nothing_was_sent() {
    let running = simulator("match = { call = 1000 }").await;
    for protocol in ALL {
        let model = model(&running, protocol);
        assert!(model.chat(&chat_request(false), &Run::new()).await.is_ok());
    }
    let models = ALL.map(|protocol| model(&running, protocol));
    running.shutdown().await;
    for model in models {
        let error = model.chat(&chat_request(false), &Run::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.details().sent), (Kind::Unreachable, false), "{error}");
    }
}

#[tokio::test]
async fn r05_a_spend_limit_is_not_a_rate_limit() {
    for (protocol, error) in [
        (CHAT, "insufficient_quota"),
        (RESPONSES, "insufficient_quota"),
        (ANTHROPIC, "enforced_spend_limit_reached"),
        (ANTHROPIC, "credit_balance_too_low"),
        (ANTHROPIC, "spend_limit_reached"),
    ] {
        let result = call_with_fault(&format!("do = {{ error = \"{error}\" }}"), protocol, DOCUMENT).await;
        assert_eq!(result.error().kind(), Kind::Quota, "{error}");
        assert_eq!(result.error().retry(), brigade_core::RetryAdvice::Never);
    }
}

#[tokio::test]
async fn r07_the_error_page_of_a_proxy_is_transient_and_shortened() {
    for protocol in ALL {
        for (status, content_type) in [(502, "text/html"), (503, "application/json")] {
            let headers = format!("headers = [[\"content-type\", \"{content_type}\"]]");
            let fault = format!("do = {{ status = {status}, html_bytes = 1048576, {headers} }}");
            let result = call_with_fault(&fault, protocol, STREAMED).await;
            let error = result.error();
            assert_eq!((error.kind(), error.details().status), (Kind::Transient, Some(status)), "{protocol}");
            assert!(error.details().message.len() <= 2048);
        }
    }
}

#[tokio::test]
async fn r08_a_permanent_failure_has_a_kind_and_a_request_id() {
    let kinds = [
        (400, Kind::Caller),
        (401, Kind::Auth),
        (403, Kind::Auth),
        (404, Kind::NoSuchModel),
        (413, Kind::Caller),
        (422, Kind::Caller),
    ];
    for protocol in ALL {
        for (status, kind) in kinds {
            let result = call_with_fault(&format!("do = {{ status = {status} }}"), protocol, DOCUMENT).await;
            let error = result.error();
            assert_eq!((error.kind(), error.retry()), (kind, brigade_core::RetryAdvice::Never), "{protocol} {status}");
            assert!(error.details().request_id.is_some(), "{protocol} {status}");
            assert!(error.details().sent);
        }
    }
}

#[tokio::test]
async fn r09_an_error_with_a_success_status_is_an_error() {
    for protocol in ALL {
        for options in [STREAMED, DOCUMENT] {
            for body in ["", "OK", "<html></html>", "{}", "{\\\"choices\\\":[]}", "[]"] {
                let result =
                    call_with_fault(&format!("do = {{ status = 200, body = \"{body}\" }}"), protocol, options).await;
                assert_eq!(result.error().kind(), Kind::Broken, "{protocol} {body}");
            }
            let result = call_with_fault("do = { status = 200, error = \"server_error\" }", protocol, options).await;
            assert_eq!(result.error().kind(), Kind::Transient, "{protocol}");
        }
    }
}

#[tokio::test]
async fn r10_a_body_that_is_cut_off_is_broken() {
    for protocol in ALL {
        for fault in [
            "at = { after_bytes = 100 }\ndo = { content_length = 5000, then = \"close\" }",
            "at = { after_bytes = 100 }\ndo = { gzip = true, then = \"close\" }",
            "at = { after_bytes = 100 }\ndo = { then = \"close\" }",
        ] {
            let result = call_with_fault(fault, protocol, DOCUMENT).await;
            assert_eq!(result.error().kind(), Kind::Broken, "{protocol} {fault}");
            assert!(result.error().details().sent);
        }
    }
}

#[tokio::test]
async fn r11_and_r12_a_stream_without_its_end_is_never_success() {
    for protocol in ALL {
        for then in ["end", "close", "reset"] {
            let result = call_with_fault(
                &format!("at = {{ after_deltas = 2 }}\ndo = {{ then = \"{then}\" }}"),
                protocol,
                STREAMED,
            )
            .await;
            assert_eq!(result.error().kind(), Kind::Broken, "{protocol} {then}");
            let result = call_with_fault(
                &format!("at = {{ mid_arguments = true }}\ndo = {{ then = \"{then}\" }}"),
                protocol,
                TOOL_CALL,
            )
            .await;
            assert_eq!(result.error().kind(), Kind::Broken, "{protocol} {then}");
        }
    }
}

#[tokio::test]
async fn r13_an_error_event_has_its_own_kind() {
    for (protocol, name) in
        [(CHAT, "server_is_overloaded"), (RESPONSES, "server_is_overloaded"), (ANTHROPIC, "overloaded_error")]
    {
        for at in ["after_deltas = 1", "after_events = 0"] {
            let result =
                call_with_fault(&format!("at = {{ {at} }}\ndo = {{ sse_error = \"{name}\" }}"), protocol, STREAMED)
                    .await;
            assert_eq!(result.error().kind(), Kind::Overloaded, "{protocol} {at}");
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
        let result = call_with_fault(&format!("do = {{ markers = \"{markers}\" }}"), CHAT, STREAMED).await;
        assert_eq!(
            (result.reply().finish_reason, result.reply().message.text()),
            (stop, "one two three".into()),
            "{markers}"
        );
        assert!(!result.quirks().is_empty());
    }
    for protocol in ALL {
        assert_eq!(
            call_with_fault("do = { markers = \"neither\" }", protocol, STREAMED).await.error().kind(),
            Kind::Broken
        );
        for markers in ["held_open", "data_after_done"] {
            let result = call_with_fault(&format!("do = {{ markers = \"{markers}\" }}"), protocol, STREAMED).await;
            assert_eq!(result.reply().message.text(), "one two three", "{protocol} {markers}");
        }
    }
}

#[tokio::test]
async fn r17_every_legal_framing_reads_the_same() {
    for protocol in ALL {
        for framing in
            ["crlf", "cr", "mixed", "bom", "no_space", "comments", "multi_line", "byte_segments", "no_event_names"]
        {
            let result = call_with_fault(&format!("do = {{ framing = [\"{framing}\"] }}"), protocol, STREAMED).await;
            assert_eq!(result.reply().message.text(), "one two three", "{protocol} {framing}");
        }
        let result = call_with_fault("do = { framing = [\"unknown_events\"] }", protocol, STREAMED).await;
        assert_eq!(result.reply().message.text(), "one two three");
        assert!(result.quirks().contains(&"unknown_event"), "{protocol} {:?}", result.quirks());
        let result = call_with_fault("do = { framing = [\"leading_blanks\"] }", protocol, DOCUMENT).await;
        assert_eq!(result.reply().message.text(), "one two three");
        for framing in ["bad_json", "oversize_line"] {
            let result = call_with_fault(&format!("do = {{ framing = [\"{framing}\"] }}"), protocol, STREAMED).await;
            assert_eq!(result.error().kind(), Kind::Broken, "{protocol} {framing}");
        }
    }
}

#[tokio::test]
async fn r18_tool_deltas_of_every_form_give_the_right_calls() {
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
        let result = call_with_fault(&format!("do = {{ tool_deltas = \"{shape}\" }}"), CHAT, TOOL_CALL).await;
        assert_eq!(
            (result.calls(), result.reply().finish_reason),
            (expected.clone(), FinishReason::ToolCalls),
            "{shape}"
        );
    }
    let result = call_with_fault("do = { tool_deltas = \"empty_name\" }", CHAT, TOOL_CALL).await;
    assert_eq!(result.calls(), [(String::new(), r#"{"query":"a"}"#.to_owned())]);
}

#[tokio::test]
async fn r19_usage_is_the_last_reported_or_absent() {
    for protocol in ALL {
        let running = simulator("match = { call = 1000 }").await;
        let truth = call_model(&running, protocol, STREAMED).await.reply().usage.unwrap();
        for form in ["every_chunk", "on_finish"] {
            let result = call_with_fault(&format!("do = {{ usage = \"{form}\" }}"), protocol, STREAMED).await;
            assert_eq!(result.reply().usage, Some(truth), "{protocol} {form}");
        }
        for form in ["none", "null"] {
            let result = call_with_fault(&format!("do = {{ usage = \"{form}\" }}"), protocol, DOCUMENT).await;
            assert_eq!(result.reply().usage, None, "{protocol} {form}");
            assert!(result.quirks().contains(&"usage_missing"));
        }
        let result = call_with_fault("do = { usage = \"negative\" }", protocol, DOCUMENT).await;
        assert_eq!(result.reply().message.text(), "one two three");
        assert!(result.quirks().contains(&"usage_implausible"), "{protocol} {:?}", result.quirks());
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
            for options in [STREAMED, DOCUMENT] {
                let result = call_with_fault(&format!("do = {{ say = \"{say}\" }}"), protocol, options).await;
                assert_eq!(result.reply().message.text().trim(), "", "{protocol} {say}");
                assert_eq!(result.reply().finish_reason, stop, "{protocol} {say}");
            }
        }
    }
}

#[tokio::test]
async fn r22_and_r23_cut_arguments_are_kept_as_text_and_mean_the_token_limit() {
    for protocol in ALL {
        for say in ["cut_arguments", "cut_arguments_mislabelled"] {
            // A document of Anthropic's holds arguments as JSON, which cannot be cut.
            let all_options = [TOOL_CALL, CallOptions { stream: false, ..TOOL_CALL }];
            for options in all_options.into_iter().filter(|options| options.stream || protocol != ANTHROPIC) {
                let result = call_with_fault(&format!("do = {{ say = \"{say}\" }}"), protocol, options).await;
                let reply = result.reply();
                assert_eq!(reply.finish_reason, FinishReason::MaxTokens, "{protocol} {say} {:?}", reply.message);
                assert!(reply.message.tool_calls().all(|call| matches!(call.arguments, Arguments::Malformed(_))));
            }
        }
    }
}

#[tokio::test]
async fn r24_unusual_arguments_are_kept_unparsed() {
    for (protocol, say) in [(CHAT, "empty_arguments"), (CHAT, "null_arguments"), (RESPONSES, "empty_arguments")] {
        let result = call_with_fault(&format!("do = {{ say = \"{say}\" }}"), protocol, TOOL_CALL).await;
        assert_eq!(result.calls()[0].1, "{}", "{protocol} {say}");
    }
    for protocol in ALL {
        for (say, least) in [("huge_arguments", 5_000_000), ("deep_arguments", 100_000), ("duplicate_keys", 10)] {
            let result = call_with_fault(&format!("do = {{ say = \"{say}\" }}"), protocol, TOOL_CALL).await;
            assert!(result.calls()[0].1.len() >= least, "{protocol} {say}");
        }
        let result = call_with_fault("do = { say = \"nan_arguments\" }", protocol, TOOL_CALL).await;
        assert!(
            matches!(result.reply().message.tool_calls().next().unwrap().arguments, Arguments::Malformed(_)),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn r26_calls_with_the_same_id_are_kept_and_the_next_request_is_accepted() {
    let plan = "match = { call = 1 }\ndo = { say = \"twin_ids\" }";
    for protocol in ALL {
        let plan = FaultPlan::from_toml(&format!("[[fault]]\n{plan}")).unwrap();
        let running = Simulator::builder().faults(plan).strict(true).build().serve_locally().await.unwrap();
        let mut request = chat_request(true);
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
async fn r27_a_refusal_and_a_content_filter_have_finish_reasons() {
    for protocol in ALL {
        for options in [STREAMED, DOCUMENT] {
            let refused = call_with_fault("do = { say = \"refusal\" }", protocol, options).await;
            assert_eq!(refused.reply().finish_reason, FinishReason::Refusal, "{protocol}");
        }
    }
    for protocol in [CHAT, RESPONSES] {
        let filtered = call_with_fault("do = { say = \"content_filter\" }", protocol, STREAMED).await;
        assert_eq!(filtered.reply().finish_reason, FinishReason::ContentFilter, "{protocol}");
    }
}

#[tokio::test]
async fn a_conversation_can_move_between_protocols() {
    let script = Script::default()
        .rule(
            RequestMatcher::default().turn(0),
            ScriptedAnswer::calls([ScriptedToolCall::new("lookup", "{}")]).thinking("Let me look."),
        )
        .rule(RequestMatcher::default(), ScriptedAnswer::text("{{tool_results}}").thinking("Now I know."));
    let running = Simulator::builder().script(script).strict(true).build().serve_locally().await.unwrap();
    for first in ALL {
        for second in ALL {
            let mut request = chat_request(true);
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
    let tool_result = |call: &brigade_core::ToolCall| ToolResult::new(call, vec![brigade_core::Part::text("found")]);
    let results = transcript.open_calls().into_iter().map(tool_result).collect();
    transcript.answer_calls(results).unwrap();
}

#[tokio::test]
async fn the_late_end_of_a_stream_is_read_so_that_its_connection_can_be_used_again() {
    for protocol in ALL {
        let running = simulator("do = { markers = \"late_end\" }").await;
        let model = model(&running, protocol);
        for _ in 0..5 {
            let run = Run::new().with_deltas(true);
            assert_eq!(model.chat(&chat_request(false), &run).await.unwrap().message.text(), "one two three");
            // The rest of the response is read in the background. A client that closes the connection is logged.
            running.call_log().wait_until_idle().await;
        }
        let totals = running.call_log().totals();
        assert_eq!((totals.ended, totals.disconnected), (5, 0), "{protocol}: {totals:?}");
    }
}

#[tokio::test]
async fn a_gateways_compression_headers_and_usage_do_not_cost_the_answer() {
    for protocol in ALL {
        let running = simulator("match = { call = 1000 }").await;
        let truth = call_model(&running, protocol, STREAMED).await.reply().usage.unwrap();
        for options in [STREAMED, DOCUMENT] {
            for fault in ["gzip = true", "more_headers = 150", "usage = \"zero_at_end\"", "usage = \"own_key_cost\""] {
                let result = call_with_fault(&format!("do = {{ {fault} }}"), protocol, options).await;
                assert_eq!(result.reply().message.text(), "one two three", "{protocol} {fault}");
                let usage = result.reply().usage.unwrap();
                assert_eq!(usage.total_tokens(), truth.total_tokens(), "{protocol} {fault}");
                let cost = usage.stated_cost.map(|cost| cost.to_string());
                let expected = fault.contains("cost").then(|| "$0.0360".to_owned());
                assert_eq!(cost, expected, "{protocol} {fault}");
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_the_deployments_failure() {
    for protocol in ALL {
        for status in [301, 302, 303, 307, 308] {
            let fault =
                format!("do = {{ status = {status}, headers = [[\"location\", \"https://other.example/v1/x\"]] }}");
            let result = call_with_fault(&fault, protocol, STREAMED).await;
            assert_eq!(result.error().kind(), Kind::NoSuchModel, "{protocol} {status}");
            assert!(result.error().to_string().contains("https://other.example;"), "{}", result.error());
        }
    }
}

#[tokio::test]
async fn reasoning_between_tags_is_separated() {
    for protocol in ALL {
        for say in ["think_tags", "unopened_think_tags"] {
            for options in [STREAMED, DOCUMENT] {
                let result = call_with_fault(&format!("do = {{ say = \"{say}\" }}"), protocol, options).await;
                let message = &result.reply().message;
                assert_eq!((&*message.text(), message.parts().len()), ("one two three", 2), "{protocol} {say}");
            }
        }
    }
}

#[tokio::test]
async fn an_open_socket_after_the_answer_does_not_cost_it() {
    for protocol in [CHAT, ANTHROPIC] {
        let result = call_with_fault("do = { markers = \"no_done_held_open\" }", protocol, STREAMED).await;
        assert_eq!(result.reply().message.text(), "one two three", "{protocol}");
        assert!(result.quirks().contains(&"end_marker_missing"));
    }
}
