//! The items of a response.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An item of a response. New types may be added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputItem {
    /// What the agent says.
    Message {
        /// The id of the item.
        id: String,
        /// Always the assistant.
        #[schemars(extend("const" = "assistant"))]
        role: String,
        /// Whether the item is complete.
        status: ItemStatus,
        /// The text, or why the agent declined to answer.
        content: Vec<OutputPart>,
    },
    /// A call of a tool of the client, which sends its result as `function_call_output`.
    FunctionCall {
        /// The id of the item.
        id: String,
        /// The id under which the client sends the result.
        call_id: String,
        /// The tool.
        name: String,
        /// The arguments as JSON.
        arguments: String,
        /// Whether the item is complete.
        status: ItemStatus,
    },
}

/// A part of what the agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputPart {
    /// Text.
    OutputText {
        /// The text.
        text: String,
        /// Always empty.
        annotations: Vec<Value>,
        /// Always empty.
        logprobs: Vec<Value>,
    },
    /// The reason for which the agent declined to answer.
    Refusal {
        /// The reason.
        refusal: String,
    },
}

/// Whether an item is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// More of it follows.
    InProgress,
    /// It is complete.
    Completed,
    /// It was cut off.
    Incomplete,
}

impl OutputItem {
    /// A complete message.
    pub(super) fn message(id: String, part: OutputPart) -> Self {
        Self::Message { id, role: "assistant".to_owned(), status: ItemStatus::Completed, content: vec![part] }
    }

    /// The same item before it has any content.
    pub(super) fn opened(&self) -> Self {
        match self {
            Self::Message { id, role, .. } => Self::Message {
                id: id.clone(),
                role: role.clone(),
                status: ItemStatus::InProgress,
                content: Vec::new(),
            },
            Self::FunctionCall { id, call_id, name, .. } => Self::FunctionCall {
                id: id.clone(),
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: String::new(),
                status: ItemStatus::InProgress,
            },
        }
    }

    /// The tool of a call; empty for a message.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Message { .. } => "",
            Self::FunctionCall { name, .. } => name,
        }
    }

    /// The id of the item.
    pub fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::FunctionCall { id, .. } => id,
        }
    }
}

impl OutputPart {
    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::OutputText { text: text.into(), annotations: Vec::new(), logprobs: Vec::new() }
    }

    pub(super) fn with_text(&self, text: &str) -> Self {
        match self {
            Self::OutputText { .. } => Self::text(text),
            Self::Refusal { .. } => Self::Refusal { refusal: text.to_owned() },
        }
    }

    pub(super) fn as_text(&self) -> &str {
        match self {
            Self::OutputText { text, .. } => text,
            Self::Refusal { refusal } => refusal,
        }
    }

    /// The part without its text, as streams begin with it.
    pub(super) fn emptied(&self) -> Self {
        self.with_text("")
    }
}
