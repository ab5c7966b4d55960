//! Refuses reasoning that the simulator has not issued.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::exchange::reply::{Part, Reply};
use crate::exchange::request::Request;
use crate::openai_responses::reply::{Item, items};
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::protocol::ids::signature;

/// The signatures and the encrypted reasoning of all replies so far. It grows with the calls, as their log does.
#[derive(Debug, Default)]
pub(crate) struct IssuedReasoning(Mutex<HashSet<String>>);

impl IssuedReasoning {
    /// Remembers the reasoning of a reply.
    pub(crate) fn issue(&self, reply: &Reply, request: &Request) {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match request.dialect {
            WireDialect::Anthropic => issued.extend(reply.parts.iter().filter_map(|part| match part {
                Part::Thinking(thinking) => Some(signature(thinking)),
                Part::Text(_) | Part::Refusal(_) | Part::Call(_) => None,
            })),
            WireDialect::OpenaiResponses => issued.extend(items(reply, request).filter_map(|item| match item {
                Item::Reasoning { encrypted_content, .. } => encrypted_content,
                Item::Call { .. } | Item::Message { .. } => None,
            })),
            // Its reasoning is neither signed nor encrypted.
            WireDialect::OpenaiChat => {}
        }
    }

    /// Fails if the history has reasoning of somebody else. `takes_text` tells whether a Chat Completions server takes the
    /// readable reasoning of every server, as most that show reasoning do.
    pub(crate) fn check(&self, request: &Request, takes_text: bool) -> Result<(), Failure> {
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { return Ok(()) };
        let list = if request.dialect == WireDialect::OpenaiResponses { "input" } else { "messages" };
        for (index, message) in body.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
            match request.dialect {
                WireDialect::Anthropic => self.check_blocks(index, message)?,
                WireDialect::OpenaiResponses => self.check_item(message)?,
                WireDialect::OpenaiChat => check_fields(index, message, takes_text)?,
            }
        }
        Ok(())
    }

    fn check_blocks(&self, index: usize, message: &Value) -> Result<(), Failure> {
        for (block, content) in message["content"].as_array().into_iter().flatten().enumerate() {
            let (field, mark) = match content["type"].as_str() {
                Some("thinking") => ("signature", &content["signature"]),
                Some("redacted_thinking") => ("data", &content["data"]),
                _ => continue,
            };
            if !self.knows(mark) {
                let kind = content["type"].as_str().unwrap_or_default();
                let message = format!("messages.{index}.content.{block}: Invalid `{field}` in `{kind}` block");
                return Err(Failure::invalid(message));
            }
        }
        Ok(())
    }

    fn check_item(&self, item: &Value) -> Result<(), Failure> {
        match &item["encrypted_content"] {
            Value::String(content) if !self.knows(&item["encrypted_content"]) => Err(Failure::unverified(content)),
            _ => Ok(()),
        }
    }

    fn knows(&self, mark: &Value) -> bool {
        let issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mark.as_str().is_some_and(|mark| issued.contains(mark))
    }
}

/// The simulator issues no typed parts in Chat Completions, so all of them are of somebody else. The words are Groq's.
fn check_fields(index: usize, message: &Value, takes_text: bool) -> Result<(), Failure> {
    let fields: &[&str] =
        if takes_text { &["reasoning_details"] } else { &["reasoning_details", "reasoning_content", "reasoning"] };
    match fields.iter().find(|field| message.get(**field).is_some_and(|value| !value.is_null())) {
        None => Ok(()),
        Some(field) => Err(Failure::invalid(format!(
            "'messages.{index}' : for 'role:assistant' the following must be satisfied[('messages.{index}' : property '{field}' is unsupported)]"
        ))),
    }
}
