//! `brigade init`

use std::{fs::OpenOptions, io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::{net::TcpStream, time::timeout};

use crate::{exit::Exit, out, output::program};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade init && brigade check && brigade run assistant \"Say hello.\"
  brigade init --team && brigade check && brigade run desk \"Should we move our queue from SQS to Kafka?\"

It looks for ANTHROPIC_API_KEY and OPENAI_API_KEY, and for Ollama on this machine. If it finds none of them, the
configuration uses the built-in simulator, whose answers are made up.")]
pub struct InitCommand {
    /// The file to write. An existing file is not overwritten
    #[arg(default_value = DEFAULT_PATH, value_name = "FILE")]
    path: PathBuf,
    /// Writes a team, a supervisor with two workers, in place of a single agent
    #[arg(long)]
    team: bool,
}

/// A provider that can be used.
#[derive(Debug)]
struct Provider {
    name: &'static str,
    kind: &'static str,
    /// The variable of its key, if it needs one.
    key: &'static str,
    model: &'static str,
}

const ANTHROPIC: Provider =
    Provider { name: "Anthropic", kind: "anthropic", key: "ANTHROPIC_API_KEY", model: "claude-sonnet-4-5" };

const OPENAI: Provider = Provider { name: "OpenAI", kind: "openai", key: "OPENAI_API_KEY", model: "gpt-5-mini" };

const OLLAMA: Provider = Provider { name: "Ollama on this machine", kind: "ollama", key: "", model: "llama3.2" };

const SIMULATOR: Provider = Provider {
    name: "a simulator, as no key and no Ollama were found",
    kind: "simulator",
    key: "",
    model: "gpt-5-mini",
};

const DEFAULT_PATH: &str = "brigade.toml";

const OLLAMA_ADDRESS: &str = "127.0.0.1:11434";

impl InitCommand {
    pub async fn run(self) -> anyhow::Result<Exit> {
        let providers = detect().await;
        let path = self.path.display();
        let file = OpenOptions::new().write(true).create_new(true).open(&self.path);
        let mut file = file.with_context(|| {
            format!("cannot create {path}; if it exists already, choose another file: `brigade init other.toml`")
        })?;
        file.write_all(content(&providers, self.team).as_bytes()).with_context(|| format!("cannot write {path}"))?;
        let names: Vec<_> = providers.iter().map(|provider| provider.name).collect();
        out!("Wrote {path} for {}. Next:", names.join(" and "));
        let option = if self.path.as_os_str() == DEFAULT_PATH { String::new() } else { format!(" --config {path}") };
        let run = if self.team { "run desk \"Should we rent or buy?\"" } else { "run assistant \"Say hello.\"" };
        for command in ["check", run, "serve"] {
            out!("  {} {command}{option}", program());
        }
        Ok(Exit::Finished)
    }
}

/// The providers that can be used, the preferred one first.
async fn detect() -> Vec<Provider> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let found: Vec<_> = [ANTHROPIC, OPENAI].into_iter().filter(|vendor| is_set(vendor.key)).collect();
    if !found.is_empty() {
        return found;
    }
    let ollama = timeout(Duration::from_millis(300), TcpStream::connect(OLLAMA_ADDRESS)).await;
    vec![if ollama.is_ok_and(|connected| connected.is_ok()) { OLLAMA } else { SIMULATOR }]
}

/// A configuration. If there are two providers, each answers when the other cannot.
fn content(providers: &[Provider], team: bool) -> String {
    let (mut accounts, mut models) = (Vec::new(), Vec::new());
    for (Provider { kind, key, model, .. }, name) in providers.iter().zip(["main", "second"]) {
        let key = if key.is_empty() { String::new() } else { format!("api_key = {{ env = \"{key}\" }}\n") };
        accounts.push(format!("[providers.{kind}]\n{key}\n"));
        let other = if name == "main" { "second" } else { "main" };
        let fallbacks = if providers.len() > 1 { format!("fallbacks = [\"{other}\"]\n") } else { String::new() };
        models.push(format!("[models.{name}]\nprovider = \"{kind}\"\nmodel = \"{model}\"\n{fallbacks}\n"));
    }
    let agents = if team { include_str!("init_team.toml") } else { include_str!("init_agent.toml") };
    let accounts_and_models = [accounts, models].concat().concat();
    format!("{}{accounts_and_models}{agents}", include_str!("init.toml"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use brigade_config::LoadedConfig;

    #[test]
    fn every_written_configuration_is_valid() {
        for providers in [vec![ANTHROPIC], vec![OPENAI], vec![ANTHROPIC, OPENAI], vec![OLLAMA], vec![SIMULATOR]] {
            for (team, agents) in [(false, 1), (true, 3)] {
                let loaded = LoadedConfig::parse(Path::new("brigade.toml"), &content(&providers, team), []);
                let loaded = loaded.unwrap_or_else(|error| panic!("{providers:?}: {error}"));
                assert_eq!(loaded.config.agents.len(), agents);
            }
        }
    }
}
