//! Messages between the agents of one run.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::{BusError, Envelope, Inbox, Run, RunId, Subscription};

/// The mailboxes of the agents of one request, by the agent's own name, which is the last part of its path.
///
/// A bus keeps no messages for later listeners, but an agent may receive a message before it waits for one, or even before
/// it starts. So the first sender or reader opens the mailbox, and it stays open until the request ends. It holds as many
/// messages as an inbox of the bus.
///
/// The topic of a mailbox is `run/<id of the top run>/<agent>`, so that requests that share a bus or a trace stay apart.
/// Agents with the same name in one request share a mailbox.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    run: RunId,
    open: Mutex<HashMap<String, Mailbox>>,
}

/// A reader holds the lock while it waits, so each message goes to one reader.
type Mailbox = Arc<Mutex<Inbox>>;

impl Mailboxes {
    /// Mailboxes for the request with this top run. None is open yet.
    pub(crate) fn new(run: RunId) -> Self {
        Self { run, open: Mutex::default() }
    }

    fn topic(&self, agent: &str) -> String {
        format!("run/{}/{agent}", self.run)
    }

    /// Opens the mailbox of `agent`, or returns the open one. Concurrent callers get the same one.
    async fn open(&self, agent: &str, run: &Run) -> Result<Mailbox, BusError> {
        let mut open = self.open.lock().await;
        if let Some(mailbox) = open.get(agent) {
            return Ok(Arc::clone(mailbox));
        }
        let inbox = run.bus().listen(&self.topic(agent), Subscription::Broadcast).await?;
        let mailbox = Arc::new(Mutex::new(inbox));
        open.insert(agent.to_owned(), Arc::clone(&mailbox));
        Ok(mailbox)
    }
}

impl Run {
    /// The name of the agent: the last part of its path.
    pub fn agent_name(&self) -> &str {
        self.agent().rsplit('/').next().unwrap_or_default()
    }

    /// Sends a message to the agent of this request that is called `to`. The message waits in the mailbox of the agent, even
    /// if that agent has not started yet. Fails if the mailbox is full.
    pub async fn send_message(&self, to: &str, text: impl Into<String>) -> Result<(), BusError> {
        self.mailboxes().open(to, self).await?;
        let envelope = Envelope::new(Arc::clone(self.agent()), text).trace(self.trace());
        self.bus().publish(&self.mailboxes().topic(to), envelope).await.map(drop)
    }

    /// Receives the oldest unread message to this agent, and waits if there is none. Returns `None` if no message arrives
    /// within `within`, or before the run is stopped.
    pub async fn wait_for_message(&self, within: Duration) -> Result<Option<Envelope>, BusError> {
        let mailbox = self.mailboxes().open(self.agent_name(), self).await?;
        let next = async { mailbox.lock().await.next().await };
        let next = self.until_stopped(tokio::time::timeout(within, next)).await;
        Ok(next.ok().and_then(Result::ok).flatten().map(|delivery| delivery.envelope))
    }
}

#[cfg(test)]
mod tests;
