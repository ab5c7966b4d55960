//! The way to a provider.
//!
//! Straight to it and by HTTP/1.1, which is the rule, requests go through [`Connections`]. What reqwest does for each
//! request besides, such as redirects and retries, must not happen to a call that is paid for, and it costs as much as
//! everything that Brigade adds: the URL is parsed twice, and the headers are copied three times. Through a proxy and by
//! HTTP/2, reqwest knows the way.

use std::{error::Error, future::Future, io, iter, pin::Pin, sync::Arc, time::Duration};

use brigade_core::{ModelError, ModelErrorKind, TimeoutPhase};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::crypto::ring;
use tokio::time::error::Elapsed;

use crate::connections::{self, BoxError, Connections, Failure};

/// A TCP and TLS handshake across the world takes less than a second; one retransmitted SYN adds another.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the idle timeouts of the load balancers in front of providers (60 s and up), so that a request does
/// not leave on a connection that is just being closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// As many runs as one process has in flight at one provider on a busy day. With fewer, the rest would shake hands anew
/// for every call; idle connections end with [`IDLE_TIMEOUT`] anyway.
pub(crate) const IDLE_PER_HOST: usize = 1_024;
/// Finds a dead peer during a long silence before a model's first token.
pub(crate) const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The way to a provider, with its connections.
pub(crate) enum Transport {
    Straight(Arc<Connections>),
    Reqwest(reqwest::Client),
}

/// A request on its way.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<Response, ModelError>> + Send>>;

/// The head of a response, and a body that is still to come.
pub(crate) type Response = http::Response<Body>;

/// A body by the way that it comes.
pub(crate) enum Body {
    Straight(connections::Body),
    Reqwest(reqwest::Body),
}

impl Transport {
    /// The way to the provider at `base_url`, by HTTP/2 where that is `http2_allowed` and the server offers it.
    pub(crate) fn new(base_url: &Uri, http2_allowed: bool) -> Result<Self, BoxError> {
        // A proxy knows another machine by this name.
        let is_here = matches!(base_url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if http2_allowed || (!is_here && Matcher::from_system().intercept(base_url).is_some()) {
            return Ok(Self::Reqwest(by_reqwest(is_here, http2_allowed)?));
        }
        Ok(Self::Straight(Arc::new(Connections::new(base_url)?)))
    }

    /// Sends one request, once. In a box, as each of the futures around it would hold room for it twice.
    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Sending {
        match self {
            Self::Straight(connections) => Box::pin(send_straight(Arc::clone(connections), request)),
            Self::Reqwest(client) => Box::pin(send_by_reqwest(client.clone(), request)),
        }
    }
}

impl Body {
    /// The next bytes; absent after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BoxError> {
        match self {
            Self::Straight(body) => Ok(body.chunk().await?),
            Self::Reqwest(body) => {
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(None)
            }
        }
    }
}

async fn send_straight(connections: Arc<Connections>, request: Request<Full<Bytes>>) -> Result<Response, ModelError> {
    match connections.send(request).await {
        Ok(response) => Ok(response.map(Body::Straight)),
        Err(Failure::Connect(error)) => Err(unsent(Failed::of(true, is_timeout(&*error)), error)),
        Err(Failure::Broke(error)) => Err(unsent(Failed::Broke, error)),
    }
}

async fn send_by_reqwest(client: reqwest::Client, request: Request<Full<Bytes>>) -> Result<Response, ModelError> {
    let (parts, body) = request.into_parts();
    let sent = match Request::from_parts(parts, reqwest::Body::wrap(body)).try_into() {
        Ok(request) => client.execute(request).await,
        Err(error) => Err(error),
    };
    // URLs are left out of the cause, as their query may hold a key.
    match sent.map_err(reqwest::Error::without_url) {
        Ok(response) => Ok(http::Response::from(response).map(Body::Reqwest)),
        Err(error) if error.is_builder() => Err(unsent(Failed::Unsendable, error)),
        Err(error) => Err(unsent(Failed::of(error.is_connect(), error.is_timeout()), error)),
    }
}

/// A client that sends each request once and nowhere else: a POST must not be repeated, and a key must not follow a
/// redirect to another host.
fn by_reqwest(is_here: bool, http2_allowed: bool) -> reqwest::Result<reqwest::Client> {
    // A second installation is refused, and the first is as good.
    let _ = ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .tcp_keepalive(TCP_KEEPALIVE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    let builder = if is_here { builder.no_proxy() } else { builder };
    if http2_allowed { builder.build() } else { builder.http1_only().build() }
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

fn is_timeout(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let error: &(dyn Error + 'static) = error;
    iter::successors(Some(error), |cause| (**cause).source()).any(|cause| {
        cause.is::<Elapsed>()
            || cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    })
}

#[cfg(test)]
mod tests;
