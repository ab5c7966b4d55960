//! Converts results of servers to content for a model.

use brigade_core::{Image, Part, ToolError, ToolOutput};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

use crate::visible::one_line;

/// The most bytes of one image in base64, which providers refuse beyond it, and the most images of a result.
const IMAGE_BYTES: usize = 5 << 20;
const IMAGES: usize = 4;

/// The image types that all providers read.
const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Written after text that was cut.
const CUT: &str = "\n[cut here: the result is longer]";

/// The result of a call. The text of all parts together has at most `limit` bytes.
pub(crate) fn output(result: CallToolResult, limit: usize) -> Result<ToolOutput, ToolError> {
    let mut content = Content { parts: Vec::new(), left: limit, is_cut: false, images: 0 };
    for block in result.content {
        content.add(block);
    }
    if let Some(value) = result.structured_content.filter(|_| content.parts.is_empty()) {
        content.add_text(value.to_string());
    }
    if result.is_error == Some(true) {
        let texts = content.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.text.as_str()),
            _ => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        let text = if text.trim().is_empty() { "the tool failed and gave no reason".to_owned() } else { text };
        return Err(ToolError::new(text).caused_by("the MCP server reports that the tool failed"));
    }
    let mut output = ToolOutput::text("");
    output.content = content.parts;
    Ok(output)
}

struct Content {
    parts: Vec<Part>,
    /// How many bytes of text may follow.
    left: usize,
    is_cut: bool,
    images: usize,
}

impl Content {
    fn add(&mut self, block: ContentBlock) {
        match block {
            ContentBlock::Text(text) => self.add_text(text.text),
            ContentBlock::Image(image) => self.add_image(image.mime_type, image.data),
            ContentBlock::Audio(audio) => self.leave_out("audio", audio.data.len()),
            ContentBlock::Resource(resource) => match resource.resource {
                ResourceContents::TextResourceContents { uri, text, .. } => {
                    self.add_text(format!("[{}]\n{text}", one_line(&uri, 200)));
                }
                ResourceContents::BlobResourceContents { blob, .. } => self.leave_out("a file", blob.len()),
                _ => self.leave_out("a resource", 0),
            },
            ContentBlock::ResourceLink(link) => {
                self.add_text(format!("[{}: {}]", one_line(&link.name, 200), one_line(&link.uri, 1_000)));
            }
            _ => self.leave_out("content of an unknown kind", 0),
        }
    }

    fn add_text(&mut self, mut text: String) {
        if self.is_cut {
            return;
        }
        if text.len() > self.left {
            text.truncate(text.floor_char_boundary(self.left));
            text.push_str(CUT);
            self.is_cut = true;
        }
        self.left = self.left.saturating_sub(text.len());
        self.parts.push(Part::text(text));
    }

    fn add_image(&mut self, media_type: String, data: String) {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let is_usable = IMAGE_TYPES.contains(&media_type.as_str()) && data.len() <= IMAGE_BYTES && self.images < IMAGES;
        if is_usable && data.bytes().all(is_base64) {
            self.images += 1;
            self.parts.push(Part::Image(Image::Base64 { media_type, data }));
        } else {
            self.leave_out("an image", data.len());
        }
    }

    fn leave_out(&mut self, what: &str, bytes: usize) {
        let size = if bytes > 0 { format!(", {bytes} bytes") } else { String::new() };
        self.add_text(format!("[left out: {what}{size}]"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(content: Vec<ContentBlock>) -> CallToolResult {
        CallToolResult::success(content)
    }

    fn text(output: &ToolOutput) -> String {
        let texts = output.content.iter().map(|part| match part {
            Part::Text(text) => text.text.clone(),
            other => format!("{other:?}"),
        });
        texts.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_long_result_is_cut_at_a_character_and_marked() {
        let blocks = vec![ContentBlock::text("größe"), ContentBlock::text("more"), ContentBlock::text("lost")];
        let output = output(result(blocks), 9).unwrap();
        assert_eq!(text(&output), format!("größe|mo{CUT}"));
    }

    #[test]
    fn content_that_models_cannot_read_is_named() {
        let blocks = vec![
            ContentBlock::audio("AAAA", "audio/wav"),
            ContentBlock::image("<svg>", "image/svg+xml"),
            ContentBlock::embedded_text("file:///a", "inside"),
        ];
        let output = output(result(blocks), 1_000).unwrap();
        assert_eq!(text(&output), "[left out: audio, 4 bytes]|[left out: an image, 5 bytes]|[file:///a]\ninside");
    }

    #[test]
    fn structured_content_stands_in_for_missing_text() {
        let mut only_structured = result(Vec::new());
        only_structured.structured_content = Some(json!({"a": 1}));
        assert_eq!(text(&output(only_structured, 100).unwrap()), r#"{"a":1}"#);
    }

    #[test]
    fn a_failure_is_an_error_for_the_model_and_its_text_is_not_for_operators() {
        let failed = CallToolResult::error(vec![ContentBlock::text("no such issue: 7")]);
        let error = output(failed, 100).unwrap_err();
        assert_eq!(error.to_string(), "no such issue: 7");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "the MCP server reports that the tool failed");
    }
}
