//! Messages between the agents of one request.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use brigade_core::{RawJson, Run, RunId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::{BusError, Envelope, Inbox, Subscription, TeamRun};

/// The mailboxes of the agents of one request, by the agent's own name, which is the last part of its path.
///
/// A bus keeps no messages for later listeners, but an agent may receive a message before it waits for one, or even before
/// it starts. So the first sender or reader opens the mailbox, and it stays open until the request ends. It holds as many
/// messages as an inbox of the bus.
///
/// The topic of a mailbox is `run/<id>/<agent>` with an id of this request, so that requests that share a bus or a trace
/// stay apart. Agents with the same name in one request share a mailbox.
///
/// A run that goes on after a crash has the messages that its completed steps sent and that no completed step has read.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    id: RunId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<String, Mailbox>,
    /// Messages from before a crash that are not in their mailboxes yet.
    unread: VecDeque<Message>,
    /// Messages that completed steps have read, and whose senders send them again.
    read: Vec<Message>,
}

/// A reader holds the lock while it waits, so each message goes to one reader.
type Mailbox = Arc<Mutex<Inbox>>;

/// A message with its receiver.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    to: String,
    envelope: Envelope,
}

/// A change of the mailboxes, as steps record it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Sent(Message),
    Read(Message),
}

/// The name under which steps record changes.
const CHANGES: &str = "mailboxes";

impl Mailboxes {
    fn topic(&self, agent: &str) -> String {
        format!("run/{}/{agent}", self.id)
    }

    /// The state, with the messages from before a crash.
    async fn state(&self, run: &Run) -> Result<MutexGuard<'_, State>, BusError> {
        let mut state = self.state.lock().await;
        let changes = run.take_recorded_changes(CHANGES);
        for change in changes.iter().filter_map(|change| serde_json::from_str(change.get()).ok()) {
            state.restore(change);
        }
        while let Some(Message { to, envelope }) = state.unread.front() {
            let (to, envelope) = (to.clone(), envelope.clone());
            self.open(&mut state, &to, run).await?;
            run.bus().publish(&self.topic(&to), envelope).await?;
            state.unread.pop_front();
        }
        Ok(state)
    }

    /// Opens the mailbox of `agent`, or returns the open one. Concurrent callers get the same one.
    async fn open(&self, state: &mut State, agent: &str, run: &Run) -> Result<Mailbox, BusError> {
        if let Some(mailbox) = state.open.get(agent) {
            return Ok(Arc::clone(mailbox));
        }
        let inbox = run.bus().listen(&self.topic(agent), Subscription::Broadcast).await?;
        let mailbox = Arc::new(Mutex::new(inbox));
        state.open.insert(agent.to_owned(), Arc::clone(&mailbox));
        Ok(mailbox)
    }

    /// Sends a message of `run` to the agent called `to`.
    pub(crate) async fn send(&self, run: &Run, to: &str, text: String) -> Result<(), BusError> {
        let envelope = Envelope::new(Arc::clone(run.agent()), text).trace(run.trace());
        let message = Message { to: to.to_owned(), envelope };
        let mut state = self.state(run).await?;
        let read = state.read.iter().position(|read| read.is(&message));
        if let Some(read) = read {
            state.read.swap_remove(read);
        } else {
            self.open(&mut state, to, run).await?;
            run.bus().publish(&self.topic(to), message.envelope.clone()).await?;
        }
        record(run, &Change::Sent(message));
        Ok(())
    }

    /// Receives the oldest unread message to the agent of `run`.
    pub(crate) async fn wait(&self, run: &Run, within: Duration) -> Result<Option<Envelope>, BusError> {
        let mailbox = {
            let mut state = self.state(run).await?;
            self.open(&mut state, run.agent_name(), run).await?
        };
        let next = async { mailbox.lock().await.next().await };
        let next = run.until_stopped(tokio::time::timeout(within, next)).await;
        let Some(delivery) = next.ok().and_then(Result::ok).flatten() else { return Ok(None) };
        let message = Message { to: run.agent_name().to_owned(), envelope: delivery.envelope };
        let envelope = message.envelope.clone();
        record(run, &Change::Read(message));
        Ok(Some(envelope))
    }
}

impl State {
    fn restore(&mut self, change: Change) {
        match change {
            Change::Sent(message) => self.unread.push_back(message),
            Change::Read(message) => match self.unread.iter().position(|sent| sent.is(&message)) {
                Some(sent) => drop(self.unread.remove(sent)),
                None => self.read.push(message),
            },
        }
    }
}

impl Message {
    /// Whether it is the same message, perhaps under the trace of another process.
    fn is(&self, other: &Self) -> bool {
        let (own, others) = (&self.envelope, &other.envelope);
        (&self.to, &own.from, &own.body) == (&other.to, &others.from, &others.body)
    }
}

fn record(run: &Run, change: &Change) {
    if let Ok(change) = RawJson::of(change) {
        run.record_change(CHANGES, &change);
    }
}

#[cfg(test)]
mod tests;
