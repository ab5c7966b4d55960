//! Validates a request and its history as the Messages API does, with its error messages.

use std::collections::HashSet;

use crate::anthropic::request::{Body, Message};
use crate::exchange::content::{Block, Content};
use crate::protocol::failure::Failure;
use crate::protocol::ids::signature;

const THINKING_DOCS: &str = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking";

/// A block and its position in the history.
struct PlacedBlock<'a> {
    message: usize,
    index: usize,
    block: &'a Block,
}

pub(crate) fn check(body: &Body<'_>) -> Result<(), Failure> {
    check_limits(body)?;
    let history = body.history();
    check_roles(history)?;
    for (index, message) in history.iter().enumerate() {
        check_content(index, message, index + 1 == history.len())?;
    }
    if has_empty_text(&body.system) {
        return reject("system: text content blocks must be non-empty");
    }
    check_pairs(history)?;
    let thinks = body.thinking.as_ref().is_some_and(|thinking| thinking.kind == "enabled");
    if thinks { check_leading_thinking(history) } else { Ok(()) }
}

fn reject<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::invalid(message))
}

fn check_limits(body: &Body<'_>) -> Result<(), Failure> {
    let Some(max_tokens) = body.max_tokens else {
        return reject("max_tokens: Field required");
    };
    if max_tokens == 0 {
        return reject("max_tokens: Input should be greater than or equal to 1");
    }
    if body.messages.is_none() {
        return reject("messages: Field required");
    }
    let budget = body.thinking.as_ref().and_then(|thinking| thinking.budget_tokens);
    match budget {
        Some(..1024) => reject("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
        Some(budget) if max_tokens <= budget => reject(format!(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at {THINKING_DOCS}#max-tokens-and-context-window-size"
        )),
        _ => Ok(()),
    }
}

fn check_roles(history: &[Message]) -> Result<(), Failure> {
    let Some(first) = history.first() else {
        return reject("messages: at least one message is required");
    };
    for (index, message) in history.iter().enumerate() {
        match message.role.as_str() {
            "user" | "assistant" => {}
            "system" => {
                return reject(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.",
                );
            }
            _ => return reject(format!("messages.{index}.role: Input should be 'user' or 'assistant'")),
        }
    }
    if first.role == "user" { Ok(()) } else { reject("messages: first message must use the \"user\" role") }
}

fn check_content(index: usize, message: &Message, is_last: bool) -> Result<(), Failure> {
    let is_assistant = message.role == "assistant";
    if message.content.is_empty() && !(is_last && is_assistant) {
        return reject(format!(
            "messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        ));
    }
    if has_empty_text(&message.content) {
        return reject("messages: text content blocks must be non-empty");
    }
    if is_last && is_assistant && message.content.text().ends_with(char::is_whitespace) {
        return reject("messages: final assistant content cannot end with trailing whitespace");
    }
    for (block_index, block) in message.content.blocks().iter().enumerate() {
        let path = format!("messages.{index}.content.{block_index}");
        match (block.kind.as_str(), is_assistant) {
            ("thinking" | "redacted_thinking" | "tool_use", false) => {
                return reject(format!("{path}: `{}` blocks can only be in `assistant` messages", block.kind));
            }
            ("tool_result", true) => {
                return reject(format!("{path}: `tool_result` blocks can only be in `user` messages"));
            }
            ("thinking", true) => check_signature(&path, block)?,
            ("tool_use", true) => check_call(&path, block)?,
            _ => {}
        }
    }
    Ok(())
}

fn has_empty_text(content: &Content) -> bool {
    let is_empty = |block: &Block| block.kind == "text" && block.text.as_deref().is_none_or(str::is_empty);
    content.blocks().iter().any(is_empty)
}

fn check_signature(path: &str, block: &Block) -> Result<(), Failure> {
    let Some(thinking) = &block.thinking else {
        return reject(format!("{path}.thinking.thinking: Field required"));
    };
    match &block.signature {
        None => reject(format!("{path}.thinking.signature: Field required")),
        Some(found) if *found != signature(thinking) => {
            reject(format!("{path}: Invalid `signature` in `thinking` block"))
        }
        Some(_) => Ok(()),
    }
}

fn check_call(path: &str, block: &Block) -> Result<(), Failure> {
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let matches =
        |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty() && text.chars().all(is_valid));
    if !matches(&block.id) {
        return reject(format!("{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"));
    }
    if !matches(&block.name) {
        return reject(format!("{path}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"));
    }
    match &block.input {
        None => reject(format!("{path}.tool_use.input: Field required")),
        Some(input) if !input.get().starts_with('{') => {
            reject(format!("{path}.tool_use.input: Input should be a valid dictionary"))
        }
        Some(_) => Ok(()),
    }
}

/// Each tool call has its result in the next turn. Consecutive messages of one role are one turn, as they are for the API.
fn check_pairs(history: &[Message]) -> Result<(), Failure> {
    let mut turns: Vec<Vec<PlacedBlock<'_>>> = Vec::new();
    let mut last_role = "";
    for (message, Message { role, content }) in history.iter().enumerate() {
        if *role != last_role {
            turns.push(Vec::new());
        }
        last_role = role;
        let blocks = content.blocks().iter().enumerate().map(|(index, block)| PlacedBlock { message, index, block });
        if let Some(turn) = turns.last_mut() {
            turn.extend(blocks);
        }
    }
    let mut ids = HashSet::new();
    let mut previous: &[PlacedBlock<'_>] = &[];
    for (number, turn) in turns.iter().enumerate() {
        for PlacedBlock { message, index, block } in of_kind(turn, "tool_use") {
            if !ids.insert(block.id.as_deref()) {
                return reject(format!("messages.{message}.content.{index}: `tool_use` ids must be unique"));
            }
        }
        check_calls_have_results(turn, turns.get(number + 1).map_or(&[], Vec::as_slice))?;
        check_results_have_calls(turn, previous)?;
        previous = turn;
    }
    Ok(())
}

fn of_kind<'t, 'a>(turn: &'t [PlacedBlock<'a>], kind: &'static str) -> impl Iterator<Item = &'t PlacedBlock<'a>> {
    turn.iter().filter(move |placed| placed.block.kind == kind)
}

/// Each call of this turn has its result at the start of the next turn.
fn check_calls_have_results(turn: &[PlacedBlock<'_>], next: &[PlacedBlock<'_>]) -> Result<(), Failure> {
    let results: Vec<_> = next
        .iter()
        .take_while(|placed| placed.block.kind == "tool_result")
        .map(|placed| placed.block.tool_use_id.as_deref())
        .collect();
    let missing: Vec<&str> = of_kind(turn, "tool_use")
        .filter(|call| !results.contains(&call.block.id.as_deref()))
        .filter_map(|call| call.block.id.as_deref())
        .collect();
    let Some(first) = of_kind(turn, "tool_use").next().filter(|_| !missing.is_empty()) else {
        return Ok(());
    };
    reject(format!(
        "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        first.message,
        missing.join(", ")
    ))
}

/// Each result of this turn belongs to a call of the previous turn, and is its only result.
fn check_results_have_calls(turn: &[PlacedBlock<'_>], previous: &[PlacedBlock<'_>]) -> Result<(), Failure> {
    let mut ids = HashSet::new();
    for PlacedBlock { message, index, block } in of_kind(turn, "tool_result") {
        let id = block.tool_use_id.as_deref();
        let path = format!("messages.{message}.content.{index}");
        if !of_kind(previous, "tool_use").any(|call| call.block.id.as_deref() == id) {
            let id = id.unwrap_or_default();
            return reject(format!(
                "{path}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            ));
        }
        if !ids.insert(id) {
            let id = id.unwrap_or_default();
            return reject(format!(
                "{path}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
            ));
        }
    }
    Ok(())
}

/// If thinking is enabled, the assistant message whose tool results are sent must start with a thinking block.
fn check_leading_thinking(history: &[Message]) -> Result<(), Failure> {
    let sends_results =
        history.last().is_some_and(|last| last.content.blocks().iter().any(|block| block.kind == "tool_result"));
    let last_reply = history.iter().enumerate().rfind(|(_, message)| message.role == "assistant");
    let Some((index, message)) = last_reply.filter(|_| sends_results) else {
        return Ok(());
    };
    match message.content.blocks().first() {
        Some(block) if !matches!(block.kind.as_str(), "thinking" | "redacted_thinking") => reject(format!(
            "messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`. Please consult our documentation at {THINKING_DOCS}",
            block.kind
        )),
        _ => Ok(()),
    }
}
