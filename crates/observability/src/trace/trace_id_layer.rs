//! Trace ids for the log lines of HTTP requests.

use std::task::{Context, Poll};

use brigade_core::TraceId;
use http::Request;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument, instrument::Instrumented};

use super::traceparent::Traceparent;

/// A layer that gives every log line of an HTTP request a trace id, for axum and other services of `tower`. Needs the
/// feature `tower`.
///
/// The id is that of the request's header [`traceparent`](Traceparent), or a new one. The request has it as an extension, so
/// that the runs of the request can have the same one. Without this layer, only the lines of runs have a trace id.
///
/// ```no_run
/// use axum::{Extension, Router, routing::post};
/// use brigade_core::{Run, TraceId};
/// use brigade_observability::{Logging, TraceIdLayer};
///
/// async fn ask(Extension(trace): Extension<TraceId>, question: String) -> String {
///     tracing::info!("got a question"); // 2026-11-30T14:03:01.123Z  INFO [a3f2b1c9] my_app: got a question
///     let run = Run::builder().trace(trace).build();
///     // … agent.run_in(&run, question.as_str()).await
///     run.trace().to_string()
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let _logging = Logging::new().level("info").init()?;
/// let app: Router = Router::new().route("/ask", post(ask)).layer(TraceIdLayer::new());
/// axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TraceIdLayer {}

/// The service of a [`TraceIdLayer`].
#[derive(Debug, Clone)]
pub struct TraceIdService<S>(S);

impl TraceIdLayer {
    /// A layer.
    pub const fn new() -> Self {
        Self {}
    }
}

impl<S> Layer<S> for TraceIdLayer {
    type Service = TraceIdService<S>;

    fn layer(&self, service: S) -> Self::Service {
        TraceIdService(service)
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for TraceIdService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let header = request.headers().get("traceparent").and_then(|header| header.to_str().ok());
        let caller = header.and_then(|header| header.parse().ok()).map(|caller: Traceparent| caller.trace);
        let trace = caller.unwrap_or_else(TraceId::random);
        request.extensions_mut().insert(trace);
        // The log takes the ids of a line from spans of this kind.
        let span = tracing::info_span!(target: "brigade_core::run", "run", %trace);
        let future = span.in_scope(|| self.0.call(request));
        future.instrument(span)
    }
}
