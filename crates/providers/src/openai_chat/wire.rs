//! What Chat Completions servers send, read leniently: any field may be missing, null or of another type.
//!
//! One set of structs reads whole answers and chunks alike, since servers put a `message` where a `delta` belongs and
//! the other way round.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::value::RawValue;

use super::usage::GroqExtension;
use crate::json::json::{self, Count, LooseList, LooseObject, LooseString};

/// A whole answer, or a chunk of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Completion<'a> {
    pub(super) id: LooseString,
    pub(super) model: LooseString,
    pub(super) service_tier: LooseString,
    #[serde(borrow)]
    pub(super) choices: LooseList<LooseObject<Choice<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) x_groq: LooseObject<GroqExtension<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// One of the alternative answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub(super) index: Count,
    pub(super) finish_reason: LooseString,
    pub(super) native_finish_reason: LooseString,
    /// What vLLM matched: a stop sequence, or the number of a token.
    pub(super) stop_reason: LooseString,
    #[serde(borrow)]
    pub(super) delta: LooseObject<ChoiceMessage<'a>>,
    #[serde(borrow)]
    pub(super) message: LooseObject<ChoiceMessage<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// The model's message, or a delta of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChoiceMessage<'a> {
    #[serde(borrow)]
    pub(super) content: Content<'a>,
    pub(super) refusal: LooseString,
    pub(super) reasoning: LooseString,
    pub(super) reasoning_content: LooseString,
    #[serde(borrow)]
    pub(super) reasoning_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: LooseList<LooseObject<ToolCallDelta<'a>>>,
    /// The form before tool calls.
    #[serde(borrow)]
    pub(super) function_call: LooseObject<FunctionDelta<'a>>,
}

/// A tool call, or a delta of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCallDelta<'a> {
    pub(super) index: Count,
    pub(super) id: LooseString,
    #[serde(borrow)]
    pub(super) function: LooseObject<FunctionDelta<'a>>,
    pub(super) custom: LooseObject<CustomDelta>,
    /// Where Gemini keeps the signature of the thought that led to the call.
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

/// The function that a call names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionDelta<'a> {
    pub(super) name: LooseString,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

/// A tool that takes free text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CustomDelta {
    pub(super) name: LooseString,
    pub(super) input: LooseString,
}

/// Content as a string, or as a list of parts. A value of another type counts as absent.
#[derive(Debug, Default)]
pub(super) enum Content<'a> {
    Text(String),
    Parts(Vec<&'a RawValue>),
    #[default]
    Absent,
}

/// A part of a content list, as far as it is known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContentPart<'a> {
    #[serde(rename = "type")]
    pub(super) kind: LooseString,
    pub(super) text: LooseString,
    /// Again a string or a list of parts.
    #[serde(borrow)]
    pub(super) thinking: Option<Content<'a>>,
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Absent)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if json::is_strict() {
            return deserializer.deserialize_any(ContentVisitor);
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw).map(Self::Text).map_err(D::Error::custom),
            Some(b'[') => serde_json::from_str(raw).map(Self::Parts).map_err(D::Error::custom),
            _ => Ok(Self::Absent),
        }
    }
}
