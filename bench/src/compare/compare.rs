//! The comparison: all contenders do the same work, in turns.

use anyhow::{Result, ensure};

use crate::compare::contender::{self, Batch, BatchResult, Contender};
use crate::compare::each::Each;
use crate::compare::report::{Comparison, Row, Target};
use crate::process::child::Child;
use crate::process::provider::{self, CallCounts, CallKey, Provider};
use crate::process::resources;
use crate::statistics::{least, median, quantile};
use crate::workload::Workload;

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// How long one batch of one contender should take.
    pub(crate) batch_ms: f64,
    /// Processes that are started for one run each.
    pub(crate) cold_starts: u32,
    /// Concurrent runs when memory is measured.
    pub(crate) concurrent_runs: u64,
    /// How often memory is measured.
    pub(crate) memory_rounds: usize,
}

/// The targets for the CPU time of a run, as multiples of the hand-written loop's. All use `reqwest`.
const WRAPPERS_CPU: Target = Target::Ratio(1.4);

const fn production_cpu(workload: Workload) -> Target {
    match workload {
        Workload::Chat => Target::Ratio(2.0),
        Workload::ToolLoop | Workload::Supervisor => Target::Ratio(1.75),
    }
}

const MEBIBYTE: f64 = 1_048_576.0;

/// The provider's latency, and the number of concurrent runs.
struct Pace {
    latency_ms: u64,
    in_flight: u64,
}

/// All contenders make the same number of calls per second, and all sleep and wake for each, as with a real provider.
/// CPU times are comparable at this pace.
const STEADY: Pace = Pace { latency_ms: 5, in_flight: 16 };

/// As fast as possible. The faster contender keeps the provider busy and gets its answers at a lower cost, so CPU times
/// differ by more than the contenders' own work.
const FULL_SPEED: Pace = Pace { latency_ms: 0, in_flight: 8 };

/// The latency when memory is measured, so that all runs are in memory at the same time.
const SLOW_MS: u64 = 500;

/// Compares the contenders with one workload.
pub(crate) fn compare(workload: Workload, effort: &Effort) -> Result<Comparison> {
    expect_same_calls(workload)?;
    let steady = Rounds::measure(workload, effort, &STEADY)?;
    let full_speed = Rounds::measure(workload, effort, &FULL_SPEED)?;
    let cold = ColdStart::measure(workload, effort.cold_starts)?;
    let crowded = peak_bytes_with_many_runs(workload, effort)?;
    let one = cold.peak_bytes;
    let per_run = |contender| (crowded.get(contender) - one.get(contender)) / real(effort.concurrent_runs) / 1_024.0;
    let per_run = Each::try_each(|contender| Ok(per_run(contender)))?;
    let calls_per_second = full_speed.median(|round| 1_000.0 / round.elapsed_ms);
    let calls_per_batch = real(full_speed.runs * workload.calls_per_run());
    let steady_cpu = steady.cpu_ms_per_run();
    let (wrappers, production) = (Contender::Wrappers, Contender::Production);
    let rows = vec![
        Row::new("CPU per run, ms", steady_cpu.map(|times| median(times)))
            .at_most(wrappers, WRAPPERS_CPU)
            .at_most(production, production_cpu(workload)),
        Row::new("CPU per run, ms, least", steady_cpu.map(|times| least(times))),
        Row::new("CPU per run at full speed, ms", full_speed.cpu_ms_per_run().map(|times| median(times))),
        Row::new("calls per second at full speed", calls_per_second.map(|batches| batches * calls_per_batch)),
        Row::new("latency at full speed, p50, ms", full_speed.median(|round| quantile(&round.latencies_ms, 0.5))),
        Row::new("latency at full speed, p99, ms", full_speed.median(|round| quantile(&round.latencies_ms, 0.99))),
        Row::new("bytes sent per run (bodies)", steady.request_bytes_per_run())
            .at_most(production, Target::Ratio(1.02)),
        Row::new("peak memory, MiB", steady.peak_bytes().map(|bytes| bytes / MEBIBYTE)),
        Row::new("memory per concurrent run, KiB", per_run).at_most(wrappers, Target::Ratio(1.1)),
        Row::new("process with one run, MiB", one.map(|bytes| bytes / MEBIBYTE))
            .at_most(production, Target::Value(16.0)),
        Row::new("cold start with one run, CPU ms", cold.cpu_ms).at_most(production, Target::Value(15.0)),
    ];
    Ok(Comparison { workload, rounds: effort.rounds, rows })
}

/// Fails unless all contenders make the same calls; otherwise nothing would be comparable.
fn expect_same_calls(workload: Workload) -> Result<()> {
    let mut provider = Provider::start(provider::Options::recording())?;
    let calls = Each::try_each(|contender| calls_of(contender, workload, &mut provider))?;
    for contender in Contender::ALL {
        let (found, expected) = (calls.get(contender), &calls.hand_written);
        ensure!(found == expected, "{contender:?} makes other calls than the loop: {found:#?} and {expected:#?}");
    }
    Ok(())
}

/// The calls of two runs, in an order that does not depend on which worker was first.
fn calls_of(contender: Contender, workload: Workload, provider: &mut Provider) -> Result<Vec<CallKey>> {
    let batch = Batch { runs: 2, in_flight: 1 };
    let mut process = contender::Options::new(contender, workload, provider.base_url()).start()?;
    let _: BatchResult = process.ask(&batch)?;
    let mut counts = provider.take_counts()?;
    expect_complete(&counts, workload, batch.runs)?;
    counts.records.sort();
    Ok(counts.records)
}

