//! Timing, sockets and the call log.

use std::io;
use std::time::Duration;

use brigade_rehearsal::{CallState, FaultPlan, Latency, Script, ScriptedAnswer, Simulator, WireDialect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DIALECTS, chat_request, client, post_in_memory, stream_request};

const SLOW: Latency = Latency::new(Duration::from_secs(2), Duration::from_millis(500));

#[tokio::test(start_paused = true)]
async fn deltas_follow_the_configured_latency() {
    for dialect in DIALECTS {
        let simulator = Simulator::builder().latency(SLOW).build();
        let streamed = post_in_memory(&simulator, dialect, &stream_request(dialect, "hello")).await.unwrap();
        assert_eq!(streamed.took, Duration::from_secs(3), "three words: two seconds, and twice a half");
        let whole = post_in_memory(&simulator, dialect, &chat_request(dialect, "hello")).await.unwrap();
        assert_eq!(whole.took, Duration::from_secs(3), "in one piece it takes as long");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_is_billed_for_the_produced_output() {
    let answer = ScriptedAnswer::text("one two three four five six seven eight nine ten").usage(100, 100);
    let simulator = Simulator::builder().script(Script::always(answer)).latency(SLOW).build();
    let body = stream_request(WireDialect::OpenaiChat, "x");
    let call = post_in_memory(&simulator, WireDialect::OpenaiChat, &body);
    // Two seconds to the first word, then two a second: five words by then.
    assert!(tokio::time::timeout(Duration::from_millis(4100), call).await.is_err());
    simulator.call_log().wait_until_idle().await;
    let record = simulator.call_log().calls().remove(0);
    assert_eq!(record.state, CallState::ClientDisconnected);
    assert_eq!((record.usage.input, record.usage.output), (100, 50));
    assert!(record.took < Duration::from_millis(4200), "{:?}", record.took);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_before_the_headers_is_recorded() {
    let simulator = Simulator::builder().latency(SLOW).build();
    let body = chat_request(WireDialect::Anthropic, "x");
    let call = post_in_memory(&simulator, WireDialect::Anthropic, &body);
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    simulator.call_log().wait_until_idle().await;
    let record = simulator.call_log().calls().remove(0);
    assert_eq!((record.state, record.status), (CallState::ClientDisconnected, 0));
}

/// Sends a request over a raw socket and reads until the end or an error.
async fn exchange(plan: &str) -> (Vec<u8>, io::Result<()>) {
    let plan = FaultPlan::from_toml(plan).unwrap();
    let simulator = Simulator::builder().faults(plan).build().serve_locally().await.unwrap();
    let mut socket = TcpStream::connect(simulator.address()).await.unwrap();
    let body = stream_request(WireDialect::OpenaiChat, "one two three").to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = socket.read_to_end(&mut answer).await;
    (answer, end.map(drop))
}

#[tokio::test]
async fn on_a_socket_reset_and_close_differ() {
    let plan = |at, then| format!("[[fault]]\nat = {{ {at} }}\ndo = {{ then = \"{then}\" }}");
    let (nothing, end) = exchange(&plan("before_headers = true", "reset")).await;
    assert_eq!((nothing.len(), end.unwrap_err().kind()), (0, io::ErrorKind::ConnectionReset));
    let (nothing, end) = exchange(&plan("before_headers = true", "close")).await;
    assert!(nothing.is_empty() && end.is_ok());
    let (some, end) = exchange(&plan("after_deltas = 2", "reset")).await;
    assert!(String::from_utf8_lossy(&some).contains("said:"));
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let (some, end) = exchange(&plan("after_deltas = 2", "close")).await;
    assert!(end.is_ok() && !some.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_cut_by_a_fault_is_distinguished_from_a_disconnect() {
    let plan = FaultPlan::from_toml("[[fault]]\nid = \"cut\"\nat = { after_deltas = 1 }\ndo = { then = \"close\" }");
    let simulator = Simulator::builder().faults(plan.unwrap()).build();
    let body = stream_request(WireDialect::Anthropic, "hello");
    assert!(!post_in_memory(&simulator, WireDialect::Anthropic, &body).await.unwrap().whole);
    simulator.call_log().wait_until_idle().await;
    let record = simulator.call_log().calls().remove(0);
    assert_eq!((record.state, record.fault.as_deref()), (CallState::CutByFault, Some("cut")));
    assert_eq!(simulator.call_log().totals().cut, 1);
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let simulator = Simulator::builder().count_only().build().serve_locally().await.unwrap();
    let (client, url) = (client(), format!("{}/v1/messages", simulator.base_url()));
    let body = chat_request(WireDialect::Anthropic, "x").to_string();
    for _ in 0..50 {
        let answer = client.post(&url).body(body.clone()).send().await.unwrap();
        assert!(!answer.bytes().await.unwrap().is_empty());
    }
    simulator.call_log().wait_until_idle().await;
    assert_eq!((simulator.call_log().totals().ended, simulator.call_log().calls().len()), (50, 0));
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    for dialect in DIALECTS {
        let bodies = [(); 2].map(|()| async {
            let simulator = Simulator::builder().build();
            post_in_memory(&simulator, dialect, &stream_request(dialect, "x")).await.unwrap().body
        });
        let [one, two] = bodies;
        assert_eq!(one.await, two.await);
    }
}

#[tokio::test]
async fn dropping_the_handle_closes_the_connections() {
    let simulator = Simulator::builder().build().serve_locally().await.unwrap();
    let mut socket = TcpStream::connect(simulator.address()).await.unwrap();
    socket.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut some = [0; 64];
    assert!(socket.read(&mut some).await.unwrap() > 0);
    drop(simulator);
    let mut rest = Vec::new();
    assert!(socket.read_to_end(&mut rest).await.is_ok());
}
