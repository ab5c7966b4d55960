//! The idempotency key of a request.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::{ApiError, access::Caller, api::Api, request_ids::RequestIds};
use crate::runs::{
    idempotency::{IdempotentRequest, RunOfKey},
    run_handle::RunHandle,
};

/// A key with which a client may send a request again, for example because the connection was lost. The run of such a
/// request continues when its client disconnects.
#[derive(Debug)]
pub(super) struct IdempotencyKey(String);

const HEADER: &str = "idempotency-key";
const MAX_BYTES: usize = 256;

impl IdempotencyKey {
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut all = headers.get_all(HEADER).iter();
        let Some(header) = all.next() else { return Ok(None) };
        if all.any(|other| other != header) {
            return Err(ApiError::field(HEADER, "there are two different idempotency keys; send one"));
        }
        let is_visible = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic());
        let key = header.to_str().ok().filter(is_visible).filter(|key| (1..=MAX_BYTES).contains(&key.len()));
        let message = "an idempotency key must have 1 to 256 visible ASCII characters";
        Ok(Some(Self(key.ok_or_else(|| ApiError::field(HEADER, message))?.to_owned())))
    }

    /// A client that believes in its key would pay twice.
    pub(super) fn unsupported() -> ApiError {
        let message = "responses take no idempotency key; leave it out, or use `/v1/runs` or `/v1/chat/completions`";
        ApiError::unsupported(HEADER, message)
    }

    /// Starts a run, or finds the one that an earlier request with this key and body has started.
    pub(super) async fn start_once(
        self,
        api: &Api,
        caller: &Caller,
        ids: RequestIds,
        body: &impl Serialize,
        start: impl Future<Output = Result<Arc<RunHandle>, ApiError>>,
    ) -> Result<RunOfKey, ApiError> {
        let request = IdempotentRequest::new(Arc::clone(&caller.name), self.0, ids.run, body)
            .map_err(|error| ApiError::internal(format!("the request cannot be compared with others: {error}")))?;
        api.idempotency.start_once(request, api.runs(), start).await
    }

    /// The key of a signal.
    pub(super) fn of_signal(self) -> String {
        // Other kinds of signals have keys of their own.
        format!("message {}", self.0)
    }

    /// The header of requests that start runs, in the OpenAPI document.
    pub(super) fn parameter() -> Value {
        Self::parameter_of(
            "Requests with the same key and body start one run, which continues if the client disconnects.",
        )
    }

    /// The header in the OpenAPI document.
    pub(super) fn parameter_of(description: &str) -> Value {
        json!({
            "name": HEADER,
            "in": "header",
            "description": description,
            "schema": { "type": "string", "minLength": 1, "maxLength": MAX_BYTES, "pattern": "^[!-~]+$" }
        })
    }
}
