//! Spans at a collector. Without the feature `otlp` the server must log a warning.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};

use crate::support::{Server, config, json_of, provider, question};

/// The requests that a collector has received.
type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Starts a collector.
async fn collector() -> (tokio::task::JoinSet<()>, String, Received) {
    let received = Received::default();
    let keep = Arc::clone(&received);
    let take = post(move |headers: HeaderMap, body: Bytes| {
        keep.lock().unwrap().push((headers, body));
        std::future::ready(())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let _ = axum::serve(listener, Router::new().route("/v1/traces", take)).await;
    });
    (serving, url, received)
}

#[tokio::test]
async fn a_run_is_a_child_span_of_the_caller() {
    let (_collector, url, received) = collector().await;
    let provider = provider("Hello.").await;
    let mut server = Server::start_with(&config(&provider), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let asked = server.post("/v1/chat/completions", &question("Hi.")).header("traceparent", parent);
    assert_eq!(json_of(asked).await.0, 200);
    server.signal("-TERM");
    assert!(server.exit().await.success());
    if cfg!(not(feature = "otlp")) {
        assert!(server.log().contains("built without the feature `otlp`"), "{}", server.log());
        return;
    }
    let received = received.lock().unwrap();
    let spans: Vec<u8> = received.iter().flat_map(|(_, body)| body.to_vec()).collect();
    let has = |part: &[u8]| spans.windows(part.len()).any(|window| window == part);
    assert!(has(b"invoke_agent clerk") && has(b"chat gpt-5-mini"), "{} bytes came", spans.len());
    let (trace, span) = (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128, 0xb7ad_6b71_6920_3331_u64);
    assert!(has(&trace.to_be_bytes()) && has(&span.to_be_bytes()), "the caller's ids are in the spans");
    assert!(!has(b"Hello."), "no answer is in a span");
}
