//! Sends HTTP requests to one provider.

use std::{error::Error, time::Duration};

use brigade_core::{ModelError, ModelErrorKind, TimeoutPhase};
use parking_lot::Mutex;
use reqwest::{ClientBuilder, Request, Response, Url};
use rustls::crypto::ring;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

/// A TCP and TLS handshake across the world takes less than a second; one retransmitted SYN adds another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the idle timeouts of common load balancers (60 seconds and more), so that a request does not leave on
/// a connection that the other side is just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// As many runs as one process has in flight at one provider on a busy day; more calls than that would each open a
/// connection of their own.
const MAX_IDLE_CONNECTIONS: usize = 1_024;
/// Detects a dead peer during a long silence before a model's first token.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Gateways pass the headers of several services on; hyper's default is 100.
const MAX_RESPONSE_HEADERS: usize = 512;
/// How long the rest of a response is read after its answer is complete. Most servers send nothing but the end of the
/// body, within the same millisecond.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of the rest is read. Beyond this a new connection is cheaper.
const MAX_DRAINED_BYTES: usize = 64 << 10;

/// The HTTP connections of one account.
///
/// Every request is sent once and to one host: a call that is paid for must not be repeated unseen, and an API key must
/// not follow a redirect. hyper itself sends a request again only if its pooled connection turned out to be closed
/// before a single byte was written.
pub(crate) struct HttpClient {
    pooled: reqwest::Client,
    /// Opens a connection for each request.
    unpooled: reqwest::Client,
    /// Until when no idle connection is used.
    avoid_pool_until: Mutex<Option<Instant>>,
    /// Until when there may be idle connections.
    idle_until: Mutex<Option<Instant>>,
    /// The responses whose rest is being read.
    drains: Mutex<JoinSet<()>>,
}

impl HttpClient {
    /// A client for `base_url`. Uses HTTP/2 where `http2` allows it and the server offers it over TLS.
    pub(crate) fn new(base_url: &Url, http2: bool) -> reqwest::Result<Self> {
        Self::build(|| builder(base_url, http2))
    }

    fn build(builder: impl Fn() -> ClientBuilder) -> reqwest::Result<Self> {
        Ok(Self {
            pooled: builder().build()?,
            unpooled: builder().pool_max_idle_per_host(0).build()?,
            avoid_pool_until: Mutex::default(),
            idle_until: Mutex::default(),
            drains: Mutex::default(),
        })
    }

    /// Sends one request and waits for the head of its response. Dropping the future closes the connection.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, ModelError> {
        let is_before = |time: &Mutex<Option<Instant>>| {
            let time = *time.lock();
            time.is_some_and(|time| Instant::now() < time)
        };
        let pooled = !is_before(&self.avoid_pool_until);
        let may_be_stale = pooled && is_before(&self.idle_until);
        let client = if pooled { &self.pooled } else { &self.unpooled };
        // On the heap, because a thousand calls may wait for their answers at once.
        let result = Box::pin(client.execute(request)).await;
        let address = result.as_ref().err().and_then(reqwest::Error::url).map(address_of).unwrap_or_default();
        // The cause is kept without its URL, whose query may hold a key.
        let error = match result.map_err(reqwest::Error::without_url) {
            Ok(response) => {
                if pooled {
                    set_timer(&self.idle_until);
                }
                return Ok(response);
            }
            Err(error) if error.is_builder() => unsent(ModelErrorKind::Caller, "the request cannot be sent", error),
            Err(error) if error.is_connect() && error.is_timeout() => {
                let kind = ModelErrorKind::Timeout(TimeoutPhase::Connect);
                unsent(kind, &format!("connecting to {address} took too long; check `base_url` and the network"), error)
            }
            Err(error) if error.is_connect() => {
                let why =
                    format!("no connection to {address}; check that a server runs there, `base_url` and the network");
                unsent(ModelErrorKind::Unreachable, &why, error)
            }
            // It is not known whether the provider read the request: hyper itself sends it again if none of it was written, and
            // a reset looks the same whether a closed socket or a process that died answered it.
            Err(error) => {
                if pooled {
                    self.avoid_pool();
                }
                ModelError::new(ModelErrorKind::Transient, "the connection broke before the answer began")
                    .caused_by(error)
                    .with(|failure| (failure.sent, failure.stale_connection) = (true, may_be_stale))
            }
        };
        Err(error)
    }

    /// Reads the rest of a response whose answer is complete, so that its connection can serve the next request. In
    /// the background: the caller has its answer and does not wait. Holds `permit` until then.
    pub(crate) fn drain(&self, response: Response, permit: impl Send + 'static) {
        let mut drains = self.drains.lock();
        while drains.try_join_next().is_some() {}
        drains.spawn(async move {
            drop(timeout(DRAIN_TIMEOUT, discard(response)).await);
            drop(permit);
        });
    }

    /// A connection that breaks before an answer was probably closed while it was idle, by a load balancer or a
    /// restart, and other idle connections with it. After [`IDLE_TIMEOUT`] none of them is left in the pool.
    fn avoid_pool(&self) {
        set_timer(&self.avoid_pool_until);
    }
}

fn address_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// Sets a time after which no connection that is idle now is left.
fn set_timer(time: &Mutex<Option<Instant>>) {
    *time.lock() = Some(Instant::now() + IDLE_TIMEOUT);
}

/// HTTP/1.1 unless asked otherwise, because a stalled HTTP/2 connection stalls all requests that share it.
fn builder(base_url: &Url, http2: bool) -> ClientBuilder {
    // Fails if the program has installed a provider itself, which serves as well.
    let _ = ring::default_provider().install_default();
    let mut builder = ClientBuilder::new()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .tcp_keepalive(TCP_KEEPALIVE)
        .http1_max_headers(MAX_RESPONSE_HEADERS)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if !http2 {
        builder = builder.http1_only();
    }
    if base_url.scheme() == "http" {
        // No TLS is spoken, and a bare container has no root certificates to load.
        builder = builder.tls_certs_only([]);
    }
    if matches!(base_url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        // A proxy knows another machine by this name.
        builder = builder.no_proxy();
    }
    builder
}

async fn discard(mut response: Response) {
    let mut discarded = 0;
    while let Ok(Some(chunk)) = response.chunk().await
        && discarded < MAX_DRAINED_BYTES
    {
        discarded += chunk.len();
    }
}

fn unsent(kind: ModelErrorKind, message: &str, cause: impl Error + Send + Sync + 'static) -> ModelError {
    ModelError::new(kind, message).caused_by(cause)
}

#[cfg(test)]
mod tests;
