//! Exports the metrics to Prometheus.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use brigade_core::{BreakerState, Ledger, ModelId};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::{labels::interned, names};
use crate::{LoggingHandle, Metrics, MetricsConfig, PriceBook, unpoisoned};

/// Metrics and their Prometheus exporter. Cheap to clone.
///
/// Keep a clone as long as the program runs. Dropping the last one ends the task that folds samples into buckets, and
/// samples pile up.
#[must_use = "dropping it ends the upkeep of the metrics"]
#[derive(Clone)]
pub struct MetricsHandle(Arc<Inner>);

struct Inner {
    metrics: Arc<Metrics>,
    prometheus: PrometheusHandle,
    sampled: Mutex<GaugeSources>,
    _upkeep: AbortOnDropHandle<()>,
}

/// The sources of gauges that are read at each scrape.
#[derive(Default)]
struct GaugeSources {
    /// The watched accounts, by scope.
    budgets: BTreeMap<String, Ledger>,
    prices: Option<PriceBook>,
    logging: Option<LoggingHandle>,
    breakers: Option<Arc<BreakerStates>>,
    storage: Option<Arc<StorageSample>>,
    waiting_runs: Option<Arc<dyn Fn() -> usize + Send + Sync>>,
    webhook: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

/// What a program has stored and lost; see [`MetricsHandle::watch_storage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storage {
    /// True while nothing can be stored.
    pub is_failing: bool,
    /// The number of events and messages that could not be stored.
    pub lost_writes: u64,
    /// The number of idempotency keys that were forgotten because there is no store.
    pub forgotten_keys: u64,
}

type StorageSample = dyn Fn() -> Storage + Send + Sync;

type BreakerStates = dyn Fn() -> Vec<(ModelId, BreakerState)> + Send + Sync;

/// Metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The process has another recorder.
    #[error("another metrics recorder is installed; use `Metrics::with_recorder` to record with that one")]
    AlreadyInstalled,
    /// The upkeep needs a runtime.
    #[error("metrics need a tokio runtime for their upkeep; set them up inside one")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The exporter refused its configuration.
    #[error("the Prometheus exporter could not be set up")]
    Exporter(#[source] metrics_exporter_prometheus::BuildError),
}

/// Three times in the usual scrape interval of 15 s, so that a busy histogram holds only a few seconds of samples.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Storage {
    /// A store that works and has lost nothing.
    pub fn working() -> Self {
        Self::default()
    }

    /// Sets whether nothing can be stored now.
    #[must_use]
    pub fn failing(self, is_failing: bool) -> Self {
        Self { is_failing, ..self }
    }

    /// Sets the number of events and messages that could not be stored.
    #[must_use]
    pub fn lost_writes(self, lost_writes: u64) -> Self {
        Self { lost_writes, ..self }
    }

    /// Sets the number of idempotency keys that were forgotten.
    #[must_use]
    pub fn forgotten_keys(self, forgotten_keys: u64) -> Self {
        Self { forgotten_keys, ..self }
    }
}

impl Metrics {
    /// Installs a Prometheus recorder for the whole process, so that metrics of other libraries are exported, too.
    pub fn install(config: &MetricsConfig) -> Result<MetricsHandle, MetricsError> {
        let recorder = Arc::new(builder()?.build_recorder());
        let handle = MetricsHandle::new(config, &recorder)?;
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::AlreadyInstalled)?;
        Ok(handle)
    }

    /// Creates metrics with a Prometheus recorder of their own, whatever recorder the process has.
    pub fn local(config: &MetricsConfig) -> Result<MetricsHandle, MetricsError> {
        MetricsHandle::new(config, &Arc::new(builder()?.build_recorder()))
    }
}

