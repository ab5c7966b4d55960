//! The `[server]` and `[log]` sections.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use brigade_edge::Origin;
use brigade_observability::LogFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{self, ByteSize};

/// How the server listens and what it limits.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The address to listen on. "127.0.0.1:8080" by default; an address that other machines can reach needs `keys`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// A second address that serves `/metrics` and health checks without a key.
    #[schemars(with = "Option<String>")]
    pub metrics_listen: Option<SocketAddr>,
    /// The maximum size of a request body. 4 MiB by default: a long conversation with a few images.
    #[serde(deserialize_with = "units::size")]
    pub max_body: ByteSize,
    /// The maximum number of runs at the same time; more wait briefly and then get status 429. 256 by default, because each run holds a
    /// conversation in memory.
    #[serde(deserialize_with = "units::positive")]
    pub max_runs: usize,
    /// How long a run beyond `max_runs`, or beyond the share of its key, waits for a place before it gets status 429. 1 s by
    /// default: longer than a burst of requests, and shorter than clients wait before they try again. At most `max_runs`
    /// runs wait. "0s" refuses at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub longest_wait: Duration,
    /// The number of finished runs that are kept in memory for `/v1/runs`. 1,000 by default.
    #[serde(deserialize_with = "units::positive")]
    pub kept_runs: usize,
    /// The origins of web pages that may send requests, such as `https://app.example`. `["*"]` allows all, which needs
    /// `keys`. None by default.
    pub cors_origins: Vec<Origin>,
    /// Serves the console, a web page at `/console` that shows runs and their cost, with the rights of the key that its user
    /// enters. On by default; the page itself has no data in it.
    pub console: bool,
    /// How long runs may continue after SIGTERM. 30 s by default, which is what orchestrators wait before SIGKILL.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain: Duration,
    /// Allows tools that run programs on this machine. Off by default.
    pub commands: bool,
    /// How often the providers' health is checked, at no cost. 60 s by default.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub probe_every: Duration,
}

/// Logging.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// "text" (the default) for people, "json" for machines.
    #[schemars(with = "Option<String>")]
    pub format: LogFormat,
    /// The log level. "info" by default; the environment variable `RUST_LOG` overrides it.
    pub level: Option<String>,
    /// A file to which the events of all runs are appended, for `brigade trace`. It contains no prompts and answers.
    pub events: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            max_body: ByteSize { bytes: 4 << 20 },
            max_runs: 256,
            longest_wait: Duration::from_secs(1),
            kept_runs: 1_000,
            cors_origins: Vec::new(),
            console: true,
            drain: Duration::from_secs(30),
            commands: false,
            probe_every: Duration::from_mins(1),
        }
    }
}
