//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic while the lock was held leaves whole numbers behind, so the state is still good.
pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
