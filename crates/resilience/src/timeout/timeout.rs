//! The [`Timeout`] wrapper.

use std::pin::pin;

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Interruption, ModelError, ModelErrorKind, ModelId, Run, Settings, TimeoutPhase,
};

use crate::{
    Timeouts,
    shared::{reply_watch::ReplyWatch, run_end::run_ended},
    timeout::deadlines::{Deadlines, Expiry},
};

/// Ends an attempt that takes too long. It must be the innermost wrapper, because time in queues is not slowness of the
/// provider.
///
/// The first delta and the pauses between deltas are only limited if the run has listeners ([`Run::wants_deltas`]),
/// because otherwise providers do not stream. The limit of a reply that is not streamed grows with its maximum number of
/// output tokens. This wrapper never asks for a stream on its own, because some accounts and servers cannot stream. The
/// end of the run also ends the attempt.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use brigade_core::{
///     ChatModel, ChatRequest, ModelErrorKind, Run, TimeoutPhase,
///     testing::{ScriptedModel, Turn},
/// };
/// use brigade_resilience::{Timeout, Timeouts};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let slow = ScriptedModel::new([Turn::text("Hello.").after(Duration::from_secs(60))]);
/// let model = Timeout::new(slow, Timeouts::default().attempt(Duration::from_secs(30)));
/// let error = model.chat(&ChatRequest::new("Hello?"), &Run::new()).await.unwrap_err();
/// assert_eq!(error.kind(), ModelErrorKind::Timeout(TimeoutPhase::Attempt));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Timeout<M> {
    inner: M,
    timeouts: Timeouts,
}

impl<M: ChatModel> Timeout<M> {
    /// Limits how long attempts of `inner` may take.
    pub fn new(inner: M, timeouts: Timeouts) -> Self {
        Self { inner, timeouts }
    }

    fn expired(&self, reason: Expiry) -> ModelError {
        let Expiry::Timeout { phase, limit, setting } = reason else {
            return run_ended(Interruption::Deadline, self.id());
        };
        let what = match phase {
            TimeoutPhase::Connect => "no connection",
            TimeoutPhase::FirstDelta => "no part of the answer",
            TimeoutPhase::Idle => "nothing more of the answer",
            TimeoutPhase::Attempt => "no complete answer",
        };
        let message = format!("{what} within {limit:?}; the limit is `timeouts.{setting}`");
        ModelError::new(ModelErrorKind::Timeout(phase), message).with(|failure| {
            failure.model = Some(self.id().clone());
            failure.sent = true;
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Timeout<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let reply = ReplyWatch::new(run);
        let deadlines = Deadlines::new(self.timeouts, &request.settings, self.inner.settings());
        let run = reply.run().for_call();
        let mut call = pin!(self.inner.chat(request, &run));
        loop {
            let deadline = deadlines.next(&reply);
            tokio::select! {
                biased;
                result = &mut call => return result,
                () = run.cancelled() => return Err(run_ended(Interruption::Cancelled, self.id())),
                // Progress moves the deadline.
                () = reply.new_delta() => {}
                () = tokio::time::sleep_until(deadline.at) => {
                    let error = self.expired(deadline.reason);
                    run.set_drop_reason(error.kind());
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
