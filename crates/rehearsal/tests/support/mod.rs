//! A client that shows everything an HTTP client can see.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::time::Duration;

use brigade_rehearsal::Dialect;
use serde_json::{Value, json};

/// One answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The data of each event, where it is JSON.
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

/// Posts a body and reads the answer as far as it comes.
pub(crate) async fn post(base: &str, dialect: Dialect, body: &Value) -> Result<Answer, reqwest::Error> {
    let mut response = client()
        .post(format!("{base}{}", dialect.path()))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut bytes = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend(chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Ok(Answer { status, headers, body: bytes, whole })
}

/// A plain question in the dialect's form.
pub(crate) fn ask(dialect: Dialect, text: &str) -> Value {
    match dialect {
        Dialect::OpenaiChat => json!({
            "model": "gpt-5-mini",
            "messages": [{ "role": "user", "content": text }],
        }),
        Dialect::OpenaiResponses => json!({ "model": "gpt-5-mini", "input": text, "store": false }),
        Dialect::Anthropic => json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 1000,
            "messages": [{ "role": "user", "content": text }],
        }),
    }
}

/// The same, asking for a stream.
pub(crate) fn stream(dialect: Dialect, text: &str) -> Value {
    let mut body = ask(dialect, text);
    body["stream"] = json!(true);
    if dialect == Dialect::OpenaiChat {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

/// The question with a tool on offer.
pub(crate) fn with_tool(mut body: Value, dialect: Dialect, name: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "query": { "type": "string" } } });
    let tool = match dialect {
        Dialect::OpenaiChat => {
            json!({ "type": "function", "function": { "name": name, "parameters": schema } })
        }
        Dialect::OpenaiResponses => {
            json!({ "type": "function", "name": name, "parameters": schema })
        }
        Dialect::Anthropic => json!({ "name": name, "input_schema": schema }),
    };
    match body["tools"].as_array_mut() {
        Some(tools) => tools.push(tool),
        None => body["tools"] = json!([tool]),
    }
    body
}

pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic];
