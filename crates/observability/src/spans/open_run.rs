//! A run that has not ended, and its spans.

use std::{sync::Arc, time::Duration};

use brigade_core::{Charge, Event, FinishReason, ModelErrorKind, ModelId, Money, Run, Usage};
use opentelemetry::{Array, StringValue, Value, trace::SpanKind};
use opentelemetry_sdk::trace::SpanData;

use super::{
    happening::happening,
    names,
    span::{Clock, Place, Span},
};
use crate::{
    Convention,
    metrics::vocabulary::{INTERNAL, fault},
};

/// A run that has not ended: its own span, and those below it that have not ended either.
#[derive(Debug)]
pub(super) struct OpenRun {
    span: Span,
    clock: Clock,
    convention: Convention,
    call: Option<Call>,
    attempts: Vec<Attempt>,
    tools: Vec<ToolCall>,
}

/// One logical call of a model.
#[derive(Debug)]
struct Call {
    span: Span,
    attempts: i64,
    /// What its attempts cost so far.
    spent: Option<Money>,
    /// How its last attempt failed.
    error: Option<&'static str>,
    has_shown: bool,
}

/// One request to a provider.
#[derive(Debug)]
struct Attempt {
    span: Span,
    model: ModelId,
}

#[derive(Debug)]
struct ToolCall {
    span: Span,
    name: Arc<str>,
    call_id: Arc<str>,
    /// Whether a run was found that this call started.
    has_run: bool,
}

/// What of an answer the span of its call tells.
struct Answer<'a> {
    usage: Option<&'a Usage>,
    cost: Option<Money>,
    stop: FinishReason,
    tool_calls: usize,
}

/// How a span ends of whose end nothing was told.
const UNFINISHED: &str = "unfinished";

/// Longer than any vendor's ids; what is longer was made up.
const MOST_ID_CHARS: usize = 64;

