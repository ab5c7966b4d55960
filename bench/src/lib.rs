//! Brigade compared with a hand-written loop, on the same simulated provider.
//!
//! The provider and each contender run in processes of their own; the main process only collects the results. The
//! contenders share a program that contains nothing else, because most of the memory of a small process is its code. CPU
//! times are measured where possible, because the machine may be busy with other things. The contenders take turns, so
//! that a disturbance affects both.

#![allow(clippy::print_stdout, reason = "a command line program talks on its standard output")]

mod compare;
mod growth;
mod load;
mod micro;
mod process;
mod statistics;
mod store;
mod workload;

use std::fmt::Display;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use compare::compare::Effort;
use compare::contender;
use compare::crowd;
use compare::instructions;
use compare::report::Report;
use load::pass_through;
use process::provider;
use workload::Workload;

/// Compares Brigade with a hand-written loop.
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
    /// Takes a few seconds, to check that everything works. The numbers are not precise.
    #[arg(long, global = true)]
    quick: bool,
    /// Prints JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Only this workload; may be given several times.
    #[arg(long)]
    workload: Vec<Workload>,
    /// The number of interleaved rounds.
    #[arg(long)]
    rounds: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Parts of a call: encoding, decoding, wrappers, ledger, log and metrics.
    Micro,
    /// The store: a long session, many notes, a million events.
    Store(store::store::Options),
    /// Instructions per model call, by callgrind. Fails if they changed by more than 5 %, or if building an agent is not linear
    /// in its tools.
    Instructions(instructions::Options),
    /// How the cost of a run grows with its history, tools, workers and session. Fails if it is not linear.
    Growth,
    /// The released server under load: 200 clients at once, 500 requests per second, and streams; without and with a store,
    /// beside a bare pass-through.
    Load,
    /// Thousands of runs at once in one process, within a limit of open files. Fails if a run fails.
    Crowd(crowd::Options),
    #[command(hide = true)]
    BuildAgent { tools: usize },
    #[command(hide = true)]
    Simulator(provider::Options),
    #[command(hide = true)]
    PassThrough(pass_through::Options),
}

/// The main program, which starts the others.
pub fn main() -> Result<()> {
    let Arguments { options, part } = Arguments::parse();
    match part {
        None => print(&compare(&options)?, options.json),
        Some(Part::Micro) => print(&micro::micro::measure(options.quick)?, options.json),
        Some(Part::Store(part)) => print(&store::store::measure(&part, options.quick)?, options.json),
        Some(Part::Instructions(part)) => {
            let counts = instructions::measure()?;
            print(&counts, options.json)?;
            counts.finish(&part)
        }
        Some(Part::Growth) => {
            let growth = growth::growth::measure(options.quick)?;
            print(&growth, options.json)?;
            growth.check()
        }
        Some(Part::Load) => print(&load::load::measure(options.quick)?, options.json),
        Some(Part::Crowd(part)) => print(&crowd::measure(&part)?, options.json),
        Some(Part::BuildAgent { tools }) => growth::growth::build_agent(tools),
        Some(Part::Simulator(options)) => provider::serve(options),
        Some(Part::PassThrough(options)) => pass_through::serve(&options),
    }
}

/// The program that is measured.
pub fn contender() -> Result<()> {
    contender::serve(&contender::Arguments::parse().options)
}

fn compare(options: &Options) -> Result<Report> {
    let mut effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    effort.rounds = options.rounds.unwrap_or(effort.rounds).max(1);
    let all = if options.workload.is_empty() { Workload::ALL.to_vec() } else { options.workload.clone() };
    let compared = all.into_iter().map(|workload| compare::compare::compare(workload, &effort));
    Ok(Report { workloads: compared.collect::<Result<_>>()? })
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
    const FULL: Self = Self { rounds: 15, batch_ms: 400.0, cold_starts: 40, concurrent_runs: 1_000, memory_rounds: 3 };
    const QUICK: Self = Self { rounds: 3, batch_ms: 100.0, cold_starts: 4, concurrent_runs: 50, memory_rounds: 1 };
}
