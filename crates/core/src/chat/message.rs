//! Messages and their parts.

use std::{borrow::Cow, fmt, sync::Arc, sync::OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{Dialect, RawJson, chat::encoded::Encodings, chat::token_bound::TokenBound};

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The system prompt. A transcript does not contain it.
    System,
    /// The user, or a program on behalf of one.
    User,
    /// The model.
    Assistant,
    /// The results of the tool calls in the message before.
    Tool,
}

/// One message of a conversation. It is immutable and cheap to clone.
#[derive(Clone)]
pub struct Message(pub(super) Arc<Inner>);

pub(super) struct Inner {
    role: Role,
    parts: Vec<Part>,
    size_bytes: usize,
    pub(super) bound: OnceLock<TokenBound>,
    encodings: Encodings,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text(TextPart),
    /// The model's reasoning, if the provider shows it.
    Thinking(TextPart),
    /// A call of a tool by the model.
    ToolCall(ToolCall),
    /// The result of a tool call.
    ToolResult(ToolResult),
    /// An image.
    Image(Image),
    /// An item that only its provider understands. It is sent back to this provider unchanged, and to no other.
    Opaque(ProviderData),
}

/// Text, with the provider's own form of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TextPart {
    /// The text; empty for reasoning that the provider withholds.
    pub text: String,
    /// The provider's own form, if the text alone would lose something: citations, annotations, a signature, encrypted
    /// reasoning. It is sent back unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ProviderData>,
}

/// A call of a tool by a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// Identifies the call within a transcript. Its result has the same id.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments, not yet checked against the tool's schema.
    pub arguments: Arguments,
    /// The provider's own form of this part, if the fields above would lose something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ProviderData>,
}

/// Arguments as the model wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// A JSON document.
    Json(RawJson),
    /// Text that is not valid JSON, because a token limit cut it off or the model made a mistake. Such a call is not run.
    Malformed(String),
}

/// The result of one tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// The id of the call that this answers.
    pub call_id: String,
    /// The tool's name.
    pub name: String,
    /// Text and images.
    pub content: Vec<Part>,
    /// Whether the call failed. The content then tells the model why.
    #[serde(default)]
    pub is_error: bool,
}

/// An image for a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// An address that the provider fetches the image from.
    Url(String),
    /// The image itself.
    Base64 {
        /// For example `image/png`.
        media_type: String,
        /// The bytes in standard base64.
        data: String,
    },
}

/// Data in a provider's own format, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProviderData {
    /// The wire format, as in [`Dialect::name`]. The provider's client appends `@` and a mark if only the account and
    /// model that made the data can read it.
    pub dialect: Cow<'static, str>,
    /// The provider's JSON.
    pub raw: RawJson,
}

setters!(TextPart { data: Option<ProviderData> });
setters!(ToolCall { data: Option<ProviderData> });
setters!(ToolResult { content: Vec<Part>, is_error: bool });

impl Message {
    /// A message that consists of these parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        let size_bytes = parts.iter().map(Part::size_bytes).sum();
        Self(Arc::new(Inner { role, parts, size_bytes, bound: OnceLock::new(), encodings: Encodings::default() }))
    }

    /// A system prompt.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Part::text(text)])
    }

    /// A message from the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::text(text)])
    }

    /// A message from the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Part::text(text)])
    }

    /// A message with the results of tool calls.
    pub fn tool(results: Vec<ToolResult>) -> Self {
        Self::new(Role::Tool, results.into_iter().map(Part::ToolResult).collect())
    }

    /// The author.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// The text parts, joined. Reasoning and tool calls are not included.
    pub fn text(&self) -> Cow<'_, str> {
        let mut texts = self.parts().iter().filter_map(Part::as_text);
        match (texts.next(), texts.next()) {
            (None, _) => Cow::Borrowed(""),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
        }
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts().iter().filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None })
    }

    /// The tool results, in order.
    pub fn tool_results(&self) -> impl Iterator<Item = &ToolResult> {
        self.parts().iter().filter_map(|part| if let Part::ToolResult(result) = part { Some(result) } else { None })
    }

    /// The approximate size of the message in a request. Token estimates are based on it.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// Appends the message, encoded in `dialect`, to `out`. `encode` is called only if the bytes are not cached; the cache
    /// has room for two dialects.
    pub fn write_encoded<E>(
        &self,
        dialect: Dialect,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&Self, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.encodings.write(dialect, out, |out| encode(self, out))
    }
}