impl MetricsHandle {
    fn new(
        config: &MetricsConfig,
        recorder: &Arc<metrics_exporter_prometheus::PrometheusRecorder>,
    ) -> Result<Self, MetricsError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(MetricsError::NoRuntime)?;
        let prometheus = recorder.handle();
        let metrics = Arc::new(Metrics::with_recorder(config, Arc::clone(recorder) as _));
        let upkeep = runtime.spawn(keep_up(prometheus.clone(), Arc::clone(&metrics)));
        let sampled = Mutex::default();
        Ok(Self(Arc::new(Inner { metrics, prometheus, sampled, _upkeep: AbortOnDropHandle::new(upkeep) })))
    }

    /// The observer to register with runs.
    pub fn observer(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }

    /// Exports the money limit of an account, and what remains of it in the current window, as
    /// `brigade_budget_*_usd{scope}`. `scope` must be a name from the configuration. The account replaces any other account of this scope. An account without a money limit
    /// is not exported.
    pub fn watch_budget(&self, scope: &str, ledger: &Ledger) {
        if ledger.budget().usd.is_none() {
            return self.forget_budget(scope);
        }
        self.sampled().budgets.insert(scope.to_owned(), ledger.clone());
    }

    /// Stops exporting the limit of this scope. Its series become NaN, which matches no alert.
    pub fn forget_budget(&self, scope: &str) {
        if self.sampled().budgets.remove(scope).is_some() {
            let to = self.0.metrics.instruments();
            to.budget_limit.with([interned(scope)]).set(f64::NAN);
            to.budget_remaining.with([interned(scope)]).set(f64::NAN);
        }
    }

    /// Exports the age of a price table.
    pub fn watch_prices(&self, prices: &PriceBook) {
        self.sampled().prices = Some(prices.clone());
    }

    /// Exports how many lines the log has dropped.
    pub fn watch_logging(&self, logging: &LoggingHandle) {
        self.sampled().logging = Some(logging.clone());
    }

    /// Exports the state of circuit breakers. `states` is called at each scrape, because a state also changes with time, and
    /// with calls to other models of the account.
    pub fn watch_breakers(&self, states: impl Fn() -> Vec<(ModelId, BreakerState)> + Send + Sync + 'static) {
        self.sampled().breakers = Some(Arc::new(states));
    }

    /// Exports the state of a store. `sample` is called at each scrape.
    pub fn watch_storage(&self, sample: impl Fn() -> Storage + Send + Sync + 'static) {
        self.sampled().storage = Some(Arc::new(sample));
    }

    /// Exports how many runs wait for a place. `count` is called at each scrape.
    pub fn watch_waiting_runs(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        self.sampled().waiting_runs = Some(Arc::new(count));
    }

    /// Exports how many messages a webhook did not deliver. `failed` is called at each scrape.
    pub fn watch_webhook(&self, failed: impl Fn() -> u64 + Send + Sync + 'static) {
        self.sampled().webhook = Some(Arc::new(failed));
    }

    /// The current metrics in the text format of Prometheus, version 0.0.4: the body of `/metrics`.
    pub fn render(&self) -> String {
        self.sampled().record(&self.0.metrics);
        in_dollars(&self.0.prometheus.render())
    }

    fn sampled(&self) -> MutexGuard<'_, GaugeSources> {
        unpoisoned(self.0.sampled.lock())
    }
}

impl GaugeSources {
    fn record(&self, metrics: &Metrics) {
        let to = metrics.instruments();
        for (model, state) in self.breakers.iter().flat_map(|states| states()) {
            metrics.breaker_changed(&model, state);
        }
        for (scope, ledger) in &self.budgets {
            let Some(cap) = ledger.budget().usd.map(|cap| cap.limit) else { continue };
            let remaining = cap - ledger.spent_in_window() - ledger.reserved();
            to.budget_limit.with([interned(scope)]).set(cap.as_usd_lossy());
            to.budget_remaining.with([interned(scope)]).set(remaining.as_usd_lossy());
        }
        if let Some(prices) = &self.prices {
            to.price_table_age.with([]).set(prices.age().as_secs_f64());
        }
        if let Some(logging) = &self.logging {
            to.log_lines_dropped.with([]).absolute(logging.dropped_lines());
        }
        if let Some(waiting) = &self.waiting_runs {
            to.runs_waiting.with([]).set(u32::try_from(waiting()).unwrap_or(u32::MAX));
        }
        if let Some(failed) = &self.webhook {
            to.webhook_failed.with([]).absolute(failed());
        }
        if let Some(storage) = &self.storage {
            let Storage { is_failing, lost_writes, forgotten_keys } = storage();
            to.store_failing.with([]).set(f64::from(u8::from(is_failing)));
            to.store_lost.with([]).absolute(lost_writes);
            to.keys_forgotten.with([]).absolute(forgotten_keys);
        }
    }
}

impl fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsHandle").finish_non_exhaustive()
    }
}

fn builder() -> Result<PrometheusBuilder, MetricsError> {
    names::BUCKETS.iter().try_fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
        let matcher = Matcher::Full((*name).to_owned());
        builder.set_buckets_for_metric(matcher, bounds).map_err(MetricsError::Exporter)
    })
}

async fn keep_up(prometheus: PrometheusHandle, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
        metrics.drop_silent_runs();
    }
}

/// The counters of the `metrics` crate are integers, so money is counted in nano-dollars. Prometheus expects base units,
/// so it is exported in dollars.
fn in_dollars(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.split_once(names::COST.name) {
            Some((before, labels_and_value)) => {
                out.push_str(before);
                out.push_str(names::COST_USD);
                push_dollars(&mut out, labels_and_value);
            }
            None => out.push_str(line),
        }
    }
    out
}

/// `{…} 1500000000` becomes `{…} 1.500000000`; lines of help and type stay unchanged.
fn push_dollars(out: &mut String, labels_and_value: &str) {
    let amount = labels_and_value.trim_end().rsplit_once(' ');
    match amount.and_then(|(labels, nano)| Some((labels, nano.parse::<u64>().ok()?))) {
        // Writing to a `String` cannot fail.
        Some((labels, nano)) => {
            let _ = writeln!(out, "{labels} {}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
        }
        None => out.push_str(labels_and_value),
    }
}
