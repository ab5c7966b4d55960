//! The open connections, and which of them are closed in favor of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Limits on the number of connections, and on the time that slow clients may take.
///
/// The numbers allow 1,000 connections together by default. Each takes a few KiB and one file descriptor, and many
/// processes may open only 1,024.
///
/// ```
/// let mut limits = brigade_edge::ConnectionLimits::default();
/// limits.untrusted = 50;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// The maximum number of connections that the service trusts; see [`Connection::trust`]. 750 by default. A connection
    /// beyond it is served too, but stays untrusted.
    pub trusted: usize,
    /// The maximum number of trusted connections of one client. 375 by default, half of `trusted`, so that no client
    /// keeps the others out.
    pub per_client: usize,
    /// The maximum number of other connections: those of probes, of attackers, and new ones. 250 by default. The oldest is
    /// closed in favor of a new one, because a client that can authenticate does so at once.
    pub untrusted: usize,
    /// How long a client may take to send the head of a request, including the time since the last response. 30 s by
    /// default. Protects against clients that send one byte at a time; a client with a connection pool opens a new
    /// connection.
    pub head_timeout: Duration,
    /// How long a client may read nothing while there is something to read. 30 s by default, because a slow network makes
    /// some progress within seconds.
    pub write_timeout: Duration,
}

/// The open connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
}

/// The open connections by number, so that the oldest comes first.
#[derive(Debug, Default)]
struct OpenConnections {
    opened: u64,
    by_number: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    /// `None` until the service trusts the connection, and for a connection beyond the limits.
    trust: Option<Trust>,
    close: CancellationToken,
}

#[derive(Debug, PartialEq, Eq)]
enum Trust {
    /// Any client, where the service cannot distinguish clients.
    Anyone,
    Client(Arc<str>),
}

/// The connection of a request. [`serve`](crate::serve) adds it to the extensions of each request.
///
/// A service that knows its clients trusts their connections, so that a flood of other connections does not close them:
///
/// ```
/// use std::sync::Arc;
///
/// use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};
/// use brigade_edge::Connection;
///
/// # fn client_with_key(_: &Request) -> Option<Arc<str>> { None }
/// /// Middleware for `axum::middleware::from_fn`.
/// async fn authenticate(request: Request, next: Next) -> Result<Response, StatusCode> {
///     let client = client_with_key(&request).ok_or(StatusCode::UNAUTHORIZED)?;
///     if let Some(connection) = request.extensions().get::<Connection>() {
///         connection.trust(&client);
///     }
///     Ok(next.run(request).await)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    number: u64,
    all: Arc<Connections>,
}

/// Removes its connection from the list when it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    pub(crate) connection: Connection,
    /// Cancelled when the connection must be closed.
    pub(crate) close: CancellationToken,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs(30);
        Self { trusted: 750, per_client: 375, untrusted: 250, head_timeout: seconds, write_timeout: seconds }
    }
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Adds a connection, and closes the oldest untrusted one if there are too many.
    pub(crate) fn add(self: &Arc<Self>) -> ConnectionGuard {
        let close = CancellationToken::new();
        let mut open = self.lock();
        let untrusted: Vec<_> =
            open.by_number.iter().filter(|(_, other)| other.trust.is_none()).map(|(number, _)| *number).collect();
        if untrusted.len() >= self.limits.untrusted
            && let Some(oldest) = untrusted.first().and_then(|number| open.by_number.remove(number))
        {
            oldest.close.cancel();
        }
        open.opened += 1;
        let number = open.opened;
        open.by_number.insert(number, OpenConnection { trust: None, close: close.clone() });
        ConnectionGuard { connection: Connection { number, all: Arc::clone(self) }, close }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Protects the connection from being closed in favor of others, because it belongs to this client. The name only tells
    /// clients apart: each has at most [`ConnectionLimits::per_client`] trusted connections. A connection stays with the
    /// first client.
    pub fn trust(&self, client: &Arc<str>) {
        self.trust_as(Trust::Client(Arc::clone(client)));
    }

    /// Protects the connection from being closed in favor of others, because the service serves clients that it cannot tell
    /// apart. They have all [`ConnectionLimits::trusted`] connections together.
    pub fn trust_anyone(&self) {
        self.trust_as(Trust::Anyone);
    }

    fn trust_as(&self, trust: Trust) {
        let limits = self.all.limits;
        let mut open = self.all.lock();
        if open.by_number.get(&self.number).is_none_or(|connection| connection.trust.is_some()) {
            return;
        }
        let trusted = open.by_number.values().filter_map(|connection| connection.trust.as_ref());
        let (all, own) = trusted.fold((0, 0), |(all, own), other| (all + 1, own + usize::from(*other == trust)));
        if all >= limits.trusted || (trust != Trust::Anyone && own >= limits.per_client) {
            return;
        }
        if let Some(connection) = open.by_number.get_mut(&self.number) {
            connection.trust = Some(trust);
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connection.all.lock().by_number.remove(&self.connection.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Arc<Connections> {
        Connections::new(ConnectionLimits { trusted: 4, per_client: 2, untrusted: 3, ..ConnectionLimits::default() })
    }

    fn open(connections: &Arc<Connections>, client: Option<&str>) -> ConnectionGuard {
        let guard = connections.add();
        if let Some(client) = client {
            guard.connection.trust(&client.into());
        }
        guard
    }

    fn closed(guards: &[ConnectionGuard]) -> Vec<bool> {
        guards.iter().map(|guard| guard.close.is_cancelled()).collect()
    }

    #[test]
    fn a_new_connection_closes_the_oldest_untrusted_one() {
        let connections = connections();
        let clients = [Some("a"), None, None, Some("b"), None, None, None];
        let guards = clients.map(|client| open(&connections, client));
        assert_eq!(closed(&guards), [false, true, true, false, false, false, false]);
    }

    #[test]
    fn a_client_gets_no_more_than_its_share() {
        let connections = connections();
        let mut guards = Vec::from([Some("a"); 6].map(|client| open(&connections, client)));
        assert_eq!(closed(&guards), [false, false, true, false, false, false]);
        guards.extend([Some("b"), Some("b"), Some("c")].map(|client| open(&connections, client)));
        assert_eq!(closed(&guards[6..]), [false, false, false], "other clients still connect");
        assert_eq!(closed(&guards[..2]), [false, false]);
    }

    #[test]
    fn clients_that_cannot_be_told_apart_have_all_trusted_connections() {
        let connections = connections();
        let guards = [(); 9].map(|()| connections.add());
        let more = [(); 5].map(|()| {
            let guard = connections.add();
            guard.connection.trust_anyone();
            guard
        });
        let trusted = connections.lock().by_number.values().filter(|connection| connection.trust.is_some()).count();
        assert_eq!(trusted, 4);
        assert_eq!(closed(&more[..4]), [false; 4]);
        assert!(closed(&guards)[..6].iter().all(|closed| *closed));
    }

    #[test]
    fn closed_connections_make_room() {
        let connections = connections();
        for _ in 0..20 {
            open(&connections, Some("a"));
        }
        let guards = [Some("a"), Some("a"), None, None, None].map(|client| open(&connections, client));
        assert_eq!(closed(&guards), [false; 5]);
        assert_eq!(connections.lock().by_number.len(), 5);
    }
}
