//! A tool that sends an HTTP request.

use std::{error::Error, fmt::Write as _};

use async_trait::async_trait;
use brigade_core::{ErrorChain, Run, Tool, ToolError, ToolOutput, ToolSpec};
use reqwest::{
    Client, Method, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use crate::{
    BuildToolError, EgressGuard, Template, error::failed, key::idempotency_key, output::to_text, redirect::ToolRequest,
};

/// Sends a request to one configured address and returns the body of the response.
///
/// Arguments fill the placeholders of the address. For methods other than `GET`, the remaining arguments are sent as a
/// JSON body. Up to three redirects are followed, as far as the [`EgressGuard`] allows them. A redirect to another scheme,
/// host or port carries neither headers nor a body, and is refused for a method that needs its body. Proxies are not
/// used. A status other than 2xx is an error that the model sees together with the start of the body. A tool whose effect is
/// [`Effect::Keyed`](brigade_core::Effect::Keyed) sends the key of a run with a journal as `Idempotency-Key`.
///
/// See the [crate] for an example.
#[derive(Debug)]
pub struct HttpTool {
    spec: ToolSpec,
    client: Client,
    method: Method,
    url: Template,
    headers: HeaderMap,
    egress: EgressGuard,
    propagate_trace: bool,
    max_output: usize,
}

/// Builds an [`HttpTool`].
#[derive(Debug)]
#[must_use]
pub struct HttpToolBuilder {
    spec: ToolSpec,
    method: Method,
    url: String,
    headers: Vec<Header>,
    egress: EgressGuard,
    propagate_trace: bool,
    max_output: usize,
}

#[derive(Debug)]
struct Header {
    name: String,
    value: HeaderText,
}

/// Does not show secrets in its debug output.
enum HeaderText {
    Plain(String),
    Secret(String),
}

pub(crate) const MAX_OUTPUT: usize = 64 << 10;

/// How much of an error's body the model sees.
const ERROR_BYTES: usize = 2 << 10;

impl HttpTool {
    /// Starts a builder. `url` may have placeholders such as `{id}` in its path and its query.
    pub fn builder(spec: ToolSpec, url: impl Into<String>) -> HttpToolBuilder {
        HttpToolBuilder {
            spec,
            method: Method::GET,
            url: url.into(),
            headers: Vec::new(),
            egress: EgressGuard::default(),
            propagate_trace: false,
            max_output: MAX_OUTPUT,
        }
    }

    async fn send(&self, arguments: Map<String, Value>, run: &Run) -> Result<ToolOutput, ToolError> {
        let text = self.url.fill(&arguments, percent_encode)?;
        let url = Url::parse(&text).map_err(|error| failed(format!("the address is not valid: {error}")))?;
        let mut headers = self.headers.clone();
        if self.propagate_trace
            && let Ok(value) = HeaderValue::try_from(traceparent(run))
        {
            headers.insert("traceparent", value);
        }
        if let Some(key) = idempotency_key(&self.spec, run) {
            let key = HeaderValue::from_bytes(key.as_bytes());
            headers.insert("idempotency-key", key.map_err(|_| failed("the idempotency key is not a valid header"))?);
        }
        let body = (self.method != Method::GET).then(|| {
            let in_url: Vec<&str> = self.url.names().collect();
            let body: Map<_, _> = arguments.into_iter().filter(|(name, _)| !in_url.contains(&name.as_str())).collect();
            Value::Object(body).to_string()
        });
        let request = ToolRequest { method: self.method.clone(), url, headers, body };
        let response = request.send(&self.client, self.egress).await?;
        let (status, host) = (response.status(), response.url().host_str().unwrap_or_default().to_owned());
        if status.is_success() {
            return Ok(ToolOutput::text(read_body(response, self.max_output).await?));
        }
        let body = read_body(response, ERROR_BYTES).await?;
        let error = ToolError::new(format!("the server answered {status}: {body}"));
        Err(error.caused_by(format!("HTTP {status} from {host}")))
    }
}

impl HttpToolBuilder {
    /// The request's method. `GET` by default.
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Adds a header.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.add(name.into(), HeaderText::Plain(value.into()))
    }

    /// Adds a header whose value is a secret: it is not part of any debug output.
    pub fn secret_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.add(name.into(), HeaderText::Secret(value.into()))
    }

    /// The guard that decides which addresses may be reached. Public addresses only by default.
    pub fn egress(self, egress: EgressGuard) -> Self {
        Self { egress, ..self }
    }

    /// Sends the run's trace as a W3C `traceparent` header. Off by default, because it shows a third party
    /// which requests belong together.
    pub fn propagate_trace(self, propagate: bool) -> Self {
        Self { propagate_trace: propagate, ..self }
    }

    /// The number of bytes of the body that are kept. 64 KiB by default: more would fill the context of most models.
    pub fn max_output(self, bytes: usize) -> Self {
        Self { max_output: bytes, ..self }
    }

    /// Builds the tool.
    ///
    /// # Errors
    ///
    /// Fails if the address is not valid or not allowed, a placeholder is not an argument of the tool, a header is not valid, or the client cannot be set up.
    pub fn build(self) -> Result<HttpTool, BuildToolError> {
        let Self { spec, method, url, headers, egress, propagate_trace, max_output } = self;
        let url = parse_address(&url, egress)?;
        url.check(&spec)?;
        let client = egress.client_for_any_url()?;
        let headers = headers.into_iter().map(Header::parse).collect::<Result<_, _>>()?;
        Ok(HttpTool { spec, client, method, url, headers, egress, propagate_trace, max_output })
    }

    fn add(mut self, name: String, value: HeaderText) -> Self {
        self.headers.push(Header { name, value });
        self
    }
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        match input {
            Value::Object(arguments) => self.send(arguments, run).await,
            _ => Err(failed("the arguments must be a JSON object")),
        }
    }
}

