//! The simulator, seen from the outside.

mod demo;
mod dialects;
mod faults;
mod history;
mod limits;
#[cfg(test)]
mod support;
mod wire;
