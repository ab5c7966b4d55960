//! Whether the cost of a run grows in proportion to what must be handled.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::runtime::Builder;

use super::cases::{self, Repetitions, Sample};

/// How much more the last units may cost than those before. In a quadratic algorithm they cost five to ten times as much
/// with the sizes below; the caches of the processor, which are too small for the largest sizes, make up to half more.
const TOLERANCE: f64 = 2.5;

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Growth(Vec<Case>);

#[derive(Debug, Serialize)]
struct Case {
    name: &'static str,
    /// What the cost is divided by.
    unit: &'static str,
    points: Vec<Point>,
    /// The cost of a unit between the last two sizes, divided by that between the two sizes before.
    ratio: f64,
    is_linear: bool,
}

#[derive(Debug, Serialize)]
struct Point {
    size: usize,
    cpu_us: f64,
    units: f64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    History,
    ToolTurns,
    Tools,
    Building,
    Workers,
    Session,
}

/// Measures everything in this process, without a network.
pub(crate) fn measure(quick: bool) -> Result<Growth> {
    let repetitions = Repetitions(if quick { 3 } else { 15 });
    let folder = tempfile::tempdir()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let cases = Kind::ALL.map(|kind| runtime.block_on(kind.measure(repetitions, folder.path())));
    Ok(Growth(cases.into_iter().collect::<Result<_>>()?))
}

/// Builds an agent with this number of tools.
pub(crate) fn build_agent(tools: usize) -> Result<()> {
    cases::building(tools, Repetitions(1)).map(drop)
}

impl Kind {
    const ALL: [Self; 6] = [Self::History, Self::ToolTurns, Self::Tools, Self::Building, Self::Workers, Self::Session];

    const fn sizes(self) -> [usize; 3] {
        match self {
            Self::History | Self::ToolTurns => [10, 100, 1_000],
            Self::Tools => [5, 50, 500],
            Self::Building => [20, 200, 2_000],
            Self::Workers => [4, 64, 256],
            Self::Session => [10, 1_000, 20_000],
        }
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::History => ("a question after turns of history", "KiB sent"),
            Self::ToolTurns => ("a run of tool turns", "KiB sent"),
            Self::Tools => ("a question to an agent with tools", "KiB sent"),
            Self::Building => ("building an agent with tools", "tool"),
            Self::Workers => ("a supervisor with workers at once", "worker"),
            Self::Session => ("a question in a stored session of messages", "KiB sent"),
        }
    }

    async fn measure(self, repetitions: Repetitions, folder: &Path) -> Result<Case> {
        let mut samples = Vec::new();
        for size in self.sizes() {
            samples.push(match self {
                Self::History => cases::history(size, repetitions).await?,
                Self::ToolTurns => cases::tool_turns(size, repetitions).await?,
                Self::Tools => cases::tools(size, repetitions).await?,
                Self::Building => cases::building(size, repetitions)?,
                Self::Workers => cases::workers(size, repetitions).await?,
                Self::Session => cases::session(size, repetitions, folder).await?,
            });
        }
        let (name, unit) = self.names();
        let per_unit = if unit == "KiB sent" { 1_024.0 } else { 1.0 };
        Ok(Case::new(name, unit, samples.into_iter().map(|sample| Point::new(sample, per_unit)).collect()))
    }
}

impl Growth {
    /// Fails if a cost is not linear.
    pub(crate) fn check(&self) -> Result<()> {
        let names: Vec<_> = self.0.iter().filter(|case| !case.is_linear).map(|case| case.name).collect();
        ensure!(names.is_empty(), "the cost grows faster than what must be handled: {}", names.join(", "));
        Ok(())
    }
}

impl Case {
    fn new(name: &'static str, unit: &'static str, points: Vec<Point>) -> Self {
        // Differences are free of what each run costs, however small it is.
        let slopes: Vec<f64> = points.windows(2).filter_map(slope).collect();
        let ratio = slopes.windows(2).filter_map(|pair| Some(pair.last()? / pair.first()?)).fold(0.0, f64::max);
        Self { name, unit, points, ratio, is_linear: ratio <= TOLERANCE }
    }
}

/// The cost of one more unit between two sizes.
fn slope(pair: &[Point]) -> Option<f64> {
    let (first, last) = (pair.first()?, pair.last()?);
    // A disturbance can make the smaller one more expensive, which is not growth.
    Some(((last.cpu_us - first.cpu_us) / (last.units - first.units)).max(f64::MIN_POSITIVE))
}

impl Point {
    fn new(sample: Sample, per_unit: f64) -> Self {
        let Sample { size, cpu, amount } = sample;
        #[expect(clippy::cast_precision_loss, reason = "a size far below 2^53")]
        let units = amount as f64 / per_unit;
        Self { size, cpu_us: cpu.as_secs_f64() * 1e6, units }
    }
}

impl Display for Growth {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|case| writeln!(f, "{case}"))
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, unit, points, ratio, is_linear } = self;
        let verdict = if *is_linear { "linear" } else { "NOT LINEAR" };
        writeln!(f, "{name}: {verdict} (the last units cost {ratio:.2} × those before)")?;
        for Point { size, cpu_us, units } in points {
            writeln!(f, "{size:>8} {cpu_us:>12.0} µs CPU {units:>12.1} {unit} {:>10.2} µs per {unit}", cpu_us / units)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(cost: impl Fn(f64) -> f64) -> Case {
        let points = [10, 100, 1_000].map(|size| {
            let units = f64::from(u32::try_from(size).unwrap());
            Point { size, cpu_us: cost(units), units }
        });
        Case::new("a case", "unit", points.into())
    }

    #[test]
    fn a_quadratic_cost_is_found_also_beside_a_large_constant_one() {
        for (cost, is_linear) in [
            (Box::new(|units| 500.0 + units) as Box<dyn Fn(f64) -> f64>, true),
            (Box::new(|units: f64| units * units.ln()), true),
            (Box::new(|units| units * units), false),
            (Box::new(|units| 5_000.0 + units + units * units / 100.0), false),
        ] {
            let growth = Growth(vec![case(cost)]);
            assert_eq!(growth.check().is_ok(), is_linear, "{growth}");
        }
    }

    #[test]
    fn every_case_runs_at_its_two_smallest_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for size in [4, 20] {
            let once = Repetitions(1);
            let samples = runtime.block_on(async {
                [
                    cases::history(size, once).await.unwrap(),
                    cases::tool_turns(size, once).await.unwrap(),
                    cases::tools(size, once).await.unwrap(),
                    cases::building(size, once).unwrap(),
                    cases::workers(size, once).await.unwrap(),
                    cases::session(size, once, folder.path()).await.unwrap(),
                ]
            });
            assert!(samples.iter().all(|sample| sample.amount >= size as u64 && !sample.cpu.is_zero()));
        }
    }
}
