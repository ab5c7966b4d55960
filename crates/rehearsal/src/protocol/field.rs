//! JSON fields that can be absent.

use serde::Serialize;

/// A field that has a value, is `null`, or is absent (with `skip_serializing_if = "Field::is_absent"`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Field<T> {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}
