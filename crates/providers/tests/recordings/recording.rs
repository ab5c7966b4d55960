//! One recorded exchange.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use brigade_core::{Delta, Event, Observer, Run};
use bytes::Bytes;
use serde_json::Value;

/// One recorded exchange.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) provider: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The request's body; null if it was not recorded.
    pub(crate) request: Value,
    /// The response's body as JSON; null if it is a stream or not JSON.
    pub(crate) document: Value,
    /// The response's body as an event stream.
    pub(crate) stream: Option<String>,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    text: Option<String>,
}

/// The result for one recording.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The response was decoded as expected. So was the request encoded, unless there is a reason to skip that.
    Passed { request_unchecked: Option<String> },
    /// The recording is of an endpoint or a form that this crate does not use.
    Skipped(String),
    /// The check failed for this reason.
    Failed(String),
}

/// All recordings below a folder, in a stable order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json")
            && path.file_name() != Some("index.json".as_ref())
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

impl Recording {
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let (request, response) = (&value["request"], &value["response"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = response["headers"].as_object().into_iter().flatten();
        Ok(Self {
            provider: text(&value["provider"]),
            method: text(&request["method"]),
            path: text(&request["path"]),
            request: request["body"].clone(),
            document: response["body"].clone(),
            stream: response["sse"].as_str().map(str::to_owned),
            status: response["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
            text: response["text"].as_str().map(str::to_owned),
        })
    }

    /// The protocol of the exchange; empty if it is not a call to a model.
    pub(crate) fn endpoint(&self) -> &'static str {
        let path = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let endings = [("/chat/completions", "chat"), ("/messages", "messages"), ("/responses", "responses")];
        let found = endings.into_iter().find(|(ending, _)| path.ends_with(ending));
        found.filter(|_| self.method != "GET").map_or("", |(_, name)| name)
    }

    /// The status. If it was not recorded, it is derived from the body.
    pub(crate) fn status(&self) -> u16 {
        let failed = self.document.is_null() && self.stream.is_none();
        self.status.unwrap_or(if failed { 503 } else { 200 })
    }

    /// Whether the provider refused the request, so that the encoder need not produce it.
    pub(crate) fn refused_request(&self) -> bool {
        matches!(self.status(), 400 | 422)
    }

    /// The body as text.
    pub(crate) fn body(&self) -> String {
        let written = || if self.document.is_null() { String::new() } else { self.document.to_string() };
        self.stream.clone().or_else(|| self.text.clone()).unwrap_or_else(written)
    }

    /// The response as a client receives it.
    pub(crate) fn response(&self) -> http::Response<Bytes> {
        let mut response = http::Response::new(Bytes::from(self.body()));
        *response.status_mut() = http::StatusCode::from_u16(self.status()).unwrap_or_default();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }

    /// The JSON documents of the stream's events, in order, apart from `[DONE]`. An event without a type has its name.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.stream.as_deref().unwrap_or_default().replace("\r\n", "\n").replace('\r', "\n");
        text.split("\n\n").filter_map(event).collect()
    }

    /// A header of the response.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, value)| header == name && !value.trim().is_empty());
        found.map(|(_, value)| value.trim())
    }
}

/// The JSON document of one event.
fn event(block: &str) -> Option<Value> {
    let field = |line: &'_ str, name: &str| Some(line.strip_prefix(name)?.trim_start().to_owned());
    let data: Vec<String> = block.lines().filter_map(|line| field(line, "data:")).collect();
    let mut document: Value = serde_json::from_str(&data.join("\n")).ok()?;
    let name = block.lines().find_map(|line| field(line, "event:"));
    if let (Some(fields), Some(name)) = (document.as_object_mut(), name)
        && !fields.get("type").is_some_and(Value::is_string)
    {
        fields.insert("type".to_owned(), name.into());
    }
    Some(document)
}

/// The text and reasoning that was streamed.
#[derive(Debug, Default)]
pub(crate) struct DeltaTexts(Mutex<(String, String)>);

impl DeltaTexts {
    /// A run, and the texts of its deltas.
    pub(crate) fn observe(stream: bool) -> (Run, Arc<Self>) {
        let texts = Arc::new(Self::default());
        let observer: Arc<dyn Observer> = texts.clone();
        (Run::builder().deltas(stream).observer(observer).build(), texts)
    }

    /// All text, and all reasoning.
    pub(crate) fn texts(&self) -> (String, String) {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for DeltaTexts {
    fn on_event(&self, _: &Run, event: &Event) {
        let mut texts = self.0.lock().unwrap();
        match event {
            Event::Delta(Delta::Text(text)) => texts.0.push_str(text),
            Event::Delta(Delta::Thinking(text)) => texts.1.push_str(text),
            _ => {}
        }
    }
}
