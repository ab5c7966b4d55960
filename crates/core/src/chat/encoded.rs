//! A cache of the encoded form of messages and tools.

use std::sync::OnceLock;

/// Names one encoding of a value. Each client chooses a name for its wire format, and a variant for every setting that
/// changes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// The wire format, for example `anthropic-messages`.
    pub name: &'static str,
    /// Distinguishes encodings within the format; 0 if there is only one.
    pub variant: u64,
}

/// A cache of an immutable value's bytes in up to two dialects.
///
/// Every turn sends the whole conversation again, so without the cache every turn would encode all of it again. Two
/// dialects are enough for an agent with a fallback at another provider; a third one is encoded each time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encodings([OnceLock<(Dialect, Box<[u8]>)>; 2]);

impl Encodings {
    /// Appends the value's bytes in `dialect` to `out`. Calls `encode` only if they are not cached.
    pub(crate) fn write<E>(
        &self,
        dialect: Dialect,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(bytes) = self.get(dialect) {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        let start = out.len();
        encode(out)?;
        let bytes: Box<[u8]> = out.get(start..).unwrap_or_default().into();
        let [first, second] = &self.0;
        if let Err(entry) = first.set((dialect, bytes)) {
            // If another thread was faster, or both slots are taken, the value is only encoded once more.
            let _ = second.set(entry);
        }
        Ok(())
    }

    fn get(&self, dialect: Dialect) -> Option<&[u8]> {
        self.0.iter().filter_map(OnceLock::get).find(|(kept, _)| *kept == dialect).map(|(_, bytes)| &**bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn written(cache: &Encodings, name: &'static str, text: &str) -> Vec<u8> {
        let mut out = b"[".to_vec();
        let encode = |out: &mut Vec<u8>| {
            out.extend_from_slice(text.as_bytes());
            Ok::<_, Infallible>(())
        };
        cache.write(Dialect { name, variant: 0 }, &mut out, encode).unwrap();
        out
    }

    #[test]
    fn a_value_is_encoded_once_in_each_of_two_dialects() {
        let cache = Encodings::default();
        assert_eq!(written(&cache, "a", "one"), b"[one");
        assert_eq!(written(&cache, "b", "two"), b"[two");
        assert_eq!(written(&cache, "a", "changed"), b"[one");
        assert_eq!(written(&cache, "b", "changed"), b"[two");
        assert_eq!(written(&cache, "c", "three"), b"[three");
        assert_eq!(written(&cache, "c", "changed"), b"[changed");
    }

    #[test]
    fn a_failed_encoding_is_not_cached() {
        let cache = Encodings::default();
        let failed = cache.write(Dialect { name: "a", variant: 0 }, &mut Vec::new(), |_| Err("no"));
        assert_eq!(failed, Err("no"));
        assert_eq!(written(&cache, "a", "one"), b"[one");
    }
}