fn expect_complete(counts: &CallCounts, workload: Workload, runs: u64) -> Result<()> {
    let expected = runs * workload.calls_per_run();
    ensure!(counts.failed == 0, "{} calls of {} failed", counts.failed, counts.calls);
    ensure!(counts.calls == expected, "{} calls were made, not {expected}", counts.calls);
    Ok(())
}

/// The results of interleaved rounds at one pace.
struct Rounds {
    /// Runs in each batch.
    runs: u64,
    results: Each<Vec<BatchResult>>,
    request_bytes: Each<u64>,
}

impl Rounds {
    fn measure(workload: Workload, effort: &Effort, pace: &Pace) -> Result<Self> {
        let mut provider = Provider::start(provider::Options::slow(pace.latency_ms))?;
        let start = |contender| contender::Options::new(contender, workload, provider.base_url()).start();
        let mut processes = Each::try_each(start)?;
        let warm_up = Batch { runs: 32, in_flight: pace.in_flight };
        for contender in Contender::ALL {
            let _: BatchResult = processes.get_mut(contender).ask(&warm_up)?;
        }
        let trial: BatchResult = processes.hand_written.ask(&warm_up)?;
        provider.take_counts()?;
        let runs = runs_in(effort.batch_ms, trial.elapsed_ms / real(warm_up.runs));
        let batch = Batch { runs, in_flight: pace.in_flight };
        let (mut results, mut request_bytes) = (Each::<Vec<BatchResult>>::default(), Each::<u64>::default());
        for round in 0..effort.rounds {
            // A later one finds a warmer machine, so each is first in turn.
            let mut order = Contender::ALL;
            order.rotate_left(round % Contender::ALL.len());
            for contender in order {
                let process: &mut Child = processes.get_mut(contender);
                results.get_mut(contender).push(process.ask(&batch)?);
                let counts = provider.take_counts()?;
                expect_complete(&counts, workload, batch.runs)?;
                *request_bytes.get_mut(contender) += counts.request_bytes;
            }
        }
        Ok(Self { runs, results, request_bytes })
    }

    /// One number of each round, the median of them.
    fn median(&self, number: impl Fn(&BatchResult) -> f64) -> Each<f64> {
        self.results.map(|results| median(&results.iter().map(&number).collect::<Vec<_>>()))
    }

    fn cpu_ms_per_run(&self) -> Each<Vec<f64>> {
        self.results.map(|results| results.iter().map(|result| result.cpu_ms / real(self.runs)).collect())
    }

    fn request_bytes_per_run(&self) -> Each<f64> {
        let rounds = self.results.hand_written.len() as u64;
        self.request_bytes.map(|bytes| real(*bytes) / real(self.runs * rounds))
    }

    fn peak_bytes(&self) -> Each<f64> {
        self.results.map(|results| results.last().map_or(f64::NAN, |last| real(last.peak_memory_bytes)))
    }
}

/// Processes that start, do one run and end.
struct ColdStart {
    cpu_ms: Each<f64>,
    peak_bytes: Each<f64>,
}

impl ColdStart {
    fn measure(workload: Workload, starts: u32) -> Result<Self> {
        let provider = Provider::start(provider::Options::counting())?;
        let (mut cpu_ms, mut peaks) = (Each::<f64>::default(), Each::<Vec<f64>>::default());
        // In groups, because the kernel reports the CPU time of ended processes in ticks.
        let (groups, in_group) = (4, starts.div_ceil(4));
        for _ in 0..groups {
            for contender in Contender::ALL {
                let before = resources::ended_children_cpu_time()?;
                for _ in 0..in_group {
                    let mut process = contender::Options::new(contender, workload, provider.base_url()).start()?;
                    let result: BatchResult = process.ask(&Batch { runs: 1, in_flight: 1 })?;
                    peaks.get_mut(contender).push(real(result.peak_memory_bytes));
                }
                let time = resources::ended_children_cpu_time()?.saturating_sub(before);
                *cpu_ms.get_mut(contender) += time.as_secs_f64() * 1_000.0;
            }
        }
        let all = f64::from(groups * in_group);
        Ok(Self { cpu_ms: cpu_ms.map(|ms| ms / all), peak_bytes: peaks.map(|peaks| median(peaks)) })
    }
}

/// The peak memory of processes in which all runs wait for slow answers at the same time.
fn peak_bytes_with_many_runs(workload: Workload, effort: &Effort) -> Result<Each<f64>> {
    let provider = Provider::start(provider::Options::slow(SLOW_MS))?;
    let batch = Batch { runs: effort.concurrent_runs, in_flight: effort.concurrent_runs };
    let mut peaks = Each::<Vec<f64>>::default();
    for _ in 0..effort.memory_rounds {
        for contender in Contender::ALL {
            let mut process = contender::Options::new(contender, workload, provider.base_url()).start()?;
            let result: BatchResult = process.ask(&batch)?;
            peaks.get_mut(contender).push(real(result.peak_memory_bytes));
        }
    }
    Ok(peaks.map(|peaks| median(peaks)))
}

/// How many runs take this long, in tens.
fn runs_in(batch_ms: f64, run_ms: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let tens = (batch_ms / run_ms / 10.0).ceil() as u64;
    tens.clamp(1, 10_000) * 10
}

/// Counts and sizes here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "see above")]
const fn real(value: u64) -> f64 {
    value as f64
}