impl OpenRun {
    pub(super) fn start(run: &Run, place: Place, clock: Clock, convention: Convention) -> Self {
        let name = run.agent_name();
        let mut span = Span::start(place, SpanKind::Internal, format!("invoke_agent {name}"), clock.now());
        span.set(names::OPERATION, "invoke_agent");
        span.set(names::AGENT_NAME, name.to_owned());
        span.set(names::AGENT_PATH, Arc::clone(run.agent()));
        span.set(names::RUN_ID, run.id().to_string());
        Self { span, clock, convention, call: None, attempts: Vec::new(), tools: Vec::new() }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// The place of a run that this one started for the agent called `name`: below the call of the tool with this name,
    /// if there is one. Of several, the first that has no run yet: calls and runs begin in the same order.
    pub(super) fn place_for(&mut self, name: &str) -> Place {
        match self.tools.iter_mut().find(|tool| &*tool.name == name && !tool.has_run) {
            Some(tool) => {
                tool.has_run = true;
                tool.span.place().below()
            }
            None => self.span.place().below(),
        }
    }

    /// Something happened in the run. Gives back the spans that ended with it.
    pub(super) fn note(&mut self, event: &Event) -> Vec<SpanData> {
        match event {
            Event::TurnStarted { turn, model } => self.begin_call(*turn, model).into_iter().collect(),
            Event::TurnEnded { usage, cost, stop, tool_calls, .. } => {
                let answer = Answer { usage: usage.as_ref(), cost: *cost, stop: *stop, tool_calls: *tool_calls };
                self.end_call(&answer).into_iter().collect()
            }
            Event::AttemptStarted { model } => {
                self.begin_attempt(model);
                Vec::new()
            }
            Event::AttemptEnded { model, error, charge, elapsed } => {
                self.end_attempt((model, *elapsed), *error, charge.as_ref()).into_iter().collect()
            }
            Event::ToolStarted { tool, call_id } => {
                self.begin_tool(tool, call_id);
                Vec::new()
            }
            Event::ToolEnded { call_id, outcome, .. } => self.end_tool(call_id, outcome).into_iter().collect(),
            Event::RateLimitWaited { model, waited } => vec![self.wait(model, *waited)],
            Event::Delta(_) => {
                self.first_delta();
                Vec::new()
            }
            _ => {
                if let Some((name, attributes)) = happening(event) {
                    let at = self.clock.now();
                    self.innermost().event(name, at, attributes);
                }
                Vec::new()
            }
        }
    }

    /// The run is over. Gives back its span, and before it all that are still open below.
    pub(super) fn end(mut self, event: &Event) -> Vec<SpanData> {
        match event {
            Event::RunEnded { stop, turns, usage, cost, .. } => {
                self.span.set(names::OUTCOME, stop.name());
                self.span.count(names::TURNS, *turns);
                self.span.usage(usage, self.convention);
                if let Some(cost) = cost {
                    self.span.cost(*cost);
                }
                self.close(UNFINISHED)
            }
            Event::RunFailed { kind, .. } => {
                let error = kind.map_or(INTERNAL, fault);
                self.span.outcome(error);
                self.close(error)
            }
            _ => self.abandon(),
        }
    }

    /// Nobody will tell how the run ended.
    pub(super) fn abandon(mut self) -> Vec<SpanData> {
        self.span.outcome(UNFINISHED);
        self.close(UNFINISHED)
    }

    /// Ends everything; what is below ends with `error`.
    fn close(mut self, error: &'static str) -> Vec<SpanData> {
        let now = self.clock.now();
        let attempts = self.attempts.drain(..).map(|attempt| attempt.span);
        let below = attempts.chain(self.tools.drain(..).map(|tool| tool.span)).map(|mut span| {
            span.outcome(error);
            span.end(now)
        });
        let mut ended: Vec<SpanData> = below.collect();
        ended.extend(self.call.take().map(|call| call.give_up(error).end(now)));
        ended.push(self.span.end(now));
        ended
    }

    /// A call whose answer nobody told of failed, and the agent asks again.
    fn begin_call(&mut self, turn: u32, model: &ModelId) -> Option<SpanData> {
        let now = self.clock.now();
        let place = self.span.place().below();
        let mut span = Span::start(place, SpanKind::Client, format!("chat {}", model.model()), now);
        span.set(names::OPERATION, "chat");
        span.set(names::PROVIDER, Arc::clone(model.provider()));
        span.set(names::REQUEST_MODEL, Arc::clone(model.model()));
        span.count(names::TURN, turn);
        let call = Call { span, attempts: 0, spent: None, error: None, has_shown: false };
        self.call.replace(call).map(|failed| failed.give_up(UNFINISHED).end(now))
    }

    fn end_call(&mut self, answer: &Answer<'_>) -> Option<SpanData> {
        let mut call = self.call.take()?;
        if let Some(usage) = answer.usage {
            call.span.usage(usage, self.convention);
        }
        let reason = StringValue::from(answer.stop.name());
        call.span.set(names::FINISH_REASONS, Value::Array(Array::String(vec![reason])));
        call.span.count(names::TOOL_CALLS, answer.tool_calls);
        call.span.outcome("ok");
        call.spent = answer.cost.or(call.spent);
        Some(call.priced().end(self.clock.now()))
    }

    fn begin_attempt(&mut self, model: &ModelId) {
        let (mut number, mut place) = (1, self.span.place());
        if let Some(call) = &mut self.call {
            call.attempts += 1;
            (number, place) = (call.attempts, call.span.place());
        }
        let mut span =
            Span::start(place.below(), SpanKind::Client, format!("attempt {}", model.model()), self.clock.now());
        span.set(names::MODEL, model.to_string());
        span.set(names::ATTEMPT, number);
        self.attempts.push(Attempt { span, model: model.clone() });
    }

    fn end_attempt(
        &mut self,
        (model, elapsed): (&ModelId, Duration),
        error: Option<ModelErrorKind>,
        charge: Option<&Charge>,
    ) -> Option<SpanData> {
        let now = self.clock.now();
        let place = self.attempt_that_took(model, elapsed)?;
        let mut span = self.attempts.swap_remove(place).span;
        let error = error.map(fault);
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
                call.spent = Some(call.spent.unwrap_or_default() + cost);
            }
        }
        Some(span.end(now))
    }

    /// Which of the open attempts at `model` has taken this long. There are several only if one hedges another.
    fn attempt_that_took(&self, model: &ModelId, elapsed: Duration) -> Option<usize> {
        let began = self.clock.now().checked_sub(elapsed)?;
        let distance = |attempt: &Attempt| {
            let started = attempt.span.started();
            started.duration_since(began).unwrap_or_else(|before| before.duration())
        };
        let open = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.model == *model);
        open.min_by_key(|(_, attempt)| distance(attempt)).map(|(place, _)| place)
    }

    fn begin_tool(&mut self, tool: &Arc<str>, call_id: &Arc<str>) {
        let name = format!("execute_tool {tool}");
        let mut span = Span::start(self.span.place().below(), SpanKind::Internal, name, self.clock.now());
        span.set(names::OPERATION, "execute_tool");
        span.set(names::TOOL_NAME, Arc::clone(tool));
        span.set(names::TOOL_TYPE, "function");
        span.set(names::TOOL_CALL_ID, call_id.chars().take(MOST_ID_CHARS).collect::<String>());
        self.tools.push(ToolCall { span, name: Arc::clone(tool), call_id: Arc::clone(call_id), has_run: false });
    }

    fn end_tool(&mut self, call_id: &str, outcome: &'static str) -> Option<SpanData> {
        let place = self.tools.iter().position(|tool| &*tool.call_id == call_id)?;
        let mut span = self.tools.remove(place).span;
        span.outcome(outcome);
        Some(span.end(self.clock.now()))
    }

    /// A wait is told of when it is over.
    fn wait(&mut self, model: &ModelId, waited: Duration) -> SpanData {
        let now = self.clock.now();
        let place = self.innermost().place().below();
        let began = now.checked_sub(waited).unwrap_or(now);
        let mut span = Span::start(place, SpanKind::Internal, "rate_limit_wait", began);
        span.set(names::MODEL, model.to_string());
        span.end(now)
    }

    fn first_delta(&mut self) {
        let now = self.clock.now();
        if let Some(call) = &mut self.call
            && !std::mem::replace(&mut call.has_shown, true)
        {
            let elapsed = now.duration_since(call.span.started()).unwrap_or_default();
            call.span.set(names::TIME_TO_FIRST_CHUNK, elapsed.as_secs_f64());
        }
    }

    /// The span that something happens in that has no span of its own.
    fn innermost(&mut self) -> &mut Span {
        self.call.as_mut().map_or(&mut self.span, |call| &mut call.span)
    }
}

impl Call {
    /// The span of a call that got no answer: its last attempt tells why, if there was one.
    fn give_up(mut self, error: &'static str) -> Span {
        self.span.outcome(self.error.unwrap_or(error));
        self.priced()
    }

    /// The one kind of span that has the cost in dollars, so that a sum over a trace counts nothing twice.
    fn priced(mut self) -> Span {
        if let Some(cost) = self.spent {
            self.span.set(names::COST_USD, cost.as_usd_lossy());
            self.span.cost(cost);
        }
        self.span
    }
}
