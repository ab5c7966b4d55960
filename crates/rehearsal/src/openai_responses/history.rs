//! Validates the input of a request as the Responses API does, with its error messages.

use std::collections::HashSet;

use crate::openai_responses::request::Item;
use crate::protocol::failure::Failure;
use crate::protocol::ids::encrypted_content;

pub(crate) fn check(items: &[Item], stored: bool) -> Result<(), Failure> {
    let mut ids = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        check_id(index, item)?;
        check_parts(index, item)?;
        if let Some(id) = item.id.as_deref().filter(|id| !ids.insert(*id)) {
            return Err(duplicate(id));
        }
        if item.kind() == "reasoning" {
            check_reasoning(item, items.get(index + 1), stored)?;
        }
    }
    check_pairs(items)
}

fn input_error(message: String) -> Failure {
    Failure::invalid(message).param("input")
}

fn duplicate(id: &str) -> Failure {
    input_error(format!("Duplicate item found with id {id}. Remove duplicate items from your input and try again."))
}

/// Ids start with the prefix that the API gives them.
fn check_id(index: usize, item: &Item) -> Result<(), Failure> {
    let prefix = match item.kind() {
        "function_call" => "fc",
        "reasoning" => "rs",
        "message" => "msg",
        _ => return Ok(()),
    };
    match &item.id {
        Some(id) if !id.starts_with(prefix) => Err(Failure::invalid(format!(
            "Invalid 'input[{index}].id': '{id}'. Expected an ID that begins with '{prefix}'."
        ))
        .param(format!("input[{index}].id"))
        .code("invalid_value")),
        _ => Ok(()),
    }
}

/// The types of a message's parts depend on its direction: `input_text` or `output_text`.
fn check_parts(index: usize, item: &Item) -> Result<(), Failure> {
    let supported = match (item.kind(), item.role.as_str()) {
        ("message", "assistant") => ["output_text", "refusal", "refusal"],
        ("message", _) => ["input_text", "input_image", "input_file"],
        _ => return Ok(()),
    };
    for (part, block) in item.content.blocks().iter().enumerate() {
        if !supported.contains(&block.kind.as_str()) {
            return Err(Failure::invalid(format!(
                "Invalid value: '{}'. Supported values are: '{}'.",
                block.kind,
                supported.join("', '")
            ))
            .param(format!("input[{index}].content[{part}].type"))
            .code("invalid_value"));
        }
    }
    Ok(())
}

/// A reasoning item comes back unchanged, followed by the item that the model produced after it.
fn check_reasoning(item: &Item, next: Option<&Item>, stored: bool) -> Result<(), Failure> {
    let id = item.id.as_deref().unwrap_or_default();
    match item.encrypted_content.as_deref() {
        Some(content) if content != encrypted_content(id) => {
            return Err(Failure::unverified(content));
        }
        None if !stored => {
            let message = format!(
                "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
            );
            return Err(Failure::new(404, "invalid_request_error", message).param("input"));
        }
        _ => {}
    }
    if next.is_some_and(Item::is_from_model) {
        return Ok(());
    }
    Err(input_error(format!("Item '{id}' of type 'reasoning' was provided without its required following item.")))
}

/// Each call has exactly one output, and each output has a call.
fn check_pairs(items: &[Item]) -> Result<(), Failure> {
    let mut called = HashSet::new();
    let mut answered = HashSet::new();
    for item in items {
        let id = item.call_id.as_deref().unwrap_or_default();
        match item.kind() {
            "function_call" if !called.insert(id) => return Err(duplicate(id)),
            "function_call_output" if !called.contains(id) => {
                return Err(input_error(format!("No tool call found for function call output with call_id {id}.")));
            }
            "function_call_output" if !answered.insert(id) => return Err(duplicate(id)),
            _ => {}
        }
    }
    let calls = items.iter().filter(|item| item.kind() == "function_call");
    let mut ids = calls.map(|item| item.call_id.as_deref().unwrap_or_default());
    match ids.find(|id| !answered.contains(id)) {
        Some(id) => Err(input_error(format!("No tool output found for function call {id}."))),
        None => Ok(()),
    }
}
