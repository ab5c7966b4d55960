//! Asking twice when the first answer is slow.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, ModelError, ModelId, Run, Settings};

use crate::{RetrySettings, retry::retry_budget::RetryBudget, shared::watch::Watched};

/// Asks the same model a second time when nothing of the answer has come for a while, and takes what comes first.
///
/// Slow answers of a healthy provider are mostly bad luck with one machine, which a second request seldom shares (Dean,
/// Barroso: The Tail at Scale, 2013). Both attempts are paid for, so this is for those who wait for the first word.
/// Only requests without tools are asked twice, and only as far as the model's budget of retries goes.
#[derive(Debug, Clone)]
pub struct Hedge<M> {
    inner: M,
    after: Duration,
    backoff: RetrySettings,
    budget: Arc<RetryBudget>,
}

impl<M: ChatModel> Hedge<M> {
    /// Asks `inner` again when it has shown nothing for `after`; that should be longer than nineteen of twenty answers
    /// take to begin. `backoff` sizes the budget of retries.
    pub fn new(inner: M, after: Duration, backoff: RetrySettings) -> Self {
        let budget = Arc::new(RetryBudget::new(&backoff));
        Self { inner, after, backoff, budget }
    }

    /// The settings this wrapper was built with.
    pub(crate) fn backoff(&self) -> &RetrySettings {
        &self.backoff
    }

    /// Replaces the retry budget by one that other wrappers use too.
    pub(crate) fn with_budget(self, budget: Arc<RetryBudget>) -> Self {
        Self { budget, ..self }
    }

    fn ask<'a>(&'a self, request: &'a ChatRequest, watched: &'a Watched) -> Attempt<'a> {
        Attempt { call: self.inner.chat(request, watched.run()), watched }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Hedge<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        if !request.tools.is_empty() {
            return self.inner.chat(request, run).await;
        }
        let (one, other) = (Watched::over(run), Watched::over(run));
        let mut first = self.ask(request, &one);
        tokio::select! {
            biased;
            result = first.progress() => return first.go_on(result).await,
            () = tokio::time::sleep(self.after) => {}
        }
        if !self.budget.withdraw() {
            return first.call.await;
        }
        let mut second = self.ask(request, &other);
        // On one task and in this order: when one attempt has shown something, the other is dropped before it is polled
        // again, so that listeners never hear both.
        let (result, ahead, behind) = tokio::select! {
            biased;
            result = first.progress() => (result, first, second),
            result = second.progress() => (result, second, first),
        };
        if let Some(Err(_)) = result {
            return behind.call.await;
        }
        drop(behind);
        ahead.go_on(result).await
    }
}

/// One of two attempts at the same question.
struct Attempt<'a> {
    call: Pin<Box<dyn Future<Output = Result<ChatReply, ModelError>> + Send + 'a>>,
    watched: &'a Watched,
}

impl Attempt<'_> {
    /// Until it is over, or listeners have seen something of the answer: then there is no result yet.
    async fn progress(&mut self) -> Option<Result<ChatReply, ModelError>> {
        poll_fn(|context| match self.call.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.watched.has_shown() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// The result, if it is not there yet.
    async fn go_on(self, result: Option<Result<ChatReply, ModelError>>) -> Result<ChatReply, ModelError> {
        match result {
            Some(result) => result,
            None => self.call.await,
        }
    }
}

#[cfg(test)]
mod tests;
