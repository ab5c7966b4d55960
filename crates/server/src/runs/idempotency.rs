//! Idempotency keys: a request that is sent twice starts one run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use brigade_core::RunId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::manager::{RunHandle, Runs};

/// The idempotency keys under which runs were started. A key is kept as long as its run.
#[derive(Debug, Default)]
pub struct IdempotencyKeys(Mutex<HashMap<KeyOfOwner, Arc<KeyState>>>);

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

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeyOfOwner {
    owner: Arc<str>,
    key: String,
}

/// The run that was started under a key. Locked while the run is started, so that a second request at the same time finds
/// it; requests with other keys do not wait.
type KeyState = AsyncMutex<Option<StartedRun>>;

#[derive(Debug, Clone, Copy)]
struct StartedRun {
    run: RunId,
    digest: [u8; 32],
}

impl IdempotentRequest {
    /// A request of `owner`. Two requests are the same if their bodies serialize to the same JSON.
    ///
    /// # Errors
    ///
    /// Fails if the body cannot be serialized.
    pub fn new(owner: Arc<str>, key: String, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        let digest = Sha256::digest(serde_json::to_vec(body)?).into();
        Ok(Self { key: KeyOfOwner { owner, key }, digest })
    }
}

impl IdempotencyKeys {
    /// Returns the run that was started for this request before, or starts it now.
    ///
    /// # Errors
    ///
    /// Fails if the key was used for a different request, or if `start` fails.
    pub async fn start_once<E: From<IdempotencyConflict>>(
        &self,
        request: IdempotentRequest,
        runs: &Runs,
        start: impl FnOnce() -> Result<Arc<RunHandle>, E>,
    ) -> Result<Arc<RunHandle>, E> {
        let IdempotentRequest { key, digest } = request;
        let state = self.state(key, runs);
        let mut started = state.lock().await;
        if let Some(started) = *started
            && let Some(handle) = runs.find(started.run)
        {
            return if started.digest == digest { Ok(handle) } else { Err(IdempotencyConflict.into()) };
        }
        let handle = start()?;
        *started = Some(StartedRun { run: handle.id(), digest });
        Ok(handle)
    }

    fn state(&self, key: KeyOfOwner, runs: &Runs) -> Arc<KeyState> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Keys of evicted runs, and of runs that could not be started, are removed rarely, because that visits all keys.
        if keys.len() >= 2 * runs.max_kept() {
            keys.retain(|_, state| match state.try_lock() {
                Ok(started) => started.is_some_and(|started| runs.find(started.run).is_some()),
                Err(_) => true,
            });
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
        IdempotentRequest::new(owner.into(), key.to_owned(), &body).unwrap()
    }

    #[tokio::test]
    async fn a_key_starts_one_run_per_owner() {
        let (runs, keys) = (Runs::new(9, 9), IdempotencyKeys::default());
        let ask = async |owner: &str, key: &str, body: &str| {
            keys.start_once(request(owner, key, body), &runs, || Ok::<_, IdempotencyConflict>(start(&runs)))
                .await
                .map(|run| run.id())
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
        let started = keys.start_once(request("ada", "k", "x"), &runs, || {
            // Would block forever if this start held the lock of all keys.
            let other = keys.start_once(request("bob", "k", "x"), &runs, || Ok::<_, IdempotencyConflict>(start(&runs)));
            futures::FutureExt::now_or_never(other).unwrap()
        });
        assert!(started.await.is_ok());
    }

    #[test]
    fn a_body_that_cannot_be_serialized_is_an_error() {
        let unserializable = std::collections::BTreeMap::from([((), 1)]);
        assert!(IdempotentRequest::new("ada".into(), "k".to_owned(), &unserializable).is_err());
    }

    #[tokio::test]
    async fn keys_of_evicted_runs_are_removed() {
        let (runs, keys) = (Runs::new(9, 2), IdempotencyKeys::default());
        for number in 0..20 {
            let run = keys
                .start_once(request("ada", &number.to_string(), "x"), &runs, || {
                    Ok::<_, IdempotencyConflict>(start(&runs))
                })
                .await
                .unwrap();
            run.wait().await;
        }
        assert!(keys.0.lock().unwrap().len() <= 4);
    }
}
