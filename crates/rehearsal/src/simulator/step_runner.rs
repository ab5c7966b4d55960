//! Carries out the steps of a response.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;

use crate::call_log::record::OpenCall;
use crate::injection::steps::Step;
use crate::simulator::connection::ConnectionControl;

/// The body of a response.
pub(crate) type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// Carries out the steps of a response. If the client disconnects, the runner is dropped, and `call` records the
/// disconnect.
#[derive(Debug)]
pub(crate) struct StepRunner {
    steps: VecDeque<Step>,
    control: ConnectionControl,
    call: OpenCall,
}

impl StepRunner {
    pub(crate) fn new(control: ConnectionControl, call: OpenCall) -> Self {
        Self { steps: VecDeque::new(), control, call }
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.call.set_status(status);
    }

    /// Carries out the steps before the headers. Does not return if one of them closes or holds the connection.
    pub(crate) async fn run_before_headers(&mut self, steps: Vec<Step>) {
        self.steps = steps.into();
        // Nothing can be written before the headers, so the bytes are ignored.
        while self.next_bytes().await.is_some() {}
    }

    /// The body of the response. It carries out `steps` while it is read.
    pub(crate) fn into_body(mut self, steps: Vec<Step>) -> Body {
        // A body that is written at once has a `content-length`.
        if let [Step::Write { bytes, .. }] = steps.as_slice() {
            self.call.sent(bytes.len(), false);
            self.call.complete();
            return Either::Left(Full::new(bytes.clone()));
        }
        self.steps = steps.into();
        let frames = stream::unfold(self, |mut runner| async move {
            let bytes = runner.next_bytes().await;
            if runner.steps.is_empty() {
                runner.call.complete();
            }
            bytes.map(|bytes| (Ok(Frame::data(bytes)), runner))
        });
        Either::Right(StreamBody::new(frames).boxed_unsync())
    }

    /// The next bytes, once it is time to write them.
    async fn next_bytes(&mut self) -> Option<Bytes> {
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
                    self.control.close();
                    pending::<()>().await;
                }
                Step::Reset => {
                    self.call.cut();
                    self.control.reset();
                    pending::<()>().await;
                }
                Step::Hold => pending().await,
            }
        }
    }
}
