//! Which providers are tried, and at what prices.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use brigade_core::{ModelId, Money, Pricing, Settings};
use brigade_observability::PriceBook;
use brigade_rehearsal::WireDialect;
use clap::Args;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::{
    check::UNKNOWN_MODEL,
    target::{KnownProvider, OWN_SERVER, Target, dialect_name, host_and_port, is_at_home, variable_if_set},
};

/// A server on this machine answers at once.
const DETECTION_TIME: Duration = Duration::from_millis(300);

/// Which providers are tried.
#[derive(Debug, Args)]
pub(super) struct TargetOptions {
    /// Only this provider; may be repeated. Known are openai, anthropic, azure, ollama, vllm, llamacpp, lmstudio, openrouter,
    /// groq, deepseek, together, mistral. By default all that have a key in the environment, and Ollama if it runs here
    #[arg(long, value_name = "NAME")]
    provider: Vec<String>,
    /// The base URL of a server, such as `http://127.0.0.1:8000/v1`. It gets no key unless `--key-env` names one
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The model, instead of a cheap one of the provider
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The embedding model
    #[arg(long, value_name = "NAME")]
    embedding_model: Option<String>,
    /// The protocol: `chat` (OpenAI Chat Completions), `responses` (OpenAI Responses) or `anthropic` (Anthropic Messages); may
    /// be repeated. By default those of the vendor, and `chat` for other servers
    #[arg(long, value_name = "NAME", value_parser = parse_dialect)]
    dialect: Vec<WireDialect>,
    /// The environment variable with the key for the server at `--base-url`
    #[arg(long, value_name = "VARIABLE", requires = "base_url")]
    key_env: Option<String>,
    /// Dollars per million tokens, input and output, such as `0.20,0.60`, for models that the price table does not have.
    /// Servers on this machine and in private networks cost nothing without it
    #[arg(long, value_name = "IN,OUT", value_parser = parse_price)]
    price: Option<Price>,
}

/// A price per million tokens.
#[derive(Debug, Clone, Copy)]
struct Price {
    input: Money,
    output: Money,
}

fn parse_dialect(name: &str) -> Result<WireDialect, String> {
    let dialects = [WireDialect::OpenaiChat, WireDialect::OpenaiResponses, WireDialect::Anthropic];
    let known = dialects.into_iter().find(|dialect| dialect_name(*dialect) == name);
    known.ok_or_else(|| "use `chat`, `responses` or `anthropic`".to_owned())
}

fn parse_price(text: &str) -> Result<Price, String> {
    let (input, output) = text.split_once(',').ok_or("write it like `0.20,0.60`")?;
    let amount = |text: &str| text.trim().parse::<Money>().map_err(|error| error.to_string());
    Ok(Price { input: amount(input)?, output: amount(output)? })
}

impl TargetOptions {
    /// What to try. Empty if there is neither a key nor a server.
    pub(super) async fn targets(&self) -> anyhow::Result<Vec<Target>> {
        if let Some(base_url) = &self.base_url {
            ensure!(self.provider.len() < 2, "--base-url is the address of one provider, and --provider names several");
            let provider = self.provider.first().map(|name| KnownProvider::named(name)).transpose()?;
            return self.at(base_url, provider);
        }
        let mut targets = Vec::new();
        for name in &self.provider {
            let provider = KnownProvider::named(name)?;
            if let Some(variable) = provider.key_variable
                && variable_if_set(variable).is_none()
            {
                bail!("{name} needs a key in the environment variable {variable}");
            }
            targets.extend(self.of(provider, provider.address()?)?);
        }
        if self.provider.is_empty() {
            for provider in KnownProvider::all() {
                if self.is_available(provider).await {
                    targets.extend(self.of(provider, provider.address()?)?);
                }
            }
        }
        Ok(targets)
    }

    /// Whether a provider can be tried without having been asked for by name.
    async fn is_available(&self, provider: KnownProvider) -> bool {
        let speaks = self.dialect.is_empty() || provider.dialects.iter().any(|dialect| self.dialect.contains(dialect));
        let Ok(address) = provider.address() else { return false };
        let has_model = provider.model.is_some() || self.model.is_some();
        match provider.key_variable {
            Some(variable) => speaks && has_model && variable_if_set(variable).is_some(),
            None => {
                speaks
                    && provider.name == "ollama"
                    && matches!(timeout(DETECTION_TIME, TcpStream::connect(host_and_port(&address))).await, Ok(Ok(_)))
            }
        }
    }

    /// The targets at one provider: one for each dialect.
    fn of(&self, provider: KnownProvider, base_url: String) -> anyhow::Result<Vec<Target>> {
        let model = self.model.clone().or(provider.model.map(str::to_owned));
        let model = model.with_context(|| format!("name a model of {} with --model", provider.name))?;
        let usual = provider.embedding_model.map(str::to_owned);
        let target = Target {
            name: provider.name.to_owned(),
            dialect: WireDialect::OpenaiChat,
            model,
            embedding_model: self.embedding_model.clone().or(usual),
            base_url,
            key_variable: provider.key_variable.map(str::to_owned),
        };
        Ok(self.in_dialects(&target, provider.dialects))
    }

    /// The targets at an address. It gets no key of a vendor.
    fn at(&self, base_url: &str, provider: Option<KnownProvider>) -> anyhow::Result<Vec<Target>> {
        let model = self.model.clone().or(provider.and_then(|provider| provider.model).map(str::to_owned));
        let target = Target {
            name: provider.map_or(OWN_SERVER, |provider| provider.name).to_owned(),
            dialect: WireDialect::OpenaiChat,
            model: model.context("name a model of the server with --model")?,
            embedding_model: self.embedding_model.clone(),
            base_url: base_url.to_owned(),
            key_variable: self.key_env.clone(),
        };
        Ok(self.in_dialects(&target, provider.map_or(&[WireDialect::OpenaiChat], |provider| provider.dialects)))
    }

    fn in_dialects(&self, target: &Target, usual: &[WireDialect]) -> Vec<Target> {
        let wanted = if self.dialect.is_empty() { usual } else { &self.dialect };
        wanted.iter().map(|&dialect| Target { dialect, ..target.clone() }).collect()
    }

    /// The prices for a target. Fails if its model has none, because then no limit could hold.
    pub(super) fn prices(&self, target: &Target) -> anyhow::Result<PriceBook> {
        let prices = match self.price {
            Some(Price { input, output }) => {
                let ids = [Some(&target.model), target.embedding_model.as_ref()];
                let ids: Vec<&str> = ids.into_iter().flatten().map(String::as_str).chain([UNKNOWN_MODEL]).collect();
                let dollars = |amount: Money| json!(amount.to_string().trim_start_matches('$'));
                PriceBook::from_toml_overlay(&format!(
                    "[[models]]\nprovider = {}\nids = {}\nstandard = {{ input = {}, output = {} }}\n",
                    json!(target.name),
                    json!(ids),
                    dollars(input),
                    dollars(output)
                ))?
            }
            None if is_at_home(&target.base_url) => PriceBook::bundled().local_accounts([OWN_SERVER.to_owned()]),
            None => PriceBook::bundled(),
        };
        let id = ModelId::new(target.name.clone(), target.model.clone());
        ensure!(
            prices.ceiling(&id, Settings::none(), 1_000).is_some(),
            "no price of {id} is known, so --max-usd could not be kept; give the price with --price IN,OUT"
        );
        Ok(prices)
    }
}
