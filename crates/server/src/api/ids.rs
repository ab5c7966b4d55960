//! The ids of a request: taken from its headers or made, and told in the answer's.

use std::{num::NonZeroU64, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::Response,
};
use brigade_core::{RunId, TraceId};
use brigade_observability::Traceparent;

use super::{Site, error::ErrorCode};

/// The ids of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    /// The id of the run that the request may start.
    pub(crate) run: RunId,
    pub(crate) trace: TraceId,
    /// Whose trace it is, if it came from outside.
    pub(crate) caller: Option<Traceparent>,
}

/// Longer ids than this are no ids.
const LONGEST_REQUEST_ID: usize = 128;

const REQUEST_ID: &str = "x-request-id";

/// Gives every request its ids, tells them in every answer, and counts the errors.
pub(crate) async fn give(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let caller = incoming(request.headers());
    let trace = caller.map_or_else(TraceId::random, |caller| caller.trace);
    let ids = Ids { run: RunId::new(), trace, caller };
    let request_id = request.headers().get(REQUEST_ID).filter(|id| is_id(id)).cloned();
    request.extensions_mut().insert(ids);
    let mut response = next.run(request).await;
    if let Some(ErrorCode(code)) = response.extensions().get() {
        site.metrics.observer().request_failed(code);
    }
    let headers = response.headers_mut();
    let mut tell = |name: &'static str, value: Result<HeaderValue, _>| {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    };
    tell(REQUEST_ID, request_id.map_or_else(|| HeaderValue::try_from(ids.run.to_string()), Ok));
    tell("x-trace-id", HeaderValue::try_from(ids.trace.short()));
    tell("traceparent", HeaderValue::try_from(ids.traceparent().to_string()));
    response
}

impl Ids {
    /// The parent is this server's part of the trace, named by the random half of the run's id.
    fn traceparent(self) -> Traceparent {
        let (_, random) = self.run.uuid().as_u64_pair();
        Traceparent { trace: self.trace, span: NonZeroU64::new(random).unwrap_or(NonZeroU64::MIN), sampled: true }
    }
}

/// The trace that the caller is in. Anything but one valid header counts as none.
fn incoming(headers: &HeaderMap) -> Option<Traceparent> {
    let mut all = headers.get_all("traceparent").iter();
    let (Some(header), None) = (all.next(), all.next()) else { return None };
    header.to_str().ok()?.parse().ok()
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}
