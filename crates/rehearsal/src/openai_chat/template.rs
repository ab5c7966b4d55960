//! What chat templates and strict servers accept: Mistral, vLLM, llama.cpp, Ollama.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::protocol::failure::Failure;

#[derive(Deserialize)]
struct Body {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    arguments: String,
}

/// Checks the order of roles and the arguments of calls.
pub(crate) fn check(body: &[u8]) -> Result<(), Failure> {
    let Ok(Body { messages }) = serde_json::from_slice(body) else { return Ok(()) };
    let mut before = "start";
    for (position, message) in messages.iter().enumerate() {
        let role = message.role.as_str();
        let fits = match role {
            "system" => position == 0,
            "user" => matches!(before, "start" | "system" | "assistant"),
            "assistant" => matches!(before, "user" | "tool"),
            "tool" => matches!(before, "assistant" | "tool"),
            _ => false,
        };
        if !fits {
            let text = format!("Unexpected role '{role}' after role '{before}'");
            return Err(Failure::new(400, "invalid_request_message_order", text).code("3230"));
        }
        let calls = message.tool_calls.as_deref().unwrap_or_default();
        let is_object = |call: &ToolCall| serde_json::from_str::<Map<String, Value>>(&call.function.arguments).is_ok();
        if !calls.iter().all(is_object) {
            return Err(Failure::invalid("Failed to parse tool call arguments as JSON"));
        }
        if role == "assistant" && calls.is_empty() && message.content.as_str().is_some_and(str::is_empty) {
            let text = "Assistant message must have either content or tool_calls, but not none.";
            return Err(Failure::new(400, "invalid_request_assistant_message", text).code("3240"));
        }
        before = role;
    }
    if before == "assistant" {
        let text = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant";
        return Err(Failure::new(400, "invalid_request_message_order", text).code("3230"));
    }
    Ok(())
}
