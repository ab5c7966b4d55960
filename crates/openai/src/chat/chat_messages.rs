//! The messages of `POST /v1/chat/completions`.

use brigade_core::{Message, Part, Role, Task, Transcript};
use brigade_edge::{Object, TextOr};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::shared::{field_error::FieldError, image::image};

/// The messages of a request, split by purpose.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChatConversation {
    /// The system and developer messages, which follow the instructions of the agent.
    pub instructions: String,
    /// The last message, and the conversation before it.
    pub task: Task,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatMessage {
    role: ChatRole,
    content: Option<Content>,
    /// Why an assistant refused to answer.
    refusal: Option<String>,
    #[schemars(length(max = 0))]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    System,
    Developer,
    User,
    Assistant,
    #[schemars(skip)]
    Tool,
    #[schemars(skip)]
    Function,
}

type Content = TextOr<Vec<Object<ContentPart>>>;

/// A part of a message. Which fields it needs depends on its type.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(with = "ContentPartSchema")]
struct ContentPart {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<TextOr<Object<ImageUrl>>>,
}

/// The schema of [`ContentPart`].
#[derive(JsonSchema)]
#[schemars(rename = "ContentPart", tag = "type", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum ContentPartSchema {
    Text { text: String },
    Refusal { refusal: String },
    ImageUrl { image_url: TextOr<Object<ImageUrl>> },
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ImageUrl {
    url: String,
}

impl ChatConversation {
    pub(crate) fn new(messages: Vec<Object<ChatMessage>>) -> Result<Self, FieldError> {
        let (mut instructions, mut history) = (Vec::new(), Vec::new());
        for (index, Object(message)) in messages.into_iter().enumerate() {
            let param = format!("messages[{index}]");
            let has_calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
            match message.role {
                ChatRole::System | ChatRole::Developer if !has_calls => {
                    let parts = message.parts(&param)?;
                    instructions.push(Message::new(Role::System, parts).text().into_owned());
                }
                ChatRole::Assistant if !has_calls => {
                    history.push(Message::new(Role::Assistant, message.parts(&param)?));
                }
                ChatRole::User if !has_calls => history.push(Message::new(Role::User, message.parts(&param)?)),
                ChatRole::System
                | ChatRole::Developer
                | ChatRole::Assistant
                | ChatRole::User
                | ChatRole::Tool
                | ChatRole::Function => {
                    let message =
                        "the tool calls of agents are not part of the conversation; remove tool calls and tool results";
                    return Err(FieldError::unsupported(param.as_str(), message));
                }
            }
        }
        let question = history.pop().filter(|message| message.role() == Role::User && !is_blank(message));
        let question = question.ok_or_else(|| {
            FieldError::invalid("messages", "the last message must have the role \"user\" and some content")
        })?;
        let task = Task::from(question).history(Transcript::repaired(history));
        Ok(Self { instructions: instructions.join("\n\n"), task })
    }
}

/// Whether a message has neither an image nor a text with anything but white space.
fn is_blank(message: &Message) -> bool {
    message.text().trim().is_empty() && !message.parts().iter().any(|part| matches!(part, Part::Image(_)))
}

impl ChatMessage {
    fn parts(self, param: &str) -> Result<Vec<Part>, FieldError> {
        match self.content {
            None => Ok(self.refusal.into_iter().filter(|text| !text.is_empty()).map(Part::text).collect()),
            Some(Content::Text(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
            Some(Content::Other(parts)) => {
                let parts = parts.into_iter().enumerate();
                parts.map(|(index, Object(part))| part.parse(&format!("{param}.content[{index}]"))).collect()
            }
        }
    }
}

impl ContentPart {
    fn parse(self, param: &str) -> Result<Part, FieldError> {
        let Self { r#type: kind, text, refusal, image_url } = self;
        let missing = || FieldError::invalid(param, format!("a part of the type `{kind}` needs the field `{kind}`"));
        match kind.as_str() {
            "text" => text.map(Part::text).ok_or_else(missing),
            // What an assistant said in an earlier turn.
            "refusal" => refusal.map(Part::text).ok_or_else(missing),
            "image_url" => match image_url.ok_or_else(missing)? {
                TextOr::Text(url) | TextOr::Other(Object(ImageUrl { url })) => image(url, param),
            },
            "file" | "input_audio" => {
                let message =
                    format!("agents do not take parts of the type `{kind}`; send its content as text or images");
                Err(FieldError::unsupported(param, message))
            }
            other => {
                let message = format!("unknown type of part `{other}`; use text or image_url");
                Err(FieldError::unsupported(param, message))
            }
        }
    }
}
