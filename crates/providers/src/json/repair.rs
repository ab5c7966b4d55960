//! Repairs documents with an odd character or number, so that an answer that was paid for is not lost to it.
//!
//! Servers that cut text by bytes or by UTF-16 units split a character over two deltas. A half is kept as a mark, made of
//! noncharacters (which Unicode reserves for internal use), until the texts of all deltas are joined and [`resolve`] puts
//! the halves together.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Followed by three digits: a UTF-16 surrogate without its other half.
const SURROGATE: u32 = 0xFDD0;
/// Followed by two digits: a byte that is not part of a UTF-8 character.
const BYTE: u32 = 0xFDD1;
/// The hexadecimal digits of marks are the sixteen noncharacters from here on.
const ZERO: u32 = 0xFDE0;
/// What Python and JavaScript write for numbers that JSON does not have.
const NOT_NUMBERS: [&[u8]; 8] = [b"NaN", b"-NaN", b"nan", b"Infinity", b"-Infinity", b"+Infinity", b"inf", b"-inf"];

/// The document in `bytes`, without blanks and a byte order mark around it; owned if it had to be repaired. `None` if it
/// is not a complete JSON document even then.
pub(crate) fn document(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let bytes = trimmed(bytes);
    let valid = is_json(bytes);
    if valid && !has_surrogates(bytes) {
        return Some(Cow::Borrowed(bytes));
    }
    let repaired = Repair { rest: bytes, out: Vec::with_capacity(bytes.len()) }.run(NOT_NUMBERS.as_slice());
    match (valid, repaired == bytes) {
        (true, true) => Some(Cow::Borrowed(bytes)),
        _ => is_json(&repaired).then_some(Cow::Owned(repaired)),
    }
}

/// A document without blanks and a byte order mark around it.
pub(crate) fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii()
}

pub(crate) fn is_json(document: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(document).is_ok()
}

/// Whether a document may have escaped surrogates, which `serde_json` accepts only in pairs.
pub(crate) fn has_surrogates(document: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', document).any(|at| matches!(document.get(at + 1..at + 3), Some(b"ud" | b"uD")))
}

/// Repairs characters in the strings of a document, such as raw line breaks. `None` if it is not JSON even then.
pub(crate) fn strings(text: &str) -> Option<Box<RawValue>> {
    let repaired = Repair { rest: text.as_bytes(), out: Vec::with_capacity(text.len()) }.run(&[]);
    RawValue::from_string(resolve(std::str::from_utf8(&repaired).ok()?)).ok()
}

/// Whether a character belongs to a mark.
pub(crate) fn is_mark(character: char) -> bool {
    (SURROGATE..=ZERO + 15).contains(&u32::from(character))
}

/// Replaces the marks in a text: halves of one character by the character, others by U+FFFD.
pub(crate) fn resolve(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut units, mut bytes) = (Vec::new(), Vec::new());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let mut digits = |count: u32| {
            (0..count).fold(0, |number, _| {
                let digit = characters.next_if(|next| is_mark(*next)).map_or(0, u32::from);
                number * 16 + digit.saturating_sub(ZERO)
            })
        };
        match u32::from(character) {
            SURROGATE => {
                flush_bytes(&mut bytes, &mut out);
                units.push(u16::try_from(0xD800 + digits(3)).unwrap_or(0xD800));
            }
            BYTE => {
                flush_units(&mut units, &mut out);
                bytes.push(u8::try_from(digits(2)).unwrap_or(0xFF));
            }
            _ => {
                flush_units(&mut units, &mut out);
                flush_bytes(&mut bytes, &mut out);
                out.push(if is_mark(character) { char::REPLACEMENT_CHARACTER } else { character });
            }
        }
    }
    flush_units(&mut units, &mut out);
    flush_bytes(&mut bytes, &mut out);
    out
}

fn flush_units(units: &mut Vec<u16>, out: &mut String) {
    out.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

fn flush_bytes(bytes: &mut Vec<u8>, out: &mut String) {
    out.push_str(&String::from_utf8_lossy(bytes));
    bytes.clear();
}

/// One pass over a document.
struct Repair<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
}

