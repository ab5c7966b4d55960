//! Idempotency keys: a request that is sent twice starts one run.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use brigade_core::RunId;
use brigade_store::{KeyedRun, StoredKeys};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::{manager::Runs, run_handle::RunHandle, store::Store};

/// The idempotency keys under which runs were started. With a store, a key is kept as long as its run, over restarts.
/// Without one, keys are forgotten when there are more than 10,000 and their runs are not kept any more. A request with a
/// forgotten key runs again, which is logged once and counted. Refusing new keys would fail requests that are not repeated.
#[derive(Debug, Default)]
pub struct IdempotencyKeys {
    keys: Mutex<HashMap<KeyOfOwner, Arc<KeyState>>>,
    stored: Option<StoredKeys>,
    /// The number of keys that were forgotten and that no store has.
    forgotten: AtomicU64,
}

/// A request with an idempotency key.
#[derive(Debug)]
pub struct IdempotentRequest {
    key: KeyOfOwner,
    new: KeyedRun,
}

/// The run of a request with an idempotency key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RunOfKey {
    /// In the memory of this process, running or ended.
    InMemory(Arc<RunHandle>),
    /// It was started before, and this process does not have it, or not any more.
    Earlier(RunId),
}

/// The idempotency key was used before for a request with another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this idempotency key was used for a different request; use a new key")]
pub struct IdempotencyConflict;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeyOfOwner {
    owner: Arc<str>,
    key: String,
}

/// The run that was started under a key. Locked while the run is started, so that a second request at the same time finds
/// it; requests with other keys do not wait.
type KeyState = AsyncMutex<Option<KeyedRun>>;

/// A few megabytes. Then keys whose runs are forgotten are removed.
const MAX_KEYS: usize = if cfg!(test) { 20 } else { 10_000 };

impl IdempotentRequest {
    /// A request of `owner` that is about to start `run`. Two requests are the same if their bodies serialize to the same
    /// JSON.
    ///
    /// # Errors
    ///
    /// Fails if the body cannot be serialized.
    pub fn new(owner: Arc<str>, key: String, run: RunId, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        let digest = Sha256::digest(serde_json::to_vec(body)?).into();
        Ok(Self { key: KeyOfOwner { owner, key }, new: KeyedRun::new(run, digest) })
    }
}

impl IdempotencyKeys {
    /// Keys that this store keeps.
    pub(crate) fn stored_in(store: Option<&Store>) -> Self {
        Self { stored: store.map(Store::idempotency_keys), ..Self::default() }
    }

    /// The number of keys that were forgotten and that no store has.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Returns the run that was started for this request before, or starts it now, with the id of the request.
    ///
    /// # Errors
    ///
    /// Fails if the key was used for a different request, or if `start` fails.
    pub async fn start_once<E: From<IdempotencyConflict>>(
        &self,
        request: IdempotentRequest,
        runs: &Runs,
        start: impl Future<Output = Result<Arc<RunHandle>, E>>,
    ) -> Result<RunOfKey, E> {
        let IdempotentRequest { key, new } = request;
        let state = self.state(key.clone(), runs);
        let mut known = state.lock().await;
        if known.is_none() {
            *known = self.take_stored(&key, new).await;
        }
        if let Some(known) = *known {
            if known.digest != new.digest {
                return Err(IdempotencyConflict.into());
            }
            return Ok(runs.find(known.run).map_or(RunOfKey::Earlier(known.run), RunOfKey::InMemory));
        }
        match start.await {
            Ok(handle) => {
                *known = Some(KeyedRun::new(handle.id(), new.digest));
                Ok(RunOfKey::InMemory(handle))
            }
            Err(error) => {
                self.give_back(&key).await;
                Err(error)
            }
        }
    }

    /// Takes the key in the store before the run starts, because the process may be killed while it runs. Returns the run
    /// that has the key already.
    async fn take_stored(&self, key: &KeyOfOwner, new: KeyedRun) -> Option<KeyedRun> {
        let taken = self.stored.as_ref()?.take(&key.owner, &key.key, new).await;
        taken.unwrap_or_else(|error| {
            tracing::warn!("an idempotency key is kept in memory only: {error}");
            None
        })
    }

    async fn give_back(&self, key: &KeyOfOwner) {
        if let Some(stored) = &self.stored
            && let Err(error) = stored.give_back(&key.owner, &key.key).await
        {
            tracing::debug!("an idempotency key of a run that did not start is still stored: {error}");
        }
    }

