//! How each kind of fault looks to a client.

use std::time::Duration;

use brigade_rehearsal::{FaultPlan, Latency, Script, ScriptedAnswer, ScriptedToolCall, Simulator, WireDialect};
use serde_json::{Value, json};

use crate::support::{DIALECTS, chat_request, post_in_memory, post_with_faults, stream_request, with_tool};

const CHAT: WireDialect = WireDialect::OpenaiChat;
const MESSAGES: WireDialect = WireDialect::Anthropic;
const RESPONSES: WireDialect = WireDialect::OpenaiResponses;

/// A plan of one fault.
fn fault(rest: &str) -> String {
    format!("[[fault]]\nid = \"F\"\n{rest}")
}

/// The answer of a model that calls two tools, struck by a fault.
async fn faulty_call(action: &str, dialect: WireDialect) -> crate::support::Answer {
    let calls = ["Paris", "Rome"].map(|city| ScriptedToolCall::new("weather", json!({ "city": city, "days": 3 })));
    let simulator = Simulator::builder()
        .script(Script::always(ScriptedAnswer::calls(calls)))
        .faults(FaultPlan::from_toml(&fault(action)).unwrap())
        .build();
    let body = with_tool(stream_request(dialect, "How is the weather?"), dialect, "weather");
    post_in_memory(&simulator, dialect, &body).await.unwrap()
}

/// The tool deltas of a chat stream.
fn tool_deltas(answer: &crate::support::Answer) -> Vec<Value> {
    answer
        .events()
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0].as_object().cloned())
        .map(Value::Object)
        .collect()
}

#[tokio::test]
async fn a_status_comes_with_the_vendors_body_and_the_configured_headers() {
    let plan = fault("do = { status = 429, headers = [[\"retry-after\", \"2\"], [\"retry-after\", \"banana\"]] }");
    for (dialect, path, expected) in [
        (CHAT, "/error/code", "rate_limit_exceeded"),
        (RESPONSES, "/error/code", "rate_limit_exceeded"),
        (MESSAGES, "/error/type", "rate_limit_error"),
    ] {
        let answer = post_with_faults(&plan, dialect, &stream_request(dialect, "x")).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.json().pointer(path).unwrap(), expected);
        let waits: Vec<_> = answer.headers.get_all("retry-after").iter().collect();
        assert_eq!(waits, ["2", "banana"]);
    }
}

#[tokio::test]
async fn an_error_can_be_selected_by_name() {
    let quota =
        post_with_faults(&fault("do = { error = \"insufficient_quota\" }"), CHAT, &chat_request(CHAT, "x")).await;
    assert_eq!(quota.status, 429);
    assert_eq!(quota.json()["error"]["type"], "insufficient_quota");
    let plan = fault("do = { error = \"enforced_spend_limit_reached\" }");
    let spend = post_with_faults(&plan, MESSAGES, &chat_request(MESSAGES, "x")).await;
    assert_eq!(spend.json()["error"]["details"]["error_code"], "enforced_spend_limit_reached");
    let overloaded = post_with_faults(&fault("do = { status = 529 }"), MESSAGES, &chat_request(MESSAGES, "x")).await;
    assert_eq!((overloaded.status, overloaded.header("x-should-retry")), (529, "true"));
}

#[tokio::test]
async fn an_error_can_have_status_200_and_a_page_can_replace_json() {
    let dressed =
        post_with_faults(&fault("do = { status = 200, error = \"server_error\" }"), CHAT, &chat_request(CHAT, "x"))
            .await;
    assert_eq!(dressed.status, 200);
    assert!(dressed.json()["error"].is_object());
    let page =
        post_with_faults(&fault("do = { status = 502, html_bytes = 1048576 }"), CHAT, &chat_request(CHAT, "x")).await;
    assert_eq!((page.status, page.header("content-type")), (502, "text/html; charset=UTF-8"));
    assert!(page.text().starts_with("<html>") && page.body.len() >= 1 << 20, "{}", page.body.len());
    let text = post_with_faults(&fault("do = { status = 200, body = \"\" }"), CHAT, &chat_request(CHAT, "x")).await;
    assert_eq!((text.status, text.body.len()), (200, 0));
}

