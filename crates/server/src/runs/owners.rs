//! Counts the running runs of each owner.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::manager::StartRunError;

/// The number of running runs of each owner.
#[derive(Debug, Default)]
pub(super) struct RunningByOwner(Mutex<HashMap<Arc<str>, usize>>);

/// Counts one run of an owner until it is dropped.
#[derive(Debug)]
pub(super) struct OwnerSlot {
    running: Arc<RunningByOwner>,
    owner: Arc<str>,
}

impl RunningByOwner {
    /// Counts one more run, unless the owner has `limit` of them.
    pub(super) fn count(self: &Arc<Self>, owner: &Arc<str>, limit: Option<usize>) -> Result<OwnerSlot, StartRunError> {
        let mut running = self.0.lock();
        let count = running.get(owner).copied().unwrap_or(0);
        if let Some(limit) = limit.filter(|limit| count >= *limit) {
            return Err(StartRunError::TooManyRunsOfOwner { limit });
        }
        running.insert(Arc::clone(owner), count + 1);
        Ok(OwnerSlot { running: Arc::clone(self), owner: Arc::clone(owner) })
    }
}

impl Drop for OwnerSlot {
    fn drop(&mut self) {
        let mut running = self.running.0.lock();
        match running.get_mut(&self.owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(running.remove(&self.owner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_its_own_limit_and_slots_return() {
        let running = Arc::new(RunningByOwner::default());
        let count = |owner: &str, limit| running.count(&owner.into(), limit);
        let slots = [count("a", Some(2)), count("a", Some(2))];
        assert_eq!(count("a", Some(2)).unwrap_err(), StartRunError::TooManyRunsOfOwner { limit: 2 });
        assert!(count("b", Some(2)).is_ok() && count("a", None).is_ok());
        drop(slots);
        assert!(count("a", Some(1)).is_ok());
        assert!(running.0.lock().is_empty());
    }
}
