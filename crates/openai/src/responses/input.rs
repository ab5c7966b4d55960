//! The input of a request as messages.

use std::mem;

use brigade_core::{Arguments, Message, Part, Role, ToolCall, ToolResult};
use brigade_edge::{Object, TextOr};
use serde_json::Value;

use super::input_item::{InputItem, InputRole, ItemMeaning};
use crate::shared::field_error::FieldError;

/// The input of a request, split by purpose.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ResponseInput {
    /// The instructions, and the system and developer messages, which follow the instructions of the agent.
    pub instructions: Vec<String>,
    /// The conversation. The last message is a user's, or has results of tools.
    pub messages: Vec<Message>,
}

/// Puts messages together from items: one reply of a model is several items.
#[derive(Debug, Default)]
struct MessageBuilder {
    input: ResponseInput,
    reply: Vec<Part>,
    results: Vec<ToolResult>,
}

pub(super) fn read_input(
    input: TextOr<Vec<Object<InputItem>>>,
    find: &dyn Fn(&str) -> Option<Value>,
) -> Result<ResponseInput, FieldError> {
    let mut builder = MessageBuilder::default();
    match input {
        TextOr::Text(text) => builder.message(InputRole::User, vec![Part::text(text)]),
        TextOr::Other(items) => {
            for (index, Object(item)) in items.into_iter().enumerate() {
                builder.add(item, &format!("input[{index}]"), find)?;
            }
        }
    }
    builder.end_reply();
    builder.end_results();
    let input = builder.input;
    let is_answerable = input.messages.last().is_some_and(|last| match last.role() {
        Role::User => !is_blank(last),
        Role::Tool => true,
        Role::System | Role::Assistant => false,
    });
    if is_answerable {
        return Ok(input);
    }
    let message = "the last item must be a message with the role \"user\" and some content, or the output of a call";
    Err(FieldError::invalid("input", message))
}

/// Whether a message has neither an image nor a text with anything but white space.
fn is_blank(message: &Message) -> bool {
    message.text().trim().is_empty() && !message.parts().iter().any(|part| matches!(part, Part::Image(_)))
}

impl MessageBuilder {
    fn add(&mut self, item: InputItem, param: &str, find: &dyn Fn(&str) -> Option<Value>) -> Result<(), FieldError> {
        match item.meaning(param)? {
            ItemMeaning::Message(role, parts) => self.message(role, parts),
            ItemMeaning::Call { id, name, arguments } => {
                self.end_results();
                self.reply.push(Part::ToolCall(ToolCall::new(id, name, Arguments::parse(arguments))));
            }
            ItemMeaning::Output { call_id, content } => {
                self.end_reply();
                let call = ToolCall::new(call_id, String::new(), Arguments::default());
                self.results.push(ToolResult::new(&call, content));
            }
            ItemMeaning::Reference(id) => self.referenced(&id, param, find)?,
            ItemMeaning::Nothing => {}
        }
        Ok(())
    }

    fn referenced(&mut self, id: &str, param: &str, find: &dyn Fn(&str) -> Option<Value>) -> Result<(), FieldError> {
        let found = find(id).and_then(|item| serde_json::from_value::<InputItem>(item).ok());
        let item = found.ok_or_else(|| {
            let message = format!("this key has no item `{id}`; send the item itself, or set `store` in its request");
            FieldError::invalid(param, message)
        })?;
        self.add(item, param, &|_| None)
    }

    fn message(&mut self, role: InputRole, parts: Vec<Part>) {
        match role {
            InputRole::System | InputRole::Developer => {
                let text = Message::new(Role::System, parts).text().into_owned();
                self.input.instructions.extend(Some(text).filter(|text| !text.is_empty()));
            }
            InputRole::User => {
                self.end_reply();
                self.end_results();
                self.input.messages.push(Message::new(Role::User, parts));
            }
            // Calls that follow belong to the same reply.
            InputRole::Assistant => {
                self.end_reply();
                self.end_results();
                self.reply = parts;
            }
        }
    }

    fn end_reply(&mut self) {
        if !self.reply.is_empty() {
            let parts = mem::take(&mut self.reply);
            self.input.messages.push(Message::new(Role::Assistant, parts));
        }
    }

    fn end_results(&mut self) {
        if !self.results.is_empty() {
            self.input.messages.push(Message::tool(mem::take(&mut self.results)));
        }
    }
}
