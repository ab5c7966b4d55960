//! HTTP/1.1 connections to one host, which serve one request after the other.
//!
//! A thin layer over hyper's connections. Its own pooled client, which reqwest is built on too, spawns a task for each
//! request to learn when a connection is free; here whoever reads the answer knows, and gives the connection back.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    net::TcpStream,
    runtime::Handle,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;

use crate::transport::{CONNECT_TIMEOUT, IDLE_PER_HOST, IDLE_TIMEOUT, TCP_KEEPALIVE};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The connections to one host.
pub(crate) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    origin: Uri,
    host: HeaderValue,
    /// Those that were used last are last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection, closed when it is dropped.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<hyper::Result<()>>,
}

/// The body of a response. When it is dropped, its connection is free for the next request; hyper closes it if there is
/// more of the body to come.
pub(crate) struct Body {
    incoming: Incoming,
    connection: Option<Connection>,
    home: Arc<Connections>,
}

/// Why no response came.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There was no connection, so that nothing was sent.
    Connect(BoxError),
    /// The connection broke.
    Broke(hyper::Error),
}

impl Connections {
    /// Connections to the host of `base_url`, of which there are none yet.
    pub(crate) fn new(base_url: &Uri) -> Result<Self, BoxError> {
        let authority = base_url.authority().ok_or("the URL has no host")?;
        // Without user and password, as in the `Host` of RFC 9110, section 7.2.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        Ok(Self {
            connector: connector(base_url)?,
            origin: base_url.clone(),
            host: HeaderValue::from_str(host)?,
            idle: Mutex::default(),
        })
    }

    /// Sends one request, once: on another connection only if one that was used before turns out to be closed before
    /// anything was written to it.
    pub(crate) async fn send(self: Arc<Self>, mut request: Request<Full<Bytes>>) -> Result<Response<Body>, Failure> {
        let target = request.uri().path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        *request.uri_mut() = target;
        request.headers_mut().insert(header::HOST, self.host.clone());
        loop {
            let (mut connection, is_new) = match self.used_before() {
                Some(connection) => (connection, false),
                // In a box, as few calls connect, and every call would have to hold room for it.
                None => (Box::pin(self.connect()).await.map_err(Failure::Connect)?, true),
            };
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let (head, incoming) = response.into_parts();
                    let body = Body { incoming, connection: Some(connection), home: self };
                    return Ok(Response::from_parts(head, body));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(Failure::Broke(error.into_error())),
                },
            }
        }
    }

    /// The connection that was used last, of those that are open and done with what they did before. One that is not,
    /// because its host answered and did not read on, is not waited for.
    fn used_before(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle();
        while idle.pop_if(|last| last.connection.sender.is_closed() || last.has_expired(now)).is_some() {}
        let ready = idle.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        Some(idle.remove(ready).connection)
    }

    async fn connect(&self) -> Result<Connection, BoxError> {
        let stream = timeout(CONNECT_TIMEOUT, self.connector.clone().call(self.origin.clone())).await??;
        // In a box, as it takes much room and no time, and a thousand calls may wait for their connections at once.
        Box::pin(Connection::over(stream)).await
    }

    fn put(&self, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.idle();
        let expired = idle.partition_point(|idle| idle.has_expired(now));
        idle.drain(..expired);
        if idle.len() < IDLE_PER_HOST {
            idle.push(Idle { connection, since: now });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A list of connections is never half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn has_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= IDLE_TIMEOUT
    }
}

impl Connection {
    async fn over(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Result<Self, BoxError> {
        let (sender, connection) = http1::handshake(stream).await?;
        // Why it ends is told to whoever waits for an answer.
        let task = Handle::current().spawn(connection);
        Ok(Self { sender, _task: AbortOnDropHandle::new(task) })
    }
}

impl Body {
    /// The next bytes; absent after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = self.incoming.frame().await {
            // What is no data is trailers, which say nothing about an answer.
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !connection.sender.is_closed()
        {
            self.home.put(connection);
        }
    }
}

fn connector(base_url: &Uri) -> Result<HttpsConnector<HttpConnector>, BoxError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Shared among the addresses of the host, so that one that does not answer leaves time for the next.
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    let builder = HttpsConnectorBuilder::new();
    let builder = if base_url.scheme() == Some(&Scheme::HTTPS) {
        builder.with_provider_and_platform_verifier(ring::default_provider())?
    } else {
        // Nothing here ever uses TLS. Reading the system's root certificates takes longer than a request, and in a bare
        // container there are none.
        builder.with_tls_config(without_roots()?)
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

fn without_roots() -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

#[cfg(test)]
mod tests;
