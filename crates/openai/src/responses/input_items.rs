//! The items of a kept request.

use brigade_core::{RawJson, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::shared::field_error::FieldError;

/// The query of a list of items.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InputItemParams {
    /// The maximum number of items. 20 by default.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<usize>,
    /// `desc`, the default, is the last item first.
    #[schemars(extend("enum" = ["asc", "desc"]))]
    order: Option<String>,
    /// Only items after the one with this id, in this order.
    after: Option<String>,
}

/// A page of the items of a request.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InputItemList {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<Map<String, Value>>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

impl InputItemList {
    /// A page of the items of this request, which `run` works on. Items that had no id get one.
    pub fn of(request: &RawJson, run: RunId, params: &InputItemParams) -> Result<Self, FieldError> {
        let limit = params.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(FieldError::invalid("limit", format!("`limit` must be between 1 and {MAX_PAGE}")));
        }
        let request: Map<String, Value> = serde_json::from_str(request.get()).unwrap_or_default();
        let mut items = items(request, run);
        match params.order.as_deref() {
            None | Some("desc") => items.reverse(),
            Some("asc") => {}
            Some(other) => {
                let message = format!("unknown order `{other}`; use \"asc\" or \"desc\"");
                return Err(FieldError::invalid("order", message));
            }
        }
        if let Some(after) = &params.after {
            let position = items.iter().position(|item| id(item).as_ref() == Some(after));
            let position = position.ok_or_else(|| {
                FieldError::invalid(
                    "after",
                    format!("the request has no item `{after}`; write the `last_id` of a page"),
                )
            })?;
            items.drain(..=position);
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        let (first_id, last_id) = (items.first().and_then(id), items.last().and_then(id));
        Ok(Self { object: "list", data: items, first_id, last_id, has_more })
    }
}

fn id(item: &Map<String, Value>) -> Option<String> {
    item.get("id").and_then(Value::as_str).map(str::to_owned)
}

fn items(mut request: Map<String, Value>, run: RunId) -> Vec<Map<String, Value>> {
    let items = match request.remove("input") {
        Some(Value::String(text)) => vec![json!({ "role": "user", "content": text })],
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let objects = items.into_iter().filter_map(|item| if let Value::Object(item) = item { Some(item) } else { None });
    objects.enumerate().map(|(index, item)| completed(item, &format!("item_{}_{index}", run.uuid().simple()))).collect()
}

/// An item with the fields that clients may have left out.
fn completed(mut item: Map<String, Value>, id: &str) -> Map<String, Value> {
    let kind = item.entry("type").or_insert_with(|| "message".into()).clone();
    if !item.get("id").is_some_and(Value::is_string) {
        item.insert("id".to_owned(), id.into());
    }
    if kind == "message" {
        let part = if item.get("role").is_some_and(|role| role == "assistant") { "output_text" } else { "input_text" };
        if let Some(content @ Value::String(_)) = item.get_mut("content") {
            let text = content.take();
            *content = json!([{ "type": part, "text": text }]);
        }
        item.entry("status").or_insert_with(|| "completed".into());
    }
    item
}
