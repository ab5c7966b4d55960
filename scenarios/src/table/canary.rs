//! R00: invariants broken on purpose. A judge who does not see that sees nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use brigade_core::{Agent, ChatModel, ChatReply, ChatRequest, Delta, Event, ModelError, ModelId, Run, Settings};
use brigade_rehearsal::Dialect;

use crate::{
    scenario::{Bill, Scenario},
    stage::{CANARY, Stage},
};

/// What a sabotaged model does.
#[derive(Debug, Clone, Copy)]
enum Sabotage {
    /// Asks the provider once more, past the meter.
    AsksTwice,
    /// Writes the question to the log.
    Tells,
    /// Writes a line that belongs to no run.
    TalksOutOfTurn,
    /// Passes half an answer off as a whole one.
    Halves,
    /// Waits for ever, as far as anybody can tell.
    Dawdles,
    /// Does something else each time.
    Wavers,
    /// Begins an attempt that never ends.
    Forgets,
    /// Leaves a task behind.
    Leaks,
}

/// A model that breaks an invariant.
#[derive(Debug)]
struct Saboteur {
    inner: Arc<dyn ChatModel>,
    bare: Arc<dyn ChatModel>,
    sabotage: Sabotage,
}

/// Counts what goes wrong in another way each time.
static WAVERING: AtomicU64 = AtomicU64::new(0);

/// Each broken invariant, by the rule that must see it.
pub fn all() -> Vec<(&'static str, Scenario)> {
    let healthy =
        |id| Scenario::new(id, "broken on purpose").only(&[Dialect::OpenaiChat]).judged(Bill::Exact, |_| Ok(()));
    vec![
        ("I1", healthy("R00/halves").team(|stage| sabotaged(stage, Sabotage::Halves))),
        ("I2", healthy("R00/unmetered").team(|stage| sabotaged(stage, Sabotage::AsksTwice))),
        ("I5", healthy("R00/dawdles").team(|stage| sabotaged(stage, Sabotage::Dawdles))),
        ("I6", healthy("R00/asks-twice").team(|stage| sabotaged(stage, Sabotage::AsksTwice))),
        ("I7", healthy("R00/out-of-turn").team(|stage| sabotaged(stage, Sabotage::TalksOutOfTurn))),
        ("I7", healthy("R00/forgets").team(|stage| sabotaged(stage, Sabotage::Forgets))),
        ("I8", healthy("R00/tells").team(|stage| sabotaged(stage, Sabotage::Tells))),
        ("I8", healthy("R00/leaks").team(|stage| sabotaged(stage, Sabotage::Leaks))),
        ("I10", healthy("R00/wavers").team(|stage| sabotaged(stage, Sabotage::Wavers))),
    ]
}

fn sabotaged(stage: &Stage, sabotage: Sabotage) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let saboteur = Saboteur { inner: stage.model()?, bare: stage.bare_model()?, sabotage };
    Ok(Arc::new(Agent::new("asker", saboteur)))
}

#[async_trait]
impl ChatModel for Saboteur {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        match self.sabotage {
            Sabotage::AsksTwice => drop(self.bare.chat(request, run).await?),
            Sabotage::Tells => tracing::info!("asked about a {CANARY}"),
            Sabotage::TalksOutOfTurn => out_of_turn(),
            Sabotage::Dawdles => tokio::time::sleep(std::time::Duration::from_hours(1)).await,
            Sabotage::Wavers => {
                let count = WAVERING.fetch_add(1, Ordering::Relaxed);
                run.emit(&Event::Delta(Delta::Text(count.to_string())));
            }
            Sabotage::Forgets => run.emit(&Event::AttemptStarted { model: self.id().clone() }),
            Sabotage::Leaks => leak(),
            Sabotage::Halves => {
                let mut reply = self.inner.chat(request, run).await?;
                reply.message = brigade_core::Message::assistant("one two three");
                return Ok(reply);
            }
        }
        self.inner.chat(request, run).await
    }
}

/// A line without a run around it.
fn out_of_turn() {
    tracing::info!(parent: None, "nobody said this");
}

#[expect(clippy::disallowed_methods, reason = "a task without an owner is the point")]
fn leak() {
    drop(tokio::spawn(std::future::pending::<()>()));
}
