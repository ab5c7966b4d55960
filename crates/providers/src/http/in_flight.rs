//! Limits the requests that one account has in flight.

use std::sync::Arc;

use brigade_core::{Event, Interruption, ModelError, ModelErrorKind, ModelId, Run};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The places for the requests of one account.
///
/// Each request holds a connection, and so a file descriptor. Without a limit, thousands of runs at once use up the
/// descriptors of the process, and then calls, files and the program's own server fail. Requests beyond the limit wait,
/// in the order in which they came.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Semaphore>);

/// Used where the limit of open files is unknown.
const DEFAULT: usize = 1_024;

impl InFlight {
    /// Places for `limit` requests. By default a quarter of the limit of open files: one half is left for connections of
    /// clients, files and the rest of the program, and the other one suffices for two busy accounts.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or_else(|| max_open_files().map_or(DEFAULT, |files| files / 4));
        Self(Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Waits for a place until the run ends. The place is free again when the permit is dropped.
    pub(crate) async fn wait(&self, model: &ModelId, run: &Run) -> Result<OwnedSemaphorePermit, ModelError> {
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() {
            return Ok(permit);
        }
        let started = Instant::now();
        let result = run.until_stopped(Arc::clone(&self.0).acquire_owned()).await;
        run.emit(&Event::RateLimitWaited { model: model.clone(), waited: started.elapsed() });
        let why = match result {
            Ok(Ok(permit)) => return Ok(permit),
            Ok(Err(_)) => "the client was closed",
            Err(Interruption::Cancelled) => "the run was cancelled",
            Err(Interruption::Deadline) => "the run's deadline passed",
        };
        let message = format!("{why} while the call waited for one of the account's `max_in_flight` requests to end");
        Err(ModelError::new(ModelErrorKind::Cancelled, message).with(|failure| failure.model = Some(model.clone())))
    }
}

#[cfg(unix)]
fn max_open_files() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    usize::try_from(limit.current?).ok()
}

#[cfg(not(unix))]
fn max_open_files() -> Option<usize> {
    None
}
