//! Chat completions as server-sent events.
//!
//! The stream contains what the agent says, including what it says before it calls tools and workers, but not what those
//! say. An answer with a schema is sent when it is complete, because it may be rejected until then.
//!
//! The protocol cannot retract text. A model call that fails after its text was sent is therefore not retried; the stream
//! then ends with an error in `OpenAI`'s form and without `[DONE]`.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event as Frame, KeepAlive, Sse},
};
use brigade_core::{Delta, Event, Observer, Outcome, Run};
use brigade_openai::{BrigadeDetails, ChatChunk, ChunkChoice, missing_rest};
use futures::stream;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{ApiError, openai, start::RunRequest};
use crate::runs::run_handle::{CancelOnDrop, RunEnd, RunHandle};

/// An event of the top agent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AgentEvent {
    Text(String),
    TurnStarted,
}

/// Sends events of the top agent to the stream.
#[derive(Debug)]
struct AgentObserver {
    events: mpsc::UnboundedSender<AgentEvent>,
    /// False if text must not be sent before the answer is complete.
    sends_text: bool,
}

/// A run as a stream of chunks.
struct ChunkStream {
    run: Arc<RunHandle>,
    /// Cancels the run when the client disconnects.
    _guard: Option<CancelOnDrop>,
    events: mpsc::UnboundedReceiver<AgentEvent>,
    /// Frames that were not sent yet.
    ready: VecDeque<Frame>,
    include_usage: bool,
    wait_field: WaitField,
    /// Text that was received and is not in a frame yet.
    unsent: String,
    /// The text of the current turn that was sent.
    sent: String,
    has_sent: bool,
    is_over: bool,
}

/// How long to wait for the first text, so that an early failure gets its own HTTP status. Proxies take a longer silence
/// for a dead connection.
pub(super) const FIRST_TEXT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most text that is gathered for one frame: a few pages.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// Proxies close silent connections after 30 to 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the stream of a run's answer reads from.
#[derive(Debug)]
pub(crate) struct AgentEvents {
    events: mpsc::UnboundedReceiver<AgentEvent>,
    wait_field: WaitField,
}

/// The field that says what a run waits for. Clients parse the content if the answer must have a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitField {
    Content,
    Refusal,
}

/// Adds the observer of a stream to a request.
pub(crate) fn observed(request: RunRequest) -> (RunRequest, AgentEvents) {
    // Unbounded, but it holds no more than the answers of one run, which are bounded.
    let (sender, events) = mpsc::unbounded_channel();
    let sends_text = request.agent.streams_text() && request.settings.output.is_none();
    let wait_field = if request.settings.output.is_some() { WaitField::Refusal } else { WaitField::Content };
    let observer = Some(Arc::new(AgentObserver { events: sender, sends_text }) as Arc<dyn Observer>);
    let request = RunRequest { observer, deltas: true, append_only: sends_text, ..request };
    (request, AgentEvents { events, wait_field })
}

/// Streams a run's answer. The events of a run that an earlier request has started are closed; its answer is sent when
/// it is complete.
pub(crate) async fn respond(
    run: Arc<RunHandle>,
    guard: Option<CancelOnDrop>,
    AgentEvents { events, wait_field }: AgentEvents,
    include_usage: bool,
) -> Result<Response, ApiError> {
    let mut chunks = ChunkStream {
        _guard: guard,
        run,
        events,
        ready: VecDeque::new(),
        include_usage,
        wait_field,
        unsent: String::new(),
        sent: String::new(),
        has_sent: false,
        is_over: false,
    };
    chunks.wait_for_first().await?;
    let frames = stream::unfold(chunks, |mut chunks| async move {
        let frame = chunks.next().await?;
        Some((Ok::<_, Infallible>(frame), chunks))
    });
    Ok(sse_response(Sse::new(frames)))
}

/// Finishes a response of server-sent events.
pub(super) fn sse_response<S>(events: Sse<S>) -> Response
where
    Sse<axum::response::sse::KeepAliveStream<S>>: IntoResponse,
    S: stream::Stream<Item = Result<Frame, Infallible>> + Send + 'static,
{
    let events = events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Tells proxies not to buffer the response.
    ([("x-accel-buffering", "no")], events).into_response()
}

