//! Shows the metrics to Prometheus.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use brigade_core::{Ledger, Money};
use metrics::Gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::names;
use crate::{Metrics, MetricsConfig, PriceBook};

/// Metrics that are kept for Prometheus. Cheap to clone.
///
/// Keep it as long as the program runs: when the last clone is dropped, the task that folds samples into buckets ends,
/// and unfolded samples pile up.
#[must_use = "dropping it ends the upkeep of the metrics"]
#[derive(Clone)]
pub struct MetricsHandle(Arc<Kept>);

struct Kept {
    metrics: Arc<Metrics>,
    prometheus: PrometheusHandle,
    sampled: Mutex<Sampled>,
    _upkeep: AbortOnDropHandle<()>,
}

/// What is not told by events but read when somebody looks.
#[derive(Default)]
struct Sampled {
    budgets: Vec<Watched>,
    prices: Option<(PriceBook, Gauge)>,
}

struct Watched {
    scope: String,
    ledger: Ledger,
    limit: Gauge,
    remaining: Gauge,
}

/// Metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Somebody has installed a recorder before.
    #[error("another metrics recorder is installed; use `Metrics::with_recorder` to record with that one")]
    AlreadyInstalled,
    /// There is no runtime to run the upkeep on.
    #[error("metrics need a tokio runtime for their upkeep; set them up inside of one")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The exporter refused its configuration.
    #[error("the Prometheus exporter could not be set up")]
    Exporter(#[source] metrics_exporter_prometheus::BuildError),
}

/// Between two scrapes at the usual 15 s there are a few of these, so that a busy histogram holds seconds of samples.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

impl Metrics {
    /// Installs a Prometheus recorder for the whole process, so that metrics of other libraries show too.
    pub fn install(config: &MetricsConfig) -> Result<MetricsHandle, MetricsError> {
        let recorder = Arc::new(builder()?.build_recorder());
        let handle = MetricsHandle::new(config, &recorder)?;
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::AlreadyInstalled)?;
        Ok(handle)
    }

    /// Keeps metrics for Prometheus beside whatever recorder the process has.
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
        Ok(Self(Arc::new(Kept { metrics, prometheus, sampled, _upkeep: AbortOnDropHandle::new(upkeep) })))
    }

    /// What runs must tell their events to.
    pub fn observer(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }

    /// Shows the limit of money of an account and what is left of it, as `brigade_budget_*_usd{scope}`. `scope` must be
    /// a name from the configuration; another account of this scope is not shown any more. An account without such a
    /// limit shows nothing.
    pub fn watch_budget(&self, scope: &str, ledger: &Ledger) {
        if ledger.budget().usd.is_none() {
            return self.forget_budget(scope);
        }
        self.sampled(|sampled| {
            if let Some(known) = sampled.budgets.iter_mut().find(|watched| watched.scope == scope) {
                known.ledger = ledger.clone();
                return;
            }
            let series = self.0.metrics.series();
            sampled.budgets.push(Watched {
                scope: scope.to_owned(),
                ledger: ledger.clone(),
                limit: series.single(names::BUDGET_LIMIT, [scope.to_owned()]),
                remaining: series.single(names::BUDGET_REMAINING, [scope.to_owned()]),
            });
        });
    }

    /// Shows no limit of this scope any more: its series are not a number from now on, which no alert is above or below.
    pub fn forget_budget(&self, scope: &str) {
        self.sampled(|sampled| {
            for gone in sampled.budgets.extract_if(.., |watched| watched.scope == scope) {
                gone.limit.set(f64::NAN);
                gone.remaining.set(f64::NAN);
            }
        });
    }

    /// Shows how old a table of prices is.
    pub fn watch_prices(&self, prices: &PriceBook) {
        let gauge = self.0.metrics.series().single(names::PRICE_TABLE_AGE, []);
        self.sampled(|sampled| sampled.prices = Some((prices.clone(), gauge)));
    }

    /// The metrics of now in the text format of Prometheus, version 0.0.4: the body of `/metrics`.
    pub fn render(&self) -> String {
        self.sampled(|sampled| sampled.read());
        in_dollars(&self.0.prometheus.render())
    }

    fn sampled<T>(&self, act: impl FnOnce(&mut Sampled) -> T) -> T {
        act(&mut self.0.sampled.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sampled {
    fn read(&self) {
        for Watched { ledger, limit, remaining, .. } in &self.budgets {
            let cap = ledger.budget().usd.map_or(Money::ZERO, |cap| cap.limit);
            let left = ledger.money_left().unwrap_or_else(|| cap - ledger.spending().total());
            limit.set(cap.as_usd_lossy());
            remaining.set(left.as_usd_lossy());
        }
        if let Some((prices, gauge)) = &self.prices {
            gauge.set(prices.age().as_secs_f64());
        }
    }
}

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
        metrics.forget_silent_runs();
    }
}

/// The counters of the `metrics` crate are integers, so money is counted in nano-dollars; Prometheus wants base units,
/// hence dollars are what is shown.
fn in_dollars(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.split_once(names::COST.name) {
            Some((before, labels_and_value)) => {
                shown.push_str(before);
                shown.push_str(names::COST_USD);
                push_dollars(&mut shown, labels_and_value);
            }
            None => shown.push_str(line),
        }
    }
    shown
}

/// `{…} 1500000000` becomes `{…} 1.500000000`; a line of help or type stays as it is.
fn push_dollars(shown: &mut String, labels_and_value: &str) {
    let amount = labels_and_value.trim_end().rsplit_once(' ');
    match amount.and_then(|(labels, nano)| Some((labels, nano.parse::<u64>().ok()?))) {
        // A `String` takes whatever is written to it.
        Some((labels, nano)) => {
            let _ = writeln!(shown, "{labels} {}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
        }
        None => shown.push_str(labels_and_value),
    }
}
