//! JSON as providers really send it, and JSON written without a tree.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use brigade_core::RawJson;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The fields of an object whose values are left as they came. Sorted, so that what is written from it never varies.
pub(crate) type Fields = BTreeMap<String, Box<RawValue>>;

/// A number of tokens or the like, as a provider states it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Count {
    /// Not stated, or null.
    #[default]
    Absent,
    /// A whole number.
    Of(u64),
    /// Stated, but no count: negative, fractional, or no number at all.
    Implausible,
}

/// An object of this form. Whatever else stands in its place counts as absent.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// What is read of an object. Every field may be missing or come in any order, and the last of several of one name counts.
///
/// By hand, because what a derived `Deserialize` makes of the same is twice as much code: it keeps each field aside to find
/// out whether it was missing or came twice.
pub(crate) trait Members<'de>: Default {
    /// Reads the value of the field of this name, also if it is of no interest: `object` has nothing else next.
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error>;
}

/// Passes over the value of a field.
pub(crate) fn skip<'de, A: MapAccess<'de>>(object: &mut A) -> Result<(), A::Error> {
    object.next_value::<IgnoredAny>().map(drop)
}

/// Up to here every whole number has a float of its own: 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes the body of a request field by field, straight into its bytes.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    out: Vec<u8>,
    extra: &'a BTreeMap<String, RawJson>,
}

impl Count {
    /// The number, if it is one.
    pub(crate) fn get(self) -> Option<u64> {
        match self {
            Self::Of(count) => Some(count),
            Self::Absent | Self::Implausible => None,
        }
    }

    /// A later statement replaces an earlier one, if it is a count.
    pub(crate) fn update(&mut self, later: Self) {
        if later != Self::Absent && (later != Self::Implausible || *self == Self::Absent) {
            *self = later;
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

/// Takes whatever stands where a count should.
struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count::Of(count))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count::Implausible)
    }

    /// Some servers write whole numbers as `25.0`.
    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        let is_whole = count.fract() == 0.0 && (0.0..MAX_EXACT).contains(&count);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the line above")]
        Ok(if is_whole { Count::Of(count as u64) } else { Count::Implausible })
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count::Implausible)
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count::Implausible)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count::Implausible)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Count, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count::Implausible)
    }
}

impl<'de, T: Members<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Members<'de>> Members<'de> for Box<T> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        T::read(self, name, object)
    }
}

/// The name of a field.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Takes an object where there is one, and lets everything else go.
struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Members<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut read = T::default();
        while let Some(Name(name)) = object.next_key()? {
            read.read(&name, &mut object)?;
        }
        Ok(Some(read))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

impl<'a> Body<'a> {
    /// Begins a body of roughly `size_bytes` that will also hold the fields of `extra`.
    pub(crate) fn new(size_bytes: usize, extra: &'a BTreeMap<String, RawJson>) -> Self {
        let mut out = Vec::with_capacity(size_bytes);
        out.push(b'{');
        Self { out, extra }
    }

    /// Writes a field that the caller cannot replace.
    pub(crate) fn fixed(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        string(&mut self.out, name);
        self.out.push(b':');
        write(&mut self.out);
    }

    /// Writes a field, unless the caller gives it in `extra`.
    pub(crate) fn field(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.extra.contains_key(name) {
            self.fixed(name, write);
        }
    }

    /// Writes a field, unless it is absent or the caller gives it in `extra`.
    pub(crate) fn optional(&mut self, name: &str, content: Option<&impl Serialize>) {
        if let Some(content) = content {
            self.field(name, |out| value(out, content));
        }
    }

    /// Writes the fields of `extra` but those that are `reserved`.
    pub(crate) fn extras(&mut self, reserved: &[&str]) {
        for (name, content) in self.extra {
            if !reserved.contains(&name.as_str()) {
                self.fixed(name, |out| out.extend_from_slice(content.get().as_bytes()));
            }
        }
    }

    /// The whole body.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

/// Reads a document, if it has this form. That it is UTF-8 is checked once for all, which costs a fraction of what it
/// costs string by string.
pub(crate) fn read<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(document).ok()?).ok()
}

/// Appends a value. Only for values that cannot fail: no maps with odd keys.
pub(crate) fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Writing plain data to a vector cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// Appends a string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    value(out, text);
}

/// What stands between the brackets or braces of a document.
pub(crate) fn inside(raw: &str) -> &str {
    let raw = raw.trim_ascii();
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default().trim_ascii()
}

/// Reads a value; one of an unexpected form counts as absent, so that it does not take its surroundings with it.
pub(crate) fn loose<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Whether a document says nothing: null, or an empty list, object or string.
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

    #[test]
    fn a_count_is_read_from_whatever_stands_there() {
        let read = |json: &str| serde_json::from_str::<Count>(json).unwrap();
        assert_eq!(read("25"), Count::Of(25));
        assert_eq!(read("25.0"), Count::Of(25));
        assert_eq!(read("null"), Count::Absent);
        for odd in ["-1", "2.5", "1e300", "\"25\"", "true", "[1]", "{\"a\":1}"] {
            assert_eq!(read(odd), Count::Implausible, "{odd}");
        }
    }
}
