//! Parts of a call, measured one by one without a network.

use std::fmt::{self, Display, Formatter};
use std::hint::black_box;

use anyhow::Result;
use serde::Serialize;
use tokio::time::Instant;

use crate::micro::{codec, overhead};
use crate::statistics::median;

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Parts {
    parts: Vec<Part>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// At most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// How often a measurement is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    batches: usize,
    /// Calls in a batch, for calls of about a microsecond.
    pub(crate) calls: usize,
}

impl Repeat {
    pub(crate) const fn new(quick: bool) -> Self {
        if quick { Self { batches: 3, calls: 1_000 } } else { Self { batches: 15, calls: 20_000 } }
    }

    /// Fewer calls in a batch, for calls that take longer by this factor.
    pub(crate) fn fewer(self, times: usize) -> Self {
        Self { calls: (self.calls / times).max(10), ..self }
    }

    /// The median time of one call in microseconds.
    pub(crate) fn time<T>(self, mut call: impl FnMut() -> T) -> f64 {
        self.time_with(|| (), |()| call())
    }

    /// The same for a call with an input, which is prepared outside the measured time.
    pub(crate) fn time_with<P, T>(self, mut prepare: impl FnMut() -> P, mut call: impl FnMut(P) -> T) -> f64 {
        let mut batches = Vec::with_capacity(self.batches);
        for _ in 0..self.batches {
            let prepared: Vec<P> = (0..self.calls).map(|_| prepare()).collect();
            let started = Instant::now();
            for input in prepared {
                black_box(call(black_box(input)));
            }
            batches.push(micros_each(started, self.calls));
        }
        median(&batches)
    }

    /// How many microseconds a call takes longer than another one, in interleaved batches.
    pub(crate) async fn time_beyond(self, call: impl AsyncFn(), other: impl AsyncFn()) -> f64 {
        let mut beyond = Vec::with_capacity(self.batches);
        for _ in 0..self.batches {
            let started = Instant::now();
            for _ in 0..self.calls {
                call().await;
            }
            let longer = micros_each(started, self.calls);
            let started = Instant::now();
            for _ in 0..self.calls {
                other().await;
            }
            beyond.push(longer - micros_each(started, self.calls));
        }
        median(&beyond)
    }
}

fn micros_each(started: Instant, calls: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number of calls is far below 2^53")]
    let calls = calls as f64;
    started.elapsed().as_secs_f64() * 1e6 / calls
}

impl Part {
    pub(crate) const fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, target: None, met: None }
    }

    pub(crate) fn at_most(self, target: f64) -> Self {
        Self { target: Some(target), met: Some(self.value <= target), ..self }
    }
}

/// Measures all parts.
pub(crate) fn measure(quick: bool) -> Result<Parts> {
    let repeat = Repeat::new(quick);
    let mut parts = codec::measure(repeat)?;
    parts.extend(overhead::measure(repeat)?);
    Ok(Parts { parts })
}

impl Display for Parts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| {
            write!(f, "{:<56}{:>10.2} {:<5}", part.name, part.value, part.unit)?;
            if let Some(target) = part.target {
                write!(f, "  ≤ {target}  {}", if part.met == Some(true) { "met" } else { "MISSED" })?;
            }
            writeln!(f)
        })
    }
}
