//! The bus inside one process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::{Bus, BusError, Delivery, Envelope, Inbox, Share, ledger::unpoisoned};

/// The bus inside one process: bounded inboxes, nothing kept for listeners that come later.
#[derive(Debug)]
pub struct LocalBus {
    topics: Mutex<HashMap<String, Topic>>,
    dead_letters: AtomicU64,
    inbox_capacity: usize,
}

/// Who listens to one topic: groups, each with its members. A listener of its own is a group of one.
type Topic = Vec<Group>;

#[derive(Debug)]
struct Group {
    share: Share,
    members: VecDeque<mpsc::Sender<Delivery>>,
}

/// Agents answer in seconds; an inbox that is this far behind will not catch up.
const INBOX_CAPACITY: usize = 64;

impl LocalBus {
    /// A bus whose inboxes hold 64 messages.
    pub fn new() -> Self {
        Self::with_inbox_capacity(INBOX_CAPACITY)
    }

    /// A bus whose inboxes hold `capacity` messages, at least one.
    pub fn with_inbox_capacity(capacity: usize) -> Self {
        Self { topics: Mutex::default(), dead_letters: AtomicU64::new(0), inbox_capacity: capacity.max(1) }
    }

    /// How many messages nobody got: no listener, or a full inbox.
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    fn dead_letter(&self, error: BusError) -> BusError {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// The inboxes that one message to `topic` goes to: every group once, members by turns.
    fn receivers(&self, topic: &str) -> Vec<mpsc::Sender<Delivery>> {
        let mut topics = unpoisoned(&self.topics);
        let Some(groups) = topics.get_mut(topic) else { return Vec::new() };
        groups.retain_mut(Group::has_members);
        let receivers = groups.iter_mut().filter_map(Group::next_member).collect();
        if groups.is_empty() {
            topics.remove(topic);
        }
        receivers
    }
}

impl Group {
    /// Forgets members whose inbox was dropped.
    fn has_members(&mut self) -> bool {
        self.members.retain(|member| !member.is_closed());
        !self.members.is_empty()
    }

    fn next_member(&mut self) -> Option<mpsc::Sender<Delivery>> {
        self.members.rotate_left(1);
        self.members.back().cloned()
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
        let receivers = self.receivers(topic);
        if receivers.is_empty() {
            return Err(self.dead_letter(BusError::NoListener { topic: topic.to_owned() }));
        }
        let send = |receiver: &mpsc::Sender<Delivery>| {
            receiver.try_send(Delivery { envelope: envelope.clone(), reply: None }).is_ok()
        };
        let delivered = receivers.iter().filter(|receiver| send(receiver)).count();
        self.dead_letters.fetch_add((receivers.len() - delivered) as u64, Ordering::Relaxed);
        if delivered == 0 {
            return Err(BusError::InboxFull { topic: topic.to_owned() });
        }
        Ok(delivered)
    }

    async fn request(&self, topic: &str, envelope: Envelope, within: Duration) -> Result<Envelope, BusError> {
        let no_answer = || BusError::NoAnswer { topic: topic.to_owned(), within };
        let Some(receiver) = self.receivers(topic).into_iter().next() else {
            return Err(self.dead_letter(BusError::NoListener { topic: topic.to_owned() }));
        };
        let (reply, answer) = oneshot::channel();
        receiver
            .try_send(Delivery { envelope, reply: Some(reply) })
            .map_err(|_| self.dead_letter(BusError::InboxFull { topic: topic.to_owned() }))?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(envelope)) => Ok(envelope),
            // The listener dropped the message, or took too long: the same to the sender.
            Ok(Err(_)) | Err(_) => Err(no_answer()),
        }
    }

    async fn listen(&self, topic: &str, share: Share) -> Result<Inbox, BusError> {
        let (sender, receiver) = mpsc::channel(self.inbox_capacity);
        let mut topics = unpoisoned(&self.topics);
        let groups = topics.entry(topic.to_owned()).or_default();
        let same = |group: &&mut Group| group.share == share && share != Share::Each;
        match groups.iter_mut().find(same) {
            Some(group) => group.members.push_back(sender),
            None => groups.push(Group { share, members: VecDeque::from([sender]) }),
        }
        Ok(Inbox(receiver))
    }
}
