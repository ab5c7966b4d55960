//! `brigade check`: is a configuration right, and is it wise?

use anyhow::Context as _;
use brigade_observability::Logging;
use clap::Args;

use crate::{
    app::{self, App, Standing},
    cli::exit::Exit,
    config::lint::lint,
    config::worst_case::WorstCase,
    config::{ConfigFile, Loaded},
};

/// Arguments of `brigade check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade check                     ./brigade.toml: names, files, keys, and advice
  brigade check --deny-warnings     fails on advice too, for continuous integration
  brigade check --no-secrets        where the keys are not at hand

No provider is asked; `brigade doctor` does that.")]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// Fails if there is advice
    #[arg(long)]
    deny_warnings: bool,
    /// Does not look for keys
    #[arg(long)]
    no_secrets: bool,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.config.load()?;
        let prices = app::prices(&loaded)?;
        let level = loaded.config.log.level.as_deref().unwrap_or_default();
        Logging::new().level(level).check().context("`log.level`")?;
        if !self.no_secrets {
            App::from_config(&loaded, Standing::new(&loaded.config))?;
        }
        let Loaded { config, .. } = &loaded;
        let lints = lint(config, &prices);
        for lint in &lints {
            eprintln!("warning: {lint}");
        }
        for (name, agent) in config.agents.iter().filter(|(_, agent)| agent.exposed) {
            println!("{name}: {}", WorstCase::of(config, agent, &prices));
        }
        println!(
            "{} is right: {} agents, {} models, {} providers, {} warnings",
            self.config.path.display(),
            config.agents.len(),
            config.models.len(),
            config.providers.len(),
            lints.len()
        );
        Ok(if self.deny_warnings && !lints.is_empty() { Exit::Failed } else { Exit::Finished })
    }
}
