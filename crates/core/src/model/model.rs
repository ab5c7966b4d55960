//! The trait that every model client and every wrapper implements.

use std::{fmt, pin::Pin, sync::Arc};

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
    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<Box<ChatReply>, ModelError>;
}

/// A call under way: what [`ChatModel::chat`] returns, for wrappers that only hand it on and need no future of their own.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Box<ChatReply>, ModelError>> + Send + 'a>>;

#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel + ?Sized> ChatModel for Arc<M> {
    fn id(&self) -> &ModelId {
        (**self).id()
    }

    fn settings(&self) -> &Settings {
        (**self).settings()
    }

    fn chat<'m, 'q, 'r, 'a>(&'m self, request: &'q ChatRequest, run: &'r Run) -> Answering<'a>
    where
        'm: 'a,
        'q: 'a,
        'r: 'a,
    {
        (**self).chat(request, run)
    }
}
