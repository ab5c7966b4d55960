//! Watches the deltas of a reply.

use std::sync::Arc;

use brigade_core::{Delta, Event, Observer, Run};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Watches the deltas that a call emits, so that a wrapper knows when the reply last made progress and whether
/// listeners have seen a part of it.
///
/// If the run has no listeners, the provider does not stream and there is nothing to watch.
#[derive(Debug)]
pub(crate) struct ReplyWatch {
    run: Run,
    progress: Option<Arc<Progress>>,
}

#[derive(Debug, Default)]
struct Progress {
    state: Mutex<ProgressState>,
    new_delta: Notify,
}

#[derive(Debug, Default)]
struct ProgressState {
    /// Absent if there was no delta since the reply last started.
    last_delta_at: Option<Instant>,
    /// Whether one of these deltas was text.
    has_text: bool,
    restarts: u32,
}

impl ReplyWatch {
    /// Starts to watch the calls that are made with [`ReplyWatch::run`].
    pub(crate) fn new(run: &Run) -> Self {
        if !run.wants_deltas() {
            return Self { run: run.clone(), progress: None };
        }
        let progress = Arc::new(Progress::default());
        Self { run: run.observed_by(progress.clone()), progress: Some(progress) }
    }

    /// The run to pass to the inner model.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Whether the reply is streamed.
    pub(crate) fn is_streamed(&self) -> bool {
        self.progress.is_some()
    }

    /// When the latest delta was emitted; `None` if there was none since the reply last started.
    pub(crate) fn last_delta_at(&self) -> Option<Instant> {
        self.progress.as_ref()?.state.lock().last_delta_at
    }

    /// Whether listeners have seen a part of the reply that is still valid.
    pub(crate) fn has_partial_reply(&self) -> bool {
        self.last_delta_at().is_some()
    }

    /// Whether the reply may start again, which is allowed `max_restarts` times and never after text that listeners
    /// cannot take back.
    pub(crate) fn may_restart(&self, max_restarts: u32) -> bool {
        self.progress.as_ref().is_none_or(|progress| {
            let state = progress.state.lock();
            let is_final = self.run.is_append_only() && state.has_text;
            !is_final && state.restarts < max_restarts
        })
    }

    /// Waits for a delta that is emitted after the previous wait. Does not return if the reply is not streamed.
    pub(crate) async fn new_delta(&self) {
        match &self.progress {
            Some(progress) => progress.new_delta.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Observer for Progress {
    fn on_event(&self, _: &Run, event: &Event) {
        if let Event::Delta(delta) = event
            && !is_empty(delta)
        {
            let mut state = self.state.lock();
            state.last_delta_at = Some(Instant::now());
            state.has_text |= matches!(delta, Delta::Text(_));
            self.new_delta.notify_one();
        } else if matches!(event, Event::ReplyRestarted) {
            let mut state = self.state.lock();
            let restarts = state.restarts + 1;
            *state = ProgressState { restarts, ..ProgressState::default() };
        }
    }
}

/// Whether the delta carries nothing, which is not progress.
fn is_empty(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text) | Delta::Thinking(text) => text.is_empty(),
        Delta::Arguments { bytes } => *bytes == 0,
        Delta::ToolCall { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};

    use super::*;
    use crate::testing::{emit_text, observed_run};

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_watches_has_no_deltas_and_may_restart() {
        let watch = ReplyWatch::new(&Run::new());
        assert!(!watch.is_streamed() && !watch.has_partial_reply() && watch.may_restart(0));
        assert!(timeout(Duration::from_secs(99), watch.new_delta()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn deltas_that_carry_something_are_progress() {
        let text = |text: &str| Delta::Text(text.to_owned());
        for (delta, is_progress) in [
            (text("a"), true),
            (text(""), false),
            (Delta::Thinking("a".to_owned()), true),
            (Delta::Thinking(String::new()), false),
            (Delta::Arguments { bytes: 1 }, true),
            (Delta::Arguments { bytes: 0 }, false),
            (Delta::ToolCall { name: "t".into() }, true),
        ] {
            let watch = ReplyWatch::new(&observed_run().0);
            advance(Duration::from_secs(1)).await;
            watch.run().emit_delta(|| delta.clone());
            assert_eq!(watch.last_delta_at(), is_progress.then(Instant::now), "{delta:?}");
            assert_eq!((watch.is_streamed(), watch.has_partial_reply()), (true, is_progress), "{delta:?}");
            assert_eq!(timeout(Duration::from_secs(9), watch.new_delta()).await.is_ok(), is_progress, "{delta:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_may_restart_as_often_as_allowed() {
        let watch = ReplyWatch::new(&observed_run().0);
        for restarts in 0..3 {
            let may_restart = [0, 1, 2, 3].map(|most| watch.may_restart(most));
            assert_eq!(may_restart, [0, 1, 2, 3].map(|most| restarts < most), "{restarts}");
            emit_text(watch.run(), "a");
            assert!(watch.has_partial_reply());
            watch.run().emit(&Event::ReplyRestarted);
            assert!(!watch.has_partial_reply(), "nothing of the new reply was shown");
        }
    }
}