impl Header {
    fn parse(self) -> Result<(HeaderName, HeaderValue), BuildToolError> {
        let Self { name, value } = self;
        let (text, is_secret) = match value {
            HeaderText::Plain(text) => (text, false),
            HeaderText::Secret(text) => (text, true),
        };
        match (name.parse(), HeaderValue::try_from(text)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(is_secret);
                Ok((name, value))
            }
            _ => Err(BuildToolError::Header(name)),
        }
    }
}

impl std::fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(text) => write!(f, "{text:?}"),
            Self::Secret(_) => f.write_str("[secret]"),
        }
    }
}

/// Parses the template of an address. The model must not choose the host, so everything before the path is fixed.
fn parse_address(text: &str, egress: EgressGuard) -> Result<Template, BuildToolError> {
    let template = Template::parse(text);
    let invalid = || BuildToolError::Address(text.to_owned());
    let (_, rest) = template.prefix().split_once("://").ok_or_else(invalid)?;
    if template.names().next().is_some() && !rest.contains(['/', '?']) {
        return Err(BuildToolError::HostPlaceholder(text.to_owned()));
    }
    let url = Url::parse(template.prefix()).map_err(|_| invalid())?;
    egress.check(&url)?;
    Ok(template)
}

/// Encodes an argument for a path or a query. `.` and `..` are refused, because clients resolve them as path segments.
fn percent_encode(value: &str) -> Result<String, ToolError> {
    if matches!(value, "." | "..") {
        let error = ToolError::new(format!("`{value}` cannot be part of the address; use another value"));
        return Err(error.caused_by("an argument cannot be part of the address"));
    }
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Ok(encoded)
}

/// The W3C trace context of a run. The span id is the random half of the run id.
fn traceparent(run: &Run) -> String {
    let (_, random) = run.id().uuid().as_u64_pair();
    format!("00-{}-{:016x}-01", run.trace(), random.max(1))
}

/// Reads at most `limit` bytes of a body.
async fn read_body(mut response: Response, limit: usize) -> Result<String, ToolError> {
    let mut body = Vec::new();
    while body.len() < limit {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return body_text(body, limit, ""),
            Err(error) => return Err(failed(format!("the response ended early: {}", describe(&error)))),
        }
    }
    body.truncate(limit);
    body_text(body, limit, "\n[cut here: the answer is longer]")
}

fn body_text(body: Vec<u8>, limit: usize, note: &str) -> Result<String, ToolError> {
    if body.contains(&0) {
        return Err(failed("the response is not text"));
    }
    Ok(to_text(body, limit, note))
}

/// An error with its causes, but without the address, whose query may contain secrets.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    match error.source() {
        Some(cause) => format!("the request failed: {}", ErrorChain(cause)),
        None => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
