//! HTTP clients that record everything they receive.

use std::time::Duration;

use brigade_rehearsal::{FaultPlan, Simulator, WireDialect};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One response, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended cleanly.
    pub(crate) whole: bool,
    /// When each piece of the body arrived, since the request was sent, and its length.
    pub(crate) pieces: Vec<(Duration, usize)>,
    /// When the body ended or failed.
    pub(crate) took: Duration,
}

impl Answer {
    fn new(status: u16, headers: HeaderMap) -> Self {
        Self { status, headers, body: Vec::new(), whole: false, pieces: Vec::new(), took: Duration::ZERO }
    }

    fn push(&mut self, bytes: &[u8], started: Instant) {
        self.body.extend(bytes);
        self.pieces.push((started.elapsed(), bytes.len()));
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The data of each event, if it is JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

/// Posts a body over a socket and reads the response as far as possible.
pub(crate) async fn post(base: &str, dialect: WireDialect, body: &Value) -> Result<Answer, reqwest::Error> {
    let started = Instant::now();
    let url = format!("{base}{}", dialect.path());
    let mut response = client().post(url).body(body.to_string()).send().await?;
    let mut answer = Answer::new(response.status().as_u16(), response.headers().clone());
    answer.whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => answer.push(&chunk, started),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    answer.took = started.elapsed();
    Ok(answer)
}

/// Posts a body in memory, which works with a paused clock, and reads the response as far as possible.
pub(crate) async fn post_in_memory(
    simulator: &Simulator,
    dialect: WireDialect,
    body: &Value,
) -> Result<Answer, hyper::Error> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let (here, there) = tokio::io::duplex(1 << 16);
    tasks.spawn(simulator.serve_connection(there));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(here)).await?;
    tasks.spawn(async move { drop(connection.await) });
    let request = hyper::Request::post(dialect.path())
        .header("host", "simulator")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let mut response = sender.send_request(request).await?;
    let mut answer = Answer::new(response.status().as_u16(), response.headers().clone());
    answer.whole = loop {
        match response.body_mut().frame().await {
            Some(Ok(frame)) => answer.push(&frame.into_data().unwrap(), started),
            None => break true,
            Some(Err(_)) => break false,
        }
    };
    answer.took = started.elapsed();
    Ok(answer)
}

/// The response to a body from a simulator with these faults and no script.
pub(crate) async fn post_with_faults(plan: &str, dialect: WireDialect, body: &Value) -> Answer {
    let plan = FaultPlan::from_toml(plan).unwrap();
    let simulator = Simulator::builder().faults(plan).build();
    post_in_memory(&simulator, dialect, body).await.unwrap()
}

/// A request with one user message.
pub(crate) fn chat_request(dialect: WireDialect, text: &str) -> Value {
    match dialect {
        WireDialect::OpenaiChat => json!({
            "model": "gpt-5-mini",
            "messages": [{ "role": "user", "content": text }],
        }),
        WireDialect::OpenaiResponses => json!({ "model": "gpt-5-mini", "input": text, "store": false }),
        WireDialect::Anthropic => json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 1000,
            "messages": [{ "role": "user", "content": text }],
        }),
    }
}

/// The same request with streaming.
pub(crate) fn stream_request(dialect: WireDialect, text: &str) -> Value {
    let mut body = chat_request(dialect, text);
    body["stream"] = json!(true);
    if dialect == WireDialect::OpenaiChat {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

/// The request with one more tool.
pub(crate) fn with_tool(mut body: Value, dialect: WireDialect, name: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "query": { "type": "string" } } });
    let tool = match dialect {
        WireDialect::OpenaiChat => {
            json!({ "type": "function", "function": { "name": name, "parameters": schema } })
        }
        WireDialect::OpenaiResponses => {
            json!({ "type": "function", "name": name, "parameters": schema })
        }
        WireDialect::Anthropic => json!({ "name": name, "input_schema": schema }),
    };
    match body["tools"].as_array_mut() {
        Some(tools) => tools.push(tool),
        None => body["tools"] = json!([tool]),
    }
    body
}

pub(crate) const DIALECTS: [WireDialect; 3] =
    [WireDialect::OpenaiChat, WireDialect::OpenaiResponses, WireDialect::Anthropic];
