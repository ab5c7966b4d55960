//! A run that has not ended, and its spans.

use std::{sync::Arc, time::Duration};

use brigade_core::{Charge, Event, FinishReason, ModelErrorKind, ModelId, Money, Run, StopReason, ToolStatus, Usage};
use opentelemetry::{Array, StringValue, Value, trace::SpanKind};
use opentelemetry_sdk::trace::SpanData;

use super::{
    names,
    span::{Span, SpanIds, TraceClock, WAITING},
    span_event::span_event,
};
use crate::{
    Convention,
    metrics::labels::{INTERNAL_ERROR, error_type},
};

/// A run that has not ended: its span, and the open spans below it.
#[derive(Debug)]
pub(super) struct OpenRun {
    span: Span,
    clock: TraceClock,
    convention: Convention,
    call: Option<ModelCall>,
    attempts: Vec<Attempt>,
    tools: Vec<OpenTool>,
}

/// One model call with all its attempts.
#[derive(Debug)]
struct ModelCall {
    span: Span,
    attempts: i64,
    /// The cost of its attempts so far.
    cost: Option<Money>,
    /// The error of its last attempt.
    error: Option<&'static str>,
    has_delta: bool,
}

/// One request to a provider.
#[derive(Debug)]
struct Attempt {
    span: Span,
    model: ModelId,
}

#[derive(Debug)]
struct OpenTool {
    span: Span,
    name: Arc<str>,
    call_id: Arc<str>,
    /// Whether the run that this call started is known.
    has_run: bool,
}

/// The outcome of a span whose end was never reported.
const UNFINISHED: &str = "unfinished";

/// Longer than the ids of any provider.
const MAX_ID_CHARS: usize = 64;

impl OpenRun {
    pub(super) fn start(run: &Run, ids: SpanIds, clock: TraceClock, convention: Convention) -> Self {
        let name = run.agent_name();
        let mut span = Span::start(ids, SpanKind::Internal, format!("invoke_agent {name}"), clock.now());
        span.set(names::OPERATION, "invoke_agent");
        span.set(names::AGENT_NAME, name.to_owned());
        span.set(names::AGENT_PATH, Arc::clone(run.agent()));
        span.set(names::RUN_ID, run.id().to_string());
        Self { span, clock, convention, call: None, attempts: Vec::new(), tools: Vec::new() }
    }

    pub(super) fn clock(&self) -> TraceClock {
        self.clock
    }

    /// Returns the ids for the span of a run that this run started for the agent called `name`.
    ///
    /// If a tool with this name has an open call, the new span lies below that call. With several such calls, it is the
    /// first call that has no run yet, because calls and runs start in the same order.
    pub(super) fn ids_for(&mut self, name: &str) -> SpanIds {
        match self.tools.iter_mut().find(|tool| &*tool.name == name && !tool.has_run) {
            Some(tool) => {
                tool.has_run = true;
                tool.span.ids().child()
            }
            None => self.span.ids().child(),
        }
    }

    /// Handles an event within the run. Returns the span that ended with it.
    pub(super) fn handle(&mut self, event: &Event) -> Option<SpanData> {
        match event {
            Event::TurnStarted { turn, model } => self.start_call(*turn, model),
            Event::TurnEnded { model, served, usage, cost, stop, tool_calls, .. } => {
                self.answered(model, served.as_ref());
                self.end_call(usage.as_ref(), *cost, *stop, *tool_calls)
            }
            Event::AttemptStarted { model } => self.start_attempt(model),
            Event::AttemptEnded { model, error, charge, elapsed } => {
                self.end_attempt(model, *error, charge.as_ref(), *elapsed)
            }
            Event::ToolStarted { tool, call_id } => self.start_tool(tool, call_id),
            Event::ToolEnded { call_id, outcome, .. } => self.end_tool(call_id, *outcome),
            Event::RateLimitWaited { model, waited } => Some(self.rate_limit_waited(model, *waited)),
            Event::Delta(_) => self.first_delta(),
            Event::ReplyRestarted
            | Event::RateLimitsReported { .. }
            | Event::Retrying { .. }
            | Event::RetrySuppressed { .. }
            | Event::FellBack { .. }
            | Event::BreakerChanged { .. }
            | Event::UnknownTool { .. }
            | Event::Trimmed { .. }
            | Event::AnswerRejected { .. }
            | Event::LoopNoticed { .. }
            | Event::BudgetRefused { .. }
            | Event::BudgetWarning { .. }
            | Event::HandedOff { .. }
            | Event::Degraded { .. }
            | Event::WorkerFailed { .. }
            | Event::Resumed { .. }
            | Event::WireQuirk { .. } => self.add_event(event),
            // `OpenRuns` handles these.
            Event::RunStarted | Event::RunEnded { .. } | Event::RunFailed { .. } | Event::RunWaiting { .. } => None,
        }
    }

