//! Turns the events of runs into metrics.

use std::{sync::Arc, time::Duration};

use brigade_core::{Certainty, Charge, Event, ModelId, Observer, RateLimits, Run};
use metrics::Recorder;

use super::{
    in_flight::{Clock, InFlight},
    instruments::{CHAT, Instruments},
    series::Series,
    vocabulary::{INTERNAL, OTHER, Value, Vocabulary, fault},
};
use crate::Convention;

/// What the metrics may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The names of the agents. Agents that are not listed show as `other`, as do models and tools.
    pub agents: Vec<Arc<str>>,
    /// The models.
    pub models: Vec<ModelId>,
    /// The names of the tools. Workers need not be repeated here.
    pub tools: Vec<Arc<str>>,
    /// How many lines a scrape may have. 20,000 is twice what ten agents with ten models and fifty tools come to, and
    /// little for Prometheus. What exceeds it is dropped and counted.
    pub max_series: usize,
    /// How the `gen_ai_*` metrics are named.
    pub convention: Convention,
}

/// An observer that turns the events of runs into metrics, recorded with the [`metrics`](https://docs.rs/metrics)
/// facade.
///
/// Labels are names from the configuration or words of the program, never ids, keys, texts or names that a model made
/// up.
#[derive(Debug)]
pub struct Metrics {
    series: Series,
    instruments: Instruments,
    in_flight: InFlight,
}

/// How a run ended; `error` is empty if it ended with an outcome.
struct End {
    outcome: &'static str,
    error: &'static str,
    elapsed: Duration,
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
    /// Names one more agent or worker.
    #[must_use]
    pub fn agent(mut self, name: impl Into<Arc<str>>) -> Self {
        self.agents.push(name.into());
        self
    }

    /// Names one more model.
    #[must_use]
    pub fn model(mut self, id: ModelId) -> Self {
        self.models.push(id);
        self
    }

    /// Names one more tool.
    #[must_use]
    pub fn tool(mut self, name: impl Into<Arc<str>>) -> Self {
        self.tools.push(name.into());
        self
    }
}

impl Metrics {
    /// Metrics for a recorder of one's own. The recorder should have buckets for the histograms; see
    /// [`Metrics::install`] for one that has.
    pub fn with_recorder(config: &MetricsConfig, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        let series = Series::new(recorder, Vocabulary::default(), config.max_series);
        let instruments = Instruments::new(&series, config.convention);
        let metrics = Self { series, instruments, in_flight: InFlight::default() };
        metrics.learn(config);
        metrics
    }

    /// Also shows the names of this configuration from now on, for a program that reads its configuration again. Names
    /// that it lacks are not forgotten, and the limit of series stays as it was.
    pub fn learn(&self, config: &MetricsConfig) {
        self.series.teach(|words| words.learn(&config.agents, &config.tools, &config.models));
    }

    /// Counts a request of a client that the program answered with an error of this code: a word of the program.
    pub fn request_failed(&self, code: &'static str) {
        self.instruments.request_errors.with(&self.series, [Value::Word(code)]).increment(1);
    }

    pub(crate) fn series(&self) -> &Series {
        &self.series
    }

    /// Forgets runs that ended without telling.
    pub(crate) fn forget_silent_runs(&self) {
        self.in_flight.forget_silent().iter().for_each(|clock| self.leave(clock));
    }

    fn begin(&self, run: &Run) {
        let agent = self.series.vocabulary().agent(run.agent());
        self.instruments.runs_in_flight.with(&self.series, [agent]).increment(1.0);
        if let Some(gone) = self.in_flight.begin(run.id(), agent) {
            self.leave(&gone);
        }
    }

    fn leave(&self, clock: &Clock) {
        self.instruments.runs_in_flight.with(&self.series, [clock.agent]).decrement(1.0);
    }