    fn state(&self, key: KeyOfOwner, runs: &Runs) -> Arc<KeyState> {
        let mut keys = self.keys.lock();
        // Keys of evicted runs, and of runs that could not be started, are removed rarely, because that visits all keys.
        if !keys.contains_key(&key) && keys.len() >= MAX_KEYS.max(2 * runs.max_kept()) {
            let mut forgotten = 0;
            keys.retain(|_, state| match state.try_lock().as_deref() {
                Ok(Some(known)) if runs.find(known.run).is_none() => {
                    forgotten += 1;
                    false
                }
                Ok(known) => known.is_some(),
                Err(_) => true,
            });
            if self.stored.is_none() && self.forgotten.fetch_add(forgotten, Ordering::Relaxed) == 0 && forgotten > 0 {
                tracing::warn!(
                    "without a store, old idempotency keys are forgotten: a request with one of them runs again"
                );
            }
        }
        Arc::clone(keys.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::testing::{ScriptedModel, Turn};
    use brigade_core::{Agent, Run};

    use super::*;
    use crate::runs::new_run::NewRun;

    fn start(runs: &Runs) -> Arc<RunHandle> {
        let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")]));
        runs.start(NewRun::new(Run::new(), agent, "Do it.")).unwrap()
    }

    fn request(owner: &str, key: &str, body: &str) -> IdempotentRequest {
        IdempotentRequest::new(owner.into(), key.to_owned(), Run::new().id(), &body).unwrap()
    }

    fn id(run: &RunOfKey) -> RunId {
        match run {
            RunOfKey::InMemory(handle) => handle.id(),
            RunOfKey::Earlier(id) => *id,
        }
    }

    #[tokio::test]
    async fn a_key_starts_one_run_per_owner() {
        let (runs, keys) = (Runs::new(9, 9), IdempotencyKeys::default());
        let ask = async |owner: &str, key: &str, body: &str| {
            keys.start_once(request(owner, key, body), &runs, async { Ok::<_, IdempotencyConflict>(start(&runs)) })
                .await
                .map(|run| id(&run))
        };
        let (first, again) = tokio::join!(ask("ada", "k", "x"), ask("ada", "k", "x"));
        assert_eq!(first, again);
        assert_eq!(ask("ada", "k", "y").await, Err(IdempotencyConflict));
        for (owner, key) in [("bob", "k"), ("ada", "l"), ("ada", "")] {
            assert_ne!(ask(owner, key, "x").await, first, "{owner} {key}");
        }
    }

    #[tokio::test]
    async fn a_request_with_another_key_does_not_wait_for_a_start() {
        let (runs, keys) = (Runs::new(9, 9), IdempotencyKeys::default());
        let started = keys.start_once(request("ada", "k", "x"), &runs, async {
            // Would block forever if this start held the lock of all keys.
            let other =
                keys.start_once(request("bob", "k", "x"), &runs, async { Ok::<_, IdempotencyConflict>(start(&runs)) });
            match futures::FutureExt::now_or_never(other).unwrap()? {
                RunOfKey::InMemory(handle) => Ok(handle),
                RunOfKey::Earlier(_) => Err(IdempotencyConflict),
            }
        });
        assert!(started.await.is_ok());
    }

    #[test]
    fn a_body_that_cannot_be_serialized_is_an_error() {
        let unserializable = std::collections::BTreeMap::from([((), 1)]);
        assert!(IdempotentRequest::new("ada".into(), "k".to_owned(), Run::new().id(), &unserializable).is_err());
    }

    #[tokio::test]
    async fn the_run_of_a_key_is_not_started_again_when_it_was_evicted_and_old_keys_are_removed() {
        let (runs, keys) = (Runs::new(9, 1), IdempotencyKeys::default());
        let ask = async |key: usize| {
            let request = request("ada", &key.to_string(), "x");
            keys.start_once(request, &runs, async { Ok::<_, IdempotencyConflict>(start(&runs)) }).await.unwrap()
        };
        let first = ask(0).await;
        for number in 0..MAX_KEYS - 1 {
            if let RunOfKey::InMemory(run) = ask(number).await {
                run.wait().await;
            }
        }
        assert!(matches!(ask(0).await, RunOfKey::Earlier(run) if run == id(&first)));
        ask(MAX_KEYS).await;
        ask(MAX_KEYS + 1).await;
        assert!(keys.keys.lock().len() < 9);
        assert!(keys.forgotten() > 9, "they are counted: {}", keys.forgotten());
    }
}
