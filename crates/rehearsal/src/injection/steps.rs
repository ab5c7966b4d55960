//! The steps of a response, and faults in its bytes and timing.

use std::time::Duration;

use bytes::Bytes;

use crate::exchange::event::EventKind;
use crate::fault::action::InjectionPoint;
use crate::fault::kinds::{Framing, ResponseEnd};

/// One step of writing a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Write {
        bytes: Bytes,
        kind: EventKind,
    },
    Sleep(Duration),
    /// Waits and writes, for ever.
    Repeat {
        every: Duration,
        bytes: Bytes,
    },
    Close,
    Reset,
    Hold,
}

impl Step {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Write { bytes, .. } => bytes,
            Self::Sleep(_) | Self::Repeat { .. } | Self::Close | Self::Reset | Self::Hold => &[],
        }
    }

    pub(crate) fn is_delta(&self) -> bool {
        matches!(self, Self::Write { kind, .. } if kind.is_delta())
    }

    /// Whether this step writes the end of the reply.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Write { kind: EventKind::Done, .. })
    }

    /// The step that ends a response in this way.
    pub(crate) fn end(end: ResponseEnd) -> Option<Self> {
        match end {
            ResponseEnd::End => None,
            ResponseEnd::Close => Some(Self::Close),
            ResponseEnd::Reset => Some(Self::Reset),
            ResponseEnd::Hold => Some(Self::Hold),
        }
    }
}

/// How steps are inserted into a response.
pub(crate) struct Injection<'a> {
    pub(crate) point: &'a InjectionPoint,
    /// Write the rest of the response one byte per time span.
    pub(crate) drip: Option<Duration>,
    /// Whether the rest of the response follows.
    pub(crate) continues: bool,
}

impl Injection<'_> {
    /// Inserts the steps that `inserted` returns for the number of events before the injection point.
    pub(crate) fn apply(&self, steps: Vec<Step>, inserted: impl FnOnce(usize) -> Vec<Step>) -> Vec<Step> {
        let (mut result, rest) = split(steps, self.point);
        let sent = result.iter().filter(|step| matches!(step, Step::Write { .. })).count();
        result.extend(inserted(sent));
        match self.drip {
            _ if !self.continues => {}
            None => result.extend(rest),
            Some(every) => result.extend(single_bytes(rest).flat_map(|step| [Step::Sleep(every), step])),
        }
        result
    }
}

/// Splits each write into writes of one byte.
fn single_bytes(steps: Vec<Step>) -> impl Iterator<Item = Step> {
    steps.into_iter().flat_map(|step| match step {
        Step::Write { bytes, kind } => (0..bytes.len())
            .map(|index| Step::Write {
                bytes: bytes.slice(index..=index),
                // An event counts once its last byte is written.
                kind: if index + 1 == bytes.len() { kind } else { EventKind::Frame },
            })
            .collect(),
        other => vec![other],
    })
}

/// Applies the framing that concerns writes.
pub(crate) fn apply_framing(steps: Vec<Step>, framing: &[Framing]) -> Vec<Step> {
    if framing.contains(&Framing::ByteSegments) { single_bytes(steps).collect() } else { steps }
}

/// Splits the steps at an injection point.
fn split(mut steps: Vec<Step>, point: &InjectionPoint) -> (Vec<Step>, Vec<Step>) {
    if let Some(bytes) = point.after_bytes {
        return split_after_bytes(steps, bytes);
    }
    let position = if let Some(count) = point.after_events {
        position_after(&steps, count, |_| true)
    } else if let Some(count) = point.after_deltas {
        position_after(&steps, count, EventKind::is_delta)
    } else if let Some(millis) = point.after_ms {
        position_at(&steps, Duration::from_millis(millis))
    } else if point.mid_arguments {
        let is_piece = |step: &&Step| matches!(step, Step::Write { kind: EventKind::Arguments, .. });
        let pieces = steps.iter().filter(is_piece).count();
        if pieces == 0 {
            let bytes: usize = steps.iter().map(|step| step.bytes().len()).sum();
            return split_after_bytes(steps, bytes / 2);
        }
        position_after(&steps, pieces.div_ceil(2), |kind| kind == EventKind::Arguments)
    } else {
        0
    };
    let rest = steps.split_off(position);
    (steps, rest)
}

/// The position after this many writes of the counted kinds, or the end.
fn position_after(steps: &[Step], count: usize, is_counted: impl Fn(EventKind) -> bool) -> usize {
    let Some(skipped) = count.checked_sub(1) else {
        return 0;
    };
    let is_counted = |step: &Step| matches!(step, Step::Write { kind, .. } if is_counted(*kind));
    let mut positions = steps.iter().enumerate().filter(|(_, step)| is_counted(step)).map(|(index, _)| index + 1);
    positions.nth(skipped).unwrap_or(steps.len())
}

/// The position of the first step that starts later than `time`, or the end.
fn position_at(steps: &[Step], time: Duration) -> usize {
    let mut elapsed = Duration::ZERO;
    let passes = |step: &Step| {
        if let Step::Sleep(pause) = step {
            elapsed += *pause;
        }
        elapsed > time
    };
    steps.iter().position(passes).unwrap_or(steps.len())
}

fn split_after_bytes(steps: Vec<Step>, mut left: usize) -> (Vec<Step>, Vec<Step>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            _ if !after.is_empty() => after.push(step),
            Step::Write { mut bytes, kind } if bytes.len() > left => {
                let head = bytes.split_to(left);
                before.push(Step::Write { bytes: head, kind: EventKind::Frame });
                after.push(Step::Write { bytes, kind });
                left = 0;
            }
            step => {
                left -= step.bytes().len();
                before.push(step);
            }
        }
    }
    (before, after)
}