    /// Ends the span of the run, and before it all open spans below.
    pub(super) fn end(mut self, stop: StopReason, turns: u32, usage: &Usage, cost: Option<Money>) -> Vec<SpanData> {
        self.span.set(names::OUTCOME, stop.name());
        self.span.count(names::TURNS, turns);
        self.span.usage(usage, self.convention);
        if let Some(cost) = cost {
            self.span.cost(cost);
        }
        self.close(UNFINISHED)
    }

    /// Ends the span of a run that failed.
    pub(super) fn fail(mut self, kind: Option<ModelErrorKind>) -> Vec<SpanData> {
        let error = kind.map_or(INTERNAL_ERROR, error_type);
        self.span.outcome(error);
        self.close(error)
    }

    /// Ends the span of a run that waits. When it goes on, it has another one.
    pub(super) fn wait(mut self) -> Vec<SpanData> {
        self.span.outcome(WAITING);
        self.close(WAITING)
    }

    /// Ends the span of a run that did not report its end.
    pub(super) fn abandon(mut self) -> Vec<SpanData> {
        self.span.outcome(UNFINISHED);
        self.close(UNFINISHED)
    }

    /// Ends all spans. The spans below the run's own span get the outcome `error`.
    fn close(mut self, error: &'static str) -> Vec<SpanData> {
        let now = self.clock.now();
        let attempts = self.attempts.drain(..).map(|attempt| attempt.span);
        let below = attempts.chain(self.tools.drain(..).map(|tool| tool.span)).map(|mut span| {
            span.outcome(error);
            span.end(now)
        });
        let mut ended: Vec<SpanData> = below.collect();
        ended.extend(self.call.take().map(|call| call.fail(error).end(now)));
        ended.push(self.span.end(now));
        ended
    }

    /// Starts the span of a model call. If the span of the previous call is still open, that call got no answer and its span
    /// ends.
    fn start_call(&mut self, turn: u32, model: &ModelId) -> Option<SpanData> {
        let now = self.clock.now();
        let name = format!("chat {}", model.model());
        let mut span = Span::start(self.span.ids().child(), SpanKind::Client, name, now);
        span.set(names::OPERATION, "chat");
        span.set(names::PROVIDER, Arc::clone(model.provider()));
        span.set(names::REQUEST_MODEL, Arc::clone(model.model()));
        span.count(names::TURN, turn);
        let call = ModelCall { span, attempts: 0, cost: None, error: None, has_delta: false };
        self.call.replace(call).map(|unanswered| unanswered.fail(UNFINISHED).end(now))
    }

    /// Names the model that answered, and its provider: after a fallback they differ from what was asked.
    fn answered(&mut self, model: &ModelId, served: Option<&Arc<str>>) {
        if let Some(call) = &mut self.call {
            call.span.set(names::PROVIDER, Arc::clone(model.provider()));
            call.span.set(names::RESPONSE_MODEL, Arc::clone(served.unwrap_or(model.model())));
        }
    }

    fn end_call(
        &mut self,
        usage: Option<&Usage>,
        cost: Option<Money>,
        stop: FinishReason,
        tool_calls: usize,
    ) -> Option<SpanData> {
        let mut call = self.call.take()?;
        if let Some(usage) = usage {
            call.span.usage(usage, self.convention);
        }
        let reason = StringValue::from(stop.name());
        call.span.set(names::FINISH_REASONS, Value::Array(Array::String(vec![reason])));
        call.span.count(names::TOOL_CALLS, tool_calls);
        call.span.outcome("ok");
        call.cost = cost.or(call.cost);
        Some(call.with_cost().end(self.clock.now()))
    }

    fn start_attempt(&mut self, model: &ModelId) -> Option<SpanData> {
        let (mut number, mut parent) = (1, self.span.ids());
        if let Some(call) = &mut self.call {
            call.attempts += 1;
            (number, parent) = (call.attempts, call.span.ids());
        }
        let name = format!("attempt {}", model.model());
        let mut span = Span::start(parent.child(), SpanKind::Client, name, self.clock.now());
        span.set(names::MODEL, model.to_string());
        span.set(names::ATTEMPT, number);
        self.attempts.push(Attempt { span, model: model.clone() });
        None
    }