#[tokio::test]
async fn a_body_can_be_shorter_than_announced() {
    let body = json!("x".repeat(3000));
    let plan = fault("at = { after_bytes = 1200 }\ndo = { content_length = 5000, then = \"close\" }");
    let answer = post_with_faults(&plan, CHAT, &chat_request(CHAT, body.as_str().unwrap())).await;
    assert_eq!((answer.body.len(), answer.whole), (1200, false));
    assert_eq!(answer.header("content-length"), "5000");
    let plan = fault("at = { after_bytes = 1200 }\ndo = { gzip = true, then = \"close\" }");
    let answer = post_with_faults(&plan, CHAT, &chat_request(CHAT, body.as_str().unwrap())).await;
    assert_eq!((answer.body.len(), answer.whole), (1200, false));
    assert_eq!((answer.header("content-encoding"), &answer.body[..2]), ("gzip", &[0x1f, 0x8b][..]));
}

#[tokio::test]
async fn a_stream_can_end_early_cleanly_or_not() {
    for dialect in DIALECTS {
        let plan = |then| fault(&format!("at = {{ after_deltas = 2 }}\ndo = {{ then = \"{then}\" }}"));
        let ended = post_with_faults(&plan("end"), dialect, &stream_request(dialect, "one two three")).await;
        assert!(ended.whole && ended.text().ends_with("\n\n"));
        assert!(ended.text().contains("said:") && !ended.text().contains("three"));
        let closed = post_with_faults(&plan("close"), dialect, &stream_request(dialect, "one two three")).await;
        assert_eq!((closed.whole, closed.body), (false, ended.body));
    }
}

#[tokio::test]
async fn a_connection_can_break_inside_a_tool_call() {
    for dialect in DIALECTS {
        let answer = faulty_call("at = { mid_arguments = true }\ndo = { then = \"reset\" }", dialect).await;
        assert!(!answer.whole && answer.text().contains("weather"));
        assert!(!answer.text().contains("Rome"), "{}", answer.text());
    }
}

#[tokio::test]
async fn an_error_event_has_the_form_of_the_dialect_and_ends_the_stream() {
    let plan = |name| fault(&format!("at = {{ after_deltas = 1 }}\ndo = {{ sse_error = \"{name}\" }}"));
    let answer = post_with_faults(&plan("overloaded_error"), MESSAGES, &stream_request(MESSAGES, "x")).await;
    let end = "event: error\ndata: {\"type\":\"error\",\"error\":{\"details\":null,\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    assert!(answer.whole && answer.text().ends_with(end), "{}", answer.text());

    let answer = post_with_faults(&plan("server_error"), CHAT, &stream_request(CHAT, "x")).await;
    assert!(answer.events().last().unwrap()["error"]["message"].is_string());
    assert!(!answer.text().contains("[DONE]"));

    let events =
        post_with_faults(&plan("insufficient_quota"), RESPONSES, &stream_request(RESPONSES, "x")).await.events();
    let [.., error, failed] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&error["type"], &failed["type"]), (&json!("error"), &json!("response.failed")));
    assert_eq!(failed["response"]["error"]["code"], "insufficient_quota");
    assert_eq!(failed["sequence_number"], events.len() - 1);
}

