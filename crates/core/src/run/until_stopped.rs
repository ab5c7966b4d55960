//! Work that ends early when its run is stopped.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::Interruption;

pin_project! {
    /// See [`Run::until_stopped`](crate::Run::until_stopped). A type of its own, as an `async fn` that selects would hold
    /// the work twice: as it came and as it is polled. Runs in flight are mostly this.
    pub(crate) struct UntilStopped<'a, W> {
        #[pin]
        work: W,
        token: Option<&'a CancellationToken>,
        // Set when the work first waits: what does not wait need not be found by whoever cancels.
        #[pin]
        cancelled: Option<WaitForCancellationFuture<'a>>,
        deadline: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<'a, W> UntilStopped<'a, W> {
    /// Ends `work` when `token` is cancelled or at the `deadline`, where there is such a thing. What was cancelled before
    /// is not begun; what is under way has the last word, as it may watch the same and have something to show.
    pub(crate) fn new(work: W, token: Option<&'a CancellationToken>, deadline: Option<Instant>) -> Self {
        Self { work, token, cancelled: None, deadline, timer: None }
    }
}

impl<W: Future> Future for UntilStopped<'_, W> {
    type Output = Result<W::Output, Interruption>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let is_begun = this.cancelled.is_some();
        if !is_begun && this.token.is_some_and(CancellationToken::is_cancelled) {
            return Poll::Ready(Err(Interruption::Cancelled));
        }
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Ok(done));
        }
        if !is_begun && let Some(token) = *this.token {
            this.cancelled.set(Some(token.cancelled()));
        }
        if let Some(cancelled) = this.cancelled.as_pin_mut()
            && cancelled.poll(context).is_ready()
        {
            return Poll::Ready(Err(Interruption::Cancelled));
        }
        // A timer can only be made where the runtime is.
        if let Some(deadline) = this.deadline.take() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(context).map(|()| Err(Interruption::Deadline)),
            None => Poll::Pending,
        }
    }
}
