//! The scenarios, in families: one file each.

pub mod canary;
mod connection;
mod life;
mod money;
mod said;
mod streams;
mod tools;

use crate::scenario::Scenario;

/// Every scenario, in the order of their ids.
pub fn all() -> Vec<Scenario> {
    let families = [connection::all(), streams::all(), said::all(), tools::all(), money::all(), life::all()];
    families.into_iter().flatten().collect()
}

/// The scenarios of one number, such as `R13`: all its variants.
pub fn numbered(number: &str) -> Vec<Scenario> {
    all().into_iter().filter(|scenario| scenario.id.split('/').next() == Some(number)).collect()
}
