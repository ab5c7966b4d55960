//! The outermost layer: bytes, time, and the end of the connection.

use std::time::Duration;

use crate::exchange::reply::Kind;
use crate::fault::action::InjectionPoint;
use crate::fault::kinds::{Framing, ResponseEnd};
use bytes::Bytes;

/// One thing done to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Write {
        bytes: Bytes,
        kind: Kind,
    },
    Sleep(Duration),
    /// For ever: wait, then write.
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
            _ => &[],
        }
    }

    pub(crate) fn is_delta(&self) -> bool {
        matches!(self, Self::Write { kind, .. } if kind.is_delta())
    }

    /// Whether it tells that the answer is over.
    pub(crate) fn ends(&self) -> bool {
        matches!(self, Self::Write { kind: Kind::Done, .. })
    }
}

impl ResponseEnd {
    pub(crate) fn step(self) -> Option<Step> {
        match self {
            Self::End => None,
            Self::Close => Some(Step::Close),
            Self::Reset => Some(Step::Reset),
            Self::Hold => Some(Step::Hold),
        }
    }
}

/// What happens at a place, and whether the rest of the answer follows.
pub(crate) struct Strike<'a> {
    pub(crate) at: &'a InjectionPoint,
    pub(crate) drip: Option<Duration>,
    pub(crate) goes_on: bool,
}

/// Cuts the steps at the place and puts in what `happens` there; it is told how many events have
/// gone before.
pub(crate) fn strike(steps: Vec<Step>, strike: &Strike<'_>, happens: impl FnOnce(usize) -> Vec<Step>) -> Vec<Step> {
    let (mut done, rest) = split(steps, strike.at);
    let sent = done.iter().filter(|step| matches!(step, Step::Write { .. })).count();
    done.extend(happens(sent));
    if !strike.goes_on {
        return done;
    }
    match strike.drip {
        None => done.extend(rest),
        Some(every) => {
            for step in segments(rest) {
                done.extend([Step::Sleep(every), step]);
            }
        }
    }
    done
}

/// Every byte as a write of its own.
pub(crate) fn segments(steps: Vec<Step>) -> impl Iterator<Item = Step> {
    steps.into_iter().flat_map(|step| match step {
        Step::Write { bytes, kind } => (0..bytes.len())
            .map(|at| Step::Write {
                bytes: bytes.slice(at..=at),
                // The event has arrived when its last byte has.
                kind: if at + 1 == bytes.len() { kind } else { Kind::Frame },
            })
            .collect(),
        other => vec![other],
    })
}

/// Applies the framings that concern whole steps.
pub(crate) fn cut_up(steps: Vec<Step>, framing: &[Framing]) -> Vec<Step> {
    if framing.contains(&Framing::ByteSegments) { segments(steps).collect() } else { steps }
}

/// Cuts the steps in two at a place.
fn split(steps: Vec<Step>, at: &InjectionPoint) -> (Vec<Step>, Vec<Step>) {
    if let Some(bytes) = at.after_bytes {
        return split_bytes(steps, bytes);
    }
    let end = steps.len();
    let position = if let Some(count) = at.after_events {
        after_nth(&steps, count, |_| true)
    } else if let Some(count) = at.after_deltas {
        after_nth(&steps, count, Kind::is_delta)
    } else if let Some(millis) = at.after_ms {
        let mut left = Duration::from_millis(millis);
        steps.iter().position(|step| match step {
            Step::Sleep(time) if *time > left => true,
            Step::Sleep(time) => {
                left -= *time;
                false
            }
            _ => false,
        })
    } else if at.mid_arguments {
        let pieces = steps.iter().filter(|step| is_argument(step)).count();
        if pieces == 0 {
            let bytes: usize = steps.iter().map(|step| step.bytes().len()).sum();
            return split_bytes(steps, bytes / 2);
        }
        after_nth(&steps, pieces.div_ceil(2), |kind| kind == Kind::Arguments)
    } else {
        Some(0)
    };
    let mut done = steps;
    let rest = done.split_off(position.unwrap_or(end));
    (done, rest)
}

fn is_argument(step: &Step) -> bool {
    matches!(step, Step::Write { kind: Kind::Arguments, .. })
}

/// The position after the `count`th write of which `counts` holds.
fn after_nth(steps: &[Step], count: usize, counts: impl Fn(Kind) -> bool) -> Option<usize> {
    let Some(before) = count.checked_sub(1) else {
        return Some(0);
    };
    let mut writes = steps.iter().enumerate().filter(|(_, step)| match step {
        Step::Write { kind, .. } => counts(*kind),
        _ => false,
    });
    writes.nth(before).map(|(at, _)| at + 1)
}

fn split_bytes(steps: Vec<Step>, mut left: usize) -> (Vec<Step>, Vec<Step>) {
    let (mut done, mut rest) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            _ if !rest.is_empty() => rest.push(step),
            Step::Write { mut bytes, kind } if bytes.len() > left => {
                let head = bytes.split_to(left);
                done.push(Step::Write { bytes: head, kind: Kind::Frame });
                rest.push(Step::Write { bytes, kind });
                left = 0;
            }
            step => {
                left -= step.bytes().len();
                done.push(step);
            }
        }
    }
    (done, rest)
}
