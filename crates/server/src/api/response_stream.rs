//! Responses as server-sent events.
//!
//! The stream has a message for each turn of the agent that says something. The last event is always
//! `response.completed`, `response.incomplete` or `response.failed`, also if the server stops.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::response::{
    Response,
    sse::{Event as Frame, Sse},
};
use brigade_core::Observer;
use brigade_openai::{ResponseFrame, ResponseObject, ResponseWriter, ShownText, TextPiece, TextPosition};
use futures::stream;
use tokio::sync::watch;

use super::{
    ApiError,
    api::Api,
    chat_stream::{FIRST_TEXT_TIMEOUT, sse_response},
    responses,
    start::RunRequest,
};
use crate::runs::run_handle::{CancelOnDrop, RunEnd, RunHandle};

/// A response as a stream of events.
struct ResponseStream {
    api: Arc<Api>,
    run: Arc<RunHandle>,
    /// Absent for a response in the background.
    _guard: Option<CancelOnDrop>,
    response: ResponseObject,
    is_kept: bool,
    text: Arc<ShownText>,
    changed: watch::Receiver<()>,
    position: TextPosition,
    /// Absent once the last event was written.
    writer: Option<ResponseWriter>,
    ready: VecDeque<ResponseFrame>,
}

/// Observes the text of a run that is about to start. An answer with a schema is shown when it is complete, because it may be
/// rejected until then.
pub(super) fn observe(request: &mut RunRequest) -> Arc<ShownText> {
    let text = Arc::new(ShownText::default());
    if request.agent.streams_text() && request.settings.output.is_none() {
        request.observer = Some(Arc::clone(&text) as Arc<dyn Observer>);
        (request.deltas, request.append_only) = (true, true);
    }
    text
}

/// Streams the response that a run works on.
pub(super) async fn respond(
    api: Arc<Api>,
    run: Arc<RunHandle>,
    text: Arc<ShownText>,
    (response, is_kept): (ResponseObject, bool),
) -> Result<Response, ApiError> {
    let mut writer = ResponseWriter::new(response.clone());
    let ready = writer.start().into();
    let mut stream = ResponseStream {
        api,
        _guard: (!response.background()).then(|| CancelOnDrop::new(Arc::clone(&run))),
        run,
        changed: text.subscribe(),
        response,
        is_kept,
        text,
        position: TextPosition::default(),
        writer: Some(writer),
        ready,
    };
    stream.wait_for_first().await?;
    let frames = stream::unfold(stream, |mut stream| async move {
        let ResponseFrame { event, data, .. } = stream.next().await?;
        Some((Ok::<_, Infallible>(Frame::default().event(event).data(data)), stream))
    });
    Ok(sse_response(Sse::new(frames)))
}

impl ResponseStream {
    /// Waits for the first text, so that an early failure gets its own HTTP status.
    async fn wait_for_first(&mut self) -> Result<(), ApiError> {
        if self.response.background() {
            return Ok(());
        }
        let written = self.ready.len();
        let first = async {
            while self.ready.len() == written && self.writer.is_some() {
                if let Some(end) = self.advance().await {
                    if self.text.messages().iter().all(String::is_empty) {
                        let ended = responses::at_end(&self.api, &self.response, &self.run, &end, &[]);
                        if let Err(error) = ended {
                            self.finish(&end).await;
                            return Err(error);
                        }
                    }
                    self.finish(&end).await;
                }
            }
            Ok(())
        };
        tokio::time::timeout(FIRST_TEXT_TIMEOUT, first).await.unwrap_or(Ok(()))
    }

    async fn next(&mut self) -> Option<ResponseFrame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            self.writer.as_ref()?;
            if let Some(end) = self.advance().await {
                self.finish(&end).await;
            }
        }
    }

    /// Writes what was shown since the last call, or waits for more. Returns the end of the run once all was written.
    async fn advance(&mut self) -> Option<Arc<RunEnd>> {
        // The end and the mark of changes come before the text, so that no text is missed.
        let end = self.run.end();
        self.changed.borrow_and_update();
        if let (Some(piece), Some(writer)) = (self.text.next_piece(&mut self.position), &mut self.writer) {
            self.ready.extend(match piece {
                TextPiece::Text(text) => writer.text(&text),
                TextPiece::MessageEnd => writer.end_message(),
            });
            return None;
        }
        if end.is_some() {
            return end;
        }
        tokio::select! {
            _ = self.changed.changed() => {}
            _ = self.run.wait() => {}
        }
        // Lets the run read what the provider has sent, so that a frame has more than a word.
        tokio::task::yield_now().await;
        None
    }

    async fn finish(&mut self, end: &RunEnd) {
        let Some(writer) = self.writer.take() else { return };
        let shown = self.text.messages();
        let ended = responses::at_end(&self.api, &self.response, &self.run, end, &shown);
        let ended =
            ended.unwrap_or_else(|error| self.response.clone().failed(&shown, error.code.name(), &*error.message));
        // First, because a caller that stops waiting here must not lose the last event.
        self.ready.extend(writer.end(&ended));
        if self.is_kept {
            responses::keep(&self.api, &self.run, &ended).await;
        }
    }
}
