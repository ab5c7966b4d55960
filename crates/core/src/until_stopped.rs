//! Work that ends early when its run is stopped.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::Stopped;

pin_project! {
    /// See [`Run::until_stopped`](crate::Run::until_stopped). A type of its own, as an `async fn` that selects would hold
    /// the work twice: as it came and as it is polled. Runs in flight are mostly this.
    pub(crate) struct UntilStopped<'a, W> {
        #[pin]
        work: W,
        token: Option<&'a CancellationToken>,
        has_last_word: bool,
        // Set when the work first waits: what does not wait need not be found by whoever cancels.
        #[pin]
        cancelled: Option<WaitForCancellationFuture<'a>>,
        deadline: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<'a, W> UntilStopped<'a, W> {
    /// Ends `work` when `token` is cancelled or at the `deadline`, where there is such a thing.
    pub(crate) fn new(work: W, token: Option<&'a CancellationToken>, deadline: Option<Instant>) -> Self {
        Self { work, token, has_last_word: false, cancelled: None, deadline, timer: None }
    }

    /// For work that watches the same and has something to show when it is stopped: only what does not end then is
    /// dropped.
    pub(crate) fn with_last_word(self) -> Self {
        Self { has_last_word: true, ..self }
    }
}

impl<W: Future> Future for UntilStopped<'_, W> {
    type Output = Result<W::Output, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if !*this.has_last_word && this.token.is_some_and(CancellationToken::is_cancelled) {
            return Poll::Ready(Err(Stopped::Cancelled));
        }
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Ok(done));
        }
        if let (None, Some(token)) = (this.cancelled.as_ref().get_ref(), *this.token) {
            this.cancelled.set(Some(token.cancelled()));
        }
        if let Some(cancelled) = this.cancelled.as_pin_mut()
            && cancelled.poll(context).is_ready()
        {
            return Poll::Ready(Err(Stopped::Cancelled));
        }
        // A timer can only be made where the runtime is.
        if let Some(deadline) = this.deadline.take() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(context).map(|()| Err(Stopped::Deadline)),
            None => Poll::Pending,
        }
    }
}
