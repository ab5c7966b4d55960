//! What programs and servers write, as text for a model.

/// The bytes as text, and `mark` behind it. What is no text in them is replaced; neither that nor the mark makes it grow
/// beyond `most` bytes and the mark, so that no more than twice `most` is ever held.
pub(super) fn text(bytes: Vec<u8>, most: usize, mark: &str) -> String {
    let mut text = String::from_utf8(bytes).unwrap_or_else(|error| replaced(error.as_bytes(), most, mark.len()));
    text.truncate(text.floor_char_boundary(most));
    text.reserve_exact(mark.len());
    text + mark
}

fn replaced(bytes: &[u8], most: usize, spare: usize) -> String {
    let mut text = String::with_capacity(most.min(bytes.len() * char::REPLACEMENT_CHARACTER.len_utf8()) + spare);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        text.push_str(valid.get(..valid.floor_char_boundary(most - text.len())).unwrap_or_default());
        let replacement = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        if text.len() + replacement.len() > most {
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
    fn what_is_no_text_is_replaced_and_takes_no_more_room_than_there_is() {
        assert_eq!(text(b"caf\xe9!".to_vec(), 100, ""), "caf\u{fffd}!");
        assert_eq!(text("größer".into(), 4, "…"), "grö…");
        let noise = text(vec![0xff; 1 << 20], 1 << 16, "[cut]");
        assert!(noise.ends_with("\u{fffd}[cut]") && noise.capacity() <= (1 << 16) + 5, "{}", noise.capacity());
        let long = text(vec![b'x'; 1 << 16], 1 << 16, "[cut]");
        assert_eq!(long.capacity(), (1 << 16) + 5);
    }
}
