//! The format of log lines: text or JSON.

use std::{error::Error, fmt, fmt::Write};

use brigade_core::ErrorChain;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    escape::{InJson, OneLine},
    mask::mask,
    run_scope::RunScope,
};

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people: `2026-11-22T14:03:01.123Z  INFO [a3f2b1c9] desk/researcher brigade_core::agent: turn 2: …`. A line
    /// outside a run shows `[--------]`.
    #[default]
    Text,
    /// For machines: one JSON object per line with `timestamp`, `level`, `trace_id`, `run_id`, `agent`, `target`,
    /// `message` and the line's own fields. Outside a run, `trace_id`, `run_id` and `agent` are absent.
    Json,
}

/// A line as JSON: the fixed fields, and then its own.
#[derive(Default, Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    target: &'a str,
    message: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// The keys that a line's own fields must not overwrite.
const RESERVED_KEYS: [&str; 6] = ["timestamp", "level", "trace_id", "run_id", "agent", "target"];

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        RunScope::around(context, |scope| match self {
            Self::Text => write_text(out, event, scope),
            Self::Json => write_json(out, event, scope),
        })
    }
}

impl LogFormat {
    /// A warning that belongs to no run, as a whole line.
    pub(crate) fn warning(self, target: &str, message: &str) -> String {
        match self {
            Self::Text => format!("{}  WARN [--------] {target}: {message}\n", now()),
            Self::Json => {
                let timestamp = now();
                let line = JsonLine { timestamp, level: "WARN", target, message, ..JsonLine::default() };
                // A line is plain data, which always serializes.
                serde_json::to_string(&line).unwrap_or_default() + "\n"
            }
        }
    }
}

fn write_text(mut out: Writer<'_>, event: &Event<'_>, scope: Option<&RunScope>) -> fmt::Result {
    let is_core = event.metadata().target().starts_with("brigade_core::");
    let mut fields = TextFields { is_core, ..TextFields::default() };
    event.record(&mut fields);
    let target = fields.log_target.as_deref().unwrap_or(event.metadata().target());
    let (on, off) = if out.has_ansi_escapes() { (colour(*event.metadata().level()), "\x1b[0m") } else { ("", "") };
    let level = event.metadata().level().as_str();
    write!(out, "{} {on}{level:>5}{off} [{}] ", now(), scope.map_or("--------", RunScope::short_trace))?;
    if let Some(scope) = scope.filter(|scope| !scope.agent.is_empty()) {
        write!(out, "{} ", scope.agent)?;
    }
    write!(out, "{target}: {}", mask(&fields.message))?;
    out.write_str(&mask(&fields.rest))?;
    out.write_char('\n')
}

fn write_json(mut out: Writer<'_>, event: &Event<'_>, scope: Option<&RunScope>) -> fmt::Result {
    let mut fields = JsonFields::default();
    event.record(&mut fields);
    let target = fields.log_target.as_deref().unwrap_or(event.metadata().target());
    let line = JsonLine {
        timestamp: now(),
        level: event.metadata().level().as_str(),
        trace_id: scope.map(|scope| &*scope.trace),
        // A request that is not a run has neither.
        run_id: scope.map(|scope| &*scope.run).filter(|run| !run.is_empty()),
        agent: scope.filter(|scope| !scope.run.is_empty()).map(|scope| &*scope.agent),
        target,
        message: &mask(&fields.message),
        fields: fields.rest,
    };
    let json = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
    InJson(&mut out).write_str(&json)?;
    out.write_char('\n')
}

fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// The message of a line, and its other fields as ` name=value`.
#[derive(Default)]
struct TextFields {
    message: String,
    rest: String,
    log_target: Option<String>,
    /// Whether it is a line of `brigade_core`.
    is_core: bool,
    /// Whether it is the line of an event. The message repeats its fields in words, so they are left out.
    is_event: bool,
}

impl Visit for TextFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(OneLine(&mut self.message), "{value:?}"),
            // The first field after the message.
            "event" if self.is_core => {
                self.is_event = true;
                Ok(())
            }
            _ if self.is_event => Ok(()),
            name if name.starts_with("log.") => Ok(()),
            name => write!(OneLine(&mut self.rest), " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => self.log_target = Some(value.to_owned()),
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", ErrorChain(value)));
    }
}

/// The message of a line, and its other fields as JSON.
#[derive(Default)]
struct JsonFields {
    message: String,
    rest: Map<String, Value>,
    log_target: Option<String>,
}

impl JsonFields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(target)) => self.log_target = Some(target),
            (name, _) if name.starts_with("log.") => {}
            (name, Value::String(text)) => drop(self.rest.insert(key_of(name), mask(&text).into())),
            (name, value) => drop(self.rest.insert(key_of(name), value)),
        }
    }
}

/// The key of a field; reserved ones get an underscore.
fn key_of(name: &str) -> String {
    if RESERVED_KEYS.contains(&name) { format!("{name}_") } else { name.to_owned() }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, ErrorChain(value).to_string().into());
    }
}
