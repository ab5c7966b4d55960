//! The open connections, and which of them are closed in favor of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The maximum numbers of open connections. Each takes a few KiB and one file descriptor, and many processes may open only
/// 1,024.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// Connections that have sent a valid key.
    pub(super) trusted: usize,
    /// Connections of one key, so that other keys can connect too.
    pub(super) per_key: usize,
    /// Other connections: those of probes, of attackers, and new ones. The oldest is closed in favor of a new one, because a
    /// client that has a key sends it at once.
    pub(super) others: usize,
}

/// The open connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
}

/// By number, so the oldest is first.
#[derive(Debug, Default)]
struct OpenConnections {
    opened: u64,
    by_number: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    /// The key that the client has shown. A connection beyond the limits counts as one without a key.
    key: Option<Arc<str>>,
    close: CancellationToken,
}

/// A connection, as the requests on it see it. It is an extension of each request.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    number: u64,
    all: Arc<Connections>,
}

/// Removes its connection from the list when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    pub(super) connection: Connection,
    /// Cancelled when the connection must be closed.
    pub(super) close: CancellationToken,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        // Three per run of the default limit.
        Self { trusted: 750, per_key: 375, others: 250 }
    }
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Adds a connection, and closes the oldest one without a key if there are too many.
    pub(super) fn add(self: &Arc<Self>) -> ConnectionGuard {
        let close = CancellationToken::new();
        let mut open = self.lock();
        let others: Vec<_> =
            open.by_number.iter().filter(|(_, other)| other.key.is_none()).map(|(number, _)| *number).collect();
        if others.len() >= self.limits.others
            && let Some(oldest) = others.first().and_then(|number| open.by_number.remove(number))
        {
            oldest.close.cancel();
        }
        open.opened += 1;
        let number = open.opened;
        open.by_number.insert(number, OpenConnection { key: None, close: close.clone() });
        ConnectionGuard { connection: Connection { number, all: Arc::clone(self) }, close }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Protects the connection from others, because the client has shown this key. `is_shared` keys have no limit of
    /// their own.
    pub(crate) fn show_key(&self, key: &Arc<str>, is_shared: bool) {
        let limits = self.all.limits;
        let mut open = self.all.lock();
        if open.by_number.get(&self.number).is_none_or(|connection| connection.key.is_some()) {
            return;
        }
        let trusted = open.by_number.values().filter_map(|connection| connection.key.as_ref());
        let (all, own) = trusted.fold((0, 0), |(all, own), other| (all + 1, own + usize::from(other == key)));
        if all >= limits.trusted || (!is_shared && own >= limits.per_key) {
            return;
        }
        if let Some(connection) = open.by_number.get_mut(&self.number) {
            connection.key = Some(Arc::clone(key));
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

    const LIMITS: ConnectionLimits = ConnectionLimits { trusted: 4, per_key: 2, others: 3 };

    fn open(connections: &Arc<Connections>, key: Option<&str>) -> ConnectionGuard {
        let guard = connections.add();
        if let Some(key) = key {
            guard.connection.show_key(&key.into(), false);
        }
        guard
    }

    fn closed(guards: &[ConnectionGuard]) -> Vec<bool> {
        guards.iter().map(|guard| guard.close.is_cancelled()).collect()
    }

    #[test]
    fn a_new_connection_closes_the_oldest_without_a_key() {
        let connections = Connections::new(LIMITS);
        let keys = [Some("a"), None, None, Some("b"), None, None, None];
        let guards = keys.map(|key| open(&connections, key));
        assert_eq!(closed(&guards), [false, true, true, false, false, false, false]);
    }

    #[test]
    fn a_key_protects_no_more_than_its_share() {
        let connections = Connections::new(LIMITS);
        let mut guards = Vec::from([Some("a"); 6].map(|key| open(&connections, key)));
        assert_eq!(closed(&guards), [false, false, true, false, false, false]);
        guards.extend([Some("b"), Some("b"), Some("c")].map(|key| open(&connections, key)));
        assert_eq!(closed(&guards[6..]), [false, false, false], "other keys still connect");
        assert_eq!(closed(&guards[..2]), [false, false]);
    }

    #[test]
    fn closed_connections_make_room() {
        let connections = Connections::new(LIMITS);
        for _ in 0..20 {
            open(&connections, Some("a"));
        }
        let guards = [Some("a"), Some("a"), None, None, None].map(|key| open(&connections, key));
        assert_eq!(closed(&guards), [false; 5]);
        assert_eq!(connections.lock().by_number.len(), 5);
    }
}
