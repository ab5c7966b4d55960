//! Trace ids in the log of an axum application.
#![allow(clippy::unwrap_used, reason = "a test")]

use axum::{Extension, Router, body::Body, routing::get};
use brigade_core::{Run, TraceId};
use brigade_observability::{LogFormat, LogTarget, Logging, TraceIdLayer};
use http::Request;
use tower_service::Service;

async fn handler(Extension(trace): Extension<TraceId>) -> String {
    tracing::info!("before the run");
    tokio::task::yield_now().await;
    let run = Run::builder().trace(trace).build();
    run.span().in_scope(|| tracing::info!("within the run"));
    trace.to_string()
}

#[tokio::test]
async fn every_line_of_a_request_has_its_trace_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let logging = Logging::new().format(LogFormat::Text).target(LogTarget::File(path.clone()));
    let handle = logging.level("info").init().unwrap();
    let mut app = Router::new().route("/", get(handler)).layer(TraceIdLayer::new());
    let mut ask = async |headers: &[(&str, &str)]| {
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        let response = app.call(request.body(Body::empty()).unwrap()).await.unwrap();
        String::from_utf8(axum::body::to_bytes(response.into_body(), 99).await.unwrap().to_vec()).unwrap()
    };
    let given = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(ask(&[("traceparent", &format!("00-{given}-00f067aa0ba902b7-01"))]).await, given);
    let new = [ask(&[]).await, ask(&[("traceparent", "nonsense")]).await];
    assert_ne!(new[0], new[1]);
    tracing::info!("outside");
    drop(handle);
    let log = std::fs::read_to_string(&path).unwrap();
    for trace in [given, &new[0], &new[1]] {
        let short = format!("[{}]", &trace[..8]);
        assert_eq!(log.lines().filter(|line| line.contains(&short)).count(), 2, "{trace}:\n{log}");
    }
    assert_eq!(log.lines().filter(|line| line.contains("[--------]")).count(), 1, "{log}");
}
