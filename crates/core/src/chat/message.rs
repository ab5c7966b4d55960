//! What was said: messages and their parts.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{Dialect, RawJson, chat::encoded::Encodings};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Standing instructions. They travel beside a transcript, never inside one.
    System,
    /// A person, or a program that speaks for one.
    User,
    /// The model.
    Assistant,
    /// Results of the tools that the message before asked for.
    Tool,
}

/// One message. It never changes once made and is cheap to clone.
#[derive(Clone)]
pub struct Message(Arc<Inner>);

struct Inner {
    role: Role,
    parts: Vec<Part>,
    size_bytes: usize,
    encodings: Encodings,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text(TextPart),
    /// The model's reasoning, as far as the provider shows it.
    Thinking(TextPart),
    /// The model asks for a tool to be run.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// A picture.
    Image(Image),
    /// A provider's item that only this provider understands. It goes back to it unchanged and to nobody else.
    Opaque(ProviderData),
}

/// The text of a part, with the provider's own form of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextPart {
    /// The text; empty for reasoning that the provider withholds.
    pub text: String,
    /// The provider's own form, where plain text would lose something: citations, annotations, a signature, encrypted
    /// reasoning. It is sent back unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ProviderData>,
}

/// A request of the model to run a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Pairs the call with its result; unique within a transcript.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments.
    pub arguments: Arguments,
    /// The provider's own form of this part, where the fields above would lose something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ProviderData>,
}

/// Arguments as the model wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// A JSON document.
    Json(RawJson),
    /// Text that is no JSON: cut off by a token limit, or malformed. A call with such arguments is never run.
    Malformed(String),
}

/// The answer to one tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call that this answers.
    pub call_id: String,
    /// The tool's name.
    pub name: String,
    /// Text and images.
    pub content: Vec<Part>,
    /// Whether the tool failed. The content then says why, for the model to read.
    #[serde(default)]
    pub is_error: bool,
}

/// A picture given to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// An address that the provider fetches.
    Url(String),
    /// The picture itself.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// The bytes in standard base64.
        data: String,
    },
}

/// Something in a provider's own format, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderData {
    /// The wire format it belongs to, as in [`Dialect::name`].
    pub dialect: Cow<'static, str>,
    /// The provider's JSON, byte for byte.
    pub raw: RawJson,
}

impl Message {
    /// A message of the given parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        let size_bytes = parts.iter().map(Part::size_bytes).sum();
        Self(Arc::new(Inner { role, parts, size_bytes, encodings: Encodings::default() }))
    }

    /// Standing instructions.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Part::text(text)])
    }

    /// Words of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::text(text)])
    }

    /// Words of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Part::text(text)])
    }

    /// Tool results.
    pub fn tool(results: Vec<ToolResult>) -> Self {
        Self::new(Role::Tool, results.into_iter().map(Part::ToolResult).collect())
    }

    /// Who speaks.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// What is said, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// All text parts joined; reasoning and tool calls are left out.
    pub fn text(&self) -> Cow<'_, str> {
        let mut texts = self.parts().iter().filter_map(Part::as_text);
        match (texts.next(), texts.next()) {
            (None, _) => Cow::Borrowed(""),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
        }
    }

    /// The tools that this message asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts().iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The tool results in this message, in order.
    pub fn tool_results(&self) -> impl Iterator<Item = &ToolResult> {
        self.parts().iter().filter_map(|part| match part {
            Part::ToolResult(result) => Some(result),
            _ => None,
        })
    }

    /// Roughly how many bytes this message is on the wire; the base of token estimates.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// Appends this message in `dialect` to `out`; `encode` is called only the first time.
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
    /// Words of the user.
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

/// A message as sessions keep it.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    role: Role,
    parts: Cow<'a, [Part]>,
}

impl Part {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextPart { text: text.into(), data: None })
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(&text.text),
            Self::Thinking(_) | Self::ToolCall(_) | Self::ToolResult(_) | Self::Image(_) | Self::Opaque(_) => None,
        }
    }

    fn size_bytes(&self) -> usize {
        let data = |data: &Option<ProviderData>| data.as_ref().map_or(0, |data| data.raw.get().len());
        match self {
            Self::Text(text) => text.text.len(),
            Self::Thinking(thinking) => thinking.text.len() + data(&thinking.data),
            Self::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.as_str().len() + data(&call.data),
            Self::ToolResult(result) => {
                result.call_id.len() + result.content.iter().map(Self::size_bytes).sum::<usize>()
            }
            Self::Image(_) => Image::SIZE_BYTES,
            Self::Opaque(data) => data.raw.get().len(),
        }
    }
}

impl ToolCall {
    /// A call of the tool `name`.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: Arguments) -> Self {
        Self { id: id.into(), name: name.into(), arguments, data: None }
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
    /// Vendors bill a picture by its area, at most some 1,600 tokens, whatever its bytes; four bytes are one token.
    const SIZE_BYTES: usize = 6_400;
}

impl Arguments {
    /// Reads what a model wrote. Nothing at all means no arguments, `{}`; what does not parse is kept as text.
    pub fn parse(text: String) -> Self {
        if text.trim().is_empty() {
            return Self::default();
        }
        match serde_json::from_str::<Box<RawValue>>(&text) {
            Ok(raw) => Self::Json(raw.into()),
            Err(_) => Self::Malformed(text),
        }
    }

    /// Whether the document breaks off before its end.
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
    fn a_message_survives_storage() {
        let message = Message::new(
            Role::Assistant,
            vec![
                Part::Thinking(TextPart { text: "hm".into(), data: None }),
                Part::text("Let me look."),
                Part::ToolCall(ToolCall {
                    id: "c1".into(),
                    name: "lookup".into(),
                    arguments: Arguments::parse("{\"q\": 1}".into()),
                    data: None,
                }),
            ],
        );
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }

    #[test]
    fn empty_arguments_mean_none_and_half_a_document_is_kept_as_text() {
        assert_eq!(Arguments::parse("  ".into()), Arguments::default());
        assert_eq!(Arguments::parse("{\"a\":".into()), Arguments::Malformed("{\"a\":".into()));
        let truncated =
            ["{\"a\":", "{\"a\":\"b", "{\"a\":NaN}", "{}"].map(|text| Arguments::parse(text.into()).are_truncated());
        assert_eq!(truncated, [true, true, false, false]);
    }

    #[test]
    fn text_joins_the_text_parts_only() {
        let parts = vec![Part::text("a"), Part::Thinking(TextPart::default()), Part::text("b"), Part::text("c")];
        assert_eq!(Message::new(Role::Assistant, parts).text(), "abc");
    }
}
