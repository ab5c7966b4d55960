//! The trait that every model client and every wrapper implements.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{ChatReply, ChatRequest, ModelError, ModelId, Run, Settings};

/// A model that can be asked.
///
/// One method, [`ChatModel::chat`], serves streaming and not: deltas are a side channel that goes to `run`, the answer is the return value.
/// So a wrapper is one plain `async fn`; a permit it holds lives until the answer is whole, and what it decides, it
/// decides after the stream has ended, which is the only time at which success is known.
#[async_trait]
pub trait ChatModel: fmt::Debug + Send + Sync + 'static {
    /// The configured name. The reply says which model really answered.
    fn id(&self) -> &ModelId;

    /// What requests say where they leave it open. Whoever estimates what a call may cost must know what will be sent.
    fn settings(&self) -> &Settings;

    /// One answer. Deltas go to `run` while the call goes on, when somebody listens
    /// ([`Run::wants_deltas`]); the return value is always complete. Dropping the future cancels the call.
    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel + ?Sized> ChatModel for Arc<M> {
    fn id(&self) -> &ModelId {
        (**self).id()
    }

    fn settings(&self) -> &Settings {
        (**self).settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        (**self).chat(request, run).await
    }
}
