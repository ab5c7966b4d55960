//! Idempotency keys: a request that is sent twice starts one run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use brigade_core::RunId;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::manager::{RunHandle, Runs};

/// The idempotency keys under which runs were started. A key is kept as long as its run.
#[derive(Debug, Default)]
pub struct IdempotencyKeys(Mutex<HashMap<KeyOfOwner, StartedRun>>);

/// A request with an idempotency key.
#[derive(Debug)]
pub struct IdempotentRequest {
    key: KeyOfOwner,
    digest: [u8; 32],
}

/// The idempotency key was used before for a request with another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this idempotency key was used for a different request; use a new key")]
pub struct IdempotencyConflict;

#[derive(Debug, PartialEq, Eq, Hash)]
struct KeyOfOwner {
    owner: Arc<str>,
    key: String,
}

#[derive(Debug, Clone, Copy)]
struct StartedRun {
    run: RunId,
    digest: [u8; 32],
}

impl IdempotentRequest {
    /// A request of `owner`. Two requests are the same if their bodies serialize to the same JSON.
    pub fn new(owner: Arc<str>, key: String, body: &impl Serialize) -> Self {
        let digest = Sha256::digest(serde_json::to_vec(body).unwrap_or_default()).into();
        Self { key: KeyOfOwner { owner, key }, digest }
    }
}

impl IdempotencyKeys {
    /// Returns the run that was started for this request before, or starts it now.
    ///
    /// # Errors
    ///
    /// Fails if the key was used for a different request, or if `start` fails.
    pub fn start_once<E: From<IdempotencyConflict>>(
        &self,
        request: IdempotentRequest,
        runs: &Runs,
        start: impl FnOnce() -> Result<Arc<RunHandle>, E>,
    ) -> Result<Arc<RunHandle>, E> {
        let IdempotentRequest { key, digest } = request;
        // Locked while the run is started, so that a second request at the same time finds it.
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = keys.get(&key)
            && let Some(handle) = runs.find(started.run)
        {
            return if started.digest == digest { Ok(handle) } else { Err(IdempotencyConflict.into()) };
        }
        let handle = start()?;
        // Keys of evicted runs are removed rarely, because that visits all keys.
        if keys.len() >= 2 * runs.max_kept() {
            keys.retain(|_, started| runs.find(started.run).is_some());
        }
        keys.insert(key, StartedRun { run: handle.id(), digest });
        Ok(handle)
    }
}
