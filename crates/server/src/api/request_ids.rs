//! Assigns ids to requests and returns them in response headers.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::Response,
};
use brigade_core::{RunId, TraceId};
use brigade_observability::Traceparent;
use brigade_openai::ErrorCode;

use super::api::Api;

/// The ids of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestIds {
    /// The id of the run that the request may start.
    pub(crate) run: RunId,
    pub(crate) trace: TraceId,
    /// The trace context that the client sent.
    pub(crate) parent: Option<Traceparent>,
}

const MAX_REQUEST_ID: usize = 128;

const REQUEST_ID: &str = "x-request-id";

/// Middleware that adds [`RequestIds`] to every request and returns them in every response. Also counts error responses.
pub(crate) async fn assign(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let parent = incoming_trace(request.headers());
    let trace = parent.map_or_else(TraceId::random, |parent| parent.trace);
    let ids = RequestIds { run: RunId::new(), trace, parent };
    let request_id = request.headers().get(REQUEST_ID).filter(|id| is_valid_request_id(id)).cloned();
    request.extensions_mut().insert(ids);
    let mut response = next.run(request).await;
    if let Some(code) = response.extensions().get::<ErrorCode>() {
        api.metrics.observer().request_failed(code.name());
    }
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: Result<HeaderValue, _>| {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    };
    set(REQUEST_ID, request_id.map_or_else(|| HeaderValue::try_from(ids.run.to_string()), Ok));
    set("x-trace-id", HeaderValue::try_from(ids.trace.short()));
    set("traceparent", HeaderValue::try_from(Traceparent::new(ids.trace, ids.run).to_string()));
    response
}

/// The client's trace context. As the standard demands, it is ignored unless there is exactly one valid header.
fn incoming_trace(headers: &HeaderMap) -> Option<Traceparent> {
    let mut all = headers.get_all("traceparent").iter();
    let (Some(header), None) = (all.next(), all.next()) else { return None };
    header.to_str().ok()?.parse().ok()
}

fn is_valid_request_id(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}
