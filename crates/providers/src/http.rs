//! The one way in which requests leave and responses come in.

use std::future::Future;

use brigade_core::{ChatReply, ModelError, ModelErrorKind, Run, TimeoutPhase};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::{Request, Response, Url};
use secrecy::ExposeSecret;

use crate::{
    account::Account,
    error,
    intake::{Head, Intake, MAX_BODY_BYTES},
    protocol::{Assembly, Progress},
};

impl Account {
    /// The headers of one request to a model.
    pub(crate) fn headers(&self, run: &Run) -> HeaderMap {
        let mut headers = self.0.headers.clone();
        if self.0.propagate_trace {
            // The low half of a UUID of version 7 is random, as the span id must be.
            let span = u64::from_be_bytes(low_half(run.id().uuid().into_bytes())).max(1);
            if let Ok(value) = HeaderValue::try_from(format!("00-{}-{span:016x}-01", run.trace())) {
                headers.insert("traceparent", value);
            }
        }
        if self.0.agent_header
            && let Some(name) = run.agent().rsplit('/').next()
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.insert("x-brigade-agent", value);
        }
        headers
    }

    /// Sends one request. All of it is in the returned future's own allocation, so that a call in flight holds it once.
    pub(crate) fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Response, ModelError>> + use<> {
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        let sent = self.0.client.execute(request);
        async { sent.await.map_err(unsent) }
    }

    /// Fetches an endpoint and answers the provider's id of the exchange.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<String>, ModelError> {
        let request = self.0.client.get(self.url(path)).headers(self.0.headers.clone());
        let mut response = request.send().await.map_err(unsent)?;
        let head = Head::new(response.status(), response.headers());
        if head.status.is_success() {
            return Ok(head.request_id);
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await
            && body.len() < error::MAX_BODY_BYTES
        {
            body.extend_from_slice(&chunk);
        }
        Err(self.without_key(error::from_response(&head, &body)))
    }

    pub(crate) fn without_key(&self, error: ModelError) -> ModelError {
        let Some(key) = self.0.api_key.as_ref().map(|key| key.expose_secret().trim()) else { return error };
        if key.is_empty() || !error.failure().message.contains(key) {
            return error;
        }
        error.with(|failure| failure.message = failure.message.replace(key, "[the API key]"))
    }
}

/// Reads a response to its end.
pub(crate) async fn read<A: Assembly>(
    response: &mut Response,
    mut intake: Box<Intake<'_, A>>,
) -> Result<Box<ChatReply>, ModelError> {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if intake.push(&chunk)? == Progress::More => {}
            Ok(_) => return intake.finish(),
            Err(error) => return intake.cut(error.without_url()),
        }
    }
}

/// Reads an answer that is one document.
pub(crate) async fn read_document(response: &mut Response) -> Result<(Head, Vec<u8>), ModelError> {
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

/// No response came. URLs are left out of the cause, as their query may hold a key.
fn unsent(error: reqwest::Error) -> ModelError {
    let error = error.without_url();
    let (kind, message, sent) = if error.is_builder() {
        (ModelErrorKind::Caller, "the request cannot be sent", false)
    } else if error.is_connect() && error.is_timeout() {
        (ModelErrorKind::Timeout(TimeoutPhase::Connect), "no connection to the provider in time", false)
    } else if error.is_connect() {
        (ModelErrorKind::Unreachable, "no connection to the provider", false)
    } else {
        (ModelErrorKind::Transient, "the connection broke before the answer began", true)
    };
    ModelError::new(kind, message).caused_by(error).with(|failure| failure.sent = sent)
}
