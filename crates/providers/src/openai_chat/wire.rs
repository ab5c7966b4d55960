//! What Chat Completions servers send, read leniently: anything may be missing, null or of another type.
//!
//! One set of structs reads whole answers and chunks alike, since servers put a `message` where a `delta` belongs and
//! the other way round. Request types come from `async-openai`; its response types refuse too much of what is really
//! sent (unknown finish reasons, calls without `type`, content lists).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::usage::{Groq, Stated};
use crate::json::{self, Count, Members, Object};

/// A whole answer, or a chunk of one.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) id: Word<'a>,
    pub(super) model: Word<'a>,
    pub(super) service_tier: Word<'a>,
    pub(super) choices: Option<Vec<Object<Choice<'a>>>>,
    pub(super) usage: Object<Box<Stated<'a>>>,
    pub(super) x_groq: Object<Box<Groq<'a>>>,
    pub(super) error: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Members<'de> for Answer<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "id" => self.id = object.next_value()?,
            "model" => self.model = object.next_value()?,
            "service_tier" => self.service_tier = object.next_value()?,
            "choices" => self.choices = object.next_value()?,
            "usage" => self.usage = object.next_value()?,
            "x_groq" => self.x_groq = object.next_value()?,
            "error" => self.error = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// One of the alternative answers.
#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: Count,
    pub(super) finish_reason: Word<'a>,
    pub(super) native_finish_reason: Word<'a>,
    /// What vLLM says was matched: a stop sequence, or the number of a token.
    pub(super) stop_reason: Word<'a>,
    pub(super) delta: Object<Box<Said<'a>>>,
    pub(super) message: Object<Box<Said<'a>>>,
    pub(super) error: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Members<'de> for Choice<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "index" => self.index = object.next_value()?,
            "finish_reason" => self.finish_reason = object.next_value()?,
            "native_finish_reason" => self.native_finish_reason = object.next_value()?,
            "stop_reason" => self.stop_reason = object.next_value()?,
            "delta" => self.delta = object.next_value()?,
            "message" => self.message = object.next_value()?,
            "error" => self.error = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// What the model said, or a piece of it.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) content: Content<'a>,
    pub(super) refusal: Word<'a>,
    pub(super) reasoning: Word<'a>,
    pub(super) reasoning_content: Word<'a>,
    pub(super) reasoning_details: Option<&'a RawValue>,
    pub(super) annotations: Option<&'a RawValue>,
    pub(super) tool_calls: Option<Vec<Object<Call<'a>>>>,
    /// The form before tool calls.
    pub(super) function_call: Object<Function<'a>>,
}

impl<'de: 'a, 'a> Members<'de> for Said<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "content" => self.content = object.next_value()?,
            "refusal" => self.refusal = object.next_value()?,
            "reasoning" => self.reasoning = object.next_value()?,
            "reasoning_content" => self.reasoning_content = object.next_value()?,
            "reasoning_details" => self.reasoning_details = object.next_value()?,
            "annotations" => self.annotations = object.next_value()?,
            "tool_calls" => self.tool_calls = object.next_value()?,
            "function_call" => self.function_call = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// A tool call, or a piece of one.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) index: Count,
    pub(super) id: Word<'a>,
    pub(super) function: Object<Function<'a>>,
    pub(super) custom: Object<Box<Custom<'a>>>,
    /// Where Gemini keeps the signature of the thought that led to the call.
    pub(super) extra_content: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Members<'de> for Call<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "index" => self.index = object.next_value()?,
            "id" => self.id = object.next_value()?,
            "function" => self.function = object.next_value()?,
            "custom" => self.custom = object.next_value()?,
            "extra_content" => self.extra_content = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// The function that a call names.
#[derive(Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: Word<'a>,
    pub(super) arguments: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Members<'de> for Function<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.name = object.next_value()?,
            "arguments" => self.arguments = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// A tool of free text.
#[derive(Debug, Default)]
pub(super) struct Custom<'a> {
    pub(super) name: Word<'a>,
    pub(super) input: Word<'a>,
}

impl<'de: 'a, 'a> Members<'de> for Custom<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.name = object.next_value()?,
            "input" => self.input = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// Content as a string, or as a list of parts.
#[derive(Debug, Default)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<&'a RawValue>),
    #[default]
    Other,
}

/// A part of a content list, as far as it is known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContentPart<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Word<'a>,
    #[serde(borrow)]
    pub(super) text: Word<'a>,
    /// Again a string or a list of parts.
    #[serde(borrow)]
    pub(super) thinking: Option<Content<'a>>,
}

/// A string; whatever else stands in its place counts as absent.
#[derive(Debug, Default)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

impl Word<'_> {
    /// The string, unless it is absent or empty: a blank must never overwrite a value.
    pub(super) fn filled(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Content::deserialize(deserializer)? {
            Content::Text(text) => Self(Some(text)),
            Content::Parts(_) | Content::Other => Self(None),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = items.next_element()? {
            parts.push(part);
        }
        Ok(Content::Parts(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Content::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Content::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Content::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Content::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Content::Other)
    }
}
