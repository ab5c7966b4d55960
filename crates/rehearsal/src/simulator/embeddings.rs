//! Embeddings: texts that share words, or parts of words, have similar vectors.

use serde::{Deserialize, Serialize};

use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::protocol::ids::digest;
use crate::protocol::tokens;
use crate::protocol::usage::BilledUsage;

/// The path of requests.
pub(crate) const PATH: &str = "/v1/embeddings";

/// Enough to distinguish the texts of a test. Vendors use a thousand and more.
const DIMENSIONS: usize = 256;

/// An embeddings request.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingRequest {
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
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl EmbeddingRequest {
    /// Parses a body. Rejects what the vendor rejects.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Failure> {
        let rejected = |message: String| Failure::new(400, "invalid_request_error", message);
        let request: Self = serde_json::from_slice(body).map_err(|error| rejected(error.to_string()))?;
        let texts = request.texts();
        if texts.is_empty() || texts.len() > 2_048 || texts.iter().any(String::is_empty) {
            return Err(rejected("'$.input' is invalid. Please check the API reference.".to_owned()));
        }
        if request.dimensions == Some(0) {
            return Err(rejected("Invalid value for 'dimensions': it must be at least 1.".to_owned()));
        }
        if request.encoding_format.as_deref().is_some_and(|format| format != "float") {
            return Err(rejected("The simulator writes embeddings as `float` only.".to_owned()));
        }
        Ok(request)
    }

    /// The request, for faults and the call log.
    pub(crate) fn request(&self, body: &[u8]) -> Request {
        let last_user = self.texts().join("\n");
        Request { model: self.model.clone(), last_user, ..Request::new(WireDialect::OpenaiChat, body) }
    }

    pub(crate) fn usage(&self) -> BilledUsage {
        BilledUsage { input: self.texts().iter().map(|text| tokens::of_text(text)).sum(), ..BilledUsage::default() }
    }

    /// The response body.
    pub(crate) fn document(&self) -> Vec<u8> {
        let dimensions = self.dimensions.unwrap_or(DIMENSIONS);
        let vectors = self.texts().iter().map(|text| vector(text, dimensions));
        let data = vectors.enumerate().map(|(index, embedding)| Item { object: "embedding", index, embedding });
        let tokens = self.usage().input;
        let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
        let document = Document { object: "list", data: data.collect(), model: &self.model, usage };
        // Serializing plain data cannot fail.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    fn texts(&self) -> &[String] {
        match &self.input {
            Input::One(text) => std::slice::from_ref(text),
            Input::More(texts) => texts,
        }
    }
}

/// A vector of length one: the sum of one pseudo-random direction for each word and for each three letters of a word.
/// (Weinberger et al.: Feature Hashing for Large Scale Multitask Learning, 2009.)
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    const PART_WEIGHT: f32 = 0.5;
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
            add(&format!("_{}", part.iter().collect::<String>()), PART_WEIGHT);
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    } else if let Some(first) = vector.first_mut() {
        // A text without words gets an arbitrary direction.
        *first = 1.0;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(one: &str, other: &str) -> f32 {
        vector(one, DIMENSIONS).iter().zip(vector(other, DIMENSIONS)).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn texts_with_common_words_or_parts_of_words_are_similar() {
        assert!((similarity("Trains to Basel.", "trains TO basel") - 1.0).abs() < 1e-5);
        let related = similarity("She prefers trains.", "a training run");
        let same_word = similarity("She prefers trains.", "He prefers trains, too.");
        let other = similarity("She prefers trains.", "cats and dogs");
        assert!(same_word > related && related > other.abs() + 0.05, "{same_word} {related} {other}");
        assert_eq!(vector("?!", 4), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn invalid_requests_are_rejected() {
        for body in ["{}", r#"{"model":"m","input":""}"#, r#"{"model":"m","input":[]}"#, "nonsense"] {
            assert!(EmbeddingRequest::read(body.as_bytes()).is_err(), "{body}");
        }
        let request = EmbeddingRequest::read(br#"{"model":"m","input":["one two","three"],"dimensions":8}"#).unwrap();
        assert_eq!(request.usage().input, 3);
        let document: serde_json::Value = serde_json::from_slice(&request.document()).unwrap();
        assert_eq!(
            (document["data"][1]["index"].as_u64(), document["usage"]["prompt_tokens"].as_u64()),
            (Some(1), Some(3))
        );
        assert_eq!(document["data"][0]["embedding"].as_array().map(Vec::len), Some(8));
    }
}
