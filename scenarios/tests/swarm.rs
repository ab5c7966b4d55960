//! Faults composed at random, many times.
//!
//! `BRIGADE_SEEDS` says how many seeds are played and `BRIGADE_FROM` where they begin; `cargo xtask swarm` sets both.
#![cfg(test)]

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use brigade_scenarios::swarm::{drawn, judged};

/// As many as fit in a minute of two cores, without optimisation.
const SEEDS: u64 = 1_000;

/// Every so many seeds one is played twice, to see whether it goes the same way again.
const TWICE_EVERY: u64 = 10;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// What is wrong with a seed, and how to repeat it.
fn complaint(seed: u64) -> Option<String> {
    let (found, breaches) = judged(seed, seed.is_multiple_of(TWICE_EVERY)).unwrap();
    if breaches.is_empty() {
        return None;
    }
    let (scenario, dialect) = drawn(seed);
    let breaches: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    Some(format!(
        "seed {seed}, {dialect:?}, {:?}, streams {}, fallback {}{}{}\n{}\nrepeat it with: cargo xtask swarm --seeds 1 --from {seed}\n",
        scenario.act,
        scenario.streams,
        scenario.has_fallback,
        scenario.faults,
        found.story(),
        breaches.join("\n"),
    ))
}

#[test]
fn whatever_goes_wrong_together_the_invariants_hold() {
    let (seeds, from) = (number("BRIGADE_SEEDS", SEEDS), number("BRIGADE_FROM", 1));
    let next = AtomicU64::new(from);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let complaints: Vec<String> = thread::scope(|scope| {
        let work = || {
            let drawn = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            drawn.take_while(|seed| *seed < from + seeds).filter_map(complaint).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(complaints.is_empty(), "{}\n{} of {seeds} seeds failed", complaints.join("\n"), complaints.len());
}
