//! The one way in which requests leave and responses come in.

use brigade_core::{ChatReply, ModelError, ModelErrorKind, ModelId, Run, TimeoutPhase};
use http::{HeaderMap, HeaderValue};
use reqwest::Url;
use secrecy::ExposeSecret;

use crate::{
    account::Account,
    error,
    intake::{Head, Intake, MAX_BODY_BYTES},
    protocol::{Assembly, Progress, Sink},
};

/// One request to a model.
pub(crate) struct Call<'a> {
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) model: &'a ModelId,
    pub(crate) run: &'a Run,
}

impl Account {
    /// Sends one request and reads the answer. Dropping the future closes the connection.
    pub(crate) async fn exchange<A: Assembly>(&self, call: Call<'_>, assembly: A) -> Result<ChatReply, ModelError> {
        self.send(call, assembly).await.map_err(|error| self.without_key(error))
    }

    async fn send<A: Assembly>(&self, call: Call<'_>, assembly: A) -> Result<ChatReply, ModelError> {
        let Call { url, mut headers, body, model, run } = call;
        self.add_context(&mut headers, run);
        let request = self.0.client.post(url.clone()).headers(headers).body(body);
        let named = |error: ModelError| error.with(|failure| failure.model = Some(model.clone()));
        let mut response = request.send().await.map_err(|error| named(unsent(error)))?;
        let head = Head::new(response.status(), response.headers());
        let mut intake = Intake::new(model, head, Sink::new(run, &self.0.name), assembly);
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if intake.push(&chunk)? == Progress::More => {}
                Ok(_) => return intake.finish(),
                Err(error) => return intake.cut(error.without_url()),
            }
        }
    }

    /// Sends one request and reads an answer that is one document. Dropping the future closes the connection.
    pub(crate) async fn document(&self, call: Call<'_>) -> Result<(Head, Vec<u8>), ModelError> {
        let model = call.model.clone();
        let read = self.read_document(call).await;
        read.map_err(|error| self.without_key(error.with(|failure| failure.model = Some(model))))
    }

    async fn read_document(&self, call: Call<'_>) -> Result<(Head, Vec<u8>), ModelError> {
        let Call { url, mut headers, body, run, .. } = call;
        self.add_context(&mut headers, run);
        let mut response = self.0.client.post(url.clone()).headers(headers).body(body).send().await.map_err(unsent)?;
        let head = Head::new(response.status(), response.headers());
        let most_bytes = if head.status.is_success() { MAX_BODY_BYTES } else { error::MAX_BODY_BYTES };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= most_bytes => body.extend_from_slice(&chunk),
                Ok(Some(_)) if head.status.is_success() => return Err(broken_off("the answer is too long", &head)),
                Err(cause) if head.status.is_success() => {
                    return Err(
                        broken_off("the connection broke within the answer", &head).caused_by(cause.without_url())
                    );
                }
                Ok(None) if head.status.is_success() => return Ok((head, body)),
                // What there is of an error says more than that it is cut off.
                Ok(_) | Err(_) => return Err(error::from_response(&head, &body)),
            }
        }
    }

    /// Fetches an endpoint and answers the provider's id of the exchange.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<String>, ModelError> {
        let mut response = self.0.client.get(self.url(path)).send().await.map_err(unsent)?;
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

    fn without_key(&self, error: ModelError) -> ModelError {
        let Some(key) = self.0.api_key.as_ref().map(|key| key.expose_secret().trim()) else { return error };
        if key.is_empty() || !error.failure().message.contains(key) {
            return error;
        }
        error.with(|failure| failure.message = failure.message.replace(key, "[the API key]"))
    }

    fn add_context(&self, headers: &mut HeaderMap, run: &Run) {
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
        (ModelErrorKind::Transient, "no connection to the provider", false)
    } else {
        (ModelErrorKind::Transient, "the connection broke before the answer began", true)
    };
    let code = (kind != ModelErrorKind::Caller && !sent).then(|| "connect".to_owned());
    ModelError::new(kind, message).caused_by(error).with(|failure| {
        failure.sent = sent;
        failure.code = code;
    })
}
