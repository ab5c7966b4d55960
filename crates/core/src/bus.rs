//! Messages between agents.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Carries messages between agents, by topic.
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Sends to everybody who listens to `topic`; answers how many got it. A message that nobody gets is a dead letter.
    async fn publish(&self, topic: &str, envelope: Envelope) -> Result<usize, BusError>;

    /// Sends to one listener of `topic` and waits for its answer, at most `within`.
    async fn request(&self, topic: &str, envelope: Envelope, within: Duration) -> Result<Envelope, BusError>;

    /// Receives what is sent to `topic` from now on, until the inbox is dropped.
    async fn listen(&self, topic: &str, share: Share) -> Result<Inbox, BusError>;
}

/// A message on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who sends it: an agent's path.
    pub from: Arc<str>,
    /// What it says.
    pub body: String,
    /// The trace that it belongs to, as 32 hexadecimal digits.
    pub trace: Option<String>,
}

/// How listeners of one topic share what is sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Share {
    /// This listener gets every message.
    Each,
    /// One listener of the group with this name gets each message.
    OneOf(String),
}

/// What a listener receives.
#[derive(Debug)]
pub struct Inbox(pub(crate) mpsc::Receiver<Delivery>);

/// A message as it arrives.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub envelope: Envelope,
    pub(crate) reply: Option<tokio::sync::oneshot::Sender<Envelope>>,
}

/// A message could not be sent or answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody listens.
    #[error("nobody listens to `{topic}`")]
    NoListener {
        /// Where it was sent.
        topic: String,
    },
    /// The listener's inbox is full.
    #[error("the inbox of `{topic}` is full: its listener is slower than its senders")]
    InboxFull {
        /// Where it was sent.
        topic: String,
    },
    /// No answer came in time.
    #[error("no answer from `{topic}` within {within:?}")]
    NoAnswer {
        /// Where it was sent.
        topic: String,
        /// How long was waited.
        within: Duration,
    },
    /// The bus cannot carry messages now.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
}

impl Inbox {
    /// The next message; none when the bus is gone.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.0.recv().await
    }
}

impl Delivery {
    /// Whether the sender waits for an answer.
    pub fn wants_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// Answers the sender. Does nothing if nobody waits, or nobody waits any more.
    pub fn reply(self, envelope: Envelope) {
        if let Some(reply) = self.reply {
            // The sender may have given up; the answer is then of no use to anybody.
            let _ = reply.send(envelope);
        }
    }
}
