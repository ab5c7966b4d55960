//! Work that ends early when its run is stopped.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFuture;

use crate::Stopped;

pin_project! {
    /// See [`Run::until_stopped`](crate::Run::until_stopped). A type of its own, as an `async fn` that selects would hold
    /// the work twice: as it came and as it is polled. Runs in flight are mostly this.
    pub(crate) struct UntilStopped<'a, W> {
        #[pin]
        work: W,
        #[pin]
        cancelled: WaitForCancellationFuture<'a>,
        deadline: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<'a, W> UntilStopped<'a, W> {
    pub(crate) fn new(work: W, cancelled: WaitForCancellationFuture<'a>, deadline: Option<Instant>) -> Self {
        Self { work, cancelled, deadline, timer: None }
    }
}

impl<W: Future> Future for UntilStopped<'_, W> {
    type Output = Result<W::Output, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.cancelled.poll(context).is_ready() {
            return Poll::Ready(Err(Stopped::Cancelled));
        }
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Ok(done));
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
