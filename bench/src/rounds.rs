//! The comparison: both contenders do the same work, check by check and round by round.

use anyhow::{Context, Result, ensure};

use crate::child::Child;
use crate::report::{Comparison, Row, Target};
use crate::resources;
use crate::scenario::Scenario;
use crate::side::{self, Batch, Contender, Spent};
use crate::simulated::{self, Provider, Record, Seen};
use crate::statistics::{least, median, quantile};

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// How long one side of one round should take.
    pub(crate) batch_ms: f64,
    /// Processes that are started for one run.
    pub(crate) cold_starts: u32,
    /// Runs at a time where memory is measured, and how often that is done.
    pub(crate) crowd: u64,
    pub(crate) crowds: usize,
}

/// A number of each contender.
type Pair<T> = (T, T);

const MEBIBYTE: f64 = 1_048_576.0;

/// What the provider does to those who are measured.
struct Pace {
    latency_ms: u64,
    in_flight: u64,
}

/// Both make as many calls in a second, and both wake and wait for each, as with a real provider. This is where CPU
/// times can be compared.
const STEADY: Pace = Pace { latency_ms: 5, in_flight: 16 };

/// As fast as they can. The faster of the two keeps the provider awake and gets its answers cheaper, so that CPU times
/// differ by more than their work.
const FLAT_OUT: Pace = Pace { latency_ms: 0, in_flight: 8 };

/// A model's answer takes about as long; so long a run and what belongs to it stay in memory.
const SLOW_MS: u64 = 500;

/// Compares the contenders at one scenario.
pub(crate) fn compare(scenario: Scenario, effort: &Effort) -> Result<Comparison> {
    check(scenario)?;
    let steady = Speed::measure(scenario, effort, &STEADY)?;
    let flat_out = Speed::measure(scenario, effort, &FLAT_OUT)?;
    let cold = ColdStart::measure(scenario, effort.cold_starts)?;
    let crowded = crowded_bytes(scenario, effort)?;
    let one = cold.peak_bytes;
    let per_run = |crowded: f64, one: f64| (crowded - one) / real(effort.crowd) / 1_024.0;
    let mut rows = rows(scenario, &steady, &flat_out);
    rows.extend([
        Row::new("peak memory, MiB", pair(steady.peak_bytes, |bytes| bytes / MEBIBYTE)),
        Row::new("memory per run in flight, KiB", (per_run(crowded.0, one.0), per_run(crowded.1, one.1)))
            .at_most(Target::Ratio(1.1)),
        Row::new("process with one run, MiB", pair(one, |bytes| bytes / MEBIBYTE)).at_most(Target::Value(10.0)),
        Row::new("cold start with one run, CPU ms", cold.cpu_ms).at_most(Target::Value(10.0)),
    ]);
    Ok(Comparison { scenario, rounds: effort.rounds, rows })
}

/// Both contenders must make the same calls, or nothing that follows means anything.
fn check(scenario: Scenario) -> Result<()> {
    let mut provider = Provider::start(simulated::Options::recording())?;
    let brigade = calls_of(Contender::Brigade, scenario, &mut provider)?;
    let floor = calls_of(Contender::Floor, scenario, &mut provider)?;
    ensure!(brigade == floor, "the contenders made different calls: Brigade {brigade:#?}, the floor {floor:#?}");
    Ok(())
}

/// The calls of two runs, in an order that does not depend on which worker was first.
fn calls_of(contender: Contender, scenario: Scenario, provider: &mut Provider) -> Result<Vec<Record>> {
    let batch = Batch { runs: 2, in_flight: 1 };
    let mut side = side::Options::new(contender, scenario, provider.base_url()).start()?;
    let _: Spent = side.ask(&batch)?;
    let mut seen = provider.seen()?;
    expect_whole(&seen, scenario, batch.runs)?;
    seen.records.sort();
    Ok(seen.records)
}

fn expect_whole(seen: &Seen, scenario: Scenario, runs: u64) -> Result<()> {
    let expected = runs * scenario.calls_per_run();
    ensure!(seen.failed == 0, "{} calls of {} failed", seen.failed, seen.calls);
    ensure!(seen.calls == expected, "{} calls were made where {expected} were due", seen.calls);
    Ok(())
}

/// What the interleaved rounds showed.
struct Speed {
    cpu_ms: Pair<Vec<f64>>,
    runs_per_second: Pair<Vec<f64>>,
    p50_ms: Pair<Vec<f64>>,
    p99_ms: Pair<Vec<f64>>,
    body_bytes: Pair<f64>,
    peak_bytes: Pair<f64>,
}

