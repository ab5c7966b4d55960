//! `brigade prices` prints the date and the source of the prices in use.

use brigade_config::LoadedConfig;
use brigade_observability::PriceBook;
use clap::Args;

use crate::{exit::Exit, options::ConfigArg, out, output::count};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade prices                          the prices that ./brigade.toml uses, else the bundled ones
  brigade prices --config team.toml

It calls no provider.")]
pub struct PricesCommand {
    #[command(flatten)]
    config: ConfigArg,
}

/// Explains how users replace bundled prices by their own.
const OWN_PRICES: &str = include_str!("own_prices.txt");

impl PricesCommand {
    /// Prints the date of the prices. `prices` reads those of a configuration.
    pub fn run(self, prices: impl FnOnce(&LoadedConfig) -> anyhow::Result<PriceBook>) -> anyhow::Result<Exit> {
        let loaded = self.config.load_if_there()?;
        let prices = match &loaded {
            Some(loaded) => prices(loaded)?,
            None => PriceBook::bundled(),
        };
        let file = loaded.as_ref().and_then(|loaded| Some(loaded.folder.join(loaded.config.prices.as_ref()?)));
        let source = file.map_or_else(
            || format!("bundled with brigade {}", env!("CARGO_PKG_VERSION")),
            |file| format!("the bundled ones, overridden by {}", file.display()),
        );
        let days = count(usize::try_from(prices.age().as_secs() / 86_400).unwrap_or(usize::MAX), "day");
        out!("The prices are of {}, {days} old: {source}.\n\n{}", prices.as_of(), OWN_PRICES.trim_end());
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
        let prices = PriceBook::from_toml_overlay(&example.join("\n")).unwrap();
        assert_eq!(prices.as_of().to_string(), "2026-11-30");
    }
}
