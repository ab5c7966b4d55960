//! What the Messages API refuses about a request and its history, in its own words.

use std::collections::HashSet;

use crate::anthropic::request::{Body, Message};
use crate::exchange::request::{Block, Content};
use crate::protocol::failure::Failure;
use crate::protocol::ids::signature;

const THINKING_DOCS: &str = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking";

/// One block and where it stands.
type Placed<'a> = (usize, usize, &'a Block);

pub(crate) fn check(body: &Body<'_>) -> Result<(), Failure> {
    limits(body)?;
    let history = body.history();
    roles(history)?;
    for (at, message) in history.iter().enumerate() {
        contents(at, message, at + 1 == history.len())?;
    }
    if has_blank(&body.system) {
        return refuse("system: text content blocks must be non-empty");
    }
    pairs(history)?;
    let enabled = body.thinking.as_ref().is_some_and(|t| t.kind == "enabled");
    if enabled { leading_thinking(history) } else { Ok(()) }
}

fn refuse<T>(message: impl Into<Box<str>>) -> Result<T, Failure> {
    Err(Failure::invalid(message))
}

fn limits(body: &Body<'_>) -> Result<(), Failure> {
    let Some(max_tokens) = body.max_tokens else {
        return refuse("max_tokens: Field required");
    };
    if max_tokens == 0 {
        return refuse("max_tokens: Input should be greater than or equal to 1");
    }
    if body.messages.is_none() {
        return refuse("messages: Field required");
    }
    let budget = body.thinking.as_ref().and_then(|thinking| thinking.budget_tokens);
    match budget {
        Some(..1024) => refuse("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
        Some(budget) if max_tokens <= budget => refuse(format!(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at {THINKING_DOCS}#max-tokens-and-context-window-size"
        )),
        _ => Ok(()),
    }
}

fn roles(history: &[Message]) -> Result<(), Failure> {
    let Some(first) = history.first() else {
        return refuse("messages: at least one message is required");
    };
    for (at, message) in history.iter().enumerate() {
        match message.role.as_str() {
            "user" | "assistant" => {}
            "system" => {
                return refuse(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.",
                );
            }
            _ => return refuse(format!("messages.{at}.role: Input should be 'user' or 'assistant'")),
        }
    }
    if first.role == "user" { Ok(()) } else { refuse("messages: first message must use the \"user\" role") }
}

fn contents(at: usize, message: &Message, last: bool) -> Result<(), Failure> {
    let assistant = message.role == "assistant";
    if message.content.is_empty() && !(last && assistant) {
        return refuse(format!(
            "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        ));
    }
    if has_blank(&message.content) {
        return refuse("messages: text content blocks must be non-empty");
    }
    if last && assistant && message.content.text().ends_with(char::is_whitespace) {
        return refuse("messages: final assistant content cannot end with trailing whitespace");
    }
    for (place, block) in message.content.blocks().iter().enumerate() {
        let path = format!("messages.{at}.content.{place}");
        match (block.kind.as_str(), assistant) {
            ("thinking" | "redacted_thinking" | "tool_use", false) => {
                return refuse(format!("{path}: `{}` blocks can only be in `assistant` messages", block.kind));
            }
            ("tool_result", true) => {
                return refuse(format!("{path}: `tool_result` blocks can only be in `user` messages"));
            }
            ("thinking", true) => signed(&path, block)?,
            ("tool_use", true) => called(&path, block)?,
            _ => {}
        }
    }
    Ok(())
}

fn has_blank(content: &Content) -> bool {
    let blank = |block: &Block| block.kind == "text" && block.text.as_deref().is_none_or(str::is_empty);
    content.blocks().iter().any(blank)
}

fn signed(path: &str, block: &Block) -> Result<(), Failure> {
    let Some(thinking) = &block.thinking else {
        return refuse(format!("{path}.thinking.thinking: Field required"));
    };
    match &block.signature {
        None => refuse(format!("{path}.thinking.signature: Field required")),
        Some(found) if *found != signature(thinking) => {
            refuse(format!("{path}: Invalid `signature` in `thinking` block"))
        }
        Some(_) => Ok(()),
    }
}

fn called(path: &str, block: &Block) -> Result<(), Failure> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let fits = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty() && text.chars().all(legal));
    if !fits(&block.id) {
        return refuse(format!("{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"));
    }
    if !fits(&block.name) {
        return refuse(format!("{path}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"));
    }
    match &block.input {
        None => refuse(format!("{path}.tool_use.input: Field required")),
        Some(input) if !input.get().starts_with('{') => {
            refuse(format!("{path}.tool_use.input: Input should be a valid dictionary"))
        }
        Some(_) => Ok(()),
    }
}

/// Calls and results pair up. Neighbouring messages of one role count as one, as they do for the
/// API.
fn pairs(history: &[Message]) -> Result<(), Failure> {
    let turns: Vec<Vec<Placed<'_>>> = history
        .chunk_by(|one, next| one.role == next.role)
        .scan(0, |at, run| {
            let start = std::mem::replace(at, *at + run.len());
            Some(placed(start, run))
        })
        .collect();
    let nothing = Vec::new();
    let mut seen = HashSet::new();
    for (number, turn) in turns.iter().enumerate() {
        for (at, place, block) in of_kind(turn, "tool_use") {
            if !seen.insert(block.id.as_deref()) {
                return refuse(format!("messages.{at}.content.{place}: `tool_use` ids must be unique"));
            }
        }
        answered(turn, turns.get(number + 1).unwrap_or(&nothing))?;
        let before = number.checked_sub(1).and_then(|number| turns.get(number));
        expected(turn, before.unwrap_or(&nothing))?;
    }
    Ok(())
}

fn placed(start: usize, run: &[Message]) -> Vec<Placed<'_>> {
    let blocks = |(at, message): (usize, _)| {
        let blocks: &[Block] = Message::blocks(message);
        blocks.iter().enumerate().map(move |(place, block)| (start + at, place, block))
    };
    run.iter().enumerate().flat_map(blocks).collect()
}

