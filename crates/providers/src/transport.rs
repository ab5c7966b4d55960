//! The connections of an account.
//!
//! Straight to a provider, requests go through hyper's pooled client, the one that reqwest is built on. What reqwest adds,
//! such as redirects and retries, must not happen to a call that is paid for, and it costs as much as everything that
//! Brigade adds: the URL is parsed twice for each request, and the headers are copied three times. Where the system is set
//! to use a proxy, reqwest knows how to speak to it.

use std::{
    error::Error,
    future::Future,
    io, iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use brigade_core::{ModelError, ModelErrorKind, TimeoutPhase};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{self, connect::HttpConnector},
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::time::{error::Elapsed, timeout};
use tower_service::Service;

/// A TCP and TLS handshake across the world takes less than a second; one retransmitted SYN adds another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the idle timeouts of the load balancers in front of providers (60 s and up), so that a request does
/// not leave on a connection that is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// As many runs as one process has in flight at one provider on a busy day. With fewer, the rest would shake hands anew
/// for every call; idle connections end with [`POOL_IDLE_TIMEOUT`] anyway.
const POOL_IDLE_PER_HOST: usize = 1_024;
/// Finds a dead peer during a long silence before a model's first token.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The way to a provider, with its connections.
pub(crate) enum Transport {
    Direct(Box<legacy::Client<Connector, Full<Bytes>>>),
    Proxied(reqwest::Client),
}

/// The head of a response, and a body that is still to come. Dropping it closes the connection.
pub(crate) type Response = http::Response<Either<Incoming, reqwest::Body>>;

type BoxError = Box<dyn Error + Send + Sync>;

impl Transport {
    /// The way to the provider at `base_url`, by HTTP/2 where that is `http2_allowed` and the server offers it.
    pub(crate) fn new(base_url: &Uri, http2_allowed: bool) -> Result<Self, BoxError> {
        // A proxy knows another machine by this name.
        let is_here = matches!(base_url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if !is_here && Matcher::from_system().intercept(base_url).is_some() {
            return Ok(Self::Proxied(proxied(http2_allowed)?));
        }
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
            .pool_timer(TokioTimer::new());
        Ok(Self::Direct(Box::new(builder.build(Connector::new(base_url, http2_allowed)?))))
    }

    /// Sends one request, once. On another connection if the one from the pool turns out to be closed before anything was
    /// written to it. The request is in the client's own allocation from the start, so that a call in flight holds it once.
    pub(crate) fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response, ModelError>> + use<> {
        let sending = match self {
            Self::Direct(client) => Sending::Direct(client.request(request)),
            Self::Proxied(client) => Sending::Proxied(Box::pin(proxied_request(client.clone(), request))),
        };
        async {
            match sending {
                Sending::Direct(sent) => match sent.await {
                    Ok(response) => Ok(response.map(Either::Left)),
                    Err(error) => Err(unsent(Failed::of(error.is_connect(), is_timeout(&error)), error)),
                },
                Sending::Proxied(sent) => sent.await,
            }
        }
    }
}

/// A request on its way.
enum Sending {
    Direct(legacy::ResponseFuture),
    Proxied(Pin<Box<dyn Future<Output = Result<Response, ModelError>> + Send>>),
}

async fn proxied_request(client: reqwest::Client, request: Request<Full<Bytes>>) -> Result<Response, ModelError> {
    let (parts, body) = request.into_parts();
    let sent = match Request::from_parts(parts, reqwest::Body::wrap(body)).try_into() {
        Ok(request) => client.execute(request).await,
        Err(error) => Err(error),
    };
    // URLs are left out of the cause, as their query may hold a key.
    match sent.map_err(reqwest::Error::without_url) {
        Ok(response) => Ok(http::Response::from(response).map(Either::Right)),
        Err(error) if error.is_builder() => Err(unsent(Failed::Unsendable, error)),
        Err(error) => Err(unsent(Failed::of(error.is_connect(), error.is_timeout()), error)),
    }
}

/// The next bytes of the body; absent after the last.
pub(crate) async fn chunk(response: &mut Response) -> Result<Option<Bytes>, BoxError> {
    while let Some(frame) = response.body_mut().frame().await {
        // What is no data is trailers, which say nothing about an answer.
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A client that sends each request once and nowhere else: a POST must not be repeated, and a key must not follow a
/// redirect to another host.
fn proxied(http2_allowed: bool) -> reqwest::Result<reqwest::Client> {
    // A second installation is refused, and the first is as good.
    let _ = ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
        .tcp_keepalive(TCP_KEEPALIVE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if http2_allowed { builder.build() } else { builder.http1_only().build() }
}

/// Opens connections, which must be done in time.
#[derive(Clone)]
pub(crate) struct Connector(Arc<HttpsConnector<HttpConnector>>);

impl Connector {
    fn new(base_url: &Uri, http2_allowed: bool) -> Result<Self, BoxError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        let builder = HttpsConnectorBuilder::new();
        let builder = if base_url.scheme() == Some(&http::uri::Scheme::HTTPS) {
            builder.with_provider_and_platform_verifier(ring::default_provider())?
        } else {
            // Nothing of this client's ever uses TLS. Reading the system's root certificates takes longer than a request,
            // and in a bare container there are none.
            builder.with_tls_config(without_roots()?)
        };
        let builder = builder.https_or_http().enable_http1();
        let https =
            if http2_allowed { builder.enable_http2().wrap_connector(tcp) } else { builder.wrap_connector(tcp) };
        Ok(Self(Arc::new(https)))
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connecting = HttpsConnector::clone(&self.0).call(url);
        Box::pin(async { timeout(CONNECT_TIMEOUT, connecting).await? })
    }
}

fn without_roots() -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Why no response came.
#[derive(Clone, Copy)]
enum Failed {
    Unsendable,
    ConnectTimeout,
    Connect,
    Broke,
}

impl Failed {
    fn of(is_connect: bool, is_timeout: bool) -> Self {
        match (is_connect, is_timeout) {
            (true, true) => Self::ConnectTimeout,
            (true, false) => Self::Connect,
            (false, _) => Self::Broke,
        }
    }
}

fn unsent(failed: Failed, cause: impl Into<BoxError>) -> ModelError {
    let (kind, message, sent) = match failed {
        Failed::Unsendable => (ModelErrorKind::Caller, "the request cannot be sent", false),
        Failed::ConnectTimeout => {
            (ModelErrorKind::Timeout(TimeoutPhase::Connect), "no connection to the provider in time", false)
        }
        Failed::Connect => (ModelErrorKind::Unreachable, "no connection to the provider", false),
        Failed::Broke => (ModelErrorKind::Transient, "the connection broke before the answer began", true),
    };
    ModelError::new(kind, message).caused_by(cause).with(|failure| failure.sent = sent)
}

fn is_timeout(error: &legacy::Error) -> bool {
    iter::successors(error.source(), |cause| (**cause).source()).any(|cause| {
        cause.is::<Elapsed>()
            || cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    })
}

#[cfg(test)]
mod tests;
