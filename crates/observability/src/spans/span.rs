//! One span, from its start to its end.

use std::{borrow::Cow, sync::LazyLock, time::SystemTime};

use brigade_core::{Money, ToolStatus, Usage};
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use tokio::time::Instant;

use super::{names, span_event::SpanEvent};
use crate::Convention;

/// The clock of a trace: the system time at its first span, and the monotonic clock from then on. So the spans of a trace
/// fit together even if the system time is set meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct TraceClock {
    wall: SystemTime,
    started: Instant,
}

/// The ids of a span, its parent and its trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanIds {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    /// Invalid for a root.
    pub(super) parent: SpanId,
    /// Whether the parent belongs to another process.
    pub(super) is_remote: bool,
}

/// A span that has not ended.
#[derive(Debug)]
pub(super) struct Span(SpanData);

/// The outcome of a run or a tool call that waits and goes on later.
pub(super) const WAITING: &str = ToolStatus::Waiting.name();

/// The default limit of the OpenTelemetry SDK.
const MAX_EVENTS: usize = 128;

static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("brigade").with_version(env!("CARGO_PKG_VERSION")).build());

impl TraceClock {
    pub(super) fn start() -> Self {
        Self { wall: SystemTime::now(), started: Instant::now() }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.wall + self.started.elapsed()
    }
}

impl SpanIds {
    /// Returns the ids of a new span below this one.
    pub(super) fn child(&self) -> Self {
        Self { trace: self.trace, id: Self::random_id(), parent: self.id, is_remote: false }
    }

    pub(super) fn random_id() -> SpanId {
        RandomIdGenerator::default().new_span_id()
    }
}

impl Span {
    pub(super) fn start(ids: SpanIds, kind: SpanKind, name: impl Into<Cow<'static, str>>, at: SystemTime) -> Self {
        let span_context = SpanContext::new(ids.trace, ids.id, TraceFlags::SAMPLED, false, TraceState::default());
        Self(SpanData {
            span_context,
            parent_span_id: ids.parent,
            parent_span_is_remote: ids.is_remote,
            span_kind: kind,
            name: name.into(),
            start_time: at,
            end_time: at,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: SCOPE.clone(),
        })
    }

    pub(super) fn started(&self) -> SystemTime {
        self.0.start_time
    }

    /// Sets an attribute, or replaces its value.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let attribute = KeyValue::new(name, value);
        match self.0.attributes.iter_mut().find(|other| other.key == attribute.key) {
            Some(other) => *other = attribute,
            None => self.0.attributes.push(attribute),
        }
    }

    /// Sets an attribute to a count.
    pub(super) fn count(&mut self, name: &'static str, count: impl TryInto<i64>) {
        self.set(name, integer(count));
    }

    pub(super) fn usage(&mut self, usage: &Usage, convention: Convention) {
        self.count(names::INPUT_TOKENS, usage.input_tokens);
        self.count(names::OUTPUT_TOKENS, usage.output_tokens);
        let parts = [
            (names::CACHE_READ_TOKENS, usage.cache_read_tokens),
            (names::cache_write_tokens(convention), usage.cache_write_tokens),
            (names::REASONING_TOKENS, usage.reasoning_tokens),
        ];
        for (name, part) in parts {
            if let Some(tokens) = part {
                self.count(name, tokens);
            }
        }
    }

    pub(super) fn cost(&mut self, cost: Money) {
        self.set(names::COST_NANO_USD, integer(cost.nano()));
    }

    /// Adds an event. Events past the limit are counted.
    pub(super) fn event(&mut self, event: SpanEvent, at: SystemTime) {
        let events = &mut self.0.events;
        if events.events.len() < MAX_EVENTS {
            events.events.push(Event::new(event.name, at, event.attributes, 0));
        } else {
            events.dropped_count = events.dropped_count.saturating_add(1);
        }
    }

    /// Sets the outcome. Every outcome other than `ok` and `waiting` marks the span as failed.
    pub(super) fn outcome(&mut self, outcome: &'static str) {
        self.set(names::OUTCOME, outcome);
        if outcome != "ok" && outcome != WAITING {
            self.set(names::ERROR_TYPE, outcome);
            self.0.status = Status::error(outcome);
        }
    }

    pub(super) fn ids(&self) -> SpanIds {
        SpanIds {
            trace: self.0.span_context.trace_id(),
            id: self.0.span_context.span_id(),
            parent: self.0.parent_span_id,
            is_remote: self.0.parent_span_is_remote,
        }
    }

    pub(super) fn end(mut self, at: SystemTime) -> SpanData {
        self.0.end_time = at.max(self.0.start_time);
        self.0
    }
}

/// Converts a count for an attribute, which cannot be unsigned. A count beyond `i64::MAX` becomes `i64::MAX`.
pub(super) fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
