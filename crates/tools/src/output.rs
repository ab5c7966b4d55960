//! Converts the output of programs and servers to text for a model.

/// Converts bytes to text of at most `limit` bytes, followed by `note`. Invalid UTF-8 is replaced. Never holds more than
/// twice `limit`.
pub(crate) fn to_text(bytes: Vec<u8>, limit: usize, note: &str) -> String {
    let mut text =
        String::from_utf8(bytes).unwrap_or_else(|error| replace_invalid(error.as_bytes(), limit, note.len()));
    text.truncate(text.floor_char_boundary(limit));
    text.reserve_exact(note.len());
    text + note
}

/// Like [`String::from_utf8_lossy`], which could need three times the input's size.
fn replace_invalid(bytes: &[u8], limit: usize, spare: usize) -> String {
    let mut text = String::with_capacity(limit.min(bytes.len() * char::REPLACEMENT_CHARACTER.len_utf8()) + spare);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        text.push_str(valid.get(..valid.floor_char_boundary(limit - text.len())).unwrap_or_default());
        let replacement = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        if text.len() + replacement.len() > limit {
            break;
        }
        text.push_str(replacement);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_is_replaced_within_the_limit() {
        assert_eq!(to_text(b"caf\xe9!".to_vec(), 100, ""), "caf\u{fffd}!");
        assert_eq!(to_text("größer".into(), 4, "…"), "grö…");
        let noise = to_text(vec![0xff; 1 << 20], 1 << 16, "[cut]");
        assert!(noise.ends_with("\u{fffd}[cut]") && noise.capacity() <= (1 << 16) + 5, "{}", noise.capacity());
        let long = to_text(vec![b'x'; 1 << 16], 1 << 16, "[cut]");
        assert_eq!(long.capacity(), (1 << 16) + 5);
    }
}
