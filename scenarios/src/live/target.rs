//! The providers that can be tried, and the account at each.

use std::{env, net::IpAddr, sync::Arc};

use anyhow::{Context as _, bail};
use brigade_core::{ChatModel, Metered, ModelError, Rates, Reasoning, Settings, UnpricedPolicy};
use brigade_observability::PriceBook;
use brigade_providers::{
    Anthropic, Client, ClientBuilder, OpenAi, OpenAiEmbeddings, OpenAiResponses, Protocol, Server,
};
use brigade_rehearsal::WireDialect;

/// The name of Anthropic's account. It is not one of the servers that speak Chat Completions.
const ANTHROPIC: &str = "anthropic";

/// The name of an account at an address of the caller's.
pub(super) const OWN_SERVER: &str = "server";

/// Enough for a sentence. Output is what costs.
const VENDORS_OUTPUT_TOKENS: u32 = 256;

/// Models of other providers may reason before they answer, and have no common way to switch that off.
const OTHERS_OUTPUT_TOKENS: u32 = 1_024;

/// One provider, dialect and model to try.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The account's name, by which prices are found.
    pub(super) name: String,
    pub(super) dialect: WireDialect,
    pub(super) model: String,
    pub(super) embedding_model: Option<String>,
    pub(super) base_url: String,
    /// The environment variable with the key; none if no key is sent.
    pub(super) key_variable: Option<String>,
}

/// An account at a provider.
#[derive(Debug, Clone)]
pub(super) enum LiveAccount {
    Chat(OpenAi),
    Responses(OpenAiResponses),
    Anthropic(Anthropic),
}

/// What is known about a provider by its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownProvider {
    pub(super) name: &'static str,
    pub(super) key_variable: Option<&'static str>,
    pub(super) dialects: &'static [WireDialect],
    /// A cheap model.
    pub(super) model: Option<&'static str>,
    pub(super) embedding_model: Option<&'static str>,
}

impl KnownProvider {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let anthropic = Self {
            name: ANTHROPIC,
            key_variable: Some("ANTHROPIC_API_KEY"),
            dialects: &[WireDialect::Anthropic],
            model: Some("claude-haiku-4-5"),
            embedding_model: None,
        };
        Server::ALL.into_iter().map(Self::of_server).chain([anthropic])
    }

    fn of_server(server: Server) -> Self {
        let (model, embedding_model) = match server {
            Server::OpenAi => (Some("gpt-5-nano"), Some("text-embedding-3-small")),
            Server::Ollama => (Some("llama3.2"), Some("nomic-embed-text")),
            Server::OpenRouter => (Some("openai/gpt-5-nano"), None),
            Server::Groq => (Some("llama-3.1-8b-instant"), None),
            Server::DeepSeek => (Some("deepseek-v4-flash"), None),
            Server::Together => (Some("openai/gpt-oss-20b"), None),
            Server::Mistral => (Some("mistral-small-latest"), Some("mistral-embed")),
            // These serve the model that they were started with.
            _ => (None, None),
        };
        let dialects: &[WireDialect] = match server {
            Server::OpenAi => &[WireDialect::OpenaiChat, WireDialect::OpenaiResponses],
            _ => &[WireDialect::OpenaiChat],
        };
        Self { name: server.name(), key_variable: server.key_variable(), dialects, model, embedding_model }
    }

    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        let known = || Self::all().map(|provider| provider.name).collect::<Vec<_>>().join(", ");
        Self::all()
            .find(|provider| provider.name == name)
            .with_context(|| format!("`{name}` is not a known provider; use one of {}, or --base-url", known()))
    }

    /// The usual address, or the one that the vendor's own clients would take from the environment.
    pub(super) fn address(&self) -> anyhow::Result<String> {
        let (variable, usual) = match self.name {
            ANTHROPIC => ("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
            "openai" => ("OPENAI_BASE_URL", Server::OpenAi.base_url()),
            "ollama" => return Ok(ollama_address()),
            name => ("", name.parse::<Server>()?.base_url()),
        };
        let address = variable_if_set(variable).unwrap_or_else(|| usual.to_owned());
        if address.is_empty() {
            bail!("{} has no usual address; give it with --base-url", self.name);
        }
        Ok(address)
    }
}

/// The address of Ollama, where its own tools look for it.
fn ollama_address() -> String {
    match variable_if_set("OLLAMA_HOST") {
        Some(host) if host.contains("://") => format!("{}/v1", host.trim_end_matches('/')),
        Some(host) if host.contains(':') => format!("http://{host}/v1"),
        Some(host) => format!("http://{host}:11434/v1"),
        None => Server::Ollama.base_url().to_owned(),
    }
}

/// The value of an environment variable that is set and not blank.
pub(super) fn variable_if_set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The host and the port of an address.
pub(super) fn host_and_port(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let host = rest.split('/').next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (has_port, scheme) {
        (true, _) => host.to_owned(),
        (false, "https") => format!("{host}:443"),
        (false, _) => format!("{host}:80"),
    }
}

/// Whether an address is that of this machine or of the network at home.
pub(super) fn is_at_home(address: &str) -> bool {
    let place = host_and_port(address);
    let host = place.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost" || [".local", ".internal"].iter().any(|end| host.ends_with(end)),
    }
}

impl Target {
    /// `openai chat`, or only `anthropic`.
    pub(super) fn label(&self) -> String {
        let dialect = dialect_name(self.dialect);
        if self.name == dialect { dialect.to_owned() } else { format!("{} {dialect}", self.name) }
    }

