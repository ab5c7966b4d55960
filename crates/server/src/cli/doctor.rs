//! `brigade doctor`

use clap::Args;
use futures::future::join_all;

use super::{ConfigArg, exit::Exit};
use crate::{
    app::{App, SharedState},
    health::providers::probe,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  brigade doctor --config team.toml

It asks each account for its list of models, which costs nothing.")]
pub(super) struct DoctorCommand {
    #[command(flatten)]
    config: ConfigArg,
}

/// Vendors change prices a few times a year.
const OLD_PRICES_DAYS: u64 = 90;

impl DoctorCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.config.load()?;
        let app = App::from_config(&loaded, &SharedState::new(&loaded.config))?;
        let probes = app.accounts.iter().map(|(name, account)| async move { (name, probe(account).await) });
        let mut exit = Exit::Finished;
        for (name, result) in join_all(probes).await {
            match result {
                Ok(()) => out!("✓ {name}: reachable, and it accepts the key"),
                Err(problem) => {
                    out!("✗ {name}: {problem}");
                    exit = Exit::Failed;
                }
            }
        }
        let (date, days) = (app.prices.as_of(), app.prices.age().as_secs() / 86_400);
        out!("{} the prices are from {date}, {days} days old", if days < OLD_PRICES_DAYS { "✓" } else { "!" });
        Ok(exit)
    }
}
