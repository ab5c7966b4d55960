//! The W3C trace context of requests and responses.

use std::{fmt, num::NonZeroU64, str::FromStr};

use brigade_core::{Run, RunId, TraceId};

/// The W3C header `traceparent`: the trace of a request, and the span that sent it.
/// See <https://www.w3.org/TR/trace-context/#traceparent-header>.
///
/// ```
/// use brigade_core::Run;
/// use brigade_observability::Traceparent;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let caller: Traceparent = header.parse()?;
/// let run = Run::builder().trace(caller.trace).build();
/// assert_eq!(run.trace().short(), "4bf92f35");
/// assert!(Traceparent::of(&run).to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
/// # Ok::<(), brigade_observability::ParseTraceparentError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traceparent {
    /// The id of the whole request, across all services.
    pub trace: TraceId,
    /// The span that sent the request.
    pub span: NonZeroU64,
    /// Whether the sender records the trace.
    pub sampled: bool,
}

/// The text is not a valid `traceparent`. According to the standard it should be ignored, and a new trace started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a valid traceparent, which is `00-`, 32 and 16 lowercase hexadecimal digits, not all zero, and 2 of flags"
)]
pub struct ParseTraceparentError;

/// The length of version 00. Later versions may add more after another dash.
const LENGTH: usize = 55;

impl Traceparent {
    /// The header for requests that a run sends.
    pub fn of(run: &Run) -> Self {
        Self::new(run.trace(), run.id())
    }

    /// The header for requests of the run with this id. The span id is the random half of the run's id.
    pub fn new(trace: TraceId, run: RunId) -> Self {
        let (_, random) = run.uuid().as_u64_pair();
        Self { trace, span: NonZeroU64::new(random).unwrap_or(NonZeroU64::MIN), sampled: true }
    }
}

impl FromStr for Traceparent {
    type Err = ParseTraceparentError;

    fn from_str(text: &str) -> Result<Self, ParseTraceparentError> {
        parse(text).ok_or(ParseTraceparentError)
    }
}

fn parse(text: &str) -> Option<Traceparent> {
    let (known, later) = text.split_at_checked(LENGTH)?;
    let mut fields = known.split('-');
    let [version, trace, span, flags] =
        [hex(fields.next()?, 2)?, hex(fields.next()?, 32)?, hex(fields.next()?, 16)?, hex(fields.next()?, 2)?];
    let is_whole = later.is_empty() || (version != "00" && later.starts_with('-'));
    if version == "ff" || !is_whole {
        return None;
    }
    Some(Traceparent {
        trace: trace.parse().ok()?,
        span: NonZeroU64::new(u64::from_str_radix(span, 16).ok()?)?,
        sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
    })
}

fn hex(field: &str, digits: usize) -> Option<&str> {
    let is_hex = field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (field.len() == digits && is_hex).then_some(field)
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_reads_back() {
        assert_eq!(WHOLE.parse::<Traceparent>().unwrap().to_string(), WHOLE);
        let run = Run::new();
        assert_eq!(Traceparent::of(&run).to_string().parse(), Ok(Traceparent::of(&run)));
    }

    #[test]
    fn a_later_version_may_be_longer() {
        let later = WHOLE.replacen("00", "cc", 1) + "-what-comes";
        assert_eq!(later.parse(), WHOLE.parse::<Traceparent>());
        assert!(!WHOLE.replace("-01", "-02").parse::<Traceparent>().unwrap().sampled);
    }

    #[test]
    fn invalid_headers_are_refused() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "0-04bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert!(text.parse::<Traceparent>().is_err(), "{text}");
        }
    }
}
