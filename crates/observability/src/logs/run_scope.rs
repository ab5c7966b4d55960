//! The run that a line belongs to, read from the spans around it.

use std::fmt;

use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    fmt::{FmtContext, FormatFields},
    layer::Context,
    registry::LookupSpan,
};

use crate::logs::escape::one_line;

/// The run that a line belongs to.
#[derive(Debug, Default)]
pub(crate) struct RunScope {
    /// The trace id, 32 hexadecimal digits.
    pub(crate) trace: String,
    /// The run's id.
    pub(crate) run: String,
    /// The agent's path; empty at the top.
    pub(crate) agent: String,
    /// The trace id and the agent at the head of a line of text: `[a3f2b1c9] desk/researcher `.
    pub(crate) head: String,
}

/// Stores a [`RunScope`] with every run's span.
///
/// `brigade_core` polls a run inside a span called `run`. So every line that is written meanwhile, by a tool, a worker or
/// a library, is inside that span.
#[derive(Debug)]
pub(crate) struct RunSpans;

/// Whether this is the kind of span that a run is polled in.
pub(crate) fn is_run_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == "run" && metadata.target() == "brigade_core::run"
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunSpans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !is_run_span(attributes.metadata()) {
            return;
        }
        if let Some(span) = context.span(id) {
            let mut scope = RunScope::default();
            attributes.record(&mut scope);
            scope.head = format!("[{}] {}", scope.trace.get(..8).unwrap_or(&scope.trace), scope.agent);
            scope.head.extend((!scope.agent.is_empty()).then_some(' '));
            span.extensions_mut().replace(scope);
        }
    }
}

impl RunScope {
    /// Calls `show` with the innermost run around a line, if there is one.
    pub(crate) fn around<S, N, T>(context: &FmtContext<'_, S, N>, show: impl FnOnce(Option<&Self>) -> T) -> T
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'w> FormatFields<'w> + 'static,
    {
        for span in context.event_scope().into_iter().flatten() {
            if let Some(scope) = span.extensions().get::<Self>() {
                return show(Some(scope));
            }
        }
        show(None)
    }
}

impl Visit for RunScope {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "trace" => &mut self.trace,
            "run" => &mut self.run,
            "agent" => &mut self.agent,
            _ => return,
        };
        *text = one_line(&format!("{value:?}")).into_owned();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
