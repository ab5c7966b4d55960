//! `[providers.NAME]` sections: accounts at model providers.

use std::{collections::BTreeMap, str::FromStr};

use brigade_core::Settings;
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses, Server as CompatibleServer};
use brigade_resilience::Charging;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Name, SecretOrText, SecretSource, units};

/// An account at a model provider.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The protocol: "openai", "`openai_responses`", "anthropic", the name of a server that is compatible with `OpenAI`
    /// ("ollama", "vllm", "openrouter", "groq", …), "compatible" for any other such server, or "simulator" for the
    /// built-in simulator. The account's name by default.
    #[schemars(with = "Option<String>")]
    pub kind: Option<Name>,
    /// The base URL of the endpoints. The vendor's own by default.
    pub base_url: Option<String>,
    /// Where to read the API key. By default, the environment variable that the vendor's own tools use.
    #[schemars(with = "Option<SecretSource>")]
    pub api_key: Option<toml::Spanned<SecretSource>>,
    /// Additional headers of each request. Write a secret as `{ env = "NAME" }` or `{ file = "PATH" }`.
    pub headers: BTreeMap<String, SecretOrText>,
    /// Uses HTTP/2 if the server supports it.
    pub http2: Option<bool>,
    /// The most requests in flight at once; further ones wait. By default a quarter of the limit of open files
    /// (`ulimit -n`), because each request needs a connection: 256 with the usual limit of 1,024.
    #[serde(deserialize_with = "units::some_positive")]
    pub max_in_flight: Option<usize>,
    /// Sends the trace as a `traceparent` header, for your own gateway. Off by default, because it tells a third party
    /// which requests belong together.
    pub propagate_trace: bool,
    /// Sends the agent's path as an `x-brigade-agent` header, for your own gateway or the simulator.
    pub agent_header: bool,
}

/// The protocol of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Anthropic Messages.
    Anthropic,
    /// `OpenAI` Responses.
    OpenAiResponses,
    /// `OpenAI` Chat Completions, as a known server speaks it.
    Server(CompatibleServer),
    /// `OpenAI` Chat Completions, as any other server speaks it.
    Compatible,
    /// The built-in simulator.
    Simulator,
}

impl ProviderConfig {
    /// The configured kind, or the kind that the account is named after.
    pub fn kind(&self, name: &str) -> Result<ProviderKind, String> {
        self.kind.as_ref().map_or(name, |kind| kind.as_ref()).parse()
    }
}

impl ProviderKind {
    /// The names of all kinds, as the configuration writes them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["anthropic", "openai_responses", "compatible", "simulator"]
            .into_iter()
            .chain(CompatibleServer::ALL.map(CompatibleServer::name))
    }

    /// The environment variable in which the vendor's own tools look for the key.
    pub const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::OpenAiResponses => Some("OPENAI_API_KEY"),
            Self::Server(server) => server.key_variable(),
            Self::Compatible | Self::Simulator => None,
        }
    }

    /// Whether such a server usually runs on a machine of one's own, where tokens cost nothing.
    pub const fn runs_at_home(self) -> bool {
        use CompatibleServer::{LlamaCpp, LmStudio, Ollama, Vllm};
        matches!(self, Self::Server(LlamaCpp | LmStudio | Ollama | Vllm))
    }

    /// How tokens count against rate limits, if the vendor documents it.
    pub const fn charging(self) -> Option<Charging> {
        match self {
            Self::Anthropic => Some(Charging::Anthropic),
            Self::OpenAiResponses | Self::Server(CompatibleServer::OpenAi | CompatibleServer::Azure) => {
                Some(Charging::OpenAi)
            }
            Self::Server(_) | Self::Compatible | Self::Simulator => None,
        }
    }
}

impl ProviderKind {
    /// The names of those of the settings that a model refuses, so that its requests leave them out.
    pub fn refused(self, model: &str, settings: &Settings) -> Vec<&'static str> {
        match self {
            Self::Anthropic => Anthropic::builder().refused(model, settings),
            Self::OpenAiResponses => OpenAiResponses::builder().refused(model, settings),
            Self::Server(server) => OpenAi::server(server).refused(model, settings),
            Self::Compatible | Self::Simulator => OpenAi::compatible("", "").refused(model, settings),
        }
    }

    /// The names of those of the settings that are larger than the server takes, so that its requests have the largest
    /// value.
    pub fn reduced(self, settings: &Settings) -> Vec<&'static str> {
        match self {
            Self::Anthropic => Anthropic::builder().reduced(settings),
            Self::OpenAiResponses => OpenAiResponses::builder().reduced(settings),
            Self::Server(server) => OpenAi::server(server).reduced(settings),
            Self::Compatible | Self::Simulator => OpenAi::compatible("", "").reduced(settings),
        }
    }
}

impl FromStr for ProviderKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "anthropic" => Ok(Self::Anthropic),
            "openai_responses" => Ok(Self::OpenAiResponses),
            "compatible" => Ok(Self::Compatible),
            "simulator" => Ok(Self::Simulator),
            other => other.parse().map(Self::Server).map_err(|_| format!("unknown kind of provider `{other}`")),
        }
    }
}
