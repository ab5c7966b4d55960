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
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};

use super::{
    labels::LabelValue,
    names::{self, Metric},
};
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
    series: RwLock<Series<L, I>>,
}

/// Series by the values of their labels.
#[derive(Debug)]
struct Series<const L: usize, I> {
    by_text: HashMap<[LabelValue; L], I, RandomState>,
    /// The same by the address and length of each value, which is several times as fast. A text may have several addresses.
    by_address: HashMap<[(usize, usize); L], I, RandomState>,
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
        Family {
            metric,
            registry: Arc::clone(self),
            series: RwLock::new(Series { by_text: HashMap::default(), by_address: HashMap::default() }),
        }
    }

    /// Registers a series. Returns `None` if a scrape would get too long, and counts the series as dropped.
    fn register<const L: usize, I: Instrument>(&self, metric: &Metric<L>, values: [LabelValue; L]) -> Option<I> {
        let lines = I::lines(metric);
        let taken = self
            .remaining_lines
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| remaining.checked_sub(lines));
        if taken.is_err() {
            self.dropped.increment(1);
            return None;
        }
        let labels = metric.labels.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
        let labels: Vec<Label> = labels.map(|(label, value)| Label::new(label, value)).collect();
        Some(I::register(&Key::from_parts(metric.name, labels), &*self.recorder))
    }
}

impl<const L: usize, I: Instrument> Family<L, I> {
    /// The series with these label values. Beyond the limit, a new series records nothing.
    pub(crate) fn with(&self, values: [LabelValue; L]) -> I {
        let address = values.map(|value| (value.as_ptr().addr(), value.len()));
        if let Some(known) = unpoisoned(self.series.read()).by_address.get(&address) {
            return known.clone();
        }
        let mut series = unpoisoned(self.series.write());
        let known = series.by_text.get(&values).cloned();
        let Some(found) = known.or_else(|| self.registry.register(&self.metric, values)) else { return I::noop() };
        series.by_text.insert(values, found.clone());
        series.by_address.insert(address, found.clone());
        found
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
