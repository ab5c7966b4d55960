//! `brigade check`

use anyhow::Context as _;
use brigade_commands::{Exit, ProvidersArg, count, note, out};
use brigade_config::{LoadedConfig, Secrets, WorstCase, lint};
use brigade_observability::Logging;
use clap::Args;

use crate::{
    app::{self, App, SharedState},
    configured::require_servable,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade check                     checks names, files and keys in ./brigade.toml, and gives advice
  brigade check --deny-warnings     fails on advice too, for continuous integration
  brigade check --no-secrets        for machines without the API keys

It sends nothing to providers; `brigade doctor` does.")]
pub(super) struct CheckCommand {
    #[command(flatten)]
    providers: ProvidersArg,
    /// Fails if there are warnings
    #[arg(long)]
    deny_warnings: bool,
    /// Does not read API keys and other secrets
    #[arg(long)]
    no_secrets: bool,
}

impl CheckCommand {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.providers.load()?;
        let prices = app::prices(&loaded)?;
        let level = loaded.config.log.level.as_deref().unwrap_or_default();
        Logging::new().level(level).check().context("`log.level`")?;
        let secrets = if self.no_secrets { Secrets::unread(&loaded.folder) } else { Secrets::of(&loaded.folder) };
        let app = App::with_secrets(&loaded, &SharedState::new(&loaded.config), &secrets)?;
        let LoadedConfig { config, .. } = &loaded;
        require_servable(config, config.server.listen)?;
        let ignored = loaded.ignored_variables.iter().cloned();
        let advice = lint(config, &prices).into_iter().map(|lint| lint.to_string()).chain(app.warnings);
        let warnings: Vec<_> = ignored.chain(advice).collect();
        for warning in &warnings {
            note!("warning: {warning}");
        }
        for (name, agent) in config.agents.iter().filter(|(_, agent)| agent.exposed) {
            out!("{name}: {}", WorstCase::estimate(config, agent, &prices));
        }
        out!(
            "{} is valid: {}, {}, {}, {}",
            self.providers.path().display(),
            count(config.agents.len(), "agent"),
            count(config.models.len(), "model"),
            count(config.providers.len(), "provider"),
            count(warnings.len(), "warning")
        );
        Ok(if self.deny_warnings && !warnings.is_empty() { Exit::Failed } else { Exit::Finished })
    }
}
