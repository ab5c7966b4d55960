//! The one way in which requests leave and responses come in.

use std::future::Future;

use brigade_core::{ChatReply, ModelError, ModelErrorKind, Run};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use secrecy::ExposeSecret;

use crate::{
    account::Account,
    client::caller_error,
    error,
    head::Head,
    intake::{Intake, MAX_BODY_BYTES},
    protocol::{Assembly, Progress},
    transport::Response,
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: HeaderName = HeaderName::from_static("x-brigade-agent");
/// Room for what is added to the account's headers as a rule: the request's id, and `host` and `content-length`, which
/// the HTTP client writes.
const HEADERS_ADDED: usize = 3;

impl Account {
    /// The headers of one request to a model.
    pub(crate) fn headers(&self, run: &Run) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.0.headers.len() + HEADERS_ADDED);
        for (name, value) in &self.0.headers {
            headers.insert(name, value.clone());
        }
        if self.0.propagate_trace {
            // The low half of a UUID of version 7 is random, as the span id must be.
            let span = u64::from_be_bytes(low_half(run.id().uuid().into_bytes())).max(1);
            if let Ok(value) = HeaderValue::try_from(format!("00-{}-{span:016x}-01", run.trace())) {
                headers.insert(TRACEPARENT, value);
            }
        }
        if self.0.agent_header
            && let Some(name) = run.agent().rsplit('/').next()
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.insert(AGENT, value);
        }
        headers
    }

    /// Sends one request.
    pub(crate) fn post(
        &self,
        url: Option<&Uri>,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Response, ModelError>> + use<> {
        let sent = url.map(|url| self.0.transport.send(request(Method::POST, url.clone(), headers, body)));
        async { sent.ok_or_else(too_long)?.await }
    }

    /// Fetches an endpoint and answers the provider's id of the exchange.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<String>, ModelError> {
        let url = self.url(path).ok_or_else(too_long)?;
        let mut response = self.0.transport.send(request(Method::GET, url, self.0.headers.clone(), Vec::new())).await?;
        let head = Head::new(response.status(), response.headers());
        if head.status.is_success() {
            return Ok(head.request_id);
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.body_mut().chunk().await
            && body.len() < error::MAX_BODY_BYTES
        {
            body.extend_from_slice(&chunk);
        }
        Err(self.without_key(error::from_response(&head, &body)))
    }

    pub(crate) fn without_key(&self, error: ModelError) -> ModelError {
        let Some(key) = self.0.api_key.as_ref().map(|key| key.expose_secret().trim()) else { return error };
        if key.is_empty() || !error.details().message.contains(key) {
            return error;
        }
        error.with(|failure| failure.message = failure.message.replace(key, "[the API key]"))
    }
}

/// Reads a response to its end.
pub(crate) async fn read<A: Assembly>(
    response: &mut Response,
    mut intake: Box<Intake<'_, A>>,
) -> Result<ChatReply, ModelError> {
    loop {
        let progress = match response.body_mut().chunk().await {
            Ok(Some(chunk)) => intake.push(chunk)?,
            Ok(None) => Progress::Done,
            Err(error) => return intake.cut(error),
        };
        if progress == Progress::Done {
            return intake.finish();
        }
    }
}

/// Reads an answer that is one document.
pub(crate) async fn read_document(response: &mut Response) -> Result<(Head, Vec<u8>), ModelError> {
    let head = Head::new(response.status(), response.headers());
    let most_bytes = if head.status.is_success() { MAX_BODY_BYTES } else { error::MAX_BODY_BYTES };
    let mut body = Vec::new();
    loop {
        match response.body_mut().chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= most_bytes => body.extend_from_slice(&chunk),
            Ok(Some(_)) if head.status.is_success() => return Err(broken_off("the answer is too long", &head)),
            Err(cause) if head.status.is_success() => {
                return Err(broken_off("the connection broke within the answer", &head).caused_by(cause));
            }
            Ok(None) if head.status.is_success() => return Ok((head, body)),
            // What there is of an error says more than that it is cut off.
            Ok(_) | Err(_) => return Err(error::from_response(&head, &body)),
        }
    }
}

fn request(method: Method, url: Uri, headers: HeaderMap, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = url;
    *request.headers_mut() = headers;
    request
}

fn too_long() -> ModelError {
    caller_error("its name makes a URL of more than 64 KiB")
}

fn broken_off(message: &str, head: &Head) -> ModelError {
    ModelError::new(ModelErrorKind::Broken, message).with(|failure| {
        failure.sent = true;
        failure.status = Some(head.status.as_u16());
        failure.request_id.clone_from(&head.request_id);
    })
}

fn low_half([_, _, _, _, _, _, _, _, low @ ..]: [u8; 16]) -> [u8; 8] {
    low
}
