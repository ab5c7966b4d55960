//! A tool that sends a request.

use std::{error::Error, fmt::Write as _, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use brigade_core::{ErrorChain, Run, Tool, ToolError, ToolOutput, ToolSpec};
use brigade_observability::Traceparent;
use reqwest::{
    Client, Method, Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use super::{egress::Egress, template::Template, text::text};
use crate::config;

/// Sends a request, and answers with what comes back.
#[derive(Debug)]
pub(crate) struct HttpTool {
    spec: ToolSpec,
    client: Client,
    method: Method,
    url: Template,
    headers: HeaderMap,
    egress: Egress,
    propagate_trace: bool,
    max_output: usize,
}

/// A server that is there accepts a connection in this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// So much of an error's body is told to the model.
const ERROR_BYTES: usize = 2 << 10;

impl HttpTool {
    pub(crate) fn new(
        spec: ToolSpec,
        (tool, http): (&config::Tool, &config::Http),
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let url = Template::parse(&http.url);
        let egress = Egress { allow_private: http.allow_private };
        check_address(&http.url, &url, egress)?;
        // A second one is no harm: then there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .dns_resolver(Arc::new(egress))
            .redirect(egress.redirects())
            // A proxy would look names up itself, and reach what must not be reached.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .referer(false)
            .build()
            .context("the HTTP client cannot be set up")?;
        let method = match http.method {
            config::Method::Get => Method::GET,
            config::Method::Post => Method::POST,
            config::Method::Put => Method::PUT,
            config::Method::Patch => Method::PATCH,
            config::Method::Delete => Method::DELETE,
        };
        let headers = headers(http, folder)?;
        let (propagate_trace, max_output) = (http.propagate_trace, tool.max_output.bytes);
        Ok(Self { spec, client, method, url, headers, egress, propagate_trace, max_output })
    }

    async fn send(&self, arguments: Map<String, Value>, run: &Run) -> Result<ToolOutput, ToolError> {
        let text = self.url.fill(&arguments, encode)?;
        let url = Url::parse(&text).map_err(|error| ToolError::new(format!("the address cannot be used: {error}")))?;
        self.egress.check(&url).map_err(|denied| ToolError::new(denied.to_string()))?;
        let mut request = self.client.request(self.method.clone(), url).headers(self.headers.clone());
        if self.propagate_trace {
            request = request.header("traceparent", Traceparent::of(run).to_string());
        }
        if self.method != Method::GET {
            let named: Vec<&str> = self.url.names().collect();
            let body: Map<_, _> = arguments.into_iter().filter(|(name, _)| !named.contains(&name.as_str())).collect();
            request = request.header(CONTENT_TYPE, "application/json").body(Value::Object(body).to_string());
        }
        let response = request.send().await.map_err(|error| ToolError::new(chain(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(ToolOutput::text(read(response, self.max_output).await?));
        }
        let body = read(response, ERROR_BYTES).await?;
        Err(ToolError::new(format!("the server answered {status}: {body}")))
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
            _ => Err(ToolError::new("the arguments are no object")),
        }
    }
}

/// The model must not choose the host, so everything before the path is fixed.
fn check_address(text: &str, template: &Template, egress: Egress) -> anyhow::Result<()> {
    let wrong = || anyhow!("`{text}` is no address; write one such as \"https://example.com/users/{{id}}\"");
    let (_, rest) = template.beginning().split_once("://").ok_or_else(wrong)?;
    if template.names().next().is_some() && !rest.contains(['/', '?']) {
        bail!("the address `{text}` has a place for an argument in its host; only path and query may have some");
    }
    let url = Url::parse(template.beginning()).map_err(|_| wrong())?;
    Ok(egress.check(&url)?)
}

fn headers(http: &config::Http, folder: &Path) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut insert = |name: &String, value: &str, is_secret: bool| -> anyhow::Result<()> {
        let value = HeaderValue::from_str(value);
        // The value is not shown, as it may be a secret.
        let mut value = value.map_err(|_| anyhow!("the header `{name}` has a value that cannot be sent"))?;
        value.set_sensitive(is_secret);
        headers.insert(name.parse::<HeaderName>().with_context(|| format!("the header `{name}`"))?, value);
        Ok(())
    };
    for (name, value) in &http.headers {
        insert(name, value, false)?;
    }
    for (name, secret) in &http.secret_headers {
        let value = secret.read(folder).map_err(|error| anyhow!("the header `{name}`: {error}"))?;
        insert(name, &value, true)?;
    }
    Ok(headers)
}

/// An argument as a part of a path or a query. What would climb up the path is refused, because clients resolve it.
fn encode(value: &str) -> Result<String, ToolError> {
    if matches!(value, "." | "..") {
        return Err(ToolError::new(format!("`{value}` cannot be a part of the address")));
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

/// The beginning of a body, as text. More than `most` bytes are never held.
async fn read(mut response: Response, most: usize) -> Result<String, ToolError> {
    let mut body = Vec::new();
    while body.len() < most {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return readable(body, most, ""),
            Err(error) => return Err(ToolError::new(format!("the answer broke off: {}", chain(&error)))),
        }
    }
    body.truncate(most);
    readable(body, most, "\n[cut here: the answer is longer]")
}

fn readable(body: Vec<u8>, most: usize, mark: &str) -> Result<String, ToolError> {
    if body.contains(&0) {
        return Err(ToolError::new("the answer is no text"));
    }
    Ok(text(body, most, mark))
}

/// An error and its causes, without the address, whose query may hold secrets.
fn chain(error: &reqwest::Error) -> String {
    match error.source() {
        Some(cause) => format!("the request failed: {}", ErrorChain(cause)),
        None => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_cannot_leave_its_place() {
        assert_eq!(encode("a/../b?c=d&e#f").unwrap(), "a%2F..%2Fb%3Fc%3Dd%26e%23f");
        assert!(encode("..").is_err());
    }

    #[test]
    fn the_host_is_fixed() {
        let check = |text: &str| check_address(text, &Template::parse(text), Egress { allow_private: false });
        assert!(check("https://example.com/users/{id}").is_ok());
        for text in ["https://{host}/", "https://example.com{rest}", "{url}", "example.com/{x}", "http://10.0.0.1/{x}"]
        {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
