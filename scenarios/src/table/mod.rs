//! All scenarios, one file for each kind of failure.

mod answers;
pub(crate) mod broken_on_purpose;
mod budgets;
mod callers;
mod connection;
mod deployments;
mod hedging;
mod rate_limits;
mod streams;
mod tools;

use crate::scenario::scenario::Scenario;

/// Every scenario.
pub fn all_scenarios() -> Vec<Scenario> {
    let providers = [connection::all(), streams::all(), rate_limits::all(), hedging::all()];
    let runs = [answers::all(), tools::all(), budgets::all(), callers::all(), deployments::all()];
    providers.into_iter().chain(runs).flatten().collect()
}

/// The scenarios with one number, such as `R13`, in all variants.
pub fn scenarios_numbered(number: &str) -> Vec<Scenario> {
    all_scenarios().into_iter().filter(|scenario| scenario.id.split('/').next() == Some(number)).collect()
}

/// An error unless the number is the expected one.
fn expect_count(number: usize, expected: usize, what: &str) -> Result<(), String> {
    if number == expected { Ok(()) } else { Err(format!("{number} {what}, not {expected}")) }
}
