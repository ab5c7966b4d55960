//! `brigade doctor`: can the providers be reached, and do they accept the keys?

use clap::Args;
use futures::future::join_all;

use crate::{
    app::{App, Standing},
    cli::exit::Exit,
    config::ConfigFile,
    health::providers::problem,
};

/// Arguments of `brigade doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  brigade doctor --config team.toml

Each account is asked for its list of models, which costs nothing.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    config: ConfigFile,
}

impl Doctor {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.config.load()?;
        let app = App::from_config(&loaded, Standing::new(&loaded.config))?;
        let app = &app;
        let probes = app.accounts().map(|name| async move { (name, problem(app, name).await) });
        let mut exit = Exit::Finished;
        for (name, problem) in join_all(probes).await {
            match problem {
                None => println!("✓ {name}: reached, and its key accepted"),
                Some(problem) => {
                    println!("✗ {name}: {problem}");
                    exit = Exit::Failed;
                }
            }
        }
        let (prices, days) = (app.prices.as_of(), app.prices.age().as_secs() / 86_400);
        println!("{} prices are of {prices}, {days} days old", if days < 90 { "✓" } else { "!" });
        Ok(exit)
    }
}
