//! The simulator, seen from the outside.
#![cfg(test)]

mod demo;
mod dialects;
mod faults;
mod history;
mod limits;
mod script;
mod support;
mod wire;