#[tokio::test]
async fn an_error_can_be_the_first_event() {
    let plan = fault("at = { after_events = 0 }\ndo = { sse_error = \"overloaded_error\" }");
    let answer = post_with_faults(&plan, MESSAGES, &stream_request(MESSAGES, "x")).await;
    assert_eq!((answer.status, answer.events().len()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stall_has_the_configured_length() {
    let plan = fault("at = { after_deltas = 1 }\ndo = { stall = \"10m\" }");
    let answer = post_with_faults(&plan, CHAT, &stream_request(CHAT, "x")).await;
    assert!(answer.whole);
    assert_eq!(answer.took.as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_response_can_hang_before_or_after_the_headers() {
    for at in ["before_headers = true", "after_events = 5"] {
        let plan = fault(&format!("at = {{ {at} }}\ndo = {{ then = \"hold\" }}"));
        let body = stream_request(CHAT, "x");
        let answer = tokio::time::timeout(Duration::from_hours(24), post_with_faults(&plan, CHAT, &body)).await;
        assert!(answer.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_can_be_sent_one_by_one() {
    let plan = fault("at = { after_events = 1 }\ndo = { drip = \"5s\" }");
    let answer = post_with_faults(&plan, CHAT, &stream_request(CHAT, "x")).await;
    let (first, rest) = answer.pieces.split_first().unwrap();
    assert!(rest.iter().all(|(_, bytes)| *bytes == 1));
    assert_eq!(answer.took.as_secs(), 5 * rest.len() as u64);
    assert!(first.0 < Duration::from_secs(1) && answer.text().ends_with("[DONE]\n\n"));
}

#[tokio::test(start_paused = true)]
async fn comments_and_pings_can_repeat_for_ever() {
    for (action, dialect) in [("comments", CHAT), ("pings", MESSAGES), ("pings", CHAT)] {
        let plan = FaultPlan::from_toml(&fault(&format!("do = {{ {action} = \"10s\" }}"))).unwrap();
        let simulator = Simulator::builder().faults(plan).build();
        let body = stream_request(dialect, "x");
        let endless = post_in_memory(&simulator, dialect, &body);
        assert!(tokio::time::timeout(Duration::from_secs(95), endless).await.is_err());
        simulator.call_log().wait_until_idle().await;
        let sent = simulator.call_log().calls()[0].response_bytes;
        assert!(sent > 9 * 10, "{action}: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn terminal_markers_can_be_missing_or_repeated() {
    let chat = |markers| {
        let plan = fault(&format!("do = {{ markers = \"{markers}\" }}"));
        async move { post_with_faults(&plan, CHAT, &stream_request(CHAT, "x")).await.text() }
    };
    let normal = chat("held_open");
    assert!(tokio::time::timeout(Duration::from_mins(10), normal).await.is_err());
    let no_finish = chat("no_finish").await;
    assert!(!no_finish.contains("\"finish_reason\":\"") && no_finish.contains("[DONE]"));
    let null = chat("null_finish").await;
    assert!(
        !null.contains("\"finish_reason\":\"")
            && null.contains("\"delta\":{},\"logprobs\":null,\"finish_reason\":null")
    );
    let no_done = chat("no_done").await;
    assert!(no_done.contains("\"finish_reason\":\"stop\"") && !no_done.contains("[DONE]"));
    let after = chat("data_after_done").await;
    assert!(after.split_once("[DONE]").unwrap().1.contains("chat.completion.chunk"));
    let plan = fault("do = { markers = \"null_finish\" }");
    let messages = post_with_faults(&plan, MESSAGES, &stream_request(MESSAGES, "x")).await;
    assert!(messages.events().iter().any(|event| event["delta"]["stop_reason"] == Value::Null));
}

#[tokio::test]
async fn legal_framings_carry_the_same_events() {
    for dialect in DIALECTS {
        let usual = post_with_faults("", dialect, &stream_request(dialect, "größer 🦀")).await.events();
        for framing in ["crlf", "cr", "mixed", "bom", "no_space", "multi_line", "comments", "byte_segments"] {
            let plan = fault(&format!("do = {{ framing = [\"{framing}\"] }}"));
            let answer = post_with_faults(&plan, dialect, &stream_request(dialect, "größer 🦀")).await;
            assert_eq!(decode(&answer.text()), usual, "{framing}");
        }
    }
}

/// Decodes an event stream as the standard says: three line ends, a byte order mark, joined lines.
fn decode(text: &str) -> Vec<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let data = |block: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    };
    text.split("\n\n").filter_map(|block| serde_json::from_str(&data(block)).ok()).collect()
}

#[tokio::test]
async fn a_stream_can_contain_unknown_events_invalid_json_and_an_oversized_line() {
    let with = |framing| {
        let plan = fault(&format!("do = {{ framing = [\"{framing}\"] }}"));
        async move { post_with_faults(&plan, MESSAGES, &stream_request(MESSAGES, "x")).await }
    };
    assert!(with("unknown_events").await.text().contains("event: rehearsal_notice\n"));
    assert!(with("bad_json").await.text().contains("data: {not json\n\n"));
    let longest = with("oversize_line").await.text().lines().map(str::len).max().unwrap();
    assert!(longest > 9 << 20);
    let bytes = with("byte_segments").await.pieces;
    assert!(bytes.iter().all(|(_, length)| *length == 1));
}

#[tokio::test]
async fn event_names_and_blanks_can_be_omitted_or_added() {
    let plan = fault("do = { framing = [\"no_event_names\"] }");
    assert!(!post_with_faults(&plan, MESSAGES, &stream_request(MESSAGES, "x")).await.text().contains("event:"));
    let blank =
        post_with_faults(&fault("do = { framing = [\"leading_blanks\"] }"), CHAT, &chat_request(CHAT, "x")).await;
    assert!(blank.text().starts_with("\n  ") && blank.json()["choices"].is_array());
    let added =
        post_with_faults(&fault("do = { markers = \"done_added\" }"), RESPONSES, &stream_request(RESPONSES, "x")).await;
    assert!(added.text().ends_with("data: [DONE]\n\n"));
    let neither =
        post_with_faults(&fault("do = { markers = \"neither\" }"), MESSAGES, &stream_request(MESSAGES, "x")).await;
    assert!(neither.whole && !neither.text().contains("stop_reason\":\""));
}

#[tokio::test]
async fn arguments_can_be_unusual_in_every_way() {
    let arguments = |say| async move {
        let plan = fault(&format!("do = {{ say = \"{say}\" }}"));
        let body = with_tool(chat_request(CHAT, "x"), CHAT, "weather");
        let call = post_with_faults(&plan, CHAT, &body).await.json()["choices"][0]["message"]["tool_calls"][0].clone();
        (call["function"]["name"].clone(), call["function"]["arguments"].as_str().unwrap().to_owned())
    };
    assert_eq!(arguments("empty_arguments").await.1, "");
    assert_eq!(arguments("null_arguments").await.1, "null");
    assert!(arguments("nan_arguments").await.1.contains("NaN"));
    assert_eq!(arguments("duplicate_keys").await.1.matches("value").count(), 2);
    assert!(arguments("huge_arguments").await.1.len() > 5 << 20);
    assert_eq!(arguments("deep_arguments").await.1.matches('}').count(), 10_000);
    assert_eq!(arguments("unknown_tool").await.0, "no_such_tool_0");
}

#[tokio::test(start_paused = true)]
async fn an_injection_point_can_be_a_time() {
    let plan = FaultPlan::from_toml(&fault("at = { after_ms = 2600 }\ndo = { then = \"close\" }")).unwrap();
    let pace = Latency::new(Duration::from_secs(2), Duration::from_millis(500));
    let simulator = Simulator::builder().faults(plan).latency(pace).build();
    let answer = post_in_memory(&simulator, CHAT, &stream_request(CHAT, "one two three")).await.unwrap();
    assert!(answer.text().contains("said:") && !answer.text().contains("one"), "{}", answer.text());
}

#[tokio::test]
async fn tool_deltas_have_every_observed_shape() {
    let with = |shape| async move {
        let answer = faulty_call(&format!("do = {{ tool_deltas = \"{shape}\" }}"), CHAT).await;
        (tool_deltas(&answer), answer)
    };
    let everywhere = with("id_every_chunk").await.0;
    assert!(everywhere.iter().all(|delta| delta["id"].is_string()));
    let zero = with("index_zero").await.0;
    assert!(zero.iter().all(|delta| delta["index"] == 0 && delta["id"].is_string()));
    assert!(with("no_index").await.0.iter().all(|delta| delta.get("index").is_none()));
    let after = with("name_after_arguments").await.0;
    assert!(after[0]["function"].get("name").is_none());
    assert_eq!(after.iter().filter(|delta| delta["function"]["name"] == "weather").count(), 2);
    assert_eq!(with("empty_name").await.0[0]["function"]["name"], "");
    assert_eq!(with("blank_later").await.0[1]["id"], "");
    let whole = with("whole_call").await.0;
    assert_eq!(whole.len(), 2);
    assert_eq!(whole[0]["function"]["arguments"], r#"{"city":"Paris","days":3}"#);
    let object = with("arguments_object").await.0;
    assert_eq!(object[1]["function"]["arguments"]["city"], "Rome");
    let order: Vec<_> = with("interleaved").await.0.iter().map(|delta| delta["index"].clone()).collect();
    assert_eq!(order[..4], [json!(0), json!(1), json!(0), json!(1)]);
    assert_eq!(with("finish_twice").await.1.text().matches("\"finish_reason\":\"tool_calls\"").count(), 2);
}

#[tokio::test]
async fn wrong_usage_can_be_reported_while_the_call_log_stays_correct() {
    for (lie, told) in
        [("zero", Some(0)), ("negative", Some(-4)), ("implausible", Some(3000)), ("none", None), ("null", None)]
    {
        let plan = FaultPlan::from_toml(&fault(&format!("do = {{ usage = \"{lie}\" }}"))).unwrap();
        let simulator = Simulator::builder().faults(plan).build();
        let mut body = stream_request(CHAT, "hello");
        body["max_completion_tokens"] = json!(1000);
        let answer = post_in_memory(&simulator, CHAT, &body).await.unwrap();
        let last = answer.events().iter().rev().find_map(|event| event["usage"]["completion_tokens"].as_i64());
        assert_eq!(last, told, "{lie}");
        simulator.call_log().wait_until_idle().await;
        assert_eq!(simulator.call_log().totals().usage.output, 4);
    }
}

#[tokio::test]
async fn usage_can_end_in_zeros_and_state_the_cost_of_an_own_key() {
    let zeros = fault("do = { usage = \"zero_at_end\" }");
    let chat = post_with_faults(&zeros, CHAT, &stream_request(CHAT, "hello")).await.events();
    let totals: Vec<_> = chat.iter().filter_map(|event| event["usage"]["completion_tokens"].as_i64()).collect();
    assert_eq!(totals, [4, 0]);
    let messages = post_with_faults(&zeros, MESSAGES, &stream_request(MESSAGES, "hello")).await.events();
    assert!(messages[0]["message"]["usage"]["input_tokens"].as_i64().unwrap() > 0);
    assert!(messages.iter().any(|event| event["usage"]["input_tokens"] == 0));
    let cost = fault("do = { usage = \"own_key_cost\" }");
    for path in [CHAT, RESPONSES, MESSAGES] {
        let whole = post_with_faults(&cost, path, &chat_request(path, "hello")).await;
        assert_eq!(whole.json()["usage"]["cost_details"]["upstream_inference_cost"], 0.036, "{path}");
        let stream = post_with_faults(&cost, path, &stream_request(path, "hello")).await.text();
        assert!(stream.contains("\"is_byok\":true"), "{path}");
    }
}

#[tokio::test]
async fn a_gateway_can_compress_redirect_and_add_headers() {
    for path in [CHAT, RESPONSES, MESSAGES] {
        let plain = post_with_faults(&fault("do = { more_headers = 50 }"), path, &chat_request(path, "hello")).await;
        let packed = post_with_faults(&fault("do = { gzip = true }"), path, &chat_request(path, "hello")).await;
        let (start, block) = packed.body.split_at(15);
        assert_eq!(start[..4], [0x1f, 0x8b, 8, 0]);
        assert_eq!(block[..plain.body.len()].len() + 8, block.len(), "one stored block, a checksum and a length");
        let headers = "headers = [[\"location\", \"http://127.0.0.1:1/\"]]";
        let redirect = fault(&format!("do = {{ status = 308, {headers} }}"));
        let moved = post_with_faults(&redirect, path, &chat_request(path, "x")).await;
        assert_eq!((moved.status, moved.header("location"), moved.body.len()), (308, "http://127.0.0.1:1/", 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_body_can_be_late_or_never_come() {
    for path in [CHAT, RESPONSES, MESSAGES] {
        let late = post_with_faults(&fault("do = { markers = \"late_end\" }"), path, &stream_request(path, "x")).await;
        let normal = post_with_faults(&fault("match = { call = 9 }"), path, &stream_request(path, "x")).await;
        assert_eq!((late.whole, late.text().len()), (true, normal.text().len()), "{path}");
        let open = fault("do = { markers = \"no_done_held_open\" }");
        let request = stream_request(path, "x");
        let never = post_with_faults(&open, path, &request);
        assert!(tokio::time::timeout(Duration::from_mins(10), never).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn reasoning_and_fences_can_be_in_the_text() {
    for (say, start, end) in [
        ("think_tags", "<think>", "</think>\n\nYou said: hello"),
        ("unopened_think_tags", "The user", "</think>\n\nYou said: hello"),
        ("fenced_text", "Here it is:\n```json\nYou said: hello", "\n```\nGood luck!"),
    ] {
        let plan = fault(&format!("do = {{ say = \"{say}\" }}"));
        let json = post_with_faults(&plan, CHAT, &chat_request(CHAT, "hello")).await.json();
        let text = json["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.starts_with(start) && text.ends_with(end), "{text}");
    }
}

#[tokio::test]
async fn usage_can_be_a_running_total_or_come_with_the_finish_reason() {
    let with = |lie| async move {
        let plan = fault(&format!("do = {{ usage = \"{lie}\" }}"));
        post_with_faults(&plan, CHAT, &stream_request(CHAT, "hello")).await.events()
    };
    let totals: Vec<_> =
        with("every_chunk").await.iter().map(|event| event["usage"]["completion_tokens"].as_i64().unwrap()).collect();
    assert!(totals.is_sorted() && totals.first() == Some(&0) && totals.last() == Some(&4), "{totals:?}");
    let finish = with("on_finish").await;
    assert_eq!(finish.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish.last().unwrap()["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn a_model_can_answer_nothing_or_refuse() {
    let say = |say, dialect: WireDialect| {
        let plan = fault(&format!("do = {{ say = \"{say}\" }}"));
        async move { post_with_faults(&plan, dialect, &chat_request(dialect, "one two three four")).await.json() }
    };
    assert_eq!(say("empty", CHAT).await["choices"][0]["message"]["content"], "");
    assert_eq!(say("nothing", CHAT).await["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(say("nothing", MESSAGES).await["content"], json!([]));
    let spent = say("out_of_tokens", MESSAGES).await;
    assert_eq!((&spent["stop_reason"], &spent["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(1000)));
    let refused = say("refusal", CHAT).await;
    assert!(refused["choices"][0]["message"]["refusal"].is_string());
    assert_eq!(refused["choices"][0]["finish_reason"], "stop");
    assert_eq!(say("refusal", MESSAGES).await["stop_reason"], "refusal");
    assert_eq!(say("refusal", RESPONSES).await["output"][0]["content"][0]["type"], "refusal");
    let filtered = say("content_filter", CHAT).await;
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(say("content_filter", RESPONSES).await["incomplete_details"]["reason"], "content_filter");
}

#[tokio::test]
async fn arguments_can_be_cut_with_and_without_the_right_finish_reason() {
    for (said, finish) in [("cut_arguments", "length"), ("cut_arguments_mislabelled", "tool_calls")] {
        let answer = faulty_call(&format!("do = {{ say = \"{said}\" }}"), CHAT).await;
        let arguments: String = tool_deltas(&answer)
            .iter()
            .filter(|delta| delta["index"] == 0)
            .filter_map(|delta| delta["function"]["arguments"].as_str())
            .collect();
        assert!(arguments.starts_with("{\"city\"") && serde_json::from_str::<Value>(&arguments).is_err());
        assert!(answer.text().contains(&format!("\"finish_reason\":\"{finish}\"")));
    }
}

#[tokio::test]
async fn ids_can_be_shared_and_reused() {
    let ids = |answer: &crate::support::Answer| -> Vec<String> {
        let deltas = tool_deltas(answer);
        deltas.iter().filter_map(|delta| delta["id"].as_str().map(str::to_owned)).collect()
    };
    let twins = faulty_call("do = { say = \"twin_ids\" }", CHAT).await;
    assert_eq!(ids(&twins)[0], ids(&twins)[1]);
    assert!(twins.text().contains("Paris") && twins.text().contains("Rome"));
    let same = faulty_call("do = { say = \"identical_twins\" }", CHAT).await;
    assert_eq!(ids(&same)[0], ids(&same)[1]);
    assert!(!same.text().contains("Rome"));

    let mut body = with_tool(stream_request(CHAT, "x"), CHAT, "weather");
    let function = json!({ "name": "weather", "arguments": "{}" });
    body["messages"] = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "tool_calls": [{ "id": "call_old", "type": "function", "function": function }] },
        { "role": "tool", "tool_call_id": "call_old", "content": "rain" },
    ]);
    let reused = post_with_faults(&fault("do = { say = \"reused_id\" }"), CHAT, &body).await;
    assert_eq!(ids(&reused), ["call_old"]);
}

#[tokio::test]
async fn a_fault_applies_to_the_calls_that_it_matches() {
    let plan = "[[fault]]\nid = \"second\"\nmatch = { dialect = \"anthropic\", call = 2 }\ndo = { status = 529 }\n\
                [[fault]]\nid = \"storm\"\nmatch = { model = \"gpt-5-mini\", from_call = 2, to_call = 3 }\ndo = { status = 500 }\n\
                [[fault]]\nid = \"late\"\nmatch = { call = 2 }\ndo = { status = 503 }";
    let simulator = Simulator::builder().faults(FaultPlan::from_toml(plan).unwrap()).build();
    for (dialect, expected) in [(MESSAGES, [200, 529, 200, 200]), (CHAT, [200, 500, 500, 200])] {
        for status in expected {
            let answer = post_in_memory(&simulator, dialect, &chat_request(dialect, "x")).await.unwrap();
            assert_eq!(answer.status, status);
        }
    }
    let injected: Vec<_> = simulator.call_log().calls().into_iter().filter_map(|call| call.fault).collect();
    assert_eq!(injected, ["second", "storm", "storm"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_end_after_a_time() {
    let plan = fault("match = { before = \"60s\" }\ndo = { status = 529 }");
    let simulator = Simulator::builder().faults(FaultPlan::from_toml(&plan).unwrap()).build();
    let body = chat_request(MESSAGES, "x");
    assert_eq!(post_in_memory(&simulator, MESSAGES, &body).await.unwrap().status, 529);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(post_in_memory(&simulator, MESSAGES, &body).await.unwrap().status, 200);
}

#[test]
fn an_error_in_a_plan_names_its_line() {
    let error = FaultPlan::from_toml("[[fault]]\nid = \"x\"\ndo = { stal = \"10s\" }").unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("line 3") && cause.contains("stal"), "{cause}");
}
