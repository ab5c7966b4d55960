//! Messages between the agents of one request.

use std::{collections::HashMap, sync::Arc, time::Duration};

use brigade_core::{Run, RunId};
use tokio::sync::Mutex;

use crate::{BusError, Envelope, Inbox, Subscription, TeamRun};

/// The mailboxes of the agents of one request, by the agent's own name, which is the last part of its path.
///
/// A bus keeps no messages for later listeners, but an agent may receive a message before it waits for one, or even before
/// it starts. So the first sender or reader opens the mailbox, and it stays open until the request ends. It holds as many
/// messages as an inbox of the bus.
///
/// The topic of a mailbox is `run/<id>/<agent>` with an id of this request, so that requests that share a bus or a trace
/// stay apart. Agents with the same name in one request share a mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    id: RunId,
    open: Mutex<HashMap<String, Mailbox>>,
}

/// A reader holds the lock while it waits, so each message goes to one reader.
type Mailbox = Arc<Mutex<Inbox>>;

impl Mailboxes {
    fn topic(&self, agent: &str) -> String {
        format!("run/{}/{agent}", self.id)
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

    /// Sends a message of `run` to the agent called `to`.
    pub(crate) async fn send(&self, run: &Run, to: &str, text: String) -> Result<(), BusError> {
        self.open(to, run).await?;
        let envelope = Envelope::new(Arc::clone(run.agent()), text).trace(run.trace());
        run.bus().publish(&self.topic(to), envelope).await.map(drop)
    }

    /// Receives the oldest unread message to the agent of `run`.
    pub(crate) async fn wait(&self, run: &Run, within: Duration) -> Result<Option<Envelope>, BusError> {
        let mailbox = self.open(run.agent_name(), run).await?;
        let next = async { mailbox.lock().await.next().await };
        let next = run.until_stopped(tokio::time::timeout(within, next)).await;
        Ok(next.ok().and_then(Result::ok).flatten().map(|delivery| delivery.envelope))
    }
}

#[cfg(test)]
mod tests;
