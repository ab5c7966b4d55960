//! Messages between the agents of one run.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::{BusError, Envelope, Inbox, Run, RunId, Subscription};

/// The mailboxes of a run's agents, by the agent's own name, which is the last part of its path.
///
/// A bus keeps nothing for listeners that come later, but an agent is written to before it waits for messages, or even
/// before it begins to work. So whoever comes first, sender or reader, opens the mailbox, and it stays open until the
/// run ends: what was sent waits in it, as many messages as an inbox of the bus holds.
///
/// The topic of a mailbox is `run/<id of the top run>/<agent>`: two requests never mix, even on one bus and under one
/// trace. Agents of the same name in one run share a mailbox.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    run: RunId,
    open: Mutex<HashMap<String, Mailbox>>,
}

/// Locked by the reader while it waits; each message goes to one reader.
type Mailbox = Arc<Mutex<Inbox>>;

impl Mailboxes {
    /// No mailboxes yet, for the request whose top run is `run`.
    pub(crate) fn new(run: RunId) -> Self {
        Self { run, open: Mutex::default() }
    }

    fn topic(&self, agent: &str) -> String {
        format!("run/{}/{agent}", self.run)
    }

    /// The mailbox of `agent`. The lock is held while the bus opens it, so that two who come at once get the same.
    async fn of(&self, agent: &str, run: &Run) -> Result<Mailbox, BusError> {
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
    /// The agent's own name: the last part of its path.
    pub fn agent_name(&self) -> &str {
        self.agent().rsplit('/').next().unwrap_or_default()
    }

    /// Sends a message to the agent of this request that is called `to`. It waits in the agent's mailbox until it is
    /// read, even if that agent has not started yet. Refused when the mailbox is full.
    pub async fn send_message(&self, to: &str, text: impl Into<String>) -> Result<(), BusError> {
        self.mailboxes().of(to, self).await?;
        let envelope =
            Envelope { from: Arc::clone(self.agent()), body: text.into(), trace: Some(self.trace().to_string()) };
        self.bus().publish(&self.mailboxes().topic(to), envelope).await.map(drop)
    }

    /// The oldest unread message to this agent; waits for one, at most `within` and not after the run was stopped.
    pub async fn wait_for_message(&self, within: Duration) -> Result<Option<Envelope>, BusError> {
        let mailbox = self.mailboxes().of(self.agent_name(), self).await?;
        let next = async { mailbox.lock().await.next().await };
        let next = self.until_stopped(tokio::time::timeout(within, next)).await;
        Ok(next.ok().and_then(Result::ok).flatten().map(|delivery| delivery.envelope))
    }
}

#[cfg(test)]
mod tests;
