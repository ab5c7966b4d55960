//! The time series of a metric, each resolved once, and a limit to how many there are.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};

use super::{
    names::{self, Metric},
    vocabulary::{Value, Vocabulary},
};

/// Where series are made.
pub(crate) struct Series {
    recorder: Arc<dyn Recorder + Send + Sync>,
    vocabulary: RwLock<Arc<Vocabulary>>,
    left: AtomicUsize,
    dropped: Counter,
}

/// All series of one metric.
#[derive(Debug)]
pub(crate) struct Family<const L: usize, I> {
    metric: Metric<L>,
    series: RwLock<HashMap<[Value; L], I>>,
}

/// What a series is recorded with.
pub(crate) trait Instrument: Clone {
    fn describe<const L: usize>(metric: &Metric<L>, recorder: &dyn Recorder);
    fn register(key: &Key, recorder: &dyn Recorder) -> Self;
    fn noop() -> Self;
    /// How many lines of a scrape one series is.
    fn lines<const L: usize>(_: &Metric<L>) -> usize {
        1
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Series {
    pub(crate) fn new(recorder: Arc<dyn Recorder + Send + Sync>, vocabulary: Vocabulary, limit: usize) -> Self {
        let metric = names::SERIES_DROPPED;
        Counter::describe(&metric, &*recorder);
        let dropped = Counter::register(&Key::from_static_name(metric.name), &*recorder);
        Self { recorder, vocabulary: RwLock::new(Arc::new(vocabulary)), left: AtomicUsize::new(limit), dropped }
    }

    /// The words of now.
    pub(crate) fn vocabulary(&self) -> Arc<Vocabulary> {
        Arc::clone(&self.vocabulary.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the words become more.
    pub(crate) fn teach(&self, teach: impl FnOnce(&mut Vocabulary)) {
        teach(Arc::make_mut(&mut self.vocabulary.write().unwrap_or_else(PoisonError::into_inner)));
    }

    pub(crate) fn family<const L: usize, I: Instrument>(&self, metric: Metric<L>) -> Family<L, I> {
        I::describe(&metric, &*self.recorder);
        Family { metric, series: RwLock::default() }
    }

    /// A series whose labels are chosen by the program that asks, once.
    pub(crate) fn single<const L: usize, I: Instrument>(&self, metric: Metric<L>, values: [String; L]) -> I {
        I::describe(&metric, &*self.recorder);
        let labels: Vec<Label> =
            metric.labels.into_iter().zip(values).map(|(label, value)| Label::new(label, value)).collect();
        self.make(&metric, &Key::from_parts(metric.name, labels)).unwrap_or_else(I::noop)
    }

    fn make<const L: usize, I: Instrument>(&self, metric: &Metric<L>, key: &Key) -> Option<I> {
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(I::lines(metric)));
        if taken.is_err() {
            self.dropped.increment(1);
            return None;
        }
        Some(I::register(key, &*self.recorder))
    }
}

impl<const L: usize, I: Instrument> Family<L, I> {
    /// The series with these label values. Past the limit of series, nothing is recorded, and that is counted.
    pub(crate) fn with(&self, all: &Series, values: [Value; L]) -> I
    where
        [Value; L]: Eq + Hash,
    {
        if let Some(known) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&values) {
            return known.clone();
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = series.get(&values) {
            return known.clone();
        }
        let words = all.vocabulary();
        let texts = values.iter().map(|value| words.text(*value));
        let labels = self.metric.labels.into_iter().zip(texts);
        let labels: Vec<Label> = labels.filter_map(|(label, text)| text.map(|text| Label::new(label, text))).collect();
        let Some(made) = all.make::<L, I>(&self.metric, &Key::from_parts(self.metric.name, labels)) else {
            return I::noop();
        };
        series.insert(values, made.clone());
        made
    }
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").field("left", &self.left).finish_non_exhaustive()
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

    /// The buckets, the last of them without a bound, the sum and the count.
    fn lines<const L: usize>(metric: &Metric<L>) -> usize {
        let bounds = names::BUCKETS.iter().find(|(name, _)| *name == metric.name);
        bounds.map_or(0, |(_, bounds)| bounds.len()) + 3
    }
}
