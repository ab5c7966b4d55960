//! A provider account: its address, credentials and connections.

use std::{fmt, sync::Arc};

use brigade_core::{ModelError, ModelErrorKind, Run};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Request, Response, Url};
use secrecy::{ExposeSecret, SecretString};

use super::{
    http_client::HttpClient,
    in_flight::InFlight,
    provider_error::{self, MAX_ERROR_BYTES},
    response_head::ResponseHead,
};

/// The most bytes of one answer, after decompression. The largest on record has half a megabyte.
pub(crate) const MAX_BODY_BYTES: usize = 32 << 20;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: HeaderName = HeaderName::from_static("x-brigade-agent");

/// A provider account. All its models, agents and runs share its connections.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) http: HttpClient,
    pub(crate) in_flight: InFlight,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    /// Kept to remove them from error messages in which a provider quotes them.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) base_url: Url,
    pub(crate) query: Option<String>,
    pub(crate) propagate_trace: bool,
    pub(crate) agent_header: bool,
}

impl Account {
    /// The URL of an endpoint, which may have a query of its own.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.base_url.path()));
        let queries: Vec<&str> = [query, self.query.as_deref()].into_iter().flatten().collect();
        if !queries.is_empty() {
            url.set_query(Some(&queries.join("&")));
        }
        url
    }

    /// The headers of one request to a model.
    pub(crate) fn headers(&self, run: &Run) -> HeaderMap {
        let mut headers = self.headers.clone();
        if self.propagate_trace {
            // The low half of a version 7 UUID is random, as a span id must be. Zero is not a valid span id.
            let (_, low) = run.id().uuid().as_u64_pair();
            let span = low.max(1);
            if let Ok(value) = HeaderValue::try_from(format!("00-{}-{span:016x}-01", run.trace())) {
                headers.insert(TRACEPARENT, value);
            }
        }
        if self.agent_header
            && let Some(name) = run.agent().rsplit('/').next()
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.insert(AGENT, value);
        }
        headers
    }

    /// Requests an endpoint without a body. Returns the provider's request id, and whether the answer is JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<(Option<String>, bool), ModelError> {
        let url = self.url(path);
        let mut request = Request::new(Method::GET, url.clone());
        request.headers_mut().clone_from(&self.headers);
        let mut response = self.http.send(request).await?;
        if response.status().is_success() {
            let head = ResponseHead::new(response.status(), response.headers());
            let is_json = begins_as_json(&mut response).await;
            self.http.drain(response, ());
            return Ok((head.request_id, is_json));
        }
        let result = read_document(response).await.map(|(head, _)| (head.request_id, false));
        result.map_err(|error| with_url(self.without_key(error), &url))
    }

    /// Removes the account's secrets from an error's message. Words this short are not secrets.
    pub(crate) fn without_key(&self, error: ModelError) -> ModelError {
        const MIN_BYTES: usize = 6;
        let secrets = self.secrets.iter().map(|secret| secret.expose_secret().trim());
        secrets.filter(|secret| secret.len() >= MIN_BYTES).fold(error, |error, secret| {
            if !error.details().message.contains(secret) {
                return error;
            }
            error.with(|failure| failure.message = failure.message.replace(secret, "[the API key]"))
        })
    }
}

/// Whether a body begins with an object or a list. Reads no further than that.
async fn begins_as_json(response: &mut Response) -> bool {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || [0xEF, 0xBB, 0xBF].contains(byte);
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        if let Some(first) = chunk.iter().find(|byte| !is_blank(byte)) {
            return matches!(first, b'{' | b'[');
        }
        read += chunk.len();
        if read > MAX_ERROR_BYTES {
            break;
        }
    }
    false
}

/// A URL without the parts that may hold a secret.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that cannot have them.
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}

/// Adds the URL to an error that may be due to a wrong one.
pub(crate) fn with_url(error: ModelError, url: &Url) -> ModelError {
    if error.kind() != ModelErrorKind::NoSuchModel {
        return error;
    }
    error.with(|failure| failure.message = format!("{} at {}", failure.message, shown(url)))
}

/// Builds a request with a JSON body.
pub(crate) fn post(url: &Url, headers: HeaderMap, body: Vec<u8>) -> Request {
    let mut request = Request::new(Method::POST, url.clone());
    *request.headers_mut() = headers;
    *request.body_mut() = Some(body.into());
    request
}

/// Reads a response that is one document.
pub(crate) async fn read_document(mut response: Response) -> Result<(ResponseHead, Vec<u8>), ModelError> {
    let head = ResponseHead::new(response.status(), response.headers());
    let max_bytes = if head.status.is_success() { MAX_BODY_BYTES } else { MAX_ERROR_BYTES };
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= max_bytes => body.extend_from_slice(&chunk),
            Ok(Some(_)) if head.status.is_success() => return Err(broken("the answer is too long", &head)),
            Err(cause) if head.status.is_success() => {
                return Err(broken("the connection broke within the answer", &head).caused_by(cause.without_url()));
            }
            Ok(None) if head.status.is_success() => return Ok((head, body)),
            // A part of an error's body says more than that it was cut off.
            Ok(_) | Err(_) => return Err(provider_error::from_response(&head, &body)),
        }
    }
}

fn broken(message: &str, head: &ResponseHead) -> ModelError {
    ModelError::new(ModelErrorKind::Broken, message).with(|failure| {
        failure.sent = true;
        failure.status = Some(head.status.as_u16());
        failure.request_id.clone_from(&head.request_id);
    })
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base_url = shown(&self.base_url);
        f.debug_struct("Account").field("name", &self.name).field("base_url", &base_url).finish_non_exhaustive()
    }
}
