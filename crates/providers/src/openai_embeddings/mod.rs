//! OpenAI embeddings.

pub(crate) mod embeddings;
