//! The items of a request's input.

use std::borrow::Cow;

use brigade_core::Part;
use brigade_edge::{Object, TextOr};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::shared::{field_error::FieldError, image::image};

/// An item of the input. Which fields it needs depends on its type.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(with = "InputItemSchema")]
pub(crate) struct InputItem {
    /// A message if it is absent.
    r#type: Option<String>,
    id: Option<String>,
    role: Option<InputRole>,
    content: Option<InputContent>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<InputContent>,
}

/// The schema of [`InputItem`].
#[derive(JsonSchema)]
#[schemars(rename = "InputItem", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum InputItemSchema {
    Message { role: InputRole, content: InputContent },
    Other(OtherItemSchema),
}

#[derive(JsonSchema)]
#[schemars(rename = "OtherInputItem", tag = "type", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum OtherItemSchema {
    FunctionCall { call_id: String, name: String, arguments: String },
    FunctionCallOutput { call_id: String, output: InputContent },
    ItemReference { id: String },
    Reasoning {},
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputRole {
    System,
    Developer,
    User,
    Assistant,
}

type InputContent = TextOr<Vec<Object<InputPart>>>;

/// A part of a message. Which fields it needs depends on its type.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(with = "InputPartSchema")]
pub(super) struct InputPart {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
}

/// The schema of [`InputPart`].
#[derive(JsonSchema)]
#[schemars(rename = "InputPart", tag = "type", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum InputPartSchema {
    InputText { text: String },
    OutputText { text: String },
    Refusal { refusal: String },
    InputImage { image_url: String },
}

/// What an item says.
#[derive(Debug)]
pub(super) enum ItemMeaning {
    /// A message of this role.
    Message(InputRole, Vec<Part>),
    /// A call of a tool, with its id, the tool's name and its arguments.
    Call { id: String, name: String, arguments: String },
    /// The result of the call with this id.
    Output { call_id: String, content: Vec<Part> },
    /// The item of an earlier response with this id.
    Reference(String),
    /// Something that only its server can read, such as encrypted reasoning.
    Nothing,
}

impl InputItem {
    /// The id of the item of an earlier response that this item stands for.
    pub(super) fn reference(&self) -> Option<&str> {
        self.id.as_deref().filter(|_| self.kind() == "item_reference")
    }

    fn kind(&self) -> Cow<'_, str> {
        match &self.r#type {
            Some(kind) => Cow::Borrowed(kind),
            // Some clients leave out the type of a reference.
            None if self.role.is_none() && self.id.is_some() => "item_reference".into(),
            None => "message".into(),
        }
    }

    pub(super) fn meaning(self, param: &str) -> Result<ItemMeaning, FieldError> {
        let kind = self.kind().into_owned();
        let needs = |field: &'static str| {
            let kind = kind.clone();
            move || FieldError::invalid(param, format!("an item of the type `{kind}` needs the field `{field}`"))
        };
        match kind.as_str() {
            "message" => {
                let role = self.role.ok_or_else(needs("role"))?;
                let parts = content_parts(self.content.ok_or_else(needs("content"))?, &format!("{param}.content"))?;
                Ok(ItemMeaning::Message(role, parts))
            }
            "function_call" => Ok(ItemMeaning::Call {
                id: self.call_id.ok_or_else(needs("call_id"))?,
                name: self.name.ok_or_else(needs("name"))?,
                arguments: self.arguments.unwrap_or_default(),
            }),
            "function_call_output" => {
                let call_id = self.call_id.ok_or_else(needs("call_id"))?;
                let output = self.output.ok_or_else(needs("output"))?;
                Ok(ItemMeaning::Output { call_id, content: content_parts(output, &format!("{param}.output"))? })
            }
            "item_reference" => Ok(ItemMeaning::Reference(self.id.ok_or_else(needs("id"))?)),
            "reasoning" | "compaction" => Ok(ItemMeaning::Nothing),
            other => {
                let message = format!(
                    "agents do not take items of the type `{other}`; use message, function_call, function_call_output \
                     or item_reference"
                );
                Err(FieldError::unsupported(param, message))
            }
        }
    }
}

fn content_parts(content: InputContent, param: &str) -> Result<Vec<Part>, FieldError> {
    match content {
        TextOr::Text(text) if text.is_empty() => Ok(Vec::new()),
        TextOr::Text(text) => Ok(vec![Part::text(text)]),
        TextOr::Other(parts) => {
            let parts = parts.into_iter().enumerate();
            parts.map(|(index, Object(part))| part.parse(&format!("{param}[{index}]"))).collect()
        }
    }
}

impl InputPart {
    fn parse(self, param: &str) -> Result<Part, FieldError> {
        let Self { r#type: kind, text, refusal, image_url } = self;
        let missing =
            |field: &str| FieldError::invalid(param, format!("a part of the type `{kind}` needs the field `{field}`"));
        match kind.as_str() {
            "input_text" | "output_text" | "text" => text.map(Part::text).ok_or_else(|| missing("text")),
            // What an assistant said in an earlier turn.
            "refusal" => refusal.map(Part::text).ok_or_else(|| missing("refusal")),
            // Images by the id of a file are refused too, because this server keeps no files.
            "input_image" => image(image_url.ok_or_else(|| missing("image_url"))?, param),
            "input_file" | "input_audio" => {
                let message =
                    format!("agents do not take parts of the type `{kind}`; send its content as text or images");
                Err(FieldError::unsupported(param, message))
            }
            other => {
                let message = format!("unknown type of part `{other}`; use input_text, output_text or input_image");
                Err(FieldError::unsupported(param, message))
            }
        }
    }
}
