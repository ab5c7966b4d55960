//! JSON as providers really send it.

use std::{borrow::Cow, cell::Cell, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        MapAccess, Visitor,
        value::{MapAccessDeserializer, MapDeserializer},
    },
};
use serde_json::{Value, value::RawValue};

/// The fields of an object with unparsed values. Sorted, so that they are always encoded in the same order.
pub(crate) type RawFields = BTreeMap<String, Box<RawValue>>;

/// Up to here every whole number has a float of its own: 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A number of tokens or the like, as a provider states it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Count {
    /// Missing or null.
    #[default]
    Absent,
    /// A whole number.
    Of(u64),
    /// Stated, but not a count: negative, fractional, or not a number at all.
    Implausible,
}

/// An object of this form. A value of another type counts as absent, and the last of several fields of one name counts.
#[derive(Debug)]
pub(crate) struct LooseObject<T>(pub(crate) Option<T>);

/// A list. A value of another type counts as absent.
#[derive(Debug)]
pub(crate) struct LooseList<T>(pub(crate) Option<Vec<T>>);

/// A string. A value of another type counts as absent.
#[derive(Debug, Default)]
pub(crate) struct LooseString(pub(crate) Option<String>);

impl<T> Default for LooseObject<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for LooseList<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl Count {
    /// The number, if it is one.
    pub(crate) fn get(self) -> Option<u64> {
        match self {
            Self::Of(count) => Some(count),
            Self::Absent | Self::Implausible => None,
        }
    }

    /// Replaces the count by a later one, if that is a count.
    pub(crate) fn replace(&mut self, later: Self) {
        if later != Self::Absent && (later != Self::Implausible || *self == Self::Absent) {
            *self = later;
        }
    }

    /// Applies a later report of a running total, which does not fall.
    pub(crate) fn update(&mut self, later: Self) {
        *self = match (*self, later) {
            (Self::Of(before), Self::Of(later)) => Self::Of(before.max(later)),
            (Self::Of(_), _) | (_, Self::Absent) => *self,
            (Self::Absent | Self::Implausible, later) => later,
        };
    }
}

impl LooseString {
    /// The string, unless it is absent or empty: a blank must never overwrite a value.
    pub(crate) fn filled(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

thread_local! {
    /// Whether values of an unexpected type are errors on this thread; see [`read`].
    static STRICT: Cell<bool> = const { Cell::new(false) };
}

/// Sets back whether the thread is strict, also after a panic.
struct Strict(bool);

impl Drop for Strict {
    fn drop(&mut self) {
        STRICT.set(self.0);
    }
}

/// Whether [`read`] tries to read a document in one pass.
pub(crate) fn is_strict() -> bool {
    STRICT.get()
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if is_strict() {
            return Ok(Option::deserialize(deserializer)?.map_or(Self::Absent, Self::Of));
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        // A number may be too large even for a float.
        let value = match serde_json::from_str(raw).unwrap_or(Value::Bool(false)) {
            Value::Null => return Ok(Self::Absent),
            value => value,
        };
        if let Some(count) = value.as_u64() {
            return Ok(Self::Of(count));
        }
        // Some servers write whole numbers as `25.0`.
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..MAX_EXACT).contains(number));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the line above")]
        Ok(whole.map_or(Self::Implausible, |number| Self::Of(number as u64)))
    }
}

/// Reads an object or null, and nothing else. A derived `Deserialize` would read a list, too.
struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = LooseObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(|object| LooseObject(Some(object)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(LooseObject(None))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LooseObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if is_strict() {
            return deserializer.deserialize_any(ObjectVisitor(PhantomData));
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let is_object = raw.starts_with('{');
        Ok(Self(is_object.then(|| serde_json::from_str(raw).ok().or_else(|| last_fields(raw))).flatten()))
    }
}

/// A name of a field, borrowed unless it has escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads an object in which a field may come twice, which a derived `Deserialize` refuses. The last one counts.
fn last_fields<'de, T: Deserialize<'de>>(raw: &'de str) -> Option<T> {
    let fields: BTreeMap<FieldName<'de>, &'de RawValue> = serde_json::from_str(raw).ok()?;
    let fields = fields.into_iter().map(|(FieldName(name), value)| (name, value));
    T::deserialize(MapDeserializer::<_, serde_json::Error>::new(fields)).ok()
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LooseList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if is_strict() {
            return Option::deserialize(deserializer).map(Self);
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(Self(raw.starts_with('[').then(|| serde_json::from_str(raw).ok()).flatten()))
    }
}

impl<'de> Deserialize<'de> for LooseString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if is_strict() {
            return Option::deserialize(deserializer).map(Self);
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(Self(raw.starts_with('"').then(|| serde_json::from_str(raw).ok()).flatten()))
    }
}

