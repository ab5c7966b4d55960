//! Values that all runs of one request share.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::sync::unpoisoned;

/// Values that all runs of one request share, one of each type.
#[derive(Debug, Default)]
pub(crate) struct SharedValues(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl SharedValues {
    pub(crate) fn insert<T: Any + Send + Sync>(&self, value: T) {
        unpoisoned(&self.0).insert(TypeId::of::<T>(), Arc::new(value));
    }

    pub(crate) fn get_or_default<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let value = Arc::clone(unpoisoned(&self.0).entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default())));
        // The key is the type of the value, so the cast succeeds.
        value.downcast().unwrap_or_default()
    }
}