impl<T: Into<String>> From<T> for Message {
    /// A message from the user.
    fn from(text: T) -> Self {
        Self::user(text)
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.role() == other.role() && self.parts() == other.parts())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("role", &self.role()).field("parts", &self.parts()).finish()
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stored { role: self.role(), parts: Cow::Borrowed(self.parts()) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { role, parts } = Stored::deserialize(deserializer)?;
        Ok(Self::new(role, parts.into_owned()))
    }
}

/// The stored form of a message.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    role: Role,
    parts: Cow<'a, [Part]>,
}

impl Part {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextPart::new(text))
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(&text.text),
            Self::Thinking(_) | Self::ToolCall(_) | Self::ToolResult(_) | Self::Image(_) | Self::Opaque(_) => None,
        }
    }

    fn size_bytes(&self) -> usize {
        let size_of = |data: &Option<ProviderData>| data.as_ref().map_or(0, |data| data.raw.get().len());
        match self {
            Self::Text(text) => text.text.len(),
            Self::Thinking(thinking) => thinking.text.len() + size_of(&thinking.data),
            Self::ToolCall(call) => {
                call.id.len() + call.name.len() + call.arguments.as_str().len() + size_of(&call.data)
            }
            Self::ToolResult(result) => {
                result.call_id.len() + result.content.iter().map(Self::size_bytes).sum::<usize>()
            }
            Self::Image(_) => Image::SIZE_BYTES,
            Self::Opaque(data) => data.raw.get().len(),
        }
    }
}

impl TextPart {
    /// Text without a provider's own form.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), data: None }
    }
}

impl ToolCall {
    /// A call of the tool `name`.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: Arguments) -> Self {
        Self { id: id.into(), name: name.into(), arguments, data: None }
    }
}

impl ProviderData {
    /// JSON in this wire format.
    pub fn new(dialect: impl Into<Cow<'static, str>>, raw: RawJson) -> Self {
        Self { dialect: dialect.into(), raw }
    }
}

impl ToolResult {
    /// The result of a call that succeeded.
    pub fn new(call: &ToolCall, content: Vec<Part>) -> Self {
        Self { call_id: call.id.clone(), name: call.name.clone(), content, is_error: false }
    }

    /// The result of a call that failed, with the reason.
    pub fn error(call: &ToolCall, why: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::new(call, vec![Part::text(why)]) }
    }

    /// The text parts, one per line.
    pub fn text(&self) -> String {
        let texts: Vec<_> = self.content.iter().filter_map(Part::as_text).collect();
        texts.join("\n")
    }
}

impl Image {
    /// The size that every image counts as. Vendors bill an image by its area, at most about 1,600 tokens, and a token
    /// counts as four bytes.
    const SIZE_BYTES: usize = 6_400;
}

impl Arguments {
    /// Parses the text that a model wrote. An empty text means `{}`. Malformed text is kept as it is.
    pub fn parse(text: String) -> Self {
        if text.trim().is_empty() {
            return Self::default();
        }
        match serde_json::from_str::<Box<RawValue>>(&text) {
            Ok(raw) => Self::Json(raw.into()),
            Err(_) => Self::Malformed(text),
        }
    }

    /// Whether the text is the beginning of a JSON document that was cut off.
    pub fn are_truncated(&self) -> bool {
        match self {
            Self::Json(_) => false,
            Self::Malformed(text) => serde_json::from_str::<IgnoredAny>(text).is_err_and(|error| error.is_eof()),
        }
    }

    /// The text as the model wrote it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Json(raw) => raw.get(),
            Self::Malformed(text) => text,
        }
    }
}

impl Default for Arguments {
    fn default() -> Self {
        Self::Json(RawJson::empty_object())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_can_be_stored_and_loaded() {
        let message = Message::new(
            Role::Assistant,
            vec![
                Part::Thinking(TextPart { text: "hm".into(), data: None }),
                Part::text("Let me look."),
                Part::ToolCall(ToolCall::new("c1", "lookup", Arguments::parse("{\"q\": 1}".into()))),
            ],
        );
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }

    #[test]
    fn empty_arguments_are_an_empty_object_and_malformed_ones_are_kept_as_text() {
        assert_eq!(Arguments::parse("  ".into()), Arguments::default());
        assert_eq!(Arguments::parse("{\"a\":".into()), Arguments::Malformed("{\"a\":".into()));
        let truncated =
            ["{\"a\":", "{\"a\":\"b", "{\"a\":NaN}", "{}"].map(|text| Arguments::parse(text.into()).are_truncated());
        assert_eq!(truncated, [true, true, false, false]);
    }

    #[test]
    fn only_text_parts_are_joined() {
        let parts = vec![Part::text("a"), Part::Thinking(TextPart::default()), Part::text("b"), Part::text("c")];
        assert_eq!(Message::new(Role::Assistant, parts).text(), "abc");
    }
}
