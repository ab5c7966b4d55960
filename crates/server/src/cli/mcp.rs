//! `brigade mcp`

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use brigade_commands::{Exit, McpPinsCommand, ProvidersArg};
use brigade_edge::stop_signal;
use brigade_observability::Logging;
use clap::{Args, Subcommand};

use crate::{agents::mcp::all, api::mcp::local, configured::ConfiguredApi};

#[derive(Debug, Subcommand)]
pub(super) enum McpCommand {
    #[command(flatten)]
    Pins(McpPinsCommand),
    /// Offers the agents as tools to one MCP client, over standard input and output
    #[command(after_help = "\
Example, in the configuration of a client:
  { \"mcpServers\": { \"team\": { \"command\": \"brigade\", \"args\": [\"mcp\", \"serve\", \"--config\", \"/srv/team/brigade.toml\"] } } }

`brigade serve` offers them at /mcp, over streamable HTTP and with the API keys.")]
    Serve(ServeCommand),
}

#[derive(Debug, Args)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    providers: ProvidersArg,
}

impl McpCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Pins(command) => command.run(|loaded, secrets| Ok(all(loaded, secrets)?)).await,
            Self::Serve(command) => command.run().await,
        }
    }
}

impl ServeCommand {
    async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.providers.load()?;
        let log = &loaded.config.log;
        let level = log.level.as_deref().unwrap_or("warn");
        let logging = Logging::new().format(log.format).level(level).init().context("cannot set up logging")?;
        let configured = ConfiguredApi::start(&loaded).await?;
        let api = Arc::clone(configured.api());
        let serving = Box::pin(brigade_mcp::serve_pipes(local(&api), tokio::io::stdin(), tokio::io::stdout()));
        let ending = async {
            // Signals are received before the first answer. A client that reads it may send one at once.
            let served = tokio::select! {
                biased;
                () = stop_signal() => Ok(()),
                served = serving => served.map_err(anyhow::Error::msg).context("the MCP client"),
            };
            api.runs().drain(Duration::ZERO).await;
            api.close().await?;
            served.map(|()| Exit::Finished)
        };
        let second_signal = async {
            stop_signal().await;
            stop_signal().await;
        };
        let exit = tokio::select! {
            exit = ending => exit,
            () = second_signal => Ok(Exit::Forced),
        };
        logging.flush();
        exit
    }
}
