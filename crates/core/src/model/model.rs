//! The trait that every model client and every wrapper implements.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{ChatReply, ChatRequest, ModelError, ModelId, Run, Settings};

/// A model that answers chat requests.
///
/// The one method serves streaming and non-streaming callers: partial output goes to the run as
/// [`Event::Delta`](crate::Event::Delta), and the return value is always the complete reply. A wrapper is therefore one
/// plain `async fn`. Its decisions come after the stream has ended, the only time at which success is known.
///
/// ```
/// use brigade_core::{ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelId, Run, Settings, async_trait};
///
/// /// Answers every request with the same text.
/// #[derive(Debug)]
/// struct Fixed {
///     id: ModelId,
///     text: String,
/// }
///
/// #[async_trait]
/// impl ChatModel for Fixed {
///     fn id(&self) -> &ModelId {
///         &self.id
///     }
///
///     fn settings(&self) -> &Settings {
///         Settings::none()
///     }
///
///     async fn chat(&self, _request: &ChatRequest, _run: &Run) -> Result<ChatReply, ModelError> {
///         Ok(ChatReply::new(Message::assistant(&self.text)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ModelError> {
/// let model = Fixed { id: ModelId::new("local", "fixed"), text: "Hello.".into() };
/// let reply = model.chat(&ChatRequest::new("Hi!"), &Run::new()).await?;
/// assert_eq!(reply.message.text(), "Hello.");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait ChatModel: fmt::Debug + Send + Sync + 'static {
    /// The configured name. [`ChatReply::model`] is the name of the model that answered.
    fn id(&self) -> &ModelId;

    /// The settings that apply where a request leaves them open. Cost estimates need them before the call.
    fn settings(&self) -> &Settings;

    /// Asks the model. Dropping the future cancels the call.
    ///
    /// If [`Run::wants_deltas`] is true, deltas are emitted while the reply arrives.
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
