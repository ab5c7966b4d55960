//! Brigade against a hand-written loop, measured on the same simulated provider.
//!
//! The provider and each contender are processes of their own; the process that one starts only keeps the score. The
//! contenders share a program that has nothing else in it, since most of a small process is its code. Times are CPU times
//! where possible, since the machine may be busy with other things, and contenders take turns, so that what disturbs one
//! disturbs the other.

#![allow(clippy::print_stdout, reason = "a command line program talks on its standard output")]

mod brigade;
mod child;
mod codec;
mod floor;
mod load;
mod micro;
mod overhead;
mod report;
mod resources;
mod rounds;
mod scenario;
mod side;
mod simulated;
mod statistics;
mod store;
mod wire;

use std::fmt::Display;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use report::Report;
use rounds::Effort;
use scenario::Scenario;

/// Brigade against a hand-written loop.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Args)]
struct Options {
    /// Takes a few seconds, to see that everything works; the numbers mean little.
    #[arg(long, global = true)]
    quick: bool,
    /// Prints JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Only this scenario; may be given several times.
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// How often the contenders take turns.
    #[arg(long)]
    rounds: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Single parts of a call: encoding, decoding, wrappers, ledger, log and metrics.
    Micro,
    /// The store: a long session, many notes, a million events.
    Store(store::Options),
    /// The server as it ships under load: 200 clients at once, then 1,000 requests a second.
    Load,
    #[command(hide = true)]
    Simulator(simulated::Options),
}

/// The program that one starts.
pub fn main() -> Result<()> {
    let Arguments { options, part } = Arguments::parse();
    match part {
        None => print(&compare(&options)?, options.json),
        Some(Part::Micro) => print(&micro::measure(options.quick)?, options.json),
        Some(Part::Store(part)) => print(&store::measure(&part, options.quick)?, options.json),
        Some(Part::Load) => print(&load::measure(options.quick)?, options.json),
        Some(Part::Simulator(options)) => simulated::serve(options),
    }
}

/// The program that is measured.
pub fn side() -> Result<()> {
    side::serve(&side::Arguments::parse().options)
}

fn compare(options: &Options) -> Result<Report> {
    let mut effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    effort.rounds = options.rounds.unwrap_or(effort.rounds).max(1);
    let all = if options.scenario.is_empty() { Scenario::ALL.to_vec() } else { options.scenario.clone() };
    let compared = all.into_iter().map(|scenario| rounds::compare(scenario, &effort));
    Ok(Report::new(compared.collect::<Result<_>>()?))
}

fn print(found: &(impl Display + Serialize), as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        print!("{found}");
    }
    Ok(())
}

impl Effort {
    const FULL: Self = Self { rounds: 15, batch_ms: 400.0, cold_starts: 40, crowd: 1_000, crowds: 3 };
    const QUICK: Self = Self { rounds: 3, batch_ms: 100.0, cold_starts: 4, crowd: 50, crowds: 1 };
}
