//! The locks of sessions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{StoreError, unpoisoned};

/// Locks of sessions, so that requests of the same session wait for each other. Locks of sessions that no request uses
/// take no memory.
#[derive(Debug)]
pub struct SessionLocks {
    /// The locks in use.
    locks: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
    wait: Duration,
}

/// A locked session. Dropping it unlocks the session.
#[derive(Debug)]
#[must_use]
pub struct SessionGuard(#[expect(dead_code, reason = "it is only dropped")] OwnedMutexGuard<()>);

impl SessionLocks {
    /// No session is locked. A request waits this long for another one.
    pub fn new(wait: Duration) -> Self {
        Self { locks: Mutex::default(), wait }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        unpoisoned(&self.locks).len()
    }

    /// Waits until no other request uses the session.
    ///
    /// # Errors
    ///
    /// Fails with [`StoreError::SessionBusy`] if that takes too long.
    pub async fn lock(&self, session: &str) -> Result<SessionGuard, StoreError> {
        let lock = {
            let mut locks = unpoisoned(&self.locks);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(session).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(AsyncMutex::new(()));
                locks.insert(session.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        let guard = tokio::time::timeout(self.wait, lock.lock_owned()).await;
        guard.map(SessionGuard).map_err(|_| StoreError::SessionBusy(session.to_owned()))
    }
}
