//! Embeddings of `OpenAI` and compatible servers:
//! <https://platform.openai.com/docs/api-reference/embeddings/create>.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use brigade_core::{Embedder, Embeddings, ModelError, ModelErrorKind, ModelId, Run, Usage};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::{
    OpenAi,
    http::{
        account::{self, Account},
        provider_error,
        request_content::RequestContent,
        response_head::ResponseHead,
    },
    json::{
        json::{self, Count, LooseObject, LooseString},
        repair,
    },
    protocol::protocol::caller_error,
};

/// An embedding model of an account.
#[derive(Clone)]
pub struct OpenAiEmbeddings {
    account: Arc<Account>,
    id: ModelId,
    url: Url,
    dimensions: Option<u32>,
}

/// The documented maximum of texts in one request.
const MAX_TEXTS: usize = 2_048;

#[derive(Serialize)]
struct EmbeddingsRequest<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct EmbeddingsResponse {
    data: Vec<EmbeddingItem>,
    #[serde(default)]
    model: LooseString,
    #[serde(default)]
    usage: LooseObject<EmbeddingUsage>,
}

#[derive(Deserialize)]
struct EmbeddingItem {
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct EmbeddingUsage {
    #[serde(default)]
    prompt_tokens: Count,
}

impl OpenAi {
    /// The embedding model that the provider calls `name`.
    pub fn embeddings(&self, name: &str) -> OpenAiEmbeddings {
        OpenAiEmbeddings {
            id: ModelId::new(Arc::clone(&self.account.name), name),
            url: self.account.url("embeddings"),
            account: self.account.clone(),
            dimensions: None,
        }
    }
}

impl OpenAiEmbeddings {
    /// Requests shorter vectors, which newer models support. By default vectors have the model's full length.
    #[must_use]
    pub fn dimensions(self, dimensions: u32) -> Self {
        Self { dimensions: Some(dimensions), ..self }
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<u8>, ModelError> {
        let (model, dimensions) = (self.id.model(), self.dimensions);
        let request = EmbeddingsRequest { model, input: texts, encoding_format: "float", dimensions };
        serde_json::to_vec(&request)
            .map_err(|error| caller_error("the texts cannot be encoded as JSON").caused_by(error))
    }

    /// Decodes the vectors and sorts them in the order of the texts.
    fn decode(body: &[u8], texts: usize) -> Result<Embeddings, ModelError> {
        let body = repair::document(body).ok_or_else(|| provider_error::not_json(body))?;
        let response: Option<EmbeddingsResponse> = json::read(&body);
        let response = response.ok_or_else(|| provider_error::not_an_answer("the list of embeddings", &body))?;
        let usage = response.usage.0.and_then(|usage| usage.prompt_tokens.get()).map(|tokens| Usage::new(tokens, 0));
        let broken = |why: String| {
            ModelError::new(ModelErrorKind::Broken, format!("the list of embeddings {why}"))
                .with(|failure| failure.usage = usage)
        };
        let mut vectors = vec![None; texts];
        for (position, EmbeddingItem { index, embedding }) in response.data.into_iter().enumerate() {
            let index = index.unwrap_or(position);
            let slot =
                vectors.get_mut(index).ok_or_else(|| broken(format!("has a vector for text {index} of {texts}")))?;
            if slot.replace(embedding).is_some() {
                return Err(broken(format!("has two vectors for text {index}")));
            }
        }
        let vectors: Option<Vec<_>> = vectors.into_iter().collect();
        let vectors = vectors.ok_or_else(|| broken(format!("has no vector for some of the {texts} texts")))?;
        let mut lengths = vectors.iter().map(Vec::len);
        let first = lengths.next().unwrap_or_default();
        if lengths.any(|length| length != first) || (first == 0 && texts > 0) {
            return Err(broken("has vectors of different lengths, or empty ones".to_owned()));
        }
        let mut embeddings = Embeddings::new(vectors);
        (embeddings.model, embeddings.usage) = (response.model.0.unwrap_or_default(), usage);
        Ok(embeddings)
    }

    fn with_head(&self, error: ModelError, head: &ResponseHead) -> ModelError {
        error.with(|failure| {
            failure.model = Some(self.id.clone());
            failure.status.get_or_insert(head.status.as_u16());
            failure.request_id = failure.request_id.take().or_else(|| head.request_id.clone());
            failure.sent = true;
        })
    }
}

#[async_trait]
impl Embedder for OpenAiEmbeddings {
    fn id(&self) -> &ModelId {
        &self.id
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        if texts.is_empty() {
            return Ok(Embeddings::default());
        }
        if texts.len() > MAX_TEXTS {
            let error = caller_error(format!("one request embeds at most {MAX_TEXTS} texts; split them"));
            return Err(error.with(|failure| failure.model = Some(self.id.clone())));
        }
        let with_model = |error: ModelError| {
            let error = error.with(|failure| failure.model = Some(self.id.clone()));
            let error = RequestContent::of_texts(texts).mask_error(self.account.without_key(error));
            account::with_url(error, &self.url)
        };
        let request = account::post(&self.url, self.account.headers(run), self.encode(texts)?);
        let _permit = self.account.in_flight.wait(&self.id, run).await?;
        let (head, body) = account::read_document(self.account.http.send(request).await.map_err(with_model)?)
            .await
            .map_err(with_model)?;
        Self::decode(&body, texts.len()).map_err(|error| self.with_head(error, &head))
    }
}

impl fmt::Debug for OpenAiEmbeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiEmbeddings")
            .field("id", &self.id)
            .field("url", &account::shown(&self.url))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> OpenAiEmbeddings {
        let client = OpenAi::builder().base_url("http://127.0.0.1:9/v1").build().unwrap();
        client.embeddings("text-embedding-3-small")
    }

