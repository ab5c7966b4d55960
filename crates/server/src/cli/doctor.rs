//! `brigade doctor`

use brigade_commands::{Exit, ProvidersArg, count, out};
use brigade_core::ErrorChain;
use clap::Args;
use futures::future::join_all;

use crate::{
    agents::mcp::all,
    app::{self, SharedState},
    health::providers::probe,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  brigade doctor --config team.toml

It asks each account for its list of models, which costs nothing, and starts each MCP server to compare its tools with the
pinned ones.")]
pub(super) struct DoctorCommand {
    #[command(flatten)]
    providers: ProvidersArg,
}

/// Vendors change prices a few times a year.
const OLD_PRICES_DAYS: u64 = 90;

impl DoctorCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.providers.load()?;
        // It keeps the built-in simulator running.
        let state = SharedState::new(&loaded.config);
        let probes = app::accounts(&loaded, &state).map(|(name, account)| async move {
            match account {
                Ok(account) => (name, probe(&account).await),
                Err(error) => (name, Err(ErrorChain(&error).to_string())),
            }
        });
        let mut exit = Exit::Finished;
        for (name, result) in join_all(probes).await {
            match result {
                Ok(Some(probe)) if !probe.is_json => {
                    out!("✗ {name}: something answers at its `base_url`, but not an API: the answer is not JSON");
                    exit = Exit::Failed;
                }
                Ok(_) => out!("✓ {name}: reachable, and it accepts the key"),
                Err(problem) => {
                    out!("✗ {name}: {problem}");
                    exit = Exit::Failed;
                }
            }
        }
        if brigade_commands::examine_mcp(&loaded, |loaded, secrets| Ok(all(loaded, secrets)?)).await? == Exit::Failed {
            exit = Exit::Failed;
        }
        let prices = app::prices(&loaded)?;
        let (date, days) = (prices.as_of(), prices.age().as_secs() / 86_400);
        let age = count(usize::try_from(days).unwrap_or(usize::MAX), "day");
        let (mark, advice) =
            if days < OLD_PRICES_DAYS { ("✓", "") } else { ("!", "; `brigade prices` says what to do") };
        out!("{mark} the prices are from {date}, {age} old{advice}");
        Ok(exit)
    }
}
