//! Whether the instructions that build an agent are proportional to the number of its tools. Time on a busy machine would
//! not tell.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::compare::callgrind;

/// The sizes of the agents. In a quadratic algorithm, a tool between the last two costs six times as much as one between
/// the first two.
const TOOLS: [u32; 3] = [20, 120, 720];

/// The tables of the tools double now and then, and the cost of that depends on the number.
const TOLERANCE: f64 = 1.25;

/// Thousands of instructions for one more tool.
#[derive(Debug, Serialize)]
pub(super) struct Building {
    pub(super) of_few: f64,
    pub(super) of_many: f64,
}

/// Counts the instructions of processes that build an agent and end.
pub(super) fn measure() -> Result<Building> {
    let counts = TOOLS.map(|tools| {
        let arguments = ["build-agent".to_owned(), tools.to_string()];
        Ok((f64::from(tools), callgrind::instructions("brigade-bench", &arguments, "")?))
    });
    let counts: Vec<(f64, f64)> = counts.into_iter().collect::<Result<_>>()?;
    let slopes = counts.windows(2).filter_map(|pair| {
        let [(few, before), (many, after)] = pair else { return None };
        Some((after - before) / (many - few) / 1_000.0)
    });
    let slopes: Vec<f64> = slopes.collect();
    let [of_few, of_many] = slopes.try_into().ok().context("there are three sizes")?;
    Ok(Building { of_few, of_many })
}

impl Building {
    /// Fails if tools cost more where there are many.
    pub(super) fn check(&self) -> Result<()> {
        let ratio = self.of_many / self.of_few;
        ensure!(
            ratio <= TOLERANCE,
            "each of many tools of an agent costs {ratio:.2} times the instructions of each of few, at most {TOLERANCE} is \
             linear; look for a search or a copy of all tools in `Agent::tool`"
        );
        Ok(())
    }
}

impl Display for Building {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [few, middle, many] = TOOLS;
        let Self { of_few, of_many } = self;
        writeln!(
            f,
            "building an agent, thousands for each tool: {of_few:.1} from {few} to {middle} tools, {of_many:.1} to {many}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_cost_more_where_there_are_many_fail() {
        assert!(Building { of_few: 10.0, of_many: 12.0 }.check().is_ok());
        assert!(Building { of_few: 10.0, of_many: 60.0 }.check().unwrap_err().to_string().contains("6.00 times"));
    }
}