    fn end(&self, run: &Run, end: &End) {
        let End { outcome, error, elapsed } = *end;
        let (all, to) = (&self.series, &self.instruments);
        let agent = all.vocabulary().agent(run.agent());
        to.runs.with(all, [agent, Value::Word(outcome)]).increment(1);
        to.run_duration.with(all, [agent]).record(elapsed);
        to.invoke_agent.with(all, [agent, Value::Word(error)]).record(elapsed);
        if let Some(clock) = self.in_flight.end(run.id()) {
            self.leave(&clock);
            to.overhead.with(all, [agent]).record(clock.overhead());
        }
    }

    fn attempt_ended(&self, run: &Run, event: &Event) {
        let Event::AttemptEnded { model: id, error, charge, elapsed } = event else { return };
        let (all, to) = (&self.series, &self.instruments);
        let model = all.vocabulary().model(id);
        let error = error.map_or("", fault);
        let outcome = if error.is_empty() { "ok" } else { error };
        to.attempts.with(all, [model.provider, model.model, Value::Word(outcome)]).increment(1);
        let labels = [CHAT, model.provider, model.model, Value::Word(error)];
        to.inference_duration.with(all, labels).record(*elapsed);
        self.in_flight.note(run.id(), |clock, now| {
            clock.first_sign(now);
            clock.end_work(now);
        });
        if let Some(charge) = charge {
            self.charged(run, id, charge);
        }
    }

    fn charged(&self, run: &Run, model: &ModelId, charge: &Charge) {
        let (all, to) = (&self.series, &self.instruments);
        let model = all.vocabulary().model(model);
        // What a failed call used is not known, only what it may have used.
        if charge.certainty != Certainty::Uncertain {
            to.tokens.record(all, model, &charge.usage);
        }
        if let Some(cost) = charge.cost {
            let agent = all.vocabulary().agent(run.agent());
            let labels = [model.provider, model.model, agent, Value::Word(charge.certainty.name())];
            to.cost.with(all, labels).increment(u64::try_from(cost.nano()).unwrap_or(0));
        }
    }

    fn limits_reported(&self, model: &ModelId, limits: &RateLimits) {
        let model = self.series.vocabulary().model(model);
        let dimensions = [
            ("requests", limits.requests),
            ("tokens", limits.tokens),
            ("input_tokens", limits.input_tokens),
            ("output_tokens", limits.output_tokens),
        ];
        for (dimension, allowance) in dimensions {
            if let Some(remaining) = allowance.remaining {
                let labels = [model.provider, model.model, Value::Word(dimension)];
                let gauge = self.instruments.rate_limit_remaining.with(&self.series, labels);
                gauge.set(lossy(remaining));
            }
        }
    }

    fn tool_ended(&self, run: &Run, event: &Event) {
        let Event::ToolEnded { tool, outcome, elapsed, .. } = event else { return };
        let (all, to) = (&self.series, &self.instruments);
        let tool = all.vocabulary().tool(tool);
        to.tool_calls.with(all, [tool, Value::Word(outcome)]).increment(1);
        let error = if *outcome == "ok" { "" } else { outcome };
        to.execute_tool.with(all, [tool, Value::Word(error)]).record(*elapsed);
        self.in_flight.note(run.id(), Clock::end_work);
    }

    fn first_delta(&self, run: &Run) {
        let first = self.in_flight.note(run.id(), Clock::first_sign).flatten();
        if let Some((elapsed, model)) = first {
            let labels = [CHAT, model.provider, model.model];
            self.instruments.first_chunk.with(&self.series, labels).record(elapsed);
        }
    }

