//! The one way in which requests leave and responses come in.

use brigade_core::{ChatReply, ModelError, ModelErrorKind, Run};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Request, Response, Url};
use secrecy::ExposeSecret;

use crate::{
    account::Account,
    error,
    head::Head,
    intake::{Intake, MAX_BODY_BYTES},
    protocol::{Assembly, Progress},
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

    /// Sends one request and waits for the head of its response.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, ModelError> {
        self.0.http.send(request).await
    }

    /// Fetches an endpoint. Returns the provider's id of the exchange.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<String>, ModelError> {
        let mut request = Request::new(Method::GET, self.url(path));
        request.headers_mut().clone_from(&self.0.headers);
        let response = self.0.http.send(request).await?;
        if response.status().is_success() {
            let head = Head::new(response.status(), response.headers());
            self.0.http.drain(response);
            return Ok(head.request_id);
        }
        read_document(response).await.map(|(head, _)| head.request_id).map_err(|error| self.without_key(error))
    }

    /// Reads a response to the end of its answer.
    pub(crate) async fn read<A: Assembly>(
        &self,
        mut response: Response,
        mut intake: Intake<'_, A>,
    ) -> Result<ChatReply, ModelError> {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if intake.push(chunk)? == Progress::Done {
                        self.0.http.drain(response);
                        return intake.finish();
                    }
                }
                Ok(None) => return intake.finish(),
                Err(error) => return intake.cut(error.without_url()),
            }
        }
    }

    pub(crate) fn without_key(&self, error: ModelError) -> ModelError {
        let Some(key) = self.0.api_key.as_ref().map(|key| key.expose_secret().trim()) else { return error };
        if key.is_empty() || !error.details().message.contains(key) {
            return error;
        }
        error.with(|failure| failure.message = failure.message.replace(key, "[the API key]"))
    }
}

/// A request with a JSON body.
pub(crate) fn post(url: &Url, headers: HeaderMap, body: Vec<u8>) -> Request {
    let mut request = Request::new(Method::POST, url.clone());
    *request.headers_mut() = headers;
    *request.body_mut() = Some(body.into());
    request
}

/// Reads an answer that is one document.
pub(crate) async fn read_document(mut response: Response) -> Result<(Head, Vec<u8>), ModelError> {
    let head = Head::new(response.status(), response.headers());
    let most_bytes = if head.status.is_success() { MAX_BODY_BYTES } else { error::MAX_BODY_BYTES };
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= most_bytes => body.extend_from_slice(&chunk),
            Ok(Some(_)) if head.status.is_success() => return Err(broken_off("the answer is too long", &head)),
            Err(cause) if head.status.is_success() => {
                return Err(broken_off("the connection broke within the answer", &head).caused_by(cause.without_url()));
            }
            Ok(None) if head.status.is_success() => return Ok((head, body)),
            // What there is of an error says more than that it is cut off.
            Ok(_) | Err(_) => return Err(error::from_response(&head, &body)),
        }
    }
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
