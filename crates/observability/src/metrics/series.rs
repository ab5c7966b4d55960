//! Time series: each is registered once, up to a limit.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};

use super::names::{self, Metric};
use crate::unpoisoned;

/// Registers time series with a recorder, up to a limit.
pub(crate) struct Registry {
    recorder: Arc<dyn Recorder + Send + Sync>,
    /// The number of lines by which a scrape may still grow.
    remaining_lines: AtomicUsize,
    dropped: Counter,
}

/// All time series of one metric.
#[derive(Debug)]
pub(crate) struct Family<const L: usize, I> {
    metric: Metric<L>,
    registry: Arc<Registry>,
    series: RwLock<HashMap<[SharedString; L], I, RandomState>>,
}

/// A counter, gauge or histogram.
pub(crate) trait Instrument: Clone {
    fn describe<const L: usize>(metric: &Metric<L>, recorder: &dyn Recorder);
    fn register(key: &Key, recorder: &dyn Recorder) -> Self;
    fn noop() -> Self;
    /// The number of lines that one series takes in a scrape.
    fn lines<const L: usize>(_: &Metric<L>) -> usize {
        1
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Registry {
    pub(crate) fn new(recorder: Arc<dyn Recorder + Send + Sync>, max_lines: usize) -> Arc<Self> {
        let metric = names::SERIES_DROPPED;
        Counter::describe(&metric, &*recorder);
        let dropped = Counter::register(&Key::from_static_name(metric.name), &*recorder);
        Arc::new(Self { recorder, remaining_lines: AtomicUsize::new(max_lines), dropped })
    }

    pub(crate) fn family<const L: usize, I: Instrument>(self: &Arc<Self>, metric: Metric<L>) -> Family<L, I> {
        I::describe(&metric, &*self.recorder);
        Family { metric, registry: Arc::clone(self), series: RwLock::default() }
    }

    /// Registers a series. Returns `None` if a scrape would get too long, and counts the series as dropped.
    fn register<const L: usize, I: Instrument>(&self, metric: &Metric<L>, values: &[SharedString; L]) -> Option<I> {
        let lines = I::lines(metric);
        let taken = self
            .remaining_lines
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| remaining.checked_sub(lines));
        if taken.is_err() {
            self.dropped.increment(1);
            return None;
        }
        let labels = metric.labels.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
        let labels: Vec<Label> = labels.map(|(label, value)| Label::new(label, value.clone())).collect();
        Some(I::register(&Key::from_parts(metric.name, labels), &*self.recorder))
    }
}

impl<const L: usize, I: Instrument> Family<L, I> {
    /// The series with these label values. Beyond the limit, a new series records nothing.
    pub(crate) fn with(&self, values: [SharedString; L]) -> I {
        if let Some(known) = unpoisoned(self.series.read()).get(&values) {
            return known.clone();
        }
        let mut series = unpoisoned(self.series.write());
        if let Some(known) = series.get(&values) {
            return known.clone();
        }
        let Some(new) = self.registry.register::<L, I>(&self.metric, &values) else { return I::noop() };
        series.insert(values, new.clone());
        new
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("remaining_lines", &self.remaining_lines).finish_non_exhaustive()
    }
}

impl Instrument for Counter {
    fn describe<const L: usize>(metric: &Metric<L>, recorder: &dyn Recorder) {
        recorder.describe_counter(metric.name.into(), None, metric.help.into());
    }

    fn register(key: &Key, recorder: &dyn Recorder) -> Self {
        recorder.register_counter(key, &METADATA)
    }

    fn noop() -> Self {
        Self::noop()
    }
}

impl Instrument for Gauge {
    fn describe<const L: usize>(metric: &Metric<L>, recorder: &dyn Recorder) {
        recorder.describe_gauge(metric.name.into(), None, metric.help.into());
    }

    fn register(key: &Key, recorder: &dyn Recorder) -> Self {
        recorder.register_gauge(key, &METADATA)
    }

    fn noop() -> Self {
        Self::noop()
    }
}

impl Instrument for Histogram {
    fn describe<const L: usize>(metric: &Metric<L>, recorder: &dyn Recorder) {
        recorder.describe_histogram(metric.name.into(), None, metric.help.into());
    }

    fn register(key: &Key, recorder: &dyn Recorder) -> Self {
        recorder.register_histogram(key, &METADATA)
    }

    fn noop() -> Self {
        Self::noop()
    }

    /// One line for each bucket, for the unbounded bucket, for the sum and for the count.
    fn lines<const L: usize>(metric: &Metric<L>) -> usize {
        let bounds = names::BUCKETS.iter().find(|(name, _)| *name == metric.name);
        bounds.map_or(0, |(_, bounds)| bounds.len()) + 3
    }
}
