//! Identifiers and other random-looking text. They depend on a seed alone, so the same request gets the same reply, byte
//! for byte.

use std::hash::{DefaultHasher, Hash, Hasher};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A generator of identifiers (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `prefix` followed by `length` letters and digits, as in `call_…`, `toolu_01…`, `chatcmpl-…`.
    pub(crate) fn letters(&mut self, prefix: &str, length: usize) -> String {
        self.text(prefix, length, BASE62)
    }

    /// `prefix` followed by `length` hexadecimal digits, as in `resp_…`, `rs_…`, `req_…`.
    pub(crate) fn hex(&mut self, prefix: &str, length: usize) -> String {
        self.text(prefix, length, HEX)
    }

    fn text(&mut self, prefix: &str, length: usize, alphabet: &[u8]) -> String {
        let mut text = String::with_capacity(prefix.len() + length);
        text.push_str(prefix);
        let mut random = 0;
        for position in 0..length {
            // A random number has enough bits for ten letters: 62^10 < 2^64.
            if position % 10 == 0 {
                random = self.next();
            }
            let letter = usize::try_from(random % alphabet.len() as u64).unwrap_or_default();
            text.push(alphabet.get(letter).copied().map_or('0', char::from));
            random /= alphabet.len() as u64;
        }
        text
    }
}

/// A hash of `bytes`. It is the same in every process, but can change with the Rust release.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The signature of a thinking block. It depends on the text, so the simulator notices if a client sends the block back
/// with a changed text or signature.
pub(crate) fn signature(thinking: &str) -> String {
    Ids::new(digest(thinking.as_bytes())).letters("EqQBCkYIBxgCKkC", 140) + "=="
}

/// The opaque content of the reasoning item with this id. It depends on the id, so the simulator notices if a client sends
/// the item back with a changed id or content.
pub(crate) fn encrypted_content(item_id: &str) -> String {
    Ids::new(digest(item_id.as_bytes())).letters("gAAAAABo", 190) + "=="
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_identifiers() {
        let (mut one, mut two) = (Ids::new(7), Ids::new(7));
        assert_eq!(one.letters("call_", 24), two.letters("call_", 24));
        assert_ne!(one.letters("call_", 24), Ids::new(7).letters("call_", 24));
    }

    #[test]
    fn an_identifier_has_the_requested_length() {
        assert_eq!(Ids::new(1).hex("req_", 32).len(), 36);
    }

    #[test]
    fn a_signature_depends_on_the_text() {
        assert_ne!(signature("one"), signature("two"));
    }
}
