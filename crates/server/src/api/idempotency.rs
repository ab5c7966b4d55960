//! Idempotency keys: a request that is sent twice starts one run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, StatusCode};
use brigade_core::RunId;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::ApiError;
use crate::runs::manager::{Record, Runs};

/// The keys under which runs were started. They are remembered as long as their runs.
#[derive(Debug, Default)]
pub(crate) struct OnceKeys(Mutex<HashMap<(Arc<str>, String), Started>>);

#[derive(Debug, Clone, Copy)]
struct Started {
    run: RunId,
    digest: [u8; 32],
}

/// A request under a key.
#[derive(Debug)]
pub(crate) struct Once {
    owner: Arc<str>,
    key: String,
    digest: [u8; 32],
}

const HEADER: &str = "idempotency-key";

/// Longer keys than this are no keys.
const LONGEST_KEY: usize = 256;

/// The key of a request, if it has one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(header) = headers.get(HEADER) else { return Ok(None) };
    let is_visible = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = header.to_str().ok().filter(is_visible).filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
    let key = key.ok_or_else(|| ApiError::field(HEADER, "an idempotency key has 1 to 256 visible characters"))?;
    Ok(Some(key.to_owned()))
}

impl Once {
    pub(crate) fn new(owner: &Arc<str>, key: String, body: &impl Serialize) -> Self {
        let digest = Sha256::digest(serde_json::to_vec(body).unwrap_or_default()).into();
        Self { owner: Arc::clone(owner), key, digest }
    }
}

impl OnceKeys {
    /// The run that was started under this key, or else the one that `start` starts now.
    pub(crate) fn run(
        &self,
        once: Once,
        runs: &Runs,
        start: impl FnOnce() -> Result<Arc<Record>, ApiError>,
    ) -> Result<Arc<Record>, ApiError> {
        let Once { owner, key, digest } = once;
        // Held while the run is started, so that of two requests at the same time the second finds the first's.
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (owner, key);
        if let Some((started, record)) = keys.get(&place).and_then(|started| Some((started, runs.find(started.run)?))) {
            if started.digest == digest {
                return Ok(record);
            }
            let message = "this idempotency key was used for another request; take a new one";
            return Err(ApiError::new(StatusCode::CONFLICT, "idempotency_key_reused", message));
        }
        let record = start()?;
        // What is forgotten elsewhere is forgotten here, from time to time.
        if keys.len() >= 2 * runs.kept() {
            keys.retain(|_, started| runs.find(started.run).is_some());
        }
        keys.insert(place, Started { run: record.id, digest });
        Ok(record)
    }
}