    /// What happens on the way to an answer: waits, retries, detours.
    fn on_the_way(&self, run: &Run, event: &Event) {
        let (all, to) = (&self.series, &self.instruments);
        let words = all.vocabulary();
        match event {
            Event::RateLimitWaited { model, waited } => {
                let model = words.model(model);
                to.rate_limit_wait.with(all, [model.provider, model.model]).record(*waited);
                self.in_flight.note(run.id(), |clock, now| clock.waited(*waited, now));
            }
            Event::Retrying { reason, delay, .. } => {
                to.retries.with(all, [Value::Word(fault(*reason))]).increment(1);
                self.in_flight.note(run.id(), |clock, now| clock.pause(*delay, now));
            }
            Event::RetrySuppressed { reason, .. } => {
                to.retries_suppressed.with(all, [Value::Word(fault(*reason))]).increment(1);
            }
            Event::FellBack { from, to: next, reason } => {
                let labels = [words.model(from).both, words.model(next).both, Value::Word(fault(*reason))];
                to.fallbacks.with(all, labels).increment(1);
            }
            Event::BreakerChanged { model, state } => {
                let model = words.model(model);
                to.breaker_state.with(all, [model.provider, model.model]).set(breaker_number(state));
            }
            Event::WireQuirk { kind, .. } => to.wire_quirks.with(all, [Value::Word(kind)]).increment(1),
            _ => {}
        }
    }

    /// What is refused, noticed or put up with.
    fn on_trouble(&self, event: &Event) {
        let (all, to) = (&self.series, &self.instruments);
        let words = all.vocabulary();
        match event {
            Event::UnknownTool { .. } => to.tool_calls.with(all, [OTHER, Value::Word("unknown")]).increment(1),
            Event::WorkerFailed { worker, policy, .. } => {
                to.worker_failures.with(all, [words.agent(worker), Value::Word(policy)]).increment(1);
            }
            Event::LoopNoticed { kind, .. } => to.loops.with(all, [Value::Word(kind)]).increment(1),
            Event::BudgetRefused(limit) => {
                let labels = [words.scope(&limit.scope), Value::Word(limit.quantity.name())];
                to.budget_refusals.with(all, labels).increment(1);
            }
            Event::BudgetWarning(limit) => {
                let labels = [words.scope(&limit.scope), Value::Word(limit.quantity.name())];
                to.budget_warnings.with(all, labels).increment(1);
            }
            Event::TurnEnded { model, usage: None, .. } => {
                let model = words.model(model);
                to.usage_missing.with(all, [model.provider, model.model]).increment(1);
            }
            _ => {}
        }
    }
}

impl Observer for Metrics {
    fn on_event(&self, run: &Run, event: &Event) {
        match event {
            Event::RunStarted => self.begin(run),
            Event::RunEnded { stop, turns, elapsed, .. } => {
                self.end(run, &End { outcome: stop.name(), error: "", elapsed: *elapsed });
                let agent = self.series.vocabulary().agent(run.agent());
                self.instruments.turns.with(&self.series, [agent]).record(f64::from(*turns));
            }
            Event::RunFailed { kind, elapsed, .. } => {
                let error = kind.map_or(INTERNAL, fault);
                self.end(run, &End { outcome: error, error, elapsed: *elapsed });
            }
            Event::AttemptStarted { model } => {
                let model = self.series.vocabulary().model(model);
                self.in_flight.note(run.id(), |clock, now| {
                    clock.ask(model, now);
                    clock.begin_work(now);
                });
            }
            Event::AttemptEnded { .. } => self.attempt_ended(run, event),
            Event::Delta(_) => self.first_delta(run),
            Event::RateLimitsReported { model, limits } => self.limits_reported(model, limits),
            Event::ToolStarted { .. } => drop(self.in_flight.note(run.id(), Clock::begin_work)),
            Event::ToolEnded { .. } => self.tool_ended(run, event),
            _ => {
                self.on_the_way(run, event);
                self.on_trouble(event);
            }
        }
    }
}

fn breaker_number(state: &str) -> f64 {
    match state {
        "open" => 2.0,
        "half_open" => 1.0,
        _ => 0.0,
    }
}

/// A count as a gauge shows it.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats; what a person reads needs no more than 2⁵³")]
pub(crate) fn lossy(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod tests;
