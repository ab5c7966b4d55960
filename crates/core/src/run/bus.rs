//! Messages between agents.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Carries messages between agents, by topic.
///
/// A message is delivered at most once to each listener, and nothing is kept for listeners that come later.
///
/// ```
/// use std::time::Duration;
/// use brigade_core::{Bus, Envelope, LocalBus, Subscription};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = LocalBus::new();
/// let mut inbox = bus.listen("reviews", Subscription::Group("reviewers".into())).await?;
/// let review = async {
///     let delivery = inbox.next().await?;
///     let answer = Envelope::new("critic", format!("{}: too long", delivery.envelope.body));
///     delivery.reply(answer);
///     Some(())
/// };
/// let ask = bus.request("reviews", Envelope::new("writer", "Chapter 1"), Duration::from_secs(5));
/// let (answer, _) = tokio::join!(ask, review);
/// assert_eq!(answer?.body, "Chapter 1: too long");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Sends to everybody who listens to `topic`, once to each group; answers how many got it. A message that nobody
    /// gets is an error and a dead letter.
    async fn publish(&self, topic: &str, envelope: Envelope) -> Result<usize, BusError>;

    /// Sends to one listener of `topic` and waits for its answer, at most `within`.
    async fn request(&self, topic: &str, envelope: Envelope, within: Duration) -> Result<Envelope, BusError>;

    /// Receives what is sent to `topic` from now on, until the inbox is dropped.
    async fn listen(&self, topic: &str, subscription: Subscription) -> Result<Inbox, BusError>;
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

/// Which messages of a topic a listener receives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// Every message.
    Broadcast,
    /// A share of the messages: each one goes to a single listener of the group with this name.
    Group(String),
}

/// What a listener receives, in the order of sending. Dropping it ends the listening.
#[must_use = "listening ends when this is dropped"]
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Delivery>,
    /// Goes after the receiver, so that whatever it cleans up finds the inbox closed.
    _registration: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

/// A message as it arrives.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub envelope: Envelope,
    reply: Option<oneshot::Sender<Envelope>>,
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
    /// The listener's inbox is full, or that of every listener.
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

impl Envelope {
    /// A message that belongs to no trace.
    pub fn new(from: impl Into<Arc<str>>, body: impl Into<String>) -> Self {
        Self { from: from.into(), body: body.into(), trace: None }
    }
}

impl Inbox {
    /// An inbox that a bus fills through the other end of a bounded channel.
    pub fn new(receiver: mpsc::Receiver<Delivery>) -> Self {
        Self { receiver, _registration: None }
    }

    /// Keeps something, such as a subscription, that is dropped with the inbox.
    pub fn keeping(self, registration: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self { _registration: Some(Box::new(registration)), ..self }
    }

    /// The next message; none when the bus is gone. Dropping the future loses no message.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }
}

impl Delivery {
    /// A message to whose sender nobody answers.
    pub fn new(envelope: Envelope) -> Self {
        Self { envelope, reply: None }
    }

    /// The same message, to be answered through `reply`. Dropping it unanswered tells the sender at once.
    #[must_use]
    pub fn answered_by(self, reply: oneshot::Sender<Envelope>) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// Whether the sender waits for an answer.
    pub fn wants_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// Resolves when the sender has given up waiting; never, if it did not wait in the first place.
    pub async fn abandoned(&mut self) {
        match &mut self.reply {
            Some(reply) => reply.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Answers the sender. Does nothing if nobody waits, or nobody waits any more.
    pub fn reply(self, envelope: Envelope) {
        if let Some(reply) = self.reply {
            // The sender may have given up; the answer is then of no use to anybody.
            let _ = reply.send(envelope);
        }
    }
}
