//! Turns the events of runs into metrics.

use std::{
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};

use brigade_core::{
    BreakerState, Certainty, Charge, Event, ModelErrorKind, ModelId, Observer, Quantity, RateLimits, Run, StopReason,
    ToolStatus,
};
use metrics::Recorder;

use super::{
    instruments::{CHAT, Instruments},
    labels::{ABSENT, INTERNAL_ERROR, KnownNames, LabelValue, ModelLabels, OTHER, error_type, word},
    run_timer::{RunTimer, RunTimers},
    series::Registry,
    zeros,
};
use crate::{Convention, unpoisoned};

/// Settings of [`Metrics`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// The names of the agents. Agents that are not listed are shown as `other`; the same holds for models and tools.
    pub agents: Vec<Arc<str>>,
    /// The models, with the names of their accounts.
    pub models: Vec<ModelId>,
    /// The names of the tools. Workers need not be repeated here.
    pub tools: Vec<Arc<str>>,
    /// The most lines that a scrape may have. 20,000 is twice what ten agents with ten models and fifty tools need, and
    /// little for Prometheus. Further series are dropped and counted.
    pub max_series: usize,
    /// The names of the `gen_ai_*` metrics.
    pub convention: Convention,
}

/// An observer that turns the events of runs into metrics, recorded with the [`metrics`](https://docs.rs/metrics)
/// facade.
///
/// Label values are names from the configuration or words of the program, never ids, keys, texts or names that a model
/// made up.
///
/// ```
/// use brigade_core::{Agent, testing::{ScriptedModel, Turn}};
/// use brigade_observability::{Metrics, MetricsConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // `Metrics::install` would also make it the recorder of the whole process.
/// let metrics = Metrics::local(&MetricsConfig::default().agent("clerk"))?;
/// let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Hello.")])).observer(metrics.observer());
/// agent.run("Say hello.").await?;
///
/// assert!(metrics.render().contains(r#"brigade_runs_total{agent="clerk",outcome="finished"} 1"#));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Metrics {
    names: RwLock<KnownNames>,
    instruments: Instruments,
    timers: RunTimers,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            agents: Vec::new(),
            models: Vec::new(),
            tools: Vec::new(),
            max_series: 20_000,
            convention: Convention::default(),
        }
    }
}

impl MetricsConfig {
    /// Adds an agent or worker.
    #[must_use]
    pub fn agent(mut self, name: impl Into<Arc<str>>) -> Self {
        self.agents.push(name.into());
        self
    }

    /// Adds a model.
    #[must_use]
    pub fn model(mut self, id: ModelId) -> Self {
        self.models.push(id);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, name: impl Into<Arc<str>>) -> Self {
        self.tools.push(name.into());
        self
    }

    /// Sets the most lines that a scrape may have.
    #[must_use]
    pub fn max_series(self, max_series: usize) -> Self {
        Self { max_series, ..self }
    }

    /// Sets the names of the `gen_ai_*` metrics.
    #[must_use]
    pub fn convention(self, convention: Convention) -> Self {
        Self { convention, ..self }
    }
}

impl Metrics {
    /// Records with a recorder of the caller. It should have buckets for the histograms; [`Metrics::install`] provides
    /// one that has.
    pub fn with_recorder(config: &MetricsConfig, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        let registry = Registry::new(recorder, config.max_series);
        let instruments = Instruments::new(&registry, config.convention);
        let metrics = Self { names: RwLock::default(), instruments, timers: RunTimers::default() };
        metrics.add_names(config);
        metrics
    }

    /// Adds the names of this configuration, for a program that reloads its configuration. Known names stay known, and
    /// the limit of series does not change.
    pub fn add_names(&self, config: &MetricsConfig) {
        let mut names = unpoisoned(self.names.write());
        names.add(&config.agents, &config.tools, &config.models);
        zeros::create(&self.instruments, &names);
    }

    /// Counts a request that the program answered with an error of this code, which must be a word of the program.
    pub fn request_failed(&self, code: &'static str) {
        self.instruments.request_errors.with([code]).increment(1);
    }

    /// Records how many calls wait until a person allows them.
    pub fn approvals_pending(&self, count: u64) {
        self.instruments.approvals_pending.with([]).set(to_gauge(count));
    }

    /// Counts an answer to an approval.
    pub fn approval_answered(&self, is_approved: bool) {
        self.instruments.approvals_answered.with([if is_approved { "approved" } else { "denied" }]).increment(1);
    }

    pub(crate) fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// Drops the timers of runs that never reported an end.
    pub(crate) fn drop_silent_runs(&self) {
        self.timers.remove_silent().iter().for_each(|timer| self.left(timer));
    }

