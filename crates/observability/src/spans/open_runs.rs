//! All runs that have not ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use brigade_core::{Event, Observer, Run, RunId};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SamplingDecision, ShouldSample, SpanData, SpanProcessor};

use super::{
    open_run::OpenRun,
    span::{SpanIds, TraceClock},
};
use crate::{Convention, Traceparent, unpoisoned};

/// All runs that have not ended, and the processor that exports their spans.
#[derive(Debug)]
pub(super) struct OpenRuns {
    runs: Mutex<BTreeMap<Key, OpenRun>>,
    processor: BatchSpanProcessor,
    sampler: Box<dyn ShouldSample>,
    convention: Convention,
    is_shut_down: AtomicBool,
}

/// Turns the events of a request into spans.
#[derive(Debug)]
pub(super) struct SpanObserver {
    pub(super) runs: Arc<OpenRuns>,
    /// The span that sent the request.
    pub(super) caller: Option<Traceparent>,
}

/// A run and the path of its agent, because two agents may share the top run.
type Key = (RunId, Arc<str>);

/// More runs at once than a process can serve, at a few kilobytes each. A run that never reports its end must not be
/// kept for ever; ids sort by time, so the oldest is dropped first.
pub(super) const MAX_RUNS: usize = 10_000;

impl OpenRuns {
    pub(super) fn new(processor: BatchSpanProcessor, sampler: Box<dyn ShouldSample>, convention: Convention) -> Self {
        Self { runs: Mutex::default(), processor, sampler, convention, is_shut_down: AtomicBool::new(false) }
    }

    /// Ends all spans and ignores later events.
    pub(super) fn shut_down(&self) {
        self.is_shut_down.store(true, Ordering::Relaxed);
        let runs = std::mem::take(&mut *self.lock());
        self.export(runs.into_values().flat_map(OpenRun::abandon));
    }

    pub(super) fn processor(&self) -> &BatchSpanProcessor {
        &self.processor
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.lock().len()
    }

    fn start(&self, run: &Run, caller: Option<&Traceparent>) -> Vec<SpanData> {
        let key = key(run);
        let mut runs = self.lock();
        let Some((ids, clock)) = below_parent(&mut runs, run).or_else(|| self.root(run, caller)) else {
            return Vec::new();
        };
        let replaced = runs.insert(key, OpenRun::start(run, ids, clock, self.convention));
        let oldest = if runs.len() > MAX_RUNS { runs.pop_first().map(|(_, run)| run) } else { None };
        replaced.into_iter().chain(oldest).flat_map(OpenRun::abandon).collect()
    }

    fn remove(&self, run: &Run) -> Option<OpenRun> {
        self.lock().remove(&key(run))
    }

    /// The ids of a run at the top, if its trace is sampled.
    fn root(&self, run: &Run, caller: Option<&Traceparent>) -> Option<(SpanIds, TraceClock)> {
        let trace = TraceId::from(run.trace().bits());
        let caller = caller.filter(|caller| caller.trace == run.trace());
        let context = caller.map_or_else(Context::new, |caller| {
            let flags = TraceFlags::default().with_sampled(caller.sampled);
            let span = SpanId::from(caller.span.get());
            let remote = SpanContext::new(trace, span, flags, true, TraceState::default());
            Context::new().with_remote_span_context(remote)
        });
        let result = self.sampler.should_sample(Some(&context), trace, "invoke_agent", &SpanKind::Internal, &[], &[]);
        let ids = SpanIds {
            trace,
            id: span_id(run),
            parent: caller.map_or(SpanId::INVALID, |caller| SpanId::from(caller.span.get())),
            is_remote: caller.is_some(),
        };
        (result.decision == SamplingDecision::RecordAndSample).then(|| (ids, TraceClock::start()))
    }

    fn export(&self, spans: impl IntoIterator<Item = SpanData>) {
        // The processor never blocks: if its queue is full, it drops spans and counts them.
        spans.into_iter().for_each(|span| self.processor.on_end(span));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, OpenRun>> {
        unpoisoned(self.runs.lock())
    }
}

impl Observer for SpanObserver {
    fn on_event(&self, run: &Run, event: &Event) {
        let runs = &self.runs;
        if runs.is_shut_down.load(Ordering::Relaxed) {
            return;
        }
        if let Event::RunStarted | Event::Resumed { .. } = event {
            runs.export(runs.start(run, self.caller.as_ref()));
        }
        if let Event::RunEnded { stop, turns, usage, cost, .. } = event {
            runs.export(runs.remove(run).into_iter().flat_map(|run| run.end(*stop, *turns, usage, *cost)));
        } else if let Event::RunFailed { kind, .. } = event {
            runs.export(runs.remove(run).into_iter().flat_map(|run| run.fail(*kind)));
        } else if let Event::RunWaiting { .. } = event {
            runs.export(runs.remove(run).into_iter().flat_map(OpenRun::wait));
        } else {
            let ended = runs.lock().get_mut(&key(run)).and_then(|run| run.handle(event));
            runs.export(ended);
        }
    }
}

/// The ids of a run below the run that started it, if the span of that run is open.
fn below_parent(runs: &mut BTreeMap<Key, OpenRun>, run: &Run) -> Option<(SpanIds, TraceClock)> {
    let parent = run.parent()?;
    let of_parent = runs.range_mut((parent, "".into())..).take_while(|((id, _), _)| *id == parent);
    let mut of_parent = of_parent.filter(|((_, path), _)| is_below(run.agent(), path));
    let (_, parent) = of_parent.next()?;
    let ids = parent.ids_for(run.agent_name());
    Some((SpanIds { id: span_id(run), ..ids }, parent.clock()))
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.is_empty() || rest.starts_with('/'))
}

/// The span id of [`Traceparent::of`], so that the spans of servers that the run calls are below this one. If several
/// agents use one run, only the first gets this id.
fn span_id(run: &Run) -> SpanId {
    let is_first = run.count(("spans", run.id())) == 1;
    if is_first { SpanId::from(Traceparent::of(run).span.get()) } else { SpanIds::random_id() }
}

fn key(run: &Run) -> Key {
    (run.id(), Arc::clone(run.agent()))
}
