//! The released server as a process.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::overload::PLACES;
use crate::process::resources;

/// A running `brigade serve`, killed when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    process: process::Child,
    url: String,
    _folder: TempDir,
}

/// How the server is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// Without a store.
    Plain,
    /// Sessions, runs and spending are kept over a restart.
    Sqlite,
    /// Two keys share a few places for runs.
    Overloaded,
}

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
$SERVER

[providers.sim]
kind = "compatible"
base_url = "$SIMULATOR/v1"

[models.mini]
provider = "sim"
model = "gpt-5-mini"

[agents.oracle]
model = "mini"
instructions = "You are oracle."

[agents.scribe]
model = "mini"
instructions = "You are scribe."

[agents.novelist]
model = "mini"
instructions = "You are novelist."
"#;

const STORE: &str = "store = \"brigade.db\"\n";

/// The keys `brg_many` and `brg_few`.
const KEYS: &str = r#"
[keys.many]
hash = "sha256:cc3d8b638b40b54d90aedb2e26dbd631199e8a69b922f04ff0cbe957f94029ed"

[keys.few]
hash = "sha256:8a05b42bec0b21c1d20f4604954d2eb8ce6a2fc126193e70a9bdd5130dd80134"
"#;

impl Server {
    /// Starts the `brigade` binary that is in the same folder as the benchmark.
    pub(super) fn start(simulator: &str, setup: Setup) -> Result<Self> {
        let program = env::current_exe()?.with_file_name("brigade");
        let folder = tempfile::tempdir()?;
        let (before, limits, after) = match setup {
            Setup::Plain => ("", String::new(), ""),
            Setup::Sqlite => (STORE, String::new(), ""),
            Setup::Overloaded => ("", format!("max_runs = {PLACES}"), KEYS),
        };
        let config = [before, &CONFIG.replace("$SIMULATOR", simulator).replace("$SERVER", &limits), after].concat();
        fs::write(folder.path().join("brigade.toml"), config)?;
        let mut command = Command::new(&program);
        // The log is written as in production, but not kept.
        command.arg("serve").current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let output = process.stdout.take().context("the server has no output")?;
        let mut server = Self { process, url: String::new(), _folder: folder };
        BufReader::new(output).read_line(&mut server.url)?;
        server.url.truncate(server.url.trim_end().len());
        ensure!(
            server.url.starts_with("http://"),
            "the server did not print its URL; start `{} serve` by hand to see why",
            program.display()
        );
        server.url.push_str("/v1");
        Ok(server)
    }

    /// The base URL of its endpoints.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn memory_mib(&self) -> Result<f64> {
        resources::memory_mib(self.process.id())
    }

    pub(super) fn cpu_time(&self) -> Result<Duration> {
        resources::cpu_time_of(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
