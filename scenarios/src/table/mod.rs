//! The scenarios, in families: one file each.

pub mod canary;
mod connection;
mod hedge;
mod life;
mod limits;
mod money;
mod said;
mod streams;
mod tools;

use crate::scenario::Scenario;

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    let providers = [connection::all(), streams::all(), limits::all(), hedge::all()];
    let runs = [said::all(), tools::all(), money::all(), life::all()];
    providers.into_iter().chain(runs).flatten().collect()
}

/// The scenarios of one number, such as `R13`: all its variants.
pub fn numbered(number: &str) -> Vec<Scenario> {
    all().into_iter().filter(|scenario| scenario.id.split('/').next() == Some(number)).collect()
}
