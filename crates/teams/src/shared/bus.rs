//! Messages between agents.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::TraceId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Delivers messages between agents, by topic.
///
/// A message is delivered at most once to each listener. It is not kept for listeners that subscribe later.
///
/// ```
/// use std::time::Duration;
/// use brigade_teams::{Bus, Envelope, LocalBus, Subscription};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = LocalBus::new();
/// let mut inbox = bus.listen("reviews", Subscription::Group("reviewers".into())).await?;
/// let review = async {
///     let delivery = inbox.next().await?;
///     let reply = Envelope::new("critic", format!("{}: too long", delivery.envelope.body));
///     delivery.reply(reply);
///     Some(())
/// };
/// let ask = bus.request("reviews", Envelope::new("writer", "Chapter 1"), Duration::from_secs(5));
/// let (reply, _) = tokio::join!(ask, review);
/// assert_eq!(reply?.body, "Chapter 1: too long");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Sends a message to all listeners of `topic`, but only to one listener of each group. Returns how many received it.
    /// Fails if there is none; the message is then a dead letter.
    async fn publish(&self, topic: &str, envelope: Envelope) -> Result<usize, BusError>;

    /// Sends a message to one listener of `topic` and waits for the reply, but not longer than `within`.
    async fn request(&self, topic: &str, envelope: Envelope, within: Duration) -> Result<Envelope, BusError>;

    /// Subscribes to the messages that are sent to `topic` from now on, until the inbox is dropped.
    async fn listen(&self, topic: &str, subscription: Subscription) -> Result<Inbox, BusError>;
}

/// A message on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Envelope {
    /// The path of the agent that sends it.
    pub from: Arc<str>,
    /// The text of the message.
    pub body: String,
    /// The trace that it belongs to.
    pub trace: Option<TraceId>,
}

/// Which messages of a topic a listener receives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// Every message.
    Broadcast,
    /// A share of the messages: each one goes to a single listener of the group with this name.
    Group(String),
}

/// Receives the messages of one subscription, in the order of sending. Dropping it ends the subscription.
#[must_use = "the subscription ends when this is dropped"]
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Delivery>,
    /// Dropped after the receiver, so that its clean-up finds the inbox closed.
    _registration: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

/// A received message.
#[derive(Debug)]
#[must_use]
pub struct Delivery {
    /// The message.
    pub envelope: Envelope,
    reply: Option<oneshot::Sender<Envelope>>,
}

/// A message was not delivered or not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The topic with this name has no listener.
    #[error("`{0}` has no listener")]
    NoListener(String),
    /// The inboxes of all listeners of the topic with this name are full.
    #[error("the inbox of `{0}` is full: its listener is slower than its senders")]
    InboxFull(String),
    /// No reply arrived in time.
    #[error("no answer from `{topic}` within {within:?}")]
    NoAnswer {
        /// The topic.
        topic: String,
        /// How long the sender waited.
        within: Duration,
    },
    /// The bus cannot deliver messages now.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
}

impl Envelope {
    /// A message that does not belong to a trace.
    pub fn new(from: impl Into<Arc<str>>, body: impl Into<String>) -> Self {
        Self { from: from.into(), body: body.into(), trace: None }
    }

    /// Sets the trace that the message belongs to.
    pub fn trace(self, trace: TraceId) -> Self {
        Self { trace: Some(trace), ..self }
    }
}

impl Inbox {
    /// An inbox that a bus fills through the sender of a bounded channel.
    pub fn new(receiver: mpsc::Receiver<Delivery>) -> Self {
        Self { receiver, _registration: None }
    }

    /// Keeps a value, such as a registration with the bus, until the inbox is dropped.
    pub fn keeping(self, registration: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self { _registration: Some(Box::new(registration)), ..self }
    }

    /// Receives the next message. Returns `None` if the bus was dropped. Dropping the future loses no message.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }
}

impl Delivery {
    /// A message that expects no reply.
    pub fn new(envelope: Envelope) -> Self {
        Self { envelope, reply: None }
    }

    /// The same message, which expects a reply through `reply`. If it is dropped without one, the sender is notified at once.
    pub fn answered_by(self, reply: oneshot::Sender<Envelope>) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// Waits until the sender stops waiting for the reply. Never completes for a message that expects no reply.
    pub async fn abandoned(&mut self) {
        match &mut self.reply {
            Some(reply) => reply.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Replies to the sender. Does nothing if the sender does not wait for a reply.
    pub fn reply(self, envelope: Envelope) {
        if let Some(reply) = self.reply {
            let _ = reply.send(envelope);
        }
    }
}
