//! A run as a stream of what happens in it.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use crate::{Event, Observer, Outcome, Run, RunError, Task, agent::runnable::Runnable};

/// What a stream of a run yields.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a run ends once, and its end is moved once")]
pub enum RunItem {
    /// Something happened to the agent with this path.
    Event(Arc<str>, Event),
    /// The run is over; nothing comes after this.
    Done(Result<Outcome, RunError>),
}

/// Runs `work` on a task, and yields what happens, deltas of the answer included, as it happens. Dropping the stream
/// cancels the run; the run goes on only while somebody asks for the next item.
///
/// ```
/// # async fn example(model: impl brigade_core::ChatModel) {
/// use brigade_core::{Agent, Delta, Event, Run, RunItem, stream};
/// use futures::StreamExt;
///
/// let run = Run::new();
/// let mut items = std::pin::pin!(stream(Agent::new("clerk", model), &run, "Greet me."));
/// while let Some(item) = items.next().await {
///     match item {
///         RunItem::Event(_, Event::Delta(Delta::Text(more))) => print!("{more}"),
///         RunItem::Event(..) => {}
///         RunItem::Done(outcome) => println!("{:?}", outcome.map(|outcome| outcome.stop)),
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
    let done = Box::pin(async move { work.run(&run, task).await });
    stream::unfold((events, Some(done)), |(mut events, done)| async move {
        let Some(mut running) = done else {
            // What happened in the last moment comes before the end was told; here the end was told.
            return None;
        };
        tokio::select! {
            biased;
            Some((agent, event)) = events.recv() => Some((vec![RunItem::Event(agent, event)], (events, Some(running)))),
            outcome = &mut running => {
                let mut items = Vec::new();
                while let Ok((agent, event)) = events.try_recv() {
                    items.push(RunItem::Event(agent, event));
                }
                items.push(RunItem::Done(outcome));
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
        // Nobody listens any more once the stream is dropped, and then nobody misses this.
        let _ = self.0.send((Arc::clone(run.agent()), event.clone()));
    }
}
