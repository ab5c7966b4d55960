//! Many random compositions of faults.
//!
//! `BRIGADE_SEEDS` is the number of seeds and `BRIGADE_FROM` the first one; `cargo xtask swarm` sets both.
#![cfg(test)]

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use brigade_scenarios::{judge_seed, random_scenario};

/// Takes about a minute on two cores in a debug build.
const SEEDS: u64 = 1_000;

/// Every so many seeds one is played twice, to see whether it goes the same way second.
const TWICE_EVERY: u64 = 10;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// What failed for a seed, and how to repeat it.
fn failure_of(seed: u64) -> Option<String> {
    let (found, violations) = judge_seed(seed, seed.is_multiple_of(TWICE_EVERY)).unwrap();
    if violations.is_empty() {
        return None;
    }
    let (scenario, dialect) = random_scenario(seed);
    let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Some(format!(
        "seed {seed}, {dialect:?}, {:?}, streams {}, fallback {}{}{}\n{}\nrepeat it with: cargo xtask swarm --seeds 1 --from {seed}\n",
        scenario.caller,
        scenario.streams,
        scenario.has_fallback,
        scenario.faults,
        found.describe(),
        violations.join("\n"),
    ))
}

#[test]
fn the_invariants_hold_for_random_faults() {
    let (seeds, from) = (number("BRIGADE_SEEDS", SEEDS), number("BRIGADE_FROM", 1));
    let next = AtomicU64::new(from);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let failures: Vec<String> = thread::scope(|scope| {
        let work = || {
            let drawn = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            drawn.take_while(|seed| *seed < from + seeds).filter_map(failure_of).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}\n{} of {seeds} seeds failed", failures.join("\n"), failures.len());
}
