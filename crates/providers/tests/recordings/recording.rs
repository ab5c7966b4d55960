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
    /// The request's body; null if nobody recorded it.
    pub(crate) request: Value,
    /// The response's body as JSON; null if it is a stream or no JSON.
    pub(crate) document: Value,
    /// The response's body as an event stream.
    pub(crate) stream: Option<String>,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    text: Option<String>,
}

/// What came of one recording.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The response was understood; the request too, unless there is a reason why it could not be tried.
    Passed { request_unchecked: Option<String> },
    /// It is nothing that a client of this crate would ever ask for.
    Skipped(String),
    /// What went wrong.
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
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = response["headers"].as_object().into_iter().flatten();
        Ok(Self {
            provider: words(&value["provider"]),
            method: words(&request["method"]),
            path: words(&request["path"]),
            request: request["body"].clone(),
            document: response["body"].clone(),
            stream: response["sse"].as_str().map(str::to_owned),
            status: response["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            headers: headers.map(|(name, value)| (name.clone(), words(value))).collect(),
            text: response["text"].as_str().map(str::to_owned),
        })
    }

    /// Which protocol the exchange is of; empty if it is no question to a model.
    pub(crate) fn endpoint(&self) -> &'static str {
        let path = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let endings = [("/chat/completions", "chat"), ("/messages", "messages"), ("/responses", "responses")];
        let found = endings.into_iter().find(|(ending, _)| path.ends_with(ending));
        found.filter(|_| self.method != "GET").map_or("", |(_, name)| name)
    }

    /// The status; where it was not recorded, the one that fits what was.
    pub(crate) fn status(&self) -> u16 {
        let failed = self.document.is_null() && self.stream.is_none();
        self.status.unwrap_or(if failed { 503 } else { 200 })
    }

    /// Whether the provider found fault with the request itself, so that none like it should be written.
    pub(crate) fn refused_request(&self) -> bool {
        matches!(self.status(), 400 | 422)
    }

    /// The body as it came.
    pub(crate) fn body(&self) -> String {
        let written = || if self.document.is_null() { String::new() } else { self.document.to_string() };
        self.stream.clone().or_else(|| self.text.clone()).unwrap_or_else(written)
    }

    /// The response, as a client gets it.
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

/// What was told while an answer came in.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<(String, String)>);

impl Told {
    /// A run that streams, and what it is told.
    pub(crate) fn listening(stream: bool) -> (Run, Arc<Self>) {
        let told = Arc::new(Self::default());
        let observer: Arc<dyn Observer> = told.clone();
        (Run::builder().deltas(stream).observer(observer).build(), told)
    }

    /// All text, and all reasoning.
    pub(crate) fn texts(&self) -> (String, String) {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Told {
    fn on_event(&self, _: &Run, event: &Event) {
        let mut told = self.0.lock().unwrap();
        match event {
            Event::Delta(Delta::Text(text)) => told.0.push_str(text),
            Event::Delta(Delta::Thinking(text)) => told.1.push_str(text),
            _ => {}
        }
    }
}
