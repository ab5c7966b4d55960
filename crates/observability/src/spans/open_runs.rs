//! All runs that have not ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    span::{Clock, Place},
};
use crate::{Convention, Traceparent};

/// All runs that have not ended, and where their spans go.
#[derive(Debug)]
pub(super) struct OpenRuns {
    runs: Mutex<BTreeMap<Key, OpenRun>>,
    processor: BatchSpanProcessor,
    sampler: Box<dyn ShouldSample>,
    convention: Convention,
    is_shut: AtomicBool,
}

/// Tells the spans of a request from its events.
#[derive(Debug)]
pub(super) struct SpanObserver {
    pub(super) runs: Arc<OpenRuns>,
    /// The span that sent the request.
    pub(super) caller: Option<Traceparent>,
}

/// A run and its agent's path: at the top, two agents may share a run.
type Key = (RunId, Arc<str>);

/// More runs at once than a process can serve, at a few kilobytes each. A run whose end was never told must not be kept
/// for ever; ids sort by time, so the oldest goes first.
pub(super) const MOST_RUNS: usize = 10_000;

impl OpenRuns {
    pub(super) fn new(processor: BatchSpanProcessor, sampler: Box<dyn ShouldSample>, convention: Convention) -> Self {
        Self { runs: Mutex::default(), processor, sampler, convention, is_shut: AtomicBool::new(false) }
    }

    /// Ends all spans, and takes no more.
    pub(super) fn shut(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
        let runs = std::mem::take(&mut *self.runs());
        self.export(runs.into_values().flat_map(OpenRun::abandon));
    }

    pub(super) fn processor(&self) -> &BatchSpanProcessor {
        &self.processor
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.runs().len()
    }

    fn begin(&self, run: &Run, caller: Option<&Traceparent>) -> Vec<SpanData> {
        let key = key(run);
        let mut runs = self.runs();
        let Some((place, clock)) = above(&mut runs, run).or_else(|| self.root(run, caller)) else {
            return Vec::new();
        };
        let replaced = runs.insert(key, OpenRun::start(run, place, clock, self.convention));
        let oldest = if runs.len() > MOST_RUNS { runs.pop_first().map(|(_, run)| run) } else { None };
        replaced.into_iter().chain(oldest).flat_map(OpenRun::abandon).collect()
    }

    fn note(&self, run: &Run, event: &Event) -> Vec<SpanData> {
        self.runs().get_mut(&key(run)).map_or_else(Vec::new, |run| run.note(event))
    }

    fn end(&self, run: &Run, event: &Event) -> Vec<SpanData> {
        let ended = self.runs().remove(&key(run));
        ended.map_or_else(Vec::new, |run| run.end(event))
    }

    /// The place of a run at the top, if its trace is sampled.
    fn root(&self, run: &Run, caller: Option<&Traceparent>) -> Option<(Place, Clock)> {
        let trace = TraceId::from(run.trace().bits());
        let caller = caller.filter(|caller| caller.trace == run.trace());
        let context = caller.map_or_else(Context::new, |caller| {
            let flags = TraceFlags::default().with_sampled(caller.sampled);
            let span = SpanId::from(caller.span.get());
            let remote = SpanContext::new(trace, span, flags, true, TraceState::default());
            Context::new().with_remote_span_context(remote)
        });
        let result = self.sampler.should_sample(Some(&context), trace, "invoke_agent", &SpanKind::Internal, &[], &[]);
        let place = Place {
            trace,
            id: span_id(run),
            parent: caller.map_or(SpanId::INVALID, |caller| SpanId::from(caller.span.get())),
            is_remote: caller.is_some(),
        };
        (result.decision == SamplingDecision::RecordAndSample).then(|| (place, Clock::start()))
    }

    fn export(&self, spans: impl IntoIterator<Item = SpanData>) {
        // Never blocks: what a full queue does not take is dropped and counted.
        spans.into_iter().for_each(|span| self.processor.on_end(span));
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<Key, OpenRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for SpanObserver {
    fn on_event(&self, run: &Run, event: &Event) {
        let runs = &self.runs;
        if runs.is_shut.load(Ordering::Relaxed) {
            return;
        }
        let ended = match event {
            Event::RunStarted => runs.begin(run, self.caller.as_ref()),
            Event::RunEnded { .. } | Event::RunFailed { .. } => runs.end(run, event),
            _ => runs.note(run, event),
        };
        runs.export(ended);
    }
}

/// The place of a run below the run that started it, if that is open.
fn above(runs: &mut BTreeMap<Key, OpenRun>, run: &Run) -> Option<(Place, Clock)> {
    let parent = run.parent()?;
    let of_parent = runs.range_mut((parent, "".into())..).take_while(|((id, _), _)| *id == parent);
    let mut of_parent = of_parent.filter(|((_, path), _)| is_below(run.agent(), path));
    let (_, above) = of_parent.next()?;
    let place = above.place_for(run.agent_name());
    Some((Place { id: span_id(run), ..place }, above.clock()))
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.is_empty() || rest.starts_with('/'))
}

/// What [`Traceparent::of`] names, so that those whom a run calls hang below it. If agents take turns in one run, only
/// the first can have this id.
fn span_id(run: &Run) -> SpanId {
    let is_first = run.count(("spans", run.id())) == 1;
    if is_first { SpanId::from(Traceparent::of(run).span.get()) } else { Place::random_id() }
}

fn key(run: &Run) -> Key {
    (run.id(), Arc::clone(run.agent()))
}
