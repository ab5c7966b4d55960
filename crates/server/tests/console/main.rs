//! The console in a real browser: headless Chromium, driven through `chromedriver`. `cargo xtask ci --only console` runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on panics")]

mod accessible;
mod browser;
mod keys;
mod npm;
mod server;
mod tour;
mod types;
mod views;
