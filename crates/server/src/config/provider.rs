//! Accounts at model providers.

use std::{collections::BTreeMap, str::FromStr};

use brigade_providers::Server as KnownServer;
use brigade_resilience::Charging;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Name, Secret};

/// An account at a model provider.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Provider {
    /// What it speaks: "openai", "`openai_responses`", "anthropic", the name of a server that speaks `OpenAI`'s protocol
    /// ("ollama", "vllm", "openrouter", "groq", …), "compatible" for any other, or "simulator", which is none and comes
    /// with this program. The account's name, if absent.
    #[schemars(with = "Option<String>")]
    pub(crate) kind: Option<Name>,
    /// Where its endpoints begin; the vendor's own address, if absent.
    pub(crate) base_url: Option<String>,
    /// Where the key is kept; the variable that the vendor's own tools read, if absent.
    #[schemars(with = "Option<Secret>")]
    pub(crate) api_key: Option<toml::Spanned<Secret>>,
    /// Further headers of each request. They are no place for secrets.
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether HTTP/2 may be used.
    pub(crate) http2: Option<bool>,
    /// Sends `traceparent`, for a gateway of your own that continues traces.
    pub(crate) propagate_trace: bool,
    /// Sends the agent's path as `x-brigade-agent`, for a gateway of your own, or the simulator.
    pub(crate) agent_header: bool,
}

/// What an account speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Anthropic,
    OpenAiResponses,
    Server(KnownServer),
    Compatible,
    Simulator,
}

impl Provider {
    /// What it speaks: what it says, or else what its name says.
    pub(crate) fn kind(&self, name: &str) -> Result<Kind, String> {
        self.kind.as_ref().map_or(name, |kind| kind.as_ref()).parse()
    }
}

impl Kind {
    /// All names there are.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        ["anthropic", "openai_responses", "compatible", "simulator"]
            .into_iter()
            .chain(KnownServer::ALL.map(KnownServer::name))
    }

    /// The variable in which the vendor's own tools look for the key.
    pub(crate) const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::OpenAiResponses => Some("OPENAI_API_KEY"),
            Self::Server(server) => server.key_variable(),
            Self::Compatible | Self::Simulator => None,
        }
    }

    /// How its tokens count against limits, as far as the vendor says.
    pub(crate) const fn charging(self) -> Option<Charging> {
        match self {
            Self::Anthropic => Some(Charging::Anthropic),
            Self::OpenAiResponses | Self::Server(KnownServer::OpenAi | KnownServer::Azure) => Some(Charging::OpenAi),
            Self::Server(_) | Self::Compatible | Self::Simulator => None,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "anthropic" => Ok(Self::Anthropic),
            "openai_responses" => Ok(Self::OpenAiResponses),
            "compatible" => Ok(Self::Compatible),
            "simulator" => Ok(Self::Simulator),
            other => other.parse().map(Self::Server).map_err(|_| format!("there is no kind of provider `{other}`")),
        }
    }
}
