//! A run as a stream of its events.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use crate::{Event, Observer, Outcome, Run, RunError, Task, agent::runnable::Runnable};

/// An item of the stream of a run.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a run ends once, and its end is moved once")]
pub enum RunItem {
    /// An event of the agent with this path.
    Event(Arc<str>, Event),
    /// The end of the run, and the last item.
    End(Result<Outcome, RunError>),
}

/// Runs `work` on a task, and yields the run's events, including the deltas of the answer. The run makes progress only while
/// the stream is polled. Dropping the stream cancels the run.
///
/// ```
/// use brigade_core::{Agent, Delta, Event, Run, RunItem, stream};
/// # use brigade_core::testing::{ScriptedModel, Turn};
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let model = ScriptedModel::new([Turn::text("Good morning.")]);
/// let run = Run::new();
/// let mut items = std::pin::pin!(stream(Agent::new("clerk", model), &run, "Greet me."));
/// while let Some(item) = items.next().await {
///     match item {
///         RunItem::Event(_, Event::Delta(Delta::Text(more))) => print!("{more}"),
///         RunItem::Event(..) => {}
///         RunItem::End(outcome) => println!("{:?}", outcome.map(|outcome| outcome.stop)),
///     }
/// }
/// # }
/// ```
pub fn stream<W: Runnable, T: Into<Task>>(
    work: W,
    run: &Run,
    task: T,
) -> impl Stream<Item = RunItem> + Send + use<W, T> {
    // Unbounded, but never long: the run is polled only when the queue is empty, and then once.
    let (queue, events) = mpsc::unbounded_channel();
    let run = run.observed_by(Arc::new(Queue(queue))).with_deltas(true);
    let task = task.into();
    let work = Box::pin(async move { work.run(&run, task).await });
    stream::unfold((events, Some(work)), |(mut events, work)| async move {
        let mut running = work?;
        tokio::select! {
            biased;
            Some((agent, event)) = events.recv() => Some((vec![RunItem::Event(agent, event)], (events, Some(running)))),
            outcome = &mut running => {
                // The last events come before the end.
                let mut items = Vec::new();
                while let Ok((agent, event)) = events.try_recv() {
                    items.push(RunItem::Event(agent, event));
                }
                items.push(RunItem::End(outcome));
                Some((items, (events, None)))
            }
        }
    })
    .flat_map(stream::iter)
}

#[derive(Debug)]
struct Queue(mpsc::UnboundedSender<(Arc<str>, Event)>);

impl Observer for Queue {
    fn on_event(&self, run: &Run, event: &Event) {
        // Sending fails after the stream was dropped, when the events are not needed any more.
        let _ = self.0.send((Arc::clone(run.agent()), event.clone()));
    }
}