impl Speed {
    fn measure(scenario: Scenario, effort: &Effort, pace: &Pace) -> Result<Self> {
        let mut provider = Provider::start(simulated::Options::slow(pace.latency_ms))?;
        let start = |contender| side::Options::new(contender, scenario, provider.base_url()).start();
        let (mut brigade, mut floor) = (start(Contender::Brigade)?, start(Contender::Floor)?);
        let warm_up = Batch { runs: 32, in_flight: pace.in_flight };
        let _: Spent = brigade.ask(&warm_up)?;
        let _: Spent = floor.ask(&warm_up)?;
        let once: Spent = floor.ask(&warm_up)?;
        provider.seen()?;
        let runs = runs_in(effort.batch_ms, once.elapsed_ms / real(warm_up.runs));
        let batch = Batch { runs, in_flight: pace.in_flight };
        let mut spent = (Vec::new(), Vec::new());
        let mut bytes = (0, 0);
        for round in 0..effort.rounds {
            // Whoever comes second finds a warmer machine; so they change places.
            for is_brigade in [round % 2 == 0, round % 2 != 0] {
                let side = if is_brigade { &mut brigade } else { &mut floor };
                let now = work_off(side, batch, (&mut provider, scenario))?;
                let (spent, bytes) =
                    if is_brigade { (&mut spent.0, &mut bytes.0) } else { (&mut spent.1, &mut bytes.1) };
                spent.push(now.0);
                *bytes += now.1;
            }
        }
        let all = runs * effort.rounds as u64;
        let each = |what: fn(&Spent) -> f64| (spent.0.iter().map(what).collect(), spent.1.iter().map(what).collect());
        let per_run = |values: Pair<Vec<f64>>| pair(values, |values| values.iter().map(|ms| ms / real(runs)).collect());
        let (brigade, floor) = (spent.0.last(), spent.1.last());
        let peak = |last: Option<&Spent>| last.map(|last| real(last.peak_memory_bytes)).context("no rounds were made");
        Ok(Self {
            cpu_ms: per_run(each(|spent| spent.cpu_ms)),
            runs_per_second: pair(per_run(each(|spent| spent.elapsed_ms)), |values: Vec<f64>| {
                values.iter().map(|ms| 1_000.0 / ms).collect()
            }),
            p50_ms: each(|spent| quantile(&spent.latencies_ms, 0.5)),
            p99_ms: each(|spent| quantile(&spent.latencies_ms, 0.99)),
            body_bytes: pair(bytes, |bytes| real(bytes) / real(all)),
            peak_bytes: (peak(brigade)?, peak(floor)?),
        })
    }
}

fn rows(scenario: Scenario, steady: &Speed, flat_out: &Speed) -> Vec<Row> {
    let of = |values: &Pair<Vec<f64>>, statistic: fn(&[f64]) -> f64| (statistic(&values.0), statistic(&values.1));
    let calls = real(scenario.calls_per_run());
    let per_second = pair(of(&flat_out.runs_per_second, median), |runs| runs * calls);
    vec![
        Row::new("CPU per run, ms", of(&steady.cpu_ms, median)).at_most(Target::Ratio(scenario.cpu_target())),
        Row::new("CPU per run, ms, least", of(&steady.cpu_ms, least)),
        Row::new("CPU per run flat out, ms", of(&flat_out.cpu_ms, median)),
        Row::new("calls per second flat out", per_second),
        Row::new("latency of a run flat out, p50, ms", of(&flat_out.p50_ms, median)),
        Row::new("latency of a run flat out, p99, ms", of(&flat_out.p99_ms, median)),
        Row::new("bytes sent per run (bodies)", steady.body_bytes).at_most(Target::Ratio(1.02)),
    ]
}

/// One batch, and the bytes of its request bodies.
fn work_off(side: &mut Child, batch: Batch, (provider, scenario): (&mut Provider, Scenario)) -> Result<(Spent, u64)> {
    let spent = side.ask(&batch)?;
    let seen = provider.seen()?;
    expect_whole(&seen, scenario, batch.runs)?;
    Ok((spent, seen.request_bytes))
}

/// A process that starts, does one run and ends.
struct ColdStart {
    cpu_ms: Pair<f64>,
    peak_bytes: Pair<f64>,
}

impl ColdStart {
    fn measure(scenario: Scenario, starts: u32) -> Result<Self> {
        let provider = Provider::start(simulated::Options::counting())?;
        let (mut brigade, mut floor) = ((0.0, Vec::new()), (0.0, Vec::new()));
        // A few at a time, as the kernel tells such short times only in ticks.
        let (groups, in_group) = (4, starts.div_ceil(4));
        for _ in 0..groups {
            for (contender, sum) in [(Contender::Brigade, &mut brigade), (Contender::Floor, &mut floor)] {
                let before = resources::ended_children_cpu_time()?;
                for _ in 0..in_group {
                    let mut side = side::Options::new(contender, scenario, provider.base_url()).start()?;
                    let spent: Spent = side.ask(&Batch { runs: 1, in_flight: 1 })?;
                    sum.1.push(real(spent.peak_memory_bytes));
                }
                sum.0 += resources::ended_children_cpu_time()?.saturating_sub(before).as_secs_f64() * 1_000.0;
            }
        }
        let all = f64::from(groups * in_group);
        Ok(Self { cpu_ms: (brigade.0 / all, floor.0 / all), peak_bytes: (median(&brigade.1), median(&floor.1)) })
    }
}

/// The peak memory of processes with a crowd of runs that all wait for slow answers.
fn crowded_bytes(scenario: Scenario, effort: &Effort) -> Result<Pair<f64>> {
    let provider = Provider::start(simulated::Options::slow(SLOW_MS))?;
    let batch = Batch { runs: effort.crowd, in_flight: effort.crowd };
    let mut peaks = (Vec::new(), Vec::new());
    for _ in 0..effort.crowds {
        for (contender, peaks) in [(Contender::Brigade, &mut peaks.0), (Contender::Floor, &mut peaks.1)] {
            let mut side = side::Options::new(contender, scenario, provider.base_url()).start()?;
            let spent: Spent = side.ask(&batch)?;
            peaks.push(real(spent.peak_memory_bytes));
        }
    }
    Ok(pair(peaks, |peaks| median(&peaks)))
}

/// How many runs take so long, in whole tens.
fn runs_in(batch_ms: f64, run_ms: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let tens = (batch_ms / run_ms / 10.0).ceil() as u64;
    tens.clamp(1, 10_000) * 10
}

fn pair<T, U>((brigade, floor): Pair<T>, change: impl Fn(T) -> U) -> Pair<U> {
    (change(brigade), change(floor))
}

/// Counts and sizes here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "see above")]
const fn real(value: u64) -> f64 {
    value as f64
}