    /// `openai chat, gpt-5-nano`.
    pub(super) fn title(&self) -> String {
        format!("{}, {}", self.label(), self.model)
    }

    /// The settings of every request: short answers, and no reasoning where the vendor lets us switch it off.
    pub(super) fn settings(&self) -> Settings {
        let is_vendor = matches!(self.name.as_str(), "openai" | ANTHROPIC);
        let settings = Settings::default().max_output_tokens(Some(self.output_tokens()));
        if is_vendor { settings.reasoning(Some(Reasoning::Off)) } else { settings }
    }

    pub(super) fn output_tokens(&self) -> u32 {
        if matches!(self.name.as_str(), "openai" | ANTHROPIC) { VENDORS_OUTPUT_TOKENS } else { OTHERS_OUTPUT_TOKENS }
    }

    /// Opens the account, or one with the same clients at the address of a simulator, which gets no key.
    pub(super) fn open(&self, simulator: Option<&str>) -> anyhow::Result<LiveAccount> {
        let address = simulator.map_or_else(|| self.base_url.clone(), |address| format!("{address}/v1"));
        let variable = self.key_variable.as_deref().filter(|_| simulator.is_none());
        let key = match variable {
            Some(name) => Some(variable_if_set(name).with_context(|| format!("the variable `{name}` is not set"))?),
            None => None,
        };
        let account = match self.dialect {
            WireDialect::OpenaiChat => {
                let builder = match self.name.parse::<Server>() {
                    Ok(server) => OpenAi::server(server),
                    Err(_) => OpenAi::compatible(self.name.clone(), ""),
                };
                LiveAccount::Chat(self.client(builder, address, key)?)
            }
            WireDialect::OpenaiResponses => {
                LiveAccount::Responses(self.client(OpenAiResponses::builder(), address, key)?)
            }
            WireDialect::Anthropic => LiveAccount::Anthropic(self.client(Anthropic::builder(), address, key)?),
        };
        Ok(account)
    }

    fn client<P: Protocol>(
        &self,
        builder: ClientBuilder<P>,
        address: String,
        key: Option<String>,
    ) -> anyhow::Result<Client<P>> {
        let builder = builder.name(self.name.clone()).base_url(address);
        Ok(match key {
            Some(key) => builder.api_key(key).build()?,
            None => builder.build()?,
        })
    }
}

impl LiveAccount {
    /// A model of the account that keeps to the budget. `assumed` are the prices of a model without one.
    pub(super) fn model(
        &self,
        name: &str,
        settings: Settings,
        prices: &PriceBook,
        assumed: Option<Rates>,
    ) -> Arc<dyn ChatModel> {
        match self {
            Self::Chat(client) => metered(client.model(name).settings(settings), prices, assumed),
            Self::Responses(client) => metered(client.model(name).settings(settings), prices, assumed),
            Self::Anthropic(client) => metered(client.model(name).settings(settings), prices, assumed),
        }
    }

    /// An embedding model, if the dialect has them.
    pub(super) fn embeddings(&self, model: &str) -> Option<OpenAiEmbeddings> {
        match self {
            Self::Chat(client) => Some(client.embeddings(model)),
            Self::Responses(_) | Self::Anthropic(_) => None,
        }
    }

    /// Asks for the list of models, which costs nothing.
    pub(super) async fn probe(&self) -> Result<(), ModelError> {
        match self {
            Self::Chat(client) => client.probe().await,
            Self::Responses(client) => client.probe().await,
            Self::Anthropic(client) => client.probe().await,
        }
        .map(|_| ())
    }
}

fn metered<M: ChatModel>(model: M, prices: &PriceBook, assumed: Option<Rates>) -> Arc<dyn ChatModel> {
    let unpriced = assumed.map_or(UnpricedPolicy::Deny, UnpricedPolicy::Assume);
    Arc::new(Metered::new(model, Arc::new(prices.clone())).unpriced(unpriced))
}

/// The name of a dialect on the command line and in reports.
pub(super) const fn dialect_name(dialect: WireDialect) -> &'static str {
    match dialect {
        WireDialect::OpenaiChat => "chat",
        WireDialect::OpenaiResponses => "responses",
        WireDialect::Anthropic => "anthropic",
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::{ModelId, Pricing};

    use super::*;

    #[test]
    fn every_default_model_of_a_provider_with_a_key_has_a_price() {
        let prices = PriceBook::bundled();
        for provider in KnownProvider::all().filter(|provider| provider.key_variable.is_some()) {
            for model in provider.model.into_iter().chain(provider.embedding_model) {
                let id = ModelId::new(provider.name, model);
                assert!(prices.ceiling(&id, Settings::none(), 1_000).is_some(), "{id}");
            }
        }
    }

    #[test]
    fn only_this_machine_and_private_networks_are_at_home() {
        for address in [
            "http://127.0.0.1:11434/v1",
            "http://localhost:8000",
            "http://192.168.1.7/v1",
            "http://[::1]:8080/v1",
            "http://gpu.local:8000/v1",
        ] {
            assert!(is_at_home(address), "{address}");
        }
        for address in ["https://api.openai.com/v1", "https://8.8.8.8/v1", "https://localhost.example.com"] {
            assert!(!is_at_home(address), "{address}");
        }
    }

    #[test]
    fn the_port_of_an_address_is_stated_or_that_of_its_scheme() {
        let places = ["http://127.0.0.1:11434/v1", "https://api.openai.com/v1", "http://gpu"].map(host_and_port);
        assert_eq!(places, ["127.0.0.1:11434", "api.openai.com:443", "gpu:80"]);
    }
}
