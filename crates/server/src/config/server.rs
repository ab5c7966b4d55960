//! Where the server listens, and what it logs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use brigade_observability::LogFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{self, Size};

/// Where and how the server listens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// The address. Loopback unless keys are configured.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
    /// Another address for `/metrics` and health, which then ask for no key.
    #[schemars(with = "Option<String>")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The longest body of a request. 4 MiB: a long conversation with a picture or two.
    pub(crate) max_body: Size,
    /// How many runs go on at a time; more are answered with 429; with 0, all are. 256: each holds a conversation in memory.
    pub(crate) max_runs: usize,
    /// How many finished runs are kept, to be asked about. 1,000.
    #[serde(deserialize_with = "units::positive")]
    pub(crate) kept_runs: usize,
    /// How long runs may go on after a signal to stop. 30 s: what orchestrators wait before they kill.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) drain: Duration,
    /// Whether tools may run programs.
    pub(crate) commands: bool,
    /// How often providers are asked, at no cost, whether they are there. 60 s.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::time")]
    #[schemars(with = "String")]
    pub(crate) probe_every: Duration,
}

/// What is logged.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// "text" for people, "json" for machines.
    #[schemars(with = "Option<String>")]
    pub(crate) format: LogFormat,
    /// "info" if absent; the variable `RUST_LOG` goes before it.
    pub(crate) level: Option<String>,
    /// A file that takes the events of all runs, for `brigade trace`. It holds no prompts and no answers.
    pub(crate) events: Option<PathBuf>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            max_body: Size { bytes: 4 << 20 },
            max_runs: 256,
            kept_runs: 1_000,
            drain: Duration::from_secs(30),
            commands: false,
            probe_every: Duration::from_mins(1),
        }
    }
}
