//! One span, from its start to its end.

use std::{borrow::Cow, sync::LazyLock, time::SystemTime};

use brigade_core::{Money, Usage};
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use tokio::time::Instant;

use super::names;
use crate::Convention;

/// The time of a trace: the system's when its first span began, the monotonic clock's from then on. So the spans of a
/// trace fit together even if somebody sets the system's clock meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    wall: SystemTime,
    began: Instant,
}

/// Where in its trace a span is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    /// The span above; invalid for a root.
    pub(super) parent: SpanId,
    /// Whether the span above is another process's.
    pub(super) is_remote: bool,
}

/// A span that has not ended.
#[derive(Debug)]
pub(super) struct Span(SpanData);

/// As many as the OpenTelemetry SDK keeps of a span unless told otherwise.
const MOST_EVENTS: usize = 128;

static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("brigade").with_version(env!("CARGO_PKG_VERSION")).build());

impl Clock {
    pub(super) fn start() -> Self {
        Self { wall: SystemTime::now(), began: Instant::now() }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.wall + self.began.elapsed()
    }
}

impl Place {
    /// A new place right below this one.
    pub(super) fn below(&self) -> Self {
        Self { trace: self.trace, id: Self::random_id(), parent: self.id, is_remote: false }
    }

    pub(super) fn random_id() -> SpanId {
        RandomIdGenerator::default().new_span_id()
    }
}

impl Span {
    pub(super) fn start(place: Place, kind: SpanKind, name: impl Into<Cow<'static, str>>, at: SystemTime) -> Self {
        let span_context = SpanContext::new(place.trace, place.id, TraceFlags::SAMPLED, false, TraceState::default());
        Self(SpanData {
            span_context,
            parent_span_id: place.parent,
            parent_span_is_remote: place.is_remote,
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

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.attributes.push(KeyValue::new(name, value));
    }

    /// Sets how many there were of something.
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

    /// Notes something that happened while the span went on. What exceeds the limit is counted.
    pub(super) fn event(&mut self, name: &'static str, at: SystemTime, attributes: Vec<KeyValue>) {
        let events = &mut self.0.events;
        if events.events.len() < MOST_EVENTS {
            events.events.push(Event::new(name, at, attributes, 0));
        } else {
            events.dropped_count = events.dropped_count.saturating_add(1);
        }
    }

    /// Says how it ended, and that this is an error unless it is `ok`.
    pub(super) fn outcome(&mut self, outcome: &'static str) {
        self.set(names::OUTCOME, outcome);
        if outcome != "ok" {
            self.set(names::ERROR_TYPE, outcome);
            self.0.status = Status::error(outcome);
        }
    }

    pub(super) fn place(&self) -> Place {
        Place {
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

/// Attributes have no unsigned integers.
pub(super) fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