fn of_kind<'t, 'a>(turn: &'t [Placed<'a>], kind: &'static str) -> impl Iterator<Item = &'t Placed<'a>> {
    turn.iter().filter(move |(_, _, block)| block.kind == kind)
}

/// Every call of this turn has its result at the head of the next.
fn answered(turn: &[Placed<'_>], next: &[Placed<'_>]) -> Result<(), Failure> {
    let results: Vec<_> = next
        .iter()
        .take_while(|(_, _, block)| block.kind == "tool_result")
        .map(|(_, _, block)| block.tool_use_id.as_deref())
        .collect();
    let missing: Vec<&str> = of_kind(turn, "tool_use")
        .filter(|(_, _, block)| !results.contains(&block.id.as_deref()))
        .filter_map(|(_, _, block)| block.id.as_deref())
        .collect();
    let Some((at, _, _)) = of_kind(turn, "tool_use").next().filter(|_| !missing.is_empty()) else {
        return Ok(());
    };
    refuse(format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        missing.join(", ")
    ))
}

/// Every result of this turn belongs to a call of the turn before, and is the only one for it.
fn expected(turn: &[Placed<'_>], before: &[Placed<'_>]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for (at, place, block) in of_kind(turn, "tool_result") {
        let id = block.tool_use_id.as_deref();
        let path = format!("messages.{at}.content.{place}");
        if !of_kind(before, "tool_use").any(|(_, _, call)| call.id.as_deref() == id) {
            let id = id.unwrap_or_default();
            return refuse(format!(
                "{path}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            ));
        }
        if !seen.insert(id) {
            let id = id.unwrap_or_default();
            return refuse(format!(
                "{path}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
            ));
        }
    }
    Ok(())
}

/// With thinking on, the assistant message whose tool results are now sent must begin with it.
fn leading_thinking(history: &[Message]) -> Result<(), Failure> {
    let with_results =
        history.last().is_some_and(|last| last.content.blocks().iter().any(|block| block.kind == "tool_result"));
    let asked = history.iter().enumerate().rfind(|(_, message)| message.role == "assistant");
    let Some((at, message)) = asked.filter(|_| with_results) else {
        return Ok(());
    };
    match message.content.blocks().first() {
        Some(block) if !matches!(block.kind.as_str(), "thinking" | "redacted_thinking") => refuse(format!(
            "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`. Please consult our documentation at {THINKING_DOCS}",
            block.kind
        )),
        _ => Ok(()),
    }
}
