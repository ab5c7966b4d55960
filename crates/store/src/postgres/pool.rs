//! The connections to one database.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_postgres::Client;

use super::{address::Address, database::PostgresSettings, session::Session, tls::Tls};
use crate::{StoreError, unpoisoned};

/// Connections that are opened when they are needed. Only a session that has ended well gives its connection back, so
/// a future that is dropped never leaves one with an open transaction. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    address: Address,
    tls: Tls,
    settings: PostgresSettings,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<IdleConnection>>,
    /// Each connection has a task that reads and writes its socket, which ends when its client is dropped.
    tasks: Mutex<JoinSet<()>>,
}

struct IdleConnection {
    client: Client,
    since: Instant,
}

/// A connection that was not used for so long may have been forgotten by a firewall.
const MAX_IDLE: Duration = Duration::from_mins(5);

/// How long the last connections may take to say goodbye.
const CLOSING: Duration = Duration::from_secs(2);

impl Pool {
    pub(crate) fn new(address: Address, settings: PostgresSettings) -> Result<Self, StoreError> {
        let permits = Arc::new(Semaphore::new(settings.connections.max(1)));
        let (idle, tasks) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { address, tls: Tls::new()?, settings, permits, idle, tasks })))
    }

    pub(crate) fn address(&self) -> &Address {
        &self.0.address
    }

    /// How long a statement, or a wait for a connection, may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.settings.timeout
    }

    /// A connection for exclusive use.
    pub(crate) async fn session(&self) -> Result<Session, StoreError> {
        let permit = timeout(self.timeout(), Arc::clone(&self.0.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| StoreError::unavailable("all connections are in use"))?;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let client = match self.take_idle() {
            Some(client) => client,
            None => timeout(self.timeout(), self.connect()).await.map_err(|_| StoreError::no_answer())??,
        };
        Ok(Session::new(client, self.clone(), permit))
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        let (client, connection) = self.0.address.config().connect(self.0.tls.clone()).await?;
        let mut tasks = unpoisoned(&self.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to the database has ended: {error}");
            }
        });
        Ok(client)
    }

    fn take_idle(&self) -> Option<Client> {
        let mut idle = unpoisoned(&self.0.idle);
        idle.retain(|connection| !connection.client.is_closed() && connection.since.elapsed() < MAX_IDLE);
        idle.pop().map(|connection| connection.client)
    }

    /// Takes a connection back whose session has ended well.
    pub(super) fn give_back(&self, client: Client) {
        if !client.is_closed() && !self.0.permits.is_closed() {
            unpoisoned(&self.0.idle).push(IdleConnection { client, since: Instant::now() });
        }
    }

    /// Closes idle connections. Sessions in use end when their work ends; there are no new ones.
    pub(crate) async fn close(&self) {
        self.0.permits.close();
        unpoisoned(&self.0.idle).clear();
        let mut tasks = std::mem::take(&mut *unpoisoned(&self.0.tasks));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(CLOSING, ended).await.is_err() {
            tracing::debug!("a connection to the database was still in use when it was closed");
        }
    }

    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        unpoisoned(&self.0.idle).len()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("address", &self.0.address).finish_non_exhaustive()
    }
}
