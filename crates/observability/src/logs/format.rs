//! The format of log lines: text or JSON.

use std::{borrow::Cow, cell::RefCell, error::Error, fmt, fmt::Display, fmt::Write};

use brigade_core::ErrorChain;
use jiff::Timestamp;
use serde::Serialize;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    escape::{in_json, one_line},
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

/// The fixed fields of a line as JSON. Its own follow.
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
}

/// The keys that a line's own fields must not overwrite.
const RESERVED_KEYS: [&str; 7] = ["timestamp", "level", "trace_id", "run_id", "agent", "target", "message"];

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
                json(&JsonLine { timestamp, level: "WARN", target, message, ..JsonLine::default() }) + "\n"
            }
        }
    }
}

fn write_text(mut out: Writer<'_>, event: &Event<'_>, scope: Option<&RunScope>) -> fmt::Result {
    let mut fields = TextFields::new(event.metadata());
    event.record(&mut fields);
    let level = *event.metadata().level();
    let (on, off) = if out.has_ansi_escapes() { (colour(level), "\x1b[0m") } else { ("", "") };
    write!(out, "{} {on}{:>5}{off} ", shown(Timestamp::now()), level.as_str())?;
    out.write_str(scope.map_or("[--------] ", |scope| &scope.head))?;
    out.write_str(fields.log_target.as_deref().unwrap_or(event.metadata().target()))?;
    out.write_str(": ")?;
    for text in [&fields.message, &fields.rest] {
        out.write_str(&mask(&one_line(text)))?;
    }
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
    };
    let fixed = json(&line);
    out.write_str(&in_json(fixed.strip_suffix('}').unwrap_or_default()))?;
    out.write_str(&in_json(&fields.rest))?;
    out.write_str("}\n")
}

fn now() -> String {
    shown(Timestamp::now()).to_string()
}

thread_local! {
    /// The second of the last line of this thread, and its text.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// A time to the millisecond. A thread formats each second once, because that takes a sixth of the time of a whole line.
fn shown(time: Timestamp) -> impl Display {
    fmt::from_fn(move |f| {
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != time.as_second() {
                *second = time.as_second();
                *text = format!("{time:.0}");
                text.pop();
            }
            write!(f, "{text}.{:03}Z", time.subsec_millisecond())
        })
    })
}

/// What a line holds is plain data, which always serializes.
fn json(data: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(data).unwrap_or_default()
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

/// The longest usual message, so that its buffer does not grow in steps.
const USUAL_BYTES: usize = 128;

impl TextFields {
    fn new(metadata: &Metadata<'_>) -> Self {
        let is_core = metadata.target().starts_with("brigade_core::");
        Self { message: String::with_capacity(USUAL_BYTES), is_core, ..Self::default() }
    }
}

impl Visit for TextFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // The first field after the message.
            "event" if self.is_core => {
                self.is_event = true;
                Ok(())
            }
            _ if self.is_event => Ok(()),
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.rest, " {name}={value:?}"),
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

/// The message of a line, and its other fields as the rest of a JSON object: `,"name":value`.
#[derive(Default)]
struct JsonFields {
    message: String,
    rest: String,
    log_target: Option<String>,
}

impl JsonFields {
    fn add(&mut self, field: &Field, value: impl Serialize) {
        let name = field.name();
        if !name.starts_with("log.") {
            // Reserved names get an underscore.
            let key = if RESERVED_KEYS.contains(&name) { Cow::Owned(format!("{name}_")) } else { Cow::Borrowed(name) };
            self.rest.extend([",", &json(&*key), ":", &json(&value)]);
        }
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "log.target" => self.log_target = Some(text),
            _ => self.add(field, &*mask(&text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", ErrorChain(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_millisecond_in_the_same_and_in_the_next_second() {
        for milliseconds in [0, 7, 999, 1_000, 1_764_518_399_999, 1_764_518_400_000, 7] {
            let time = Timestamp::from_millisecond(milliseconds).unwrap();
            assert_eq!(shown(time).to_string(), format!("{time:.3}"));
        }
    }
}
