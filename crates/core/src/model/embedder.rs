//! The trait of embedding models.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{ModelError, ModelId, Run, Usage};

/// A model that turns texts into vectors. Texts of similar meaning have vectors that are close to each other.
///
/// ```
/// use brigade_core::{Embedder, Embeddings, ModelError, ModelId, Run, async_trait};
///
/// /// Counts vowels.
/// #[derive(Debug)]
/// struct Vowels(ModelId);
///
/// #[async_trait]
/// impl Embedder for Vowels {
///     fn id(&self) -> &ModelId {
///         &self.0
///     }
///
///     async fn embed(&self, texts: &[&str], _run: &Run) -> Result<Embeddings, ModelError> {
///         let count = |text: &str, vowel| text.matches(vowel).count() as f32;
///         let vectors = texts.iter().map(|text| ['a', 'e', 'i', 'o', 'u'].map(|vowel| count(text, vowel)).to_vec());
///         Ok(Embeddings::new(vectors.collect()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ModelError> {
/// let vowels = Vowels(ModelId::new("example", "vowels"));
/// let found = vowels.embed(&["banana"], &Run::new()).await?;
/// assert_eq!(found.vectors, [[3.0, 0.0, 0.0, 0.0, 0.0]]);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Embedder: fmt::Debug + Send + Sync + 'static {
    /// The configured name. Vectors of different models must not be compared.
    fn id(&self) -> &ModelId;

    /// Returns a vector for each text. Dropping the future cancels the call.
    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Embedder + ?Sized> Embedder for Arc<E> {
    fn id(&self) -> &ModelId {
        (**self).id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        (**self).embed(texts, run).await
    }
}

/// The vectors of some texts.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// A vector for each text, in the order of the texts, all of the same length.
    pub vectors: Vec<Vec<f32>>,
    /// The model that answered; empty if the provider did not say.
    pub model: String,
    /// The tokens of the texts, if the provider reported them.
    pub usage: Option<Usage>,
}

impl Embeddings {
    /// Vectors without a report of model or usage.
    pub fn new(vectors: Vec<Vec<f32>>) -> Self {
        Self { vectors, ..Self::default() }
    }
}