impl ChunkStream {
    /// Waits for the first text. A run that fails before is an error with its own status.
    async fn wait_for_first(&mut self) -> Result<(), ApiError> {
        let first = async {
            while self.ready.is_empty() && !self.is_over {
                if let Some(end) = self.advance().await {
                    openai::outcome(&self.run, &end)?;
                    self.finish(&end);
                }
            }
            Ok(())
        };
        tokio::time::timeout(FIRST_TEXT_TIMEOUT, first).await.unwrap_or(Ok(()))
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.is_over {
                return None;
            }
            if let Some(end) = self.advance().await {
                self.finish(&end);
            }
        }
    }

    /// Processes the next event, or returns the end of the run once all events were processed.
    async fn advance(&mut self) -> Option<Arc<RunEnd>> {
        // There is unsent text already if this function was cancelled.
        if self.unsent.is_empty() {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.receive(event),
                end = self.run.wait() => return Some(end),
            }
        }
        if !self.unsent.is_empty() {
            self.send_all().await;
        }
        None
    }

    fn receive(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Text(text) => self.unsent.push_str(&text),
            AgentEvent::TurnStarted => self.sent.clear(),
        }
    }

    /// Sends the text that has arrived by now in one frame. A frame for each word of a provider that writes faster than the
    /// client reads would cost several times as much.
    async fn send_all(&mut self) {
        // Lets the run read what the provider has sent, if anything.
        tokio::task::yield_now().await;
        while self.unsent.len() < MAX_TEXT_BYTES
            && let Ok(event) = self.events.try_recv()
        {
            if event == AgentEvent::TurnStarted {
                self.send_unsent();
            }
            self.receive(event);
        }
        self.send_unsent();
    }

    fn send_unsent(&mut self) {
        let text = std::mem::take(&mut self.unsent);
        if !text.is_empty() {
            self.send(&text);
        }
    }

    fn send(&mut self, text: &str) {
        self.send_role();
        // Text before tool calls becomes a paragraph of its own.
        let gap = if self.has_sent && self.sent.is_empty() { "\n\n" } else { "" };
        self.push(ChunkChoice::text(&format!("{gap}{text}")));
        self.has_sent = true;
        self.sent.push_str(text);
    }

    /// The first chunk contains the role.
    fn send_role(&mut self) {
        if !self.has_sent {
            self.push(ChunkChoice::role());
        }
    }

    fn finish(&mut self, end: &RunEnd) {
        if self.is_over {
            return;
        }
        match openai::outcome(&Arc::clone(&self.run), end) {
            Ok(outcome) => self.complete(end, &outcome),
            Err(error) => self.ready.push_back(frame(&error.body())),
        }
        self.is_over = true;
    }

    fn complete(&mut self, end: &RunEnd, outcome: &Outcome) {
        let waits = matches!(end, RunEnd::Suspended(_));
        if waits {
            // What was sent is a part of the run, not of the text that says what it waits for.
            self.sent.clear();
        }
        let client = Arc::clone(&self.run);
        let calls = client.client_calls().map(|client| client.of(outcome)).unwrap_or_default();
        let has_calls = !calls.is_empty();
        if has_calls {
            self.send_role();
            self.push(ChunkChoice::calls(calls));
        } else {
            self.send_missing(outcome, waits);
        }
        let brigade = BrigadeDetails::new(self.run.id(), matches!(end, RunEnd::Suspended(_)), outcome);
        let finish = if has_calls { ChunkChoice::finish_calls() } else { ChunkChoice::finish(outcome.stop) };
        let last = frame(&self.chunk(vec![finish]).brigade(brigade));
        self.ready.push_back(last);
        if self.include_usage {
            let usage = frame(&self.chunk(Vec::new()).usage(Some(&outcome.usage)));
            self.ready.push_back(usage);
        }
        self.ready.push_back(Frame::default().data("[DONE]"));
    }

    /// Sends the text that was not sent yet: all of it if text is not streamed, usually none otherwise.
    fn send_missing(&mut self, outcome: &Outcome, waits: bool) {
        match missing_rest(self.sent.trim(), &outcome.text) {
            "" => self.send_role(),
            rest if waits && self.wait_field == WaitField::Refusal => {
                self.push(ChunkChoice::refusal(rest));
            }
            rest => self.send(rest),
        }
    }

    fn push(&mut self, choice: ChunkChoice<'_>) {
        let frame = frame(&self.chunk(vec![choice]));
        self.ready.push_back(frame);
    }

    fn chunk<'a>(&'a self, choices: Vec<ChunkChoice<'a>>) -> ChatChunk<'a> {
        let chunk = ChatChunk::new(openai::head(&self.run), choices);
        if self.include_usage { chunk.usage(None) } else { chunk }
    }
}

fn frame(content: &impl Serialize) -> Frame {
    Frame::default().data(serde_json::to_string(content).unwrap_or_default())
}

impl Observer for AgentObserver {
    fn on_event(&self, run: &Run, event: &Event) {
        if run.depth() > 0 {
            return;
        }
        let event = if matches!(event, Event::TurnStarted { .. }) {
            AgentEvent::TurnStarted
        } else if let Event::Delta(Delta::Text(text)) = event
            && self.sends_text
            && !text.is_empty()
        {
            AgentEvent::Text(text.clone())
        } else {
            return;
        };
        // Fails if the client has disconnected.
        let _ = self.events.send(event);
    }
}
