//! What the agents of one request share: a bus with their mailboxes, and a blackboard.

use std::{future::Future, sync::Arc, time::Duration};

use brigade_core::{Run, RunBuilder};

use crate::{Blackboard, Bus, BusError, Envelope, LocalBus, shared::mailbox::Mailboxes};

/// The bus of one request.
#[derive(Debug)]
struct SharedBus(Arc<dyn Bus>);

impl Default for SharedBus {
    fn default() -> Self {
        Self(Arc::new(LocalBus::new()))
    }
}

/// Adds messages and shared notes to a [`Run`]. All runs of one request share them.
///
/// ```
/// use std::time::Duration;
///
/// use brigade_core::{Budget, Run};
/// use brigade_teams::TeamRun;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let run = Run::new();
/// run.send_message("editor", "The draft is ready.").await?;
/// run.blackboard().write("draft", "A queue is a promise.")?;
///
/// let editor = run.child("editor", Budget::unlimited())?;
/// let message = editor.wait_for_message(Duration::from_secs(1)).await?;
/// assert_eq!(message.map(|message| message.body).as_deref(), Some("The draft is ready."));
/// assert_eq!(editor.blackboard().read("draft").as_deref(), Some("A queue is a promise."));
/// # Ok(())
/// # }
/// ```
pub trait TeamRun {
    /// Carries messages between the agents of this request. A new [`LocalBus`] by default.
    fn bus(&self) -> Arc<dyn Bus>;

    /// Notes that all agents of this request can read and write.
    fn blackboard(&self) -> Blackboard;

    /// Sends a message to the agent of this request that is called `to`. The message waits in the mailbox of the agent, even
    /// if that agent has not started yet. Fails if the mailbox is full.
    fn send_message(
        &self,
        to: &str,
        text: impl Into<String> + Send,
    ) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Receives the oldest unread message to this agent, and waits if there is none. Returns `None` if no message arrives
    /// within `within`, or before the run is stopped.
    fn wait_for_message(&self, within: Duration) -> impl Future<Output = Result<Option<Envelope>, BusError>> + Send;
}

impl TeamRun for Run {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.shared::<SharedBus>().0)
    }

    fn blackboard(&self) -> Blackboard {
        self.shared::<Blackboard>().for_run(self)
    }

    async fn send_message(&self, to: &str, text: impl Into<String> + Send) -> Result<(), BusError> {
        self.shared::<Mailboxes>().send(self, to, text.into()).await
    }

    async fn wait_for_message(&self, within: Duration) -> Result<Option<Envelope>, BusError> {
        self.shared::<Mailboxes>().wait(self, within).await
    }
}

/// Configures what the agents of one request share.
pub trait TeamRunBuilder {
    /// Sets the bus between the agents. The default is a new [`LocalBus`].
    #[must_use]
    fn bus(self, bus: Arc<dyn Bus>) -> Self;

    /// Sets the notes that the run starts with.
    #[must_use]
    fn blackboard(self, blackboard: Blackboard) -> Self;
}

impl TeamRunBuilder for RunBuilder {
    fn bus(self, bus: Arc<dyn Bus>) -> Self {
        self.shared(SharedBus(bus))
    }

    fn blackboard(self, blackboard: Blackboard) -> Self {
        self.shared(blackboard.for_all_runs())
    }
}
