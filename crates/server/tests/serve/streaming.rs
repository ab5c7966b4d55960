//! `POST /v1/chat/completions` as a stream.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, config, config_of, json_of, provider, provider_of_words, question, scripted};

async fn frames(server: &Server, body: &Value) -> Vec<String> {
    let response = server.post("/v1/chat/completions", body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

fn text(frames: &[String]) -> String {
    let chunks = frames.iter().filter_map(|frame| serde_json::from_str::<Value>(frame).ok());
    chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

fn streamed(text: &str) -> Value {
    let mut body = question(text);
    body["stream"] = json!(true);
    body
}

#[tokio::test]
async fn an_answer_is_streamed_with_its_usage_last() {
    let provider = provider("It is sunny in Paris today.").await;
    let server = Server::start(&config(&provider));
    let mut body = streamed("How is the weather?");
    body["stream_options"] = json!({ "include_usage": true });
    let frames = frames(&server, &body).await;
    assert_eq!(text(&frames), "It is sunny in Paris today.");
    assert!(frames.len() >= 5, "role, text, finish, usage, [DONE]: {frames:?}");
    assert_eq!(frames.last().unwrap(), "[DONE]");
    let usage: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(30)));
    let last: Value = serde_json::from_str(&frames[frames.len() - 3]).unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["brigade"]["stop"], "finished");
}

#[tokio::test]
async fn an_answer_with_a_schema_is_sent_when_it_is_complete() {
    let provider = provider("{\"a\": 1}").await;
    let server = Server::start(&config(&provider));
    let mut body = streamed("Answer.");
    body["response_format"] = json!({ "type": "json_object" });
    let frames = frames(&server, &body).await;
    assert_eq!(text(&frames), "{\"a\": 1}");
    assert_eq!(frames.len(), 4, "role, text, finish, [DONE]: {frames:?}");
}

const WORDS: &str = "[[rule]]\nanswer = { text = \"One two three four five six.\" }";

/// Injects a fault into the first call.
fn fault(at: &str, act: &str) -> String {
    format!("[[fault]]\nid = \"x\"\nmatch = {{ call = 1 }}\nat = {{ {at} }}\ndo = {{ {act} }}\n")
}

#[tokio::test]
async fn a_failure_after_the_first_text_is_an_error_frame_without_done_and_is_not_retried() {
    let cases = [
        ("sse_error = \"overloaded\", then = \"close\"", "provider_overloaded"),
        ("then = \"end\"", "provider_answer_broken"),
        ("then = \"reset\"", "provider_answer_broken"),
        ("stall = \"10m\"", "provider_timeout"),
    ];
    for (act, code) in cases {
        let provider = scripted(WORDS, &fault("after_deltas = 3", act)).await;
        let server = Server::start(&format!("{}[models.mini.policy.timeouts]\nidle = \"500ms\"\n", config(&provider)));
        let frames = frames(&server, &streamed("Count.")).await;
        assert!(text(&frames).starts_with("One"), "{act}: {frames:?}");
        let last: Value = serde_json::from_str(frames.last().unwrap()).unwrap();
        let error = &last["error"];
        assert_eq!((&error["code"], &error["type"]), (&json!(code), &json!("server_error")), "{act}: {frames:?}");
        assert!(error["message"].is_string() && error["param"].is_null());
        assert!(!frames.iter().any(|frame| frame == "[DONE]"));
        assert_eq!(provider.call_log().totals().arrived, 1, "{act}");
    }
}

#[tokio::test]
async fn a_failure_before_the_first_text_is_retried() {
    for act in ["sse_error = \"overloaded\", then = \"close\"", "then = \"end\""] {
        let provider = scripted(WORDS, &fault("after_deltas = 0", act)).await;
        let server = Server::start(&config(&provider));
        let frames = frames(&server, &streamed("Count.")).await;
        assert_eq!(text(&frames), "One two three four five six.");
        assert_eq!((frames.last().unwrap().as_str(), provider.call_log().totals().arrived), ("[DONE]", 2), "{act}");
    }
}

#[tokio::test]
async fn a_final_failure_before_the_first_text_has_its_own_status() {
    let provider = scripted("", "[[fault]]\nid = \"x\"\nmatch = {}\ndo = { status = 401 }\n").await;
    let server = Server::start(&config(&provider));
    let response = server.post("/v1/chat/completions", &streamed("Hello?")).send().await.unwrap();
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn a_long_answer_of_single_words_passes_in_bounded_memory() {
    const WORD: &str = "whatever, ";
    const WORDS: usize = 100_000;
    let (url, _provider) = provider_of_words(WORD, WORDS).await;
    let server = Server::start(&config_of(&url));
    let before = server.peak_memory_mib();
    let request = server.post("/v1/chat/completions", &streamed("Tell it all.")).timeout(Duration::from_mins(5));
    let mut response = request.send().await.unwrap();
    let (mut line, mut text_bytes, mut frames, mut last) = (Vec::new(), 0, 0, String::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        for byte in chunk {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let read = String::from_utf8(std::mem::take(&mut line)).unwrap();
            let Some(data) = read.strip_prefix("data: ") else { continue };
            frames += 1;
            let chunk: Value = serde_json::from_str(data).unwrap_or_default();
            text_bytes += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().len();
            data.clone_into(&mut last);
        }
    }
    assert_eq!((text_bytes, &*last), (WORDS * WORD.len(), "[DONE]"));
    assert!(frames <= WORDS, "words that arrive together share a frame: {frames} frames");
    // Twice the answer and its buffers, which grow by doubling. The events are 170 times as long as their words.
    let used = server.peak_memory_mib().zip(before).map_or(0, |(peak, before)| peak - before);
    assert!(used <= 16, "{used} MiB for an answer of {} MiB", (WORDS * WORD.len()) >> 20);
}

#[tokio::test]
async fn a_chat_that_is_sent_again_with_its_idempotency_key_is_paid_once() {
    for stream in [false, true] {
        let provider = scripted(WORDS, &fault("after_deltas = 2", "stall = \"300ms\"")).await;
        let server = Server::start(&config(&provider));
        let ask = |text: &str| {
            let body = if stream { streamed(text) } else { question(text) };
            server.post("/v1/chat/completions", &body).header("idempotency-key", "k-1")
        };
        let lost = async { ask("Count.").timeout(Duration::from_millis(100)).send().await?.bytes().await };
        assert!(lost.await.unwrap_err().is_timeout(), "the client has disconnected before the end");
        let answer = ask("Count.").send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("One two three four five six."), "streamed: {stream}: {answer}");
        let (status, other) = json_of(ask("Count again.")).await;
        assert_eq!((status, &other["error"]["code"]), (409, &json!("idempotency_key_reused")));
        assert_eq!(provider.call_log().totals().arrived, 1, "streamed: {stream}");
    }
}
