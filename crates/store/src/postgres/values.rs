//! Values of statements, with their types: a statement whose types are known needs one round trip and no name.

use std::time::Duration;

use tokio_postgres::{
    Row,
    types::{FromSql, ToSql, Type},
};
use uuid::Uuid;

use crate::StoreError;

/// A value, and its type.
pub(crate) type TypedValue<'a> = (&'a (dyn ToSql + Sync), Type);

/// A type of Rust that is always stored as the same type of PostgreSQL.
pub(crate) trait Value: ToSql + Sync {
    const TYPE: Type;
}

/// The value with its type.
pub(crate) fn typed<V: Value>(value: &V) -> TypedValue<'_> {
    (value, V::TYPE)
}

/// The values of a statement, in the order of their numbers.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::postgres::values::typed(&$value)),*] };
}
pub(crate) use values;

macro_rules! value_types {
    ($($rust:ty => $one:ident, $many:ident;)*) => { $(
        impl Value for $rust { const TYPE: Type = Type::$one; }
        impl Value for Option<$rust> { const TYPE: Type = Type::$one; }
        impl Value for Vec<$rust> { const TYPE: Type = Type::$many; }
        impl Value for Option<Vec<$rust>> { const TYPE: Type = Type::$many; }
    )* };
}

value_types! {
    i64 => INT8, INT8_ARRAY;
    i32 => INT4, INT4_ARRAY;
    bool => BOOL, BOOL_ARRAY;
    String => TEXT, TEXT_ARRAY;
    &str => TEXT, TEXT_ARRAY;
    Uuid => UUID, UUID_ARRAY;
    &[u8] => BYTEA, BYTEA_ARRAY;
}

/// A number as PostgreSQL stores it: it has no unsigned integers. Numbers that count something are never so large.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is stored as a signed one.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A duration in microseconds.
pub(crate) fn us(duration: Duration) -> i64 {
    // Half of the range is 146,000 years, to which a time can be added.
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

/// The text without the one character that PostgreSQL cannot store.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The value of a column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::unreadable("row", error))
}

/// The only value of the first row, if there is one.
pub(crate) fn first<'a, T: FromSql<'a>>(rows: &'a [Row]) -> Result<Option<T>, StoreError> {
    let first = rows.first().map(|row| row.try_get(0));
    first.transpose().map_err(|error| StoreError::unreadable("row", error))
}
