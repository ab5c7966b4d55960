//! Brigade's HTTP API as a library, and the `brigade` program.
//!
//! | to do this | use |
//! |---|---|
//! | serve agents that are built in code | [`Api`] with [`ServedAgent`], [`ApiKey`] and [`Store`]; mount its [`Api::router`] in any axum application |
//! | serve agents of a configuration file | [`LoadedConfig`](brigade_config::LoadedConfig) and [`ConfiguredApi`] |
//! | start, follow and cancel runs without HTTP | [`Runs`] with [`EventLog`] |
//! | start a run once per request, even if it is sent twice | [`IdempotencyKeys`] |
//!
//! Connections from the internet and health checks are in `brigade-edge`.
//!
//! The feature `cli`, on by default, adds the program's command line. Turn it off to depend on the API alone.
//!
//! ```no_run
//! # async fn example(model: impl brigade_core::ChatModel) -> Result<(), Box<dyn std::error::Error>> {
//! use brigade_core::Agent;
//! use brigade_server::{Api, ServedAgent};
//!
//! let clerk = Agent::new("clerk", model).instructions("You are a clerk.");
//! let api = Api::builder().agent(ServedAgent::new(clerk)).build().await?;
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, api.router()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! These lines are enough for the example, with the model of a provider:
//!
//! ```toml
//! [dependencies]
//! axum = "0.8"
//! brigade-core = { path = "brigade/crates/core" }
//! brigade-providers = { path = "brigade/crates/providers" }
//! brigade-server = { path = "brigade/crates/server", default-features = false }
//! tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
//! ```
//!
//! Keys need [`KeyHash`](brigade_config::KeyHash) of `brigade-config` too, and health checks
//! [`HealthCheck`](brigade_edge::HealthCheck) of `brigade-edge`.

#![cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the commands use parts of modules that the API does not"))]

mod agents;
mod api;
mod app;
#[cfg(feature = "cli")]
mod cli;
mod configured;
mod health;
mod models;
mod runs;
mod setup;

pub use agents::served::ServedAgent;
pub use api::access::ApiKey;
pub use api::api::{Api, ApiBuilder};
#[cfg(feature = "cli")]
pub use cli::main as run_command_line;
pub use configured::ConfiguredApi;
pub use runs::event_log::{EventLog, EventPosition, LoggedEvent};
pub use runs::idempotency::{IdempotencyConflict, IdempotencyKeys, IdempotentRequest, RunOfKey};
pub use runs::manager::Runs;
pub use runs::new_run::NewRun;
pub use runs::run_handle::{CancelOnDrop, RunEnd, RunHandle, SuspendedRun};
pub use runs::store::Store;
pub use setup::error::SetupError;