    fn names(&self) -> RwLockReadGuard<'_, KnownNames> {
        unpoisoned(self.names.read())
    }

    fn agent(&self, run: &Run) -> LabelValue {
        self.names().agent(run.agent())
    }

    fn model(&self, id: &ModelId) -> ModelLabels {
        self.names().model(id)
    }

    fn run_started(&self, run: &Run) {
        let agent = self.agent(run);
        self.instruments.runs_in_flight.with([agent]).increment(1.0);
        if let Some(replaced) = self.timers.start(run.id(), agent) {
            self.left(&replaced);
        }
    }

    fn left(&self, timer: &RunTimer) {
        self.instruments.runs_in_flight.with([timer.agent]).decrement(1.0);
    }

    fn run_ended(&self, run: &Run, stop: StopReason, turns: u32, elapsed: Duration) {
        self.run_over(run, stop.name(), ABSENT, elapsed);
        self.instruments.turns.with([self.agent(run)]).record(f64::from(turns));
    }

    fn run_failed(&self, run: &Run, kind: Option<ModelErrorKind>, elapsed: Duration) {
        let error = kind.map_or(INTERNAL_ERROR, error_type);
        self.run_over(run, error, error, elapsed);
    }

    /// A run that waits is not in flight, and its time so far is not that of a whole run.
    fn run_waiting(&self, run: &Run) {
        self.instruments.runs.with([self.agent(run), ToolStatus::Waiting.name()]).increment(1);
        if let Some(timer) = self.timers.stop(run.id()) {
            self.left(&timer);
        }
    }

    fn run_over(&self, run: &Run, outcome: &'static str, error: LabelValue, elapsed: Duration) {
        let (agent, to) = (self.agent(run), &self.instruments);
        to.runs.with([agent, outcome]).increment(1);
        to.run_duration.with([agent]).record(elapsed);
        to.invoke_agent.with([agent, error]).record(elapsed);
        if let Some(timer) = self.timers.stop(run.id()) {
            self.left(&timer);
            to.overhead.with([agent]).record(timer.overhead());
        }
    }

    fn attempt_started(&self, run: &Run, model: &ModelId) {
        let model = self.model(model);
        self.timers.update(run.id(), |timer, now| {
            timer.request_sent(model, now);
            timer.start_work(now);
        });
    }

    fn attempt_ended(
        &self,
        run: &Run,
        id: &ModelId,
        error: Option<ModelErrorKind>,
        charge: Option<&Charge>,
        elapsed: Duration,
    ) {
        let (model, to) = (self.model(id), &self.instruments);
        let outcome = error.map_or("ok", error_type);
        to.attempts.with([model.provider, model.model, outcome]).increment(1);
        let error = error.map_or(ABSENT, error_type);
        to.inference_duration.with([CHAT, model.provider, model.model, error]).record(elapsed);
        self.timers.update(run.id(), |timer, now| {
            timer.first_response(now);
            timer.end_work(now);
        });
        if let Some(charge) = charge {
            self.charged(run, model, charge);
        }
    }

    fn charged(&self, run: &Run, model: ModelLabels, charge: &Charge) {
        let to = &self.instruments;
        if let Some(cost) = charge.cost {
            let kind = charge.certainty.name();
            let labels = [model.provider, model.model, self.agent(run), kind];
            to.cost.with(labels).increment(u64::try_from(cost.nano()).unwrap_or(0));
        }
        // The usage of a failed call is an upper bound, not a measurement.
        if charge.certainty != Certainty::Uncertain {
            to.tokens.record(model, &charge.usage);
        }
    }

    fn first_delta(&self, run: &Run) {
        if let Some((elapsed, model)) = self.timers.update(run.id(), RunTimer::first_response).flatten() {
            self.instruments.first_chunk.with([CHAT, model.provider, model.model]).record(elapsed);
        }
    }

    fn rate_limit_waited(&self, run: &Run, model: &ModelId, waited: Duration) {
        let model = self.model(model);
        self.instruments.rate_limit_wait.with([model.provider, model.model]).record(waited);
        self.timers.update(run.id(), |timer, now| timer.waited(waited, now));
    }

    fn limits_reported(&self, model: &ModelId, limits: &RateLimits) {
        let model = self.model(model);
        let dimensions = [
            ("requests", limits.requests),
            ("tokens", limits.tokens),
            ("input_tokens", limits.input_tokens),
            ("output_tokens", limits.output_tokens),
        ];
        for (dimension, allowance) in dimensions {
            if let Some(remaining) = allowance.remaining {
                let labels = [model.provider, model.model, dimension];
                self.instruments.rate_limit_remaining.with(labels).set(to_gauge(remaining));
            }
        }
    }

    fn retrying(&self, run: &Run, reason: ModelErrorKind, delay: Duration) {
        self.instruments.retries.with([error_type(reason)]).increment(1);
        self.timers.update(run.id(), |timer, now| timer.pause(delay, now));
    }

    fn fell_back(&self, from: &ModelId, to: &ModelId, reason: ModelErrorKind) {
        let labels = [self.model(from).both, self.model(to).both, error_type(reason)];
        self.instruments.fallbacks.with(labels).increment(1);
    }

    pub(crate) fn breaker_changed(&self, model: &ModelId, state: BreakerState) {
        let model = self.model(model);
        let number = match state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        };
        self.instruments.breaker_state.with([model.provider, model.model]).set(number);
    }

    fn tool_ended(&self, run: &Run, tool: &str, outcome: ToolStatus, elapsed: Duration) {
        let (tool, to) = (self.names().tool(tool), &self.instruments);
        to.tool_calls.with([tool, outcome.name()]).increment(1);
        let error = if outcome == ToolStatus::Ok { ABSENT } else { outcome.name() };
        // The call has not been made.
        if outcome != ToolStatus::Waiting {
            to.execute_tool.with([tool, error]).record(elapsed);
        }
        self.timers.update(run.id(), RunTimer::end_work);
    }

    fn budget_labels(&self, scope: &str, quantity: Option<Quantity>) -> [LabelValue; 2] {
        [self.names().scope(scope), quantity.map_or(ABSENT, Quantity::name)]
    }

    fn usage_missing(&self, model: &ModelId) {
        let model = self.model(model);
        self.instruments.usage_missing.with([model.provider, model.model]).increment(1);
    }
}