    #[test]
    fn a_request_has_the_dimensions_if_they_are_set() {
        let body = |model: OpenAiEmbeddings| String::from_utf8(model.encode(&["a", "b\n"]).unwrap()).unwrap();
        let plain = r#"{"model":"text-embedding-3-small","input":["a","b\n"],"encoding_format":"float"}"#;
        assert_eq!(body(model()), plain);
        assert_eq!(body(model().dimensions(64)), plain.replace('}', ",\"dimensions\":64}"));
    }

    #[test]
    fn vectors_are_in_the_order_of_the_texts() {
        let body = br#"{"object":"list","model":"m-2024","usage":{"prompt_tokens":8,"total_tokens":8},"data":[
            {"object":"embedding","index":1,"embedding":[0.5,-1]},{"object":"embedding","index":0,"embedding":[1e-3,2]}]}"#;
        let found = OpenAiEmbeddings::decode(body, 2).unwrap();
        assert_eq!(found.vectors, [[0.001, 2.0], [0.5, -1.0]]);
        assert_eq!((found.model.as_str(), found.usage), ("m-2024", Some(Usage::new(8, 0))));
        let bare = br#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        let found = OpenAiEmbeddings::decode(bare, 2).unwrap();
        assert_eq!(
            (found.vectors, found.usage),
            (vec![vec![1.0], vec![2.0]], None),
            "usage that is not stated is absent"
        );
    }

    #[test]
    fn a_list_that_does_not_match_the_texts_is_broken() {
        for (body, why) in [
            (r#"{"data":[{"embedding":[1]}]}"#, "has no vector for some of the 2 texts"),
            (r#"{"data":[{"embedding":[1]},{"index":0,"embedding":[1]}]}"#, "has two vectors for text 0"),
            (r#"{"data":[{"index":7,"embedding":[1]}]}"#, "has a vector for text 7 of 2"),
            (r#"{"data":[{"embedding":[1]},{"embedding":[1,2]}]}"#, "different lengths"),
            (r#"{"data":[{"embedding":[]},{"embedding":[]}]}"#, "or empty ones"),
            (r#"{"data":3}"#, "does not have the form of an answer"),
            ("<html>", "not JSON"),
        ] {
            let error = OpenAiEmbeddings::decode(body.as_bytes(), 2).unwrap_err();
            assert_eq!(error.kind(), ModelErrorKind::Broken, "{body}");
            assert!(error.to_string().contains(why), "{error}");
        }
        let error = OpenAiEmbeddings::decode(br#"{"error":{"message":"overloaded","type":"server_error"}}"#, 2);
        assert!(
            error.unwrap_err().to_string().contains("overloaded"),
            "an error in a successful response is reported as an error"
        );
    }
}
