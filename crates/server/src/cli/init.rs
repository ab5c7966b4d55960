//! `brigade init`

use std::{fs::OpenOptions, io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::{net::TcpStream, time::timeout};

use super::exit::Exit;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  brigade init && brigade check && brigade run assistant \"Say hello.\"

It looks for ANTHROPIC_API_KEY and OPENAI_API_KEY, and for Ollama on this machine. If it finds none of them, the
configuration uses the built-in simulator, whose answers are made up.")]
pub(super) struct InitCommand {
    /// The file to write. An existing file is not overwritten
    #[arg(default_value = "brigade.toml", value_name = "FILE")]
    path: PathBuf,
}

/// The provider to configure, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DetectedProvider {
    Anthropic,
    OpenAi,
    Ollama,
    Simulator,
}

const OLLAMA: &str = "127.0.0.1:11434";

impl InitCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let provider = detect().await;
        let file = OpenOptions::new().write(true).create_new(true).open(&self.path);
        let mut file = file.with_context(|| {
            format!(
                "cannot create {}; if it exists already, choose another file: `brigade init other.toml`",
                self.path.display()
            )
        })?;
        file.write_all(content(provider).as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        out!("{}", self.path.display());
        note!("{}", next_steps(provider));
        Ok(Exit::Finished)
    }
}

async fn detect() -> DetectedProvider {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("ANTHROPIC_API_KEY") {
        return DetectedProvider::Anthropic;
    }
    if is_set("OPENAI_API_KEY") {
        return DetectedProvider::OpenAi;
    }
    match timeout(Duration::from_millis(300), TcpStream::connect(OLLAMA)).await {
        Ok(Ok(_)) => DetectedProvider::Ollama,
        _ => DetectedProvider::Simulator,
    }
}

fn content(provider: DetectedProvider) -> String {
    let (account, model) = match provider {
        DetectedProvider::Anthropic => (
            "[providers.anthropic]\napi_key = { env = \"ANTHROPIC_API_KEY\" }",
            "provider = \"anthropic\"\nmodel = \"claude-sonnet-4-5\"",
        ),
        DetectedProvider::OpenAi => (
            "[providers.openai]\napi_key = { env = \"OPENAI_API_KEY\" }",
            "provider = \"openai\"\nmodel = \"gpt-5-mini\"",
        ),
        DetectedProvider::Ollama => (
            "[providers.ollama]",
            "provider = \"ollama\"\nmodel = \"llama3.2\" # it runs on this machine and costs nothing",
        ),
        DetectedProvider::Simulator => (
            "# No API key was found, so this uses the built-in simulator. With a key, for example from OpenAI:\n# [providers.openai]\n# api_key = { env = \"OPENAI_API_KEY\" }\n[providers.simulator]",
            "provider = \"simulator\"\nmodel = \"gpt-5-mini\"",
        ),
    };
    format!(
        r#"# Brigade's configuration. `brigade check` checks it, `brigade config schema` describes all keys.

store = "brigade.db" # keeps sessions, runs and spending over a restart

[budget]
usd = "5.00" # the limit of all runs together
per = "day" # per day, in UTC

{account}

[models.main]
{model}

[agents.assistant]
model = "main"
purpose = "Answers questions."
instructions = "Answer briefly. Say so when you do not know."
budget = {{ usd = "0.50", turns = 10, wall = "2m" }}
"#
    )
}

fn next_steps(provider: DetectedProvider) -> &'static str {
    match provider {
        DetectedProvider::Simulator => {
            "No API key and no Ollama were found, so the configuration uses a simulator, whose answers are made up. Next:\n  brigade check\n  brigade run assistant \"Say hello.\"\nWith a key in ANTHROPIC_API_KEY or OPENAI_API_KEY: `brigade init other.toml`"
        }
        DetectedProvider::Anthropic | DetectedProvider::OpenAi | DetectedProvider::Ollama => {
            "Next:\n  brigade check\n  brigade run assistant \"Say hello.\"\n  brigade serve"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use brigade_config::LoadedConfig;

    #[test]
    fn every_written_configuration_is_valid() {
        for provider in [
            DetectedProvider::Anthropic,
            DetectedProvider::OpenAi,
            DetectedProvider::Ollama,
            DetectedProvider::Simulator,
        ] {
            let loaded = LoadedConfig::parse(Path::new("brigade.toml"), &content(provider), []);
            assert!(loaded.is_ok(), "{provider:?}: {}", loaded.unwrap_err());
        }
    }
}
