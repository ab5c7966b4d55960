//! Chat Completions as server-sent events.
//!
//! Shown is what the agent says while it says it, also what it says before it asks its tools and workers. What they say
//! is theirs. An answer that must match a schema is shown when it is whole, because until then it may be rejected.
//!
//! The protocol cannot take words back. What was shown of an answer stands, so a call that fails after that is not tried
//! again: as whenever a run fails, the stream ends with an error in the form of `OpenAI`'s, and without `[DONE]`.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event as Frame, KeepAlive, Sse},
};
use brigade_core::{Delta, Event, Observer, Outcome, Run};
use futures::stream;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    ApiError, Site,
    access::Caller,
    answer::{self, Details, Tokens},
    chat::completion_id,
    ids::Ids,
    launch::Ask,
};
use crate::runs::manager::{CancelOnDrop, End, Record};

/// What the top agent of a run says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The model is asked again: what was said is said.
    TurnStarted,
}

/// Hands on what the top agent says.
#[derive(Debug)]
struct Listener {
    pieces: mpsc::UnboundedSender<Piece>,
    /// Whether text may be shown before the answer is whole.
    is_live: bool,
}

/// A piece of a completion.
#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: String,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    /// Null on all chunks but the last, if the client asks for it at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Reported>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brigade: Option<Details<'a>>,
}

/// Tokens, which are known at the end.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Reported {
    NotYet,
    Tokens(Tokens),
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    delta: More<'a>,
    logprobs: (),
    finish_reason: Option<&'static str>,
}

/// What is new.
#[derive(Debug, Default, Serialize)]
struct More<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// A run, seen as chunks of a completion.
struct Chunks {
    record: Arc<Record>,
    _guard: CancelOnDrop,
    pieces: mpsc::UnboundedReceiver<Piece>,
    ready: VecDeque<Frame>,
    include_usage: bool,
    /// What was shown of this turn.
    shown: String,
    has_shown: bool,
    is_over: bool,
}

/// For so long it is waited for the first words or the end, so that a failure gets a status of its own. Longer, and
/// what lies between would take the silence for a dead connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Below the 30 s to 60 s after which proxies give a silent connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Starts the run and answers with its chunks.
pub(crate) async fn respond(
    site: &Site,
    caller: &Caller,
    (ids, ask, include_usage): (Ids, Ask, bool),
) -> Result<Response, ApiError> {
    // Unbounded, but no longer than the answers of one run, which are bounded.
    let (sender, pieces) = mpsc::unbounded_channel();
    let is_live = ask.served.speaks_live() && ask.settings.output.is_none();
    let observer = Some(Arc::new(Listener { pieces: sender, is_live }) as Arc<dyn Observer>);
    let ask = Ask { observer, deltas: true, append_only: is_live, ..ask };
    let record = ask.start(site, caller, ids)?;
    let mut chunks = Chunks {
        _guard: CancelOnDrop(Arc::clone(&record)),
        record,
        pieces,
        ready: VecDeque::new(),
        include_usage,
        shown: String::new(),
        has_shown: false,
        is_over: false,
    };
    chunks.begin().await?;
    let frames = stream::unfold(chunks, |mut chunks| async move {
        let frame = chunks.next().await?;
        Some((Ok::<_, Infallible>(frame), chunks))
    });
    let events = Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies that collect answers would spoil the show.
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

impl Chunks {
    /// Waits for the first words. A run that fails before is an error with a status.
    async fn begin(&mut self) -> Result<(), ApiError> {
        let first = async {
            while self.ready.is_empty() && !self.is_over {
                if let Some(end) = self.advance().await {
                    answer::outcome(&end)?;
                    self.finish(&end);
                }
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, first).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
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

    /// Takes in what happens next. Everything that was said comes before the end.
    async fn advance(&mut self) -> Option<Arc<End>> {
        tokio::select! {
            biased;
            Some(piece) = self.pieces.recv() => {
                self.take(piece);
                None
            }
            end = self.record.ended() => Some(end),
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.show(&text),
            Piece::TurnStarted => self.shown.clear(),
        }
    }

    fn show(&mut self, text: &str) {
        self.open();
        // Remarks before tool calls are paragraphs of their own.
        let gap = if self.has_shown && self.shown.is_empty() { "\n\n" } else { "" };
        self.push(More { content: Some(&format!("{gap}{text}")), ..More::default() });
        self.has_shown = true;
        self.shown.push_str(text);
    }

    /// The first chunk says who speaks.
    fn open(&mut self) {
        if !self.has_shown {
            self.push(More { role: Some("assistant"), content: Some("") });
        }
    }

    fn finish(&mut self, end: &End) {
        if self.is_over {
            return;
        }
        match answer::outcome(end) {
            Ok(outcome) => self.complete(outcome),
            Err(error) => self.fail(&error),
        }
    }

    fn complete(&mut self, outcome: &Outcome) {
        // What was not shown yet: all, of an agent that was not heard live; nothing, as a rule, of one that was.
        let shown = self.shown.trim();
        match outcome.text.strip_prefix(shown).unwrap_or(&outcome.text) {
            "" => self.open(),
            rest => self.show(rest),
        }
        let finish_reason = Some(answer::finish_reason(outcome.stop));
        let last = Choice { index: 0, delta: More::default(), logprobs: (), finish_reason };
        let extension = Some(Details::of(self.record.id, outcome));
        let last = frame(&Chunk { brigade: extension, ..self.chunk(vec![last]) });
        self.ready.push_back(last);
        if self.include_usage {
            let usage = Some(Reported::Tokens(Tokens::from(&outcome.usage)));
            let usage = frame(&Chunk { usage, ..self.chunk(Vec::new()) });
            self.ready.push_back(usage);
        }
        self.ready.push_back(Frame::default().data("[DONE]"));
        self.is_over = true;
    }

    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(frame(&error.body()));
        self.is_over = true;
    }

    fn push(&mut self, delta: More<'_>) {
        let chunk = frame(&self.chunk(vec![Choice { index: 0, delta, logprobs: (), finish_reason: None }]));
        self.ready.push_back(chunk);
    }

    fn chunk<'a>(&'a self, choices: Vec<Choice<'a>>) -> Chunk<'a> {
        Chunk {
            id: completion_id(&self.record),
            object: "chat.completion.chunk",
            created: self.record.began.as_second(),
            model: &self.record.agent,
            choices,
            usage: self.include_usage.then_some(Reported::NotYet),
            brigade: None,
        }
    }
}

/// JSON has no line breaks of its own, so one line takes it all.
fn frame(content: &impl Serialize) -> Frame {
    Frame::default().data(serde_json::to_string(content).unwrap_or_default())
}

impl Observer for Listener {
    fn on_event(&self, run: &Run, event: &Event) {
        if run.depth() > 0 {
            return;
        }
        let piece = match event {
            Event::Delta(Delta::Text(text)) if self.is_live && !text.is_empty() => Piece::Text(text.clone()),
            Event::TurnStarted { .. } => Piece::TurnStarted,
            _ => return,
        };
        // Nobody listens any more when the client has hung up.
        let _ = self.pieces.send(piece);
    }
}