impl Observer for Metrics {
    fn on_event(&self, run: &Run, event: &Event) {
        let to = &self.instruments;
        match event {
            Event::RunStarted | Event::Resumed { .. } => self.run_started(run),
            Event::RunEnded { stop, turns, elapsed, .. } => self.run_ended(run, *stop, *turns, *elapsed),
            Event::RunFailed { kind, elapsed, .. } => self.run_failed(run, *kind, *elapsed),
            Event::RunWaiting { .. } => self.run_waiting(run),
            Event::TurnEnded { model, usage: None, .. } => self.usage_missing(model),
            Event::AttemptStarted { model } => self.attempt_started(run, model),
            Event::AttemptEnded { model, error, charge, elapsed } => {
                self.attempt_ended(run, model, *error, charge.as_ref(), *elapsed);
            }
            Event::Delta(_) => self.first_delta(run),
            Event::RateLimitWaited { model, waited } => self.rate_limit_waited(run, model, *waited),
            Event::RateLimitsReported { model, limits } => self.limits_reported(model, limits),
            Event::Retrying { reason, delay, .. } => self.retrying(run, *reason, *delay),
            Event::RetrySuppressed { reason, .. } => {
                to.retries_suppressed.with([error_type(*reason)]).increment(1);
            }
            Event::FellBack { from, to, reason } => self.fell_back(from, to, *reason),
            Event::BreakerChanged { model, state } => self.breaker_changed(model, *state),
            Event::ToolStarted { .. } => drop(self.timers.update(run.id(), RunTimer::start_work)),
            Event::ToolEnded { tool, outcome, elapsed, .. } => self.tool_ended(run, tool, *outcome, *elapsed),
            Event::UnknownTool { .. } => to.tool_calls.with([OTHER, "unknown"]).increment(1),
            Event::LoopNoticed { kind, .. } => to.loops.with([word(kind)]).increment(1),
            Event::BudgetRefused { scope, quantity, .. } => {
                to.budget_refusals.with(self.budget_labels(scope, *quantity)).increment(1);
            }
            Event::BudgetWarning { scope, quantity, .. } => {
                to.budget_warnings.with(self.budget_labels(scope, *quantity)).increment(1);
            }
            Event::WorkerFailed { worker, policy, .. } => {
                let worker = self.names().agent(worker);
                to.worker_failures.with([worker, word(policy)]).increment(1);
            }
            Event::Degraded { part, .. } => to.degraded.with([word(part)]).increment(1),
            Event::WireQuirk { kind, .. } => to.wire_quirks.with([word(kind)]).increment(1),
            // The end of the run counts its turns, and the retry counts the reply that restarts. The others are of
            // interest within one run only.
            Event::TurnStarted { .. }
            | Event::TurnEnded { usage: Some(_), .. }
            | Event::ReplyRestarted
            | Event::Trimmed { .. }
            | Event::AnswerRejected { .. }
            | Event::HandedOff { .. } => {}
        }
    }
}

/// A count as the value of a gauge.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats, exact up to 2⁵³")]
pub(crate) fn to_gauge(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod tests;
