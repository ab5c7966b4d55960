//! `brigade init`: a configuration to begin with, for the keys that are here.

use std::{fs::OpenOptions, io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::{net::TcpStream, time::timeout};

use crate::cli::exit::Exit;

/// Arguments of `brigade init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  brigade init && brigade check && brigade run assistant \"Say hello.\"

It looks for ANTHROPIC_API_KEY and OPENAI_API_KEY, and for Ollama on this machine. Where it finds nothing, the
configuration asks the simulator that comes with this program, whose answers are made up.")]
pub(crate) struct Init {
    /// The file to write; one that exists is left alone
    #[arg(default_value = "brigade.toml", value_name = "FILE")]
    path: PathBuf,
}

/// Who answers, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Anthropic,
    OpenAi,
    Ollama,
    Nothing,
}

const OLLAMA: &str = "127.0.0.1:11434";

impl Init {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        let found = find().await;
        let file = OpenOptions::new().write(true).create_new(true).open(&self.path);
        let mut file = file.with_context(|| {
            format!(
                "cannot make {}; if it is there already, name another file: `brigade init other.toml`",
                self.path.display()
            )
        })?;
        file.write_all(content(found).as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))?;
        println!("{}", self.path.display());
        eprintln!("{}", next_steps(found));
        Ok(Exit::Finished)
    }
}

async fn find() -> Found {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("ANTHROPIC_API_KEY") {
        return Found::Anthropic;
    }
    if is_set("OPENAI_API_KEY") {
        return Found::OpenAi;
    }
    match timeout(Duration::from_millis(300), TcpStream::connect(OLLAMA)).await {
        Ok(Ok(_)) => Found::Ollama,
        _ => Found::Nothing,
    }
}

fn content(found: Found) -> String {
    let (provider, model) = match found {
        Found::Anthropic => (
            "[providers.anthropic]\napi_key = { env = \"ANTHROPIC_API_KEY\" }",
            "provider = \"anthropic\"\nmodel = \"claude-sonnet-4-5\"",
        ),
        Found::OpenAi => (
            "[providers.openai]\napi_key = { env = \"OPENAI_API_KEY\" }",
            "provider = \"openai\"\nmodel = \"gpt-5-mini\"",
        ),
        Found::Ollama => (
            "[providers.ollama]",
            "provider = \"ollama\"\nmodel = \"llama3.2\"\nunpriced = \"warn\" # it runs on this machine, for nothing",
        ),
        Found::Nothing => (
            "# No key was found, so this asks the simulator that comes with the program. With a key, say from OpenAI:\n# [providers.openai]\n# api_key = { env = \"OPENAI_API_KEY\" }\n[providers.simulator]",
            "provider = \"simulator\"\nmodel = \"gpt-5-mini\"",
        ),
    };
    format!(
        r#"# Brigade's configuration. `brigade check` checks it; `brigade config schema` describes all of it.

store = "brigade.db" # sessions, runs, and what was spent: they outlive the server

[budget]
usd = "5.00" # all runs together…
per = "day" # …in a day, in UTC

{provider}

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

fn next_steps(found: Found) -> &'static str {
    match found {
        Found::Nothing => {
            "No key and no Ollama were found, so a simulator answers, which makes its answers up. Next:\n  brigade check\n  brigade run assistant \"Say hello.\"\nWith a key in ANTHROPIC_API_KEY or OPENAI_API_KEY: `brigade init other.toml`"
        }
        Found::Anthropic | Found::OpenAi | Found::Ollama => {
            "Next:\n  brigade check\n  brigade run assistant \"Say hello.\"\n  brigade serve"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loaded;

    #[test]
    fn what_is_written_can_be_read() {
        for found in [Found::Anthropic, Found::OpenAi, Found::Ollama, Found::Nothing] {
            let loaded = Loaded::parse(Path::new("brigade.toml"), &content(found), []);
            assert!(loaded.is_ok(), "{found:?}: {}", loaded.unwrap_err());
        }
    }
}