    fn end_attempt(
        &mut self,
        model: &ModelId,
        error: Option<ModelErrorKind>,
        charge: Option<&Charge>,
        elapsed: Duration,
    ) -> Option<SpanData> {
        let index = self.attempt_that_took(model, elapsed)?;
        let mut span = self.attempts.swap_remove(index).span;
        let error = error.map(error_type);
        span.outcome(error.unwrap_or("ok"));
        if let Some(Charge { certainty, usage, cost, .. }) = charge {
            span.count(names::ATTEMPT_INPUT_TOKENS, usage.input_tokens);
            span.count(names::ATTEMPT_OUTPUT_TOKENS, usage.output_tokens);
            span.set(names::COST_CERTAINTY, certainty.name());
            if let Some(cost) = cost {
                span.cost(*cost);
            }
        }
        if let Some(call) = &mut self.call {
            call.error = error;
            if let Some(cost) = charge.and_then(|charge| charge.cost) {
                call.cost = Some(call.cost.unwrap_or_default() + cost);
            }
        }
        Some(span.end(self.clock.now()))
    }

    /// The open attempt at `model` that started `elapsed` ago. Several are open only if one is a hedge for another.
    fn attempt_that_took(&self, model: &ModelId, elapsed: Duration) -> Option<usize> {
        let start = self.clock.now().checked_sub(elapsed)?;
        let distance = |attempt: &Attempt| {
            let started = attempt.span.started();
            started.duration_since(start).unwrap_or_else(|before| before.duration())
        };
        let open = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.model == *model);
        open.min_by_key(|(_, attempt)| distance(attempt)).map(|(index, _)| index)
    }

    fn start_tool(&mut self, tool: &Arc<str>, call_id: &Arc<str>) -> Option<SpanData> {
        let name = format!("execute_tool {tool}");
        let mut span = Span::start(self.span.ids().child(), SpanKind::Internal, name, self.clock.now());
        span.set(names::OPERATION, "execute_tool");
        span.set(names::TOOL_NAME, Arc::clone(tool));
        span.set(names::TOOL_TYPE, "function");
        span.set(names::TOOL_CALL_ID, call_id.chars().take(MAX_ID_CHARS).collect::<String>());
        self.tools.push(OpenTool { span, name: Arc::clone(tool), call_id: Arc::clone(call_id), has_run: false });
        None
    }

    fn end_tool(&mut self, call_id: &str, outcome: ToolStatus) -> Option<SpanData> {
        let index = self.tools.iter().position(|tool| &*tool.call_id == call_id)?;
        let mut span = self.tools.remove(index).span;
        span.outcome(outcome.name());
        Some(span.end(self.clock.now()))
    }

    /// Returns the span of a wait, which is reported only after it has ended.
    fn rate_limit_waited(&mut self, model: &ModelId, waited: Duration) -> SpanData {
        let now = self.clock.now();
        let ids = self.innermost().ids().child();
        let start = now.checked_sub(waited).unwrap_or(now);
        let mut span = Span::start(ids, SpanKind::Internal, "rate_limit_wait", start);
        span.set(names::MODEL, model.to_string());
        span.end(now)
    }

    fn first_delta(&mut self) -> Option<SpanData> {
        let now = self.clock.now();
        let call = self.call.as_mut()?;
        if !std::mem::replace(&mut call.has_delta, true) {
            let elapsed = now.duration_since(call.span.started()).unwrap_or_default();
            call.span.set(names::TIME_TO_FIRST_CHUNK, elapsed.as_secs_f64());
        }
        None
    }

    fn add_event(&mut self, event: &Event) -> Option<SpanData> {
        let now = self.clock.now();
        self.innermost().event(span_event(event)?, now);
        None
    }

    /// The span of the open model call, or of the run if there is no open call.
    fn innermost(&mut self) -> &mut Span {
        self.call.as_mut().map_or(&mut self.span, |call| &mut call.span)
    }
}

impl ModelCall {
    /// Returns the span of a call without an answer. Its outcome is the error of the last attempt, or `error` without one.
    fn fail(mut self, error: &'static str) -> Span {
        self.span.outcome(self.error.unwrap_or(error));
        self.with_cost()
    }

    /// Sets the cost. Only spans of model calls have it in dollars, so that a sum over a trace counts nothing twice.
    fn with_cost(mut self) -> Span {
        if let Some(cost) = self.cost {
            self.span.set(names::COST_USD, cost.as_usd_lossy());
            self.span.cost(cost);
        }
        self.span
    }
}
