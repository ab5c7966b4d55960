//! Validates the history of a request as the Chat Completions API does, with its error messages.

use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::exchange::content::Content;
use crate::openai_chat::request::{Body, Function, Message};
use crate::protocol::failure::Failure;

const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

pub(crate) fn check(body: &Body<'_>) -> Result<(), Failure> {
    if body.messages.is_empty() {
        let message =
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(Failure::invalid(message).param("messages").code("empty_array"));
    }
    let mut calls = PendingCalls::default();
    for (index, message) in body.messages.iter().enumerate() {
        check_message(index, message)?;
        match message.role.as_str() {
            "tool" => calls.add_result(index, message)?,
            role => {
                calls.finish()?;
                if role == "assistant" {
                    calls.add_calls(index, message)?;
                }
            }
        }
    }
    calls.finish()
}

/// The tool calls of the last assistant message, and their results so far.
#[derive(Default)]
struct PendingCalls<'a> {
    message: usize,
    call_ids: Vec<&'a str>,
    result_ids: HashSet<&'a str>,
    /// The ids of all calls in the history.
    known_ids: HashSet<&'a str>,
}

impl<'a> PendingCalls<'a> {
    fn add_calls(&mut self, index: usize, message: &'a Message) -> Result<(), Failure> {
        self.message = index;
        for (call_index, call) in message.calls().iter().enumerate() {
            check_function(&format!("messages[{index}].tool_calls[{call_index}].function"), &call.function)?;
            if !self.known_ids.insert(&call.id) {
                let message = format!("Duplicate value for 'tool_call_id' of '{}'", call.id);
                return Err(Failure::invalid(message).param(format!("messages.[{index}].tool_calls")));
            }
            self.call_ids.push(&call.id);
        }
        Ok(())
    }

    fn add_result(&mut self, index: usize, message: &'a Message) -> Result<(), Failure> {
        let param = format!("messages.[{index}].role");
        if self.call_ids.is_empty() {
            let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
            return Err(Failure::invalid(message).param(param));
        }
        let Some(id) = message.tool_call_id.as_deref() else {
            let message = format!("Missing required parameter: 'messages[{index}].tool_call_id'.");
            return Err(Failure::invalid(message)
                .param(format!("messages[{index}].tool_call_id"))
                .code("missing_required_parameter"));
        };
        if !self.call_ids.contains(&id) {
            let message =
                format!("Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message.");
            return Err(Failure::invalid(message).param(format!("messages.[{index}].tool_call_id")));
        }
        if !self.result_ids.insert(id) {
            let message = format!("Duplicate value for 'tool_call_id' of '{id}' in message[{index}]");
            return Err(Failure::invalid(message).param(param));
        }
        Ok(())
    }

    /// Fails if a call has no result.
    fn finish(&mut self) -> Result<(), Failure> {
        let missing: Vec<&str> = self.call_ids.drain(..).filter(|id| !self.result_ids.contains(id)).collect();
        self.result_ids.clear();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            missing.join(", ")
        );
        Err(Failure::invalid(message).param(format!("messages.[{}].role", self.message)))
    }
}

fn check_message(index: usize, message: &Message) -> Result<(), Failure> {
    if !ROLES.contains(&message.role.as_str()) {
        let text = format!(
            "Invalid value: '{}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
            message.role
        );
        return Err(Failure::invalid(text).param(format!("messages[{index}].role")).code("invalid_value"));
    }
    let is_missing = matches!(message.content, Content::Missing);
    let may_be_missing = message.role == "assistant" && (message.tool_calls.is_some() || message.refusal.is_some());
    if is_missing && !may_be_missing {
        let text = "Invalid value for 'content': expected a string, got null.";
        return Err(Failure::invalid(text).param(format!("messages.[{index}].content")));
    }
    if message.tool_calls.as_ref().is_some_and(Vec::is_empty) {
        let text = format!(
            "Invalid 'messages[{index}].tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead."
        );
        return Err(Failure::invalid(text).param(format!("messages[{index}].tool_calls")).code("empty_array"));
    }
    Ok(())
}

fn check_function(path: &str, function: &Function) -> Result<(), Failure> {
    let name = &function.name;
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || !name.chars().all(is_valid) {
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
