//! The bus inside one process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{Bus, BusError, Delivery, Envelope, Inbox, Subscription};

/// Delivers messages inside one process, through bounded inboxes.
#[derive(Debug)]
pub struct LocalBus {
    topics: Arc<Topics>,
    dead_letters: AtomicU64,
    inbox_capacity: usize,
}

/// The topics that have a listener, by name.
type Topics = Mutex<HashMap<String, Topic>>;

/// The groups of listeners of one topic; the first one receives the next request. A broadcast listener is a group of one.
type Topic = VecDeque<Group>;

#[derive(Debug)]
struct Group {
    subscription: Subscription,
    /// The first one receives the next message.
    members: VecDeque<mpsc::Sender<Delivery>>,
}

/// Removes a listener from its topic when its inbox is dropped.
#[derive(Debug)]
struct Registration {
    topics: Weak<Topics>,
    topic: String,
}

/// Agents answer in seconds, so an inbox that is this far behind does not catch up.
const INBOX_CAPACITY: usize = 64;

impl LocalBus {
    /// A bus whose inboxes hold 64 messages.
    pub fn new() -> Self {
        Self::with_inbox_capacity(INBOX_CAPACITY)
    }

    /// A bus whose inboxes hold `capacity` messages, at least one.
    pub fn with_inbox_capacity(capacity: usize) -> Self {
        Self { topics: Arc::default(), dead_letters: AtomicU64::new(0), inbox_capacity: capacity.max(1) }
    }

    /// The number of messages that were not delivered, because there was no listener or no room in an inbox.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    fn count_dead_letters(&self, count: usize) {
        self.dead_letters.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Calls `send` with the listeners of `topic`. Fails if there is none.
    fn with_listeners<T>(&self, topic: &str, send: impl FnOnce(&mut Topic) -> T) -> Result<T, BusError> {
        let outcome = self.topics.lock().get_mut(topic).map(send);
        outcome.ok_or_else(|| {
            self.count_dead_letters(1);
            BusError::NoListener(topic.to_owned())
        })
    }
}

impl Group {
    /// Sends the message to the first member that has room for it, and makes the member after it the first.
    fn send(&mut self, mut delivery: Delivery) -> Result<(), Delivery> {
        for _ in 0..self.members.len() {
            self.members.rotate_left(1);
            let Some(member) = self.members.back() else { break };
            match member.try_send(delivery) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(refused) | TrySendError::Closed(refused)) => delivery = refused,
            }
        }
        Err(delivery)
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, topic: &str, envelope: Envelope) -> Result<usize, BusError> {
        let (groups, delivered) = self.with_listeners(topic, |groups| {
            let send = |group: &mut Group| group.send(Delivery::new(envelope.clone())).is_ok();
            let delivered = groups.iter_mut().map(send).filter(|is_sent| *is_sent).count();
            (groups.len(), delivered)
        })?;
        self.count_dead_letters(groups - delivered);
        if delivered == 0 {
            return Err(BusError::InboxFull(topic.to_owned()));
        }
        Ok(delivered)
    }

    async fn request(&self, topic: &str, envelope: Envelope, within: Duration) -> Result<Envelope, BusError> {
        let (reply, answer) = oneshot::channel();
        let delivery = Delivery::new(envelope).answered_by(reply);
        let refused = self.with_listeners(topic, |groups| {
            // The groups are asked in order until one accepts the message.
            let refused = groups.iter_mut().try_fold(delivery, |delivery, group| group.send(delivery).err());
            groups.rotate_left(1);
            refused
        })?;
        if refused.is_some() {
            self.count_dead_letters(1);
            return Err(BusError::InboxFull(topic.to_owned()));
        }
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(envelope)) => Ok(envelope),
            Ok(Err(_)) | Err(_) => Err(BusError::NoAnswer { topic: topic.to_owned(), within }),
        }
    }

    async fn listen(&self, topic: &str, subscription: Subscription) -> Result<Inbox, BusError> {
        let (sender, receiver) = mpsc::channel(self.inbox_capacity);
        let registration = Registration { topics: Arc::downgrade(&self.topics), topic: topic.to_owned() };
        let mut topics = self.topics.lock();
        let groups = topics.entry(topic.to_owned()).or_default();
        let same = |group: &&mut Group| group.subscription == subscription && subscription != Subscription::Broadcast;
        match groups.iter_mut().find(same) {
            Some(group) => group.members.push_back(sender),
            None => groups.push_back(Group { subscription, members: VecDeque::from([sender]) }),
        }
        Ok(Inbox::new(receiver).keeping(registration))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(topics) = self.topics.upgrade() else { return };
        let mut topics = topics.lock();
        let Some(groups) = topics.get_mut(&self.topic) else { return };
        groups.retain_mut(|group| {
            group.members.retain(|member| !member.is_closed());
            !group.members.is_empty()
        });
        if groups.is_empty() {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests;
