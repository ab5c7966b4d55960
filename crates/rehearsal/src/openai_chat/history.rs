//! What the Chat Completions API refuses about a history, in its own words.

use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::exchange::request::Content;
use crate::openai_chat::request::{Body, Called, Message};
use crate::protocol::failure::Failure;

const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

pub(crate) fn check(body: &Body<'_>) -> Result<(), Failure> {
    if body.messages.is_empty() {
        let message =
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(Failure::invalid(message).param("messages").code("empty_array"));
    }
    let mut open = Open::default();
    for (at, message) in body.messages.iter().enumerate() {
        shape(at, message)?;
        match message.role.as_str() {
            "tool" => open.answer(at, message)?,
            role => {
                open.close()?;
                if role == "assistant" {
                    open.ask(at, message)?;
                }
            }
        }
    }
    open.close()
}

/// The tool calls of the latest assistant message and which of them have been answered.
#[derive(Default)]
struct Open<'a> {
    asked_at: usize,
    asked: Vec<&'a str>,
    answered: HashSet<&'a str>,
    seen: HashSet<&'a str>,
}

impl<'a> Open<'a> {
    fn ask(&mut self, at: usize, message: &'a Message) -> Result<(), Failure> {
        self.asked_at = at;
        for (place, call) in message.calls().iter().enumerate() {
            called(&format!("messages[{at}].tool_calls[{place}].function"), &call.function)?;
            if !self.seen.insert(&call.id) {
                let message = format!("Duplicate value for 'tool_call_id' of '{}'", call.id);
                return Err(Failure::invalid(message).param(format!("messages.[{at}].tool_calls")));
            }
            self.asked.push(&call.id);
        }
        Ok(())
    }

    fn answer(&mut self, at: usize, message: &'a Message) -> Result<(), Failure> {
        let param = format!("messages.[{at}].role");
        if self.asked.is_empty() {
            let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
            return Err(Failure::invalid(message).param(param));
        }
        let Some(id) = message.tool_call_id.as_deref() else {
            let message = format!("Missing required parameter: 'messages[{at}].tool_call_id'.");
            return Err(Failure::invalid(message)
                .param(format!("messages[{at}].tool_call_id"))
                .code("missing_required_parameter"));
        };
        if !self.asked.contains(&id) {
            let message =
                format!("Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message.");
            return Err(Failure::invalid(message).param(format!("messages.[{at}].tool_call_id")));
        }
        if !self.answered.insert(id) {
            let message = format!("Duplicate value for 'tool_call_id' of '{id}' in message[{at}]");
            return Err(Failure::invalid(message).param(param));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        let missing: Vec<&str> = self.asked.drain(..).filter(|id| !self.answered.contains(id)).collect();
        self.answered.clear();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            missing.join(", ")
        );
        Err(Failure::invalid(message).param(format!("messages.[{}].role", self.asked_at)))
    }
}

fn shape(at: usize, message: &Message) -> Result<(), Failure> {
    if !ROLES.contains(&message.role.as_str()) {
        let text = format!(
            "Invalid value: '{}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
            message.role
        );
        return Err(Failure::invalid(text).param(format!("messages[{at}].role")).code("invalid_value"));
    }
    let silent = matches!(message.content, Content::Missing);
    let excused = message.role == "assistant" && (message.tool_calls.is_some() || message.refusal.is_some());
    if silent && !excused {
        let text = "Invalid value for 'content': expected a string, got null.";
        return Err(Failure::invalid(text).param(format!("messages.[{at}].content")));
    }
    if message.tool_calls.as_ref().is_some_and(Vec::is_empty) {
        let text = format!(
            "Invalid 'messages[{at}].tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead."
        );
        return Err(Failure::invalid(text).param(format!("messages[{at}].tool_calls")).code("empty_array"));
    }
    Ok(())
}

fn called(path: &str, function: &Called) -> Result<(), Failure> {
    let name = &function.name;
    let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || !name.chars().all(legal) {
        let text = format!(
            "Invalid '{path}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        );
        return Err(Failure::invalid(text).param(format!("{path}.name")).code("invalid_value"));
    }
    let is_text = |raw: &RawValue| raw.get().starts_with('"');
    if !function.arguments.as_deref().is_some_and(is_text) {
        let text = format!("Invalid type for '{path}.arguments': expected a string.");
        return Err(Failure::invalid(text).param(format!("{path}.arguments")).code("invalid_type"));
    }
    Ok(())
}
