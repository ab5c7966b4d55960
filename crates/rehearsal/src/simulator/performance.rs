//! Carries out the steps of an answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;

use crate::call_log::call_log::OpenCall;
use crate::injection::steps::Step;
use crate::simulator::connection::Lever;

/// The body of a response.
pub(crate) type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// Steps on the way to the connection. Dropped before the end, it notes that the client hung up.
#[derive(Debug)]
pub(crate) struct Performance {
    steps: VecDeque<Step>,
    lever: Lever,
    call: OpenCall,
}

impl Performance {
    pub(crate) fn new(lever: Lever, call: OpenCall) -> Self {
        Self { steps: VecDeque::new(), lever, call }
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.call.status(status);
    }

    /// Does what comes before the headers. Returns when they are to go out, which may be never.
    pub(crate) async fn before(&mut self, steps: Vec<Step>) {
        self.steps = steps.into();
        // Nothing can be written before the headers.
        while self.next().await.is_some() {}
    }

    /// The body that does the rest.
    pub(crate) fn body(mut self, steps: Vec<Step>) -> Body {
        self.steps = steps.into();
        if let [Step::Write { .. }] = self.steps.make_contiguous()
            && let Some(Step::Write { bytes, .. }) = self.steps.pop_front()
        {
            self.call.sent(bytes.len(), false);
            self.call.complete();
            return Either::Left(Full::new(bytes));
        }
        let frames = stream::unfold(self, |mut performance| async move {
            let bytes = performance.next().await;
            if performance.steps.is_empty() {
                performance.call.complete();
            }
            bytes.map(|bytes| (Ok(Frame::data(bytes)), performance))
        });
        Either::Right(StreamBody::new(frames).boxed_unsync())
    }

    /// The next bytes to write, when it is time for them.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.steps.pop_front()? {
                Step::Write { bytes, kind } => {
                    self.call.sent(bytes.len(), kind.is_delta());
                    return Some(bytes);
                }
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::Repeat { every, bytes } => {
                    tokio::time::sleep(every).await;
                    self.call.sent(bytes.len(), false);
                    self.steps.push_front(Step::Repeat { every, bytes: bytes.clone() });
                    return Some(bytes);
                }
                Step::Close => {
                    self.call.cut();
                    self.lever.close();
                    pending::<()>().await;
                }
                Step::Reset => {
                    self.call.cut();
                    self.lever.reset();
                    pending::<()>().await;
                }
                Step::Hold => pending().await,
            }
        }
    }
}
