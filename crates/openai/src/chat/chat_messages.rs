//! The messages of `POST /v1/chat/completions`.

use brigade_core::{Arguments, Message, Part, Role, Task, ToolCall, ToolResult, Transcript};
use brigade_edge::{Object, TextOr};
use schemars::JsonSchema;
use serde::Deserialize;

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
    /// The calls of the client's tools.
    tool_calls: Option<Vec<Object<ChatToolCall>>>,
    /// The call that a message with the role `tool` has the result of.
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ChatToolCall {
    id: String,
    function: Object<CalledFunction>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    System,
    Developer,
    User,
    Assistant,
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
    pub(crate) fn new(messages: Vec<Object<ChatMessage>>, accepts_tools: bool) -> Result<Self, FieldError> {
        let (mut instructions, mut history) = (Vec::new(), Vec::new());
        for (index, Object(message)) in messages.into_iter().enumerate() {
            let param = format!("messages[{index}]");
            let has_calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
            if (has_calls || message.role == ChatRole::Tool) && !accepts_tools {
                let message =
                    "the tool calls of agents are not part of the conversation; remove tool calls and tool results";
                return Err(FieldError::unsupported(param, message));
            }
            match message.role {
                ChatRole::System | ChatRole::Developer => {
                    let parts = message.parts(&param)?;
                    instructions.push(Message::new(Role::System, parts).text().into_owned());
                }
                ChatRole::Assistant => history.push(message.reply(&param)?),
                ChatRole::User => history.push(Message::new(Role::User, message.parts(&param)?)),
                ChatRole::Tool => add_result(&mut history, message.result(&param)?),
                ChatRole::Function => {
                    let message = "the role `function` is the old name of `tool`; write `tool`, with a `tool_call_id`";
                    return Err(FieldError::unsupported(param, message));
                }
            }
        }
        let task = task(history).ok_or_else(|| {
            FieldError::invalid("messages", "the last message must have the role \"user\" and some content")
        })?;
        Ok(Self { instructions: instructions.join("\n\n"), task })
    }
}

/// Results of the same reply are one message.
fn add_result(history: &mut Vec<Message>, result: ToolResult) {
    let before = history.pop_if(|last| last.role() == Role::Tool);
    let mut results: Vec<_> = before.iter().flat_map(Message::tool_results).cloned().collect();
    results.push(result);
    history.push(Message::tool(results));
}

/// The task, if the last message is a question or has results of tools.
fn task(mut history: Vec<Message>) -> Option<Task> {
    let last = history.last()?;
    match last.role() {
        Role::User if !is_blank(last) => {
            let question = history.pop()?;
            Some(Task::from(question).history(Transcript::repaired(history)))
        }
        Role::Tool => Some(Task::resume(Transcript::repaired(history))),
        Role::User | Role::Assistant | Role::System => None,
    }
}

/// Whether a message has neither an image nor a text with anything but white space.
fn is_blank(message: &Message) -> bool {
    message.text().trim().is_empty() && !message.parts().iter().any(|part| matches!(part, Part::Image(_)))
}

impl ChatMessage {
    /// What an assistant said, and the tools that it called.
    fn reply(mut self, param: &str) -> Result<Message, FieldError> {
        let calls = self.tool_calls.take().unwrap_or_default();
        let mut parts = self.parts(param)?;
        parts.extend(calls.into_iter().map(|Object(ChatToolCall { id, function: Object(function) })| {
            Part::ToolCall(ToolCall::new(id, function.name, Arguments::parse(function.arguments)))
        }));
        Ok(Message::new(Role::Assistant, parts))
    }

    /// The result of a tool.
    fn result(mut self, param: &str) -> Result<ToolResult, FieldError> {
        let id = self.tool_call_id.take().ok_or_else(|| {
            FieldError::invalid(param, "a message with the role `tool` needs the field `tool_call_id`")
        })?;
        let call = ToolCall::new(id, String::new(), Arguments::default());
        Ok(ToolResult::new(&call, self.parts(param)?))
    }

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
