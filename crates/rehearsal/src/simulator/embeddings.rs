//! Embeddings that mean something: texts that share words, or parts of words, are close to each other.

use serde::{Deserialize, Serialize};

use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::protocol::ids::digest;
use crate::protocol::tokens;
use crate::protocol::usage::BilledUsage;

/// Where they are asked for.
pub(crate) const PATH: &str = "/v1/embeddings";

/// Enough to tell the texts of a test apart; vendors have a thousand and more.
const DIMENSIONS: usize = 256;

/// A request.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    model: String,
    input: Input,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    More(Vec<String>),
}

#[derive(Serialize)]
struct Document<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Told,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Serialize)]
struct Told {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl Wanted {
    /// Reads a body, and refuses what the vendor refuses.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Failure> {
        let refused = |message: String| Failure::new(400, "invalid_request_error", message);
        let wanted: Self = serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
        let texts = wanted.texts();
        if texts.is_empty() || texts.len() > 2_048 || texts.iter().any(String::is_empty) {
            return Err(refused("'$.input' is invalid. Please check the API reference.".to_owned()));
        }
        if wanted.dimensions == Some(0) {
            return Err(refused("Invalid value for 'dimensions': it must be at least 1.".to_owned()));
        }
        if wanted.encoding_format.as_deref().is_some_and(|format| format != "float") {
            return Err(refused("The simulator writes embeddings as `float` only.".to_owned()));
        }
        Ok(wanted)
    }

    /// The request, as faults and records see it.
    pub(crate) fn request(&self, body: &[u8]) -> Request {
        let last_user = self.texts().join("\n");
        Request { model: self.model.clone(), last_user, ..Request::new(WireDialect::OpenaiChat, body) }
    }

    pub(crate) fn usage(&self) -> BilledUsage {
        BilledUsage { input: self.texts().iter().map(|text| tokens::of_text(text)).sum(), ..BilledUsage::default() }
    }

    /// The answer.
    pub(crate) fn document(&self) -> Vec<u8> {
        let dimensions = self.dimensions.unwrap_or(DIMENSIONS);
        let vectors = self.texts().iter().map(|text| vector(text, dimensions));
        let data = vectors.enumerate().map(|(index, embedding)| Item { object: "embedding", index, embedding });
        let tokens = self.usage().input;
        let usage = Told { prompt_tokens: tokens, total_tokens: tokens };
        let document = Document { object: "list", data: data.collect(), model: &self.model, usage };
        // Plain data can be written.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    fn texts(&self) -> &[String] {
        match &self.input {
            Input::One(text) => std::slice::from_ref(text),
            Input::More(texts) => texts,
        }
    }
}

/// A vector of length one: each word, and each three letters of a word, points somewhere of its own, and a text where its
/// words point together. Feature hashing, after Weinberger et al., "Feature Hashing for Large Scale Multitask Learning",
/// 2009.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    const PART: f32 = 0.5;
    let mut vector = vec![0.0; dimensions];
    let mut add = |feature: &str, weight: f32| {
        let hash = digest(feature.as_bytes());
        let place = usize::try_from(hash >> 1).unwrap_or_default() % dimensions;
        if let Some(value) = vector.get_mut(place) {
            *value += if hash & 1 == 0 { weight } else { -weight };
        }
    };
    let lower = text.to_lowercase();
    for word in lower.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        add(word, 1.0);
        let letters: Vec<char> = word.chars().collect();
        for part in letters.windows(3) {
            add(&format!("_{}", part.iter().collect::<String>()), PART);
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    } else if let Some(first) = vector.first_mut() {
        // Without words it means nothing in particular.
        *first = 1.0;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closeness(one: &str, other: &str) -> f32 {
        vector(one, DIMENSIONS).iter().zip(vector(other, DIMENSIONS)).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn texts_that_share_words_or_parts_of_words_are_close() {
        assert!((closeness("Trains to Basel.", "trains TO basel") - 1.0).abs() < 1e-5);
        let related = closeness("She prefers trains.", "a training run");
        let same_word = closeness("She prefers trains.", "He prefers trains, too.");
        let other = closeness("She prefers trains.", "cats and dogs");
        assert!(same_word > related && related > other.abs() + 0.05, "{same_word} {related} {other}");
        assert_eq!(vector("?!", 4), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_the_vendor_refuses_is_refused() {
        for body in ["{}", r#"{"model":"m","input":""}"#, r#"{"model":"m","input":[]}"#, "nonsense"] {
            assert!(Wanted::read(body.as_bytes()).is_err(), "{body}");
        }
        let wanted = Wanted::read(br#"{"model":"m","input":["one two","three"],"dimensions":8}"#).unwrap();
        assert_eq!(wanted.usage().input, 3);
        let document: serde_json::Value = serde_json::from_slice(&wanted.document()).unwrap();
        assert_eq!(
            (document["data"][1]["index"].as_u64(), document["usage"]["prompt_tokens"].as_u64()),
            (Some(1), Some(3))
        );
        assert_eq!(document["data"][0]["embedding"].as_array().map(Vec::len), Some(8));
    }
}