/// Reads an object of this form, or nothing.
///
/// Most documents have nothing odd and are read in one pass. To leave out a value of an unexpected type, the text of each
/// value must be found before it is read, which scans a text once more for each object and list around it.
pub(crate) fn read<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Option<T> {
    let strict = {
        let _strict = Strict(STRICT.replace(true));
        serde_json::from_slice::<LooseObject<T>>(document)
    };
    strict.or_else(|_| serde_json::from_slice::<LooseObject<T>>(document)).ok()?.0
}

/// Appends a value. Only for values that cannot fail: no maps with keys other than strings.
pub(crate) fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Writing plain data to a vector cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// Appends values, separated by commas.
pub(crate) fn write_items(out: &mut Vec<u8>, values: &[impl Serialize]) {
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, value);
    }
}

/// The text between the brackets or braces of a document.
pub(crate) fn inside(raw: &str) -> &str {
    let raw = raw.trim_ascii();
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default().trim_ascii()
}

/// Reads a value. One of an unexpected form counts as absent and does not fail the object around it.
pub(crate) fn loose<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    if is_strict() {
        return Option::deserialize(deserializer);
    }
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Whether a document is null, or an empty list, object or string.
pub(crate) fn is_blank(raw: &RawValue) -> bool {
    let raw = raw.get();
    raw == "null" || (raw.starts_with(['[', '{', '"']) && inside(raw).is_empty())
}

/// The text of a JSON string; absent if the document is something else.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: i32,
    }

    #[derive(Deserialize)]
    struct Line {
        from: LooseObject<Point>,
        to: LooseObject<Point>,
    }

    #[test]
    fn an_object_is_read_and_any_other_value_counts_as_absent() {
        let read = |json: &str| serde_json::from_str::<LooseObject<Point>>(json).unwrap().0;
        assert_eq!(read(r#"{"x":1,"y":[{}]}"#), Some(Point { x: 1 }));
        assert_eq!(read(r#"{"x":1,"\u0078":2}"#), Some(Point { x: 2 }), "the last of two counts");
        for other in ["null", "true", "-1", "1", "1.5", "\"text\"", "[1,{\"x\":1}]", "{}", "{\"x\":\"one\"}"] {
            assert_eq!(read(other), None, "{other}");
        }
        let line = serde_json::from_str::<LooseObject<Line>>(r#"{"from":1e999,"to":{"x":2}}"#).unwrap().0.unwrap();
        assert_eq!((line.from.0, line.to.0), (None, Some(Point { x: 2 })));
    }

    #[test]
    fn a_document_with_one_odd_value_is_read_without_it() {
        let read = |json: &str| {
            let line: Option<Line> = super::read(json.as_bytes());
            line.map(|line| (line.from.0.map(|from| from.x), line.to.0.map(|to| to.x)))
        };
        assert_eq!(read(r#"{"from":{"x":1},"to":{"x":2}}"#), Some((Some(1), Some(2))));
        for odd in ["7", "1e999", "\"text\"", "[{\"x\":1}]", "[1]", "{\"x\":\"one\"}"] {
            assert_eq!(read(&format!(r#"{{"from":{odd},"to":{{"x":1,"x":2}}}}"#)), Some((None, Some(2))), "{odd}");
        }
        for other in ["[]", "null", "{\"from\":1", ""] {
            assert_eq!(read(other), None, "{other}");
        }
        assert!(!is_strict());
    }

    #[test]
    fn a_count_is_read_from_any_value() {
        let read = |json: &str| serde_json::from_str::<Count>(json).unwrap();
        assert_eq!(read("25"), Count::Of(25));
        assert_eq!(read("25.0"), Count::Of(25));
        assert_eq!(read("null"), Count::Absent);
        for odd in ["-1", "2.5", "1e300", "\"25\"", "true", "[1]", "{\"a\":1}"] {
            assert_eq!(read(odd), Count::Implausible, "{odd}");
        }
    }
}
