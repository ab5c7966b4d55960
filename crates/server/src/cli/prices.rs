//! `brigade prices`

use clap::Args;
use jiff::SignedDuration;

use super::{ConfigArg, exit::Exit};
use crate::app;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade prices                          the prices that ./brigade.toml uses, else the bundled ones
  brigade prices --config team.toml

It calls no provider.")]
pub(super) struct PricesCommand {
    #[command(flatten)]
    config: ConfigArg,
}

const OWN_PRICES: &str = r#"To bring your own, write them to a file, in US dollars per million tokens:

    # prices.toml
    as_of = "2026-11-30"

    [[models]]
    ids = ["gpt-5-mini"]
    provider = "openai"            # optional: only this account
    max_output = 128000
    standard = { input = "0.25", cached_input = "0.025", output = "2.00" }

and name the file in brigade.toml, above the first section:

    prices = "prices.toml"

An entry replaces the bundled entry of its models; all others stay. A newer release has newer bundled prices."#;

impl PricesCommand {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let loaded = if self.config.path.exists() { Some(self.config.load()?) } else { None };
        let prices = match &loaded {
            Some(loaded) => app::prices(loaded)?,
            None => brigade_observability::PriceBook::bundled(),
        };
        let file = loaded.as_ref().and_then(|loaded| Some(loaded.folder.join(loaded.config.prices.as_ref()?)));
        let source = file.map_or_else(
            || format!("bundled with brigade {}", env!("CARGO_PKG_VERSION")),
            |file| format!("the bundled ones with {} over them", file.display()),
        );
        let days = SignedDuration::try_from(prices.age()).unwrap_or_default().as_hours() / 24;
        out!("The prices are of {}, {days} days old: {source}.\n\n{OWN_PRICES}", prices.as_of());
        Ok(Exit::Finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_example_is_a_table_of_prices() {
        let example = OWN_PRICES.lines().filter_map(|line| line.strip_prefix("    "));
        let example: Vec<_> = example.take_while(|line| !line.starts_with("prices =")).collect();
        let prices = brigade_observability::PriceBook::from_toml_overlay(&example.join("\n")).unwrap();
        assert_eq!(prices.as_of().to_string(), "2026-11-30");
    }
}
