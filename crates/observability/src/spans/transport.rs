//! Sends requests to the collector.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::OtlpError;

/// An HTTP client for the export thread of the OpenTelemetry SDK, which is not one of tokio's: requests run on the
/// runtime.
#[derive(Debug)]
pub(super) struct CollectorClient {
    runtime: Handle,
    client: reqwest::Client,
}

/// A collector answers with a few bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

impl CollectorClient {
    /// A client for the collector at `endpoint`, or at the address in the environment.
    pub(super) fn new(endpoint: Option<&str>) -> Result<Self, OtlpError> {
        let runtime = Handle::try_current().map_err(OtlpError::NoRuntime)?;
        // Fails if a provider is already installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("brigade/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout())
            // Headers may hold a key, which must not follow a redirect to another host.
            .redirect(reqwest::redirect::Policy::none());
        if is_this_machine(endpoint) {
            // For a proxy, this name is another machine.
            builder = builder.no_proxy();
        }
        Ok(Self { runtime, client: builder.build().map_err(OtlpError::Http)? })
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = self.runtime.spawn(exchange(self.client.clone(), request));
        AbortOnDropHandle::new(exchange).await?
    }
}

async fn exchange(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut response = client.execute(request.try_into()?).await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(ResponseBodyTooLarge::new().into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = Response::new(Bytes::from(body));
    *whole.status_mut() = response.status();
    *whole.headers_mut() = std::mem::take(response.headers_mut());
    Ok(whole)
}

/// The SDK expects the client to limit the time of a request.
fn timeout() -> Duration {
    let milliseconds = variable([OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT]);
    let milliseconds = milliseconds.and_then(|text| text.parse().ok());
    milliseconds.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}

fn is_this_machine(endpoint: Option<&str>) -> bool {
    let named = endpoint.map(str::to_owned);
    let named = named.or_else(|| variable([OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT]));
    let Some(endpoint) = named else { return true };
    let url = reqwest::Url::parse(&endpoint).ok();
    url.is_some_and(|url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")))
}

/// The first of these environment variables that is set and not empty.
fn variable(names: [&str; 2]) -> Option<String> {
    names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}