impl Repair<'_> {
    fn run(mut self, not_numbers: &[&[u8]]) -> Vec<u8> {
        let mut in_string = false;
        while let Some(&byte) = self.rest.first() {
            let odd = not_numbers.iter().find(|odd| !in_string && self.rest.starts_with(odd));
            match (byte, odd) {
                (_, Some(odd)) => self.replace(odd.len(), b"null"),
                (b'"', _) => {
                    in_string = !in_string;
                    self.copy(1);
                }
                (b'\\', _) if in_string => self.escape(),
                (0..0x20, _) if in_string => self.replace(1, format!("\\u{byte:04x}").as_bytes()),
                (0x80.., _) if in_string => self.wide(byte),
                _ => self.copy(1),
            }
        }
        self.out
    }

    fn escape(&mut self) {
        let unit = |rest: &[u8]| {
            let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
            let all_hex = digits.iter().all(u8::is_ascii_hexdigit);
            all_hex.then(|| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
        };
        let first = unit(self.rest);
        let second = self.rest.get(6..).and_then(unit);
        match (first, second) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => self.copy(12),
            (Some(half @ 0xD800..0xE000), _) => self.mark(6, SURROGATE, u32::from(half) - 0xD800, 3),
            (Some(_), _) => self.copy(6),
            (None, _) if self.rest.get(1).is_some_and(|next| b"\"\\/bfnrt".contains(next)) => self.copy(2),
            // Not an escape: the backslash itself.
            (None, _) => self.replace(1, b"\\\\"),
        }
    }

    /// A character of several bytes, or a byte that is not a part of one.
    fn wide(&mut self, byte: u8) {
        let next = self.rest.get(..self.rest.len().min(4)).unwrap_or_default();
        let valid = next.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        match (valid, next) {
            (Some(character), _) => self.copy(character.len_utf8()),
            // A surrogate as three bytes, as in CESU-8.
            (None, [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..]) => {
                let half = (u32::from(*second & 0x3F) << 6 | u32::from(*third & 0x3F)) - 0x800;
                self.mark(3, SURROGATE, half, 3);
            }
            (None, _) => self.mark(1, BYTE, byte.into(), 2),
        }
    }

    fn copy(&mut self, count: usize) {
        let (copied, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.out.extend_from_slice(copied);
        self.rest = rest;
    }

    fn replace(&mut self, count: usize, by: &[u8]) {
        self.out.extend_from_slice(by);
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn mark(&mut self, count: usize, kind: u32, number: u32, digits: u32) {
        let digits = (0..digits).rev().map(|place| ZERO + (number >> (4 * place) & 15));
        let mark: String = [kind].into_iter().chain(digits).filter_map(char::from_u32).collect();
        self.replace(count, mark.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Option<String> {
        document(bytes).map(|document| resolve(std::str::from_utf8(&document).unwrap()))
    }

    #[test]
    fn odd_characters_and_numbers_are_repaired() {
        for (bytes, repaired) in [
            (br#"{"a":"\ud83d\ude00"}"#.as_slice(), r#"{"a":"\ud83d\ude00"}"#),
            (br#"{"a":"x\ud83d","b":"\uDE00"}"#, "{\"a\":\"x\u{FFFD}\",\"b\":\"\u{FFFD}\"}"),
            (b"{\"a\":\"\x1b[0m\tx\n\"}", r#"{"a":"\u001b[0m\u0009x\u000a"}"#),
            (b"\xEF\xBB\xBF {\"a\":1}", r#"{"a":1}"#),
            (b"{\"a\":\"\xF0\x9F\"}", "{\"a\":\"\u{FFFD}\"}"),
            (b"{\"a\":\"\xED\xA0\xBD\xED\xB8\x80\"}", "{\"a\":\"\u{1F600}\"}"),
            (br#"{"a":NaN,"b":-Infinity,"c":"NaN"}"#, r#"{"a":null,"b":null,"c":"NaN"}"#),
            (br#"{"a":"C:\dir \u00zz"}"#, r#"{"a":"C:\\dir \\u00zz"}"#),
        ] {
            assert_eq!(read(bytes).unwrap(), repaired);
        }
        for damaged in [br#"{"a":"x"#.as_slice(), b"{not json}", b"", br#"{"a":1}}"#] {
            assert_eq!(read(damaged), None);
        }
    }

    proptest! {
        #[test]
        fn a_character_may_be_split_anywhere(text in "\\PC{0,8}", cut in any::<prop::sample::Index>(), utf16 in any::<bool>()) {
            let halves: [Vec<u8>; 2] = if utf16 {
                let units: Vec<u16> = text.encode_utf16().collect();
                let (first, second) = units.split_at(cut.index(units.len() + 1));
                [first, second].map(|half| half.iter().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()).collect())
            } else {
                let (first, second) = text.as_bytes().split_at(cut.index(text.len() + 1));
                [first, second].map(|half| half.iter().flat_map(|byte| {
                    if matches!(byte, b'"' | b'\\') { vec![b'\\', *byte] } else { vec![*byte] }
                }).collect())
            };
            let strings = halves.map(|half| {
                let json = [b"\"", half.as_slice(), b"\""].concat();
                serde_json::from_slice::<String>(&document(&json).unwrap()).unwrap()
            });
            prop_assert_eq!(resolve(&strings.concat()), text);
        }
    }
}
