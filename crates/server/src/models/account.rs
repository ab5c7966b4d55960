//! Opens accounts at model providers.

use std::{error::Error, sync::Arc};

use brigade_config::{ProviderConfig, ProviderKind, SecretSource, Secrets};
use brigade_core::{ChatModel, ModelError, Settings};
use brigade_providers::{Anthropic, Client, ClientBuilder, OpenAi, OpenAiEmbeddings, OpenAiResponses, Probe, Protocol};

use super::simulator::SharedSimulator;
use crate::setup::error::{SetupContext as _, SetupError};

/// An account at a model provider. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    OpenAi(OpenAi),
    OpenAiResponses(OpenAiResponses),
    Anthropic(Anthropic),
}

impl Account {
    /// Opens an account. Errors name it.
    pub(crate) fn open(
        name: &str,
        config: &ProviderConfig,
        secrets: &Secrets<'_>,
        simulator: &SharedSimulator,
    ) -> Result<Self, SetupError> {
        let kind = config.kind(name).map_err(SetupError::Invalid)?;
        let settings = AccountSettings { name, config, kind, secrets };
        let account = match kind {
            ProviderKind::Anthropic => settings.apply(Anthropic::builder()).map(Self::Anthropic),
            ProviderKind::OpenAiResponses => settings.apply(OpenAiResponses::builder()).map(Self::OpenAiResponses),
            ProviderKind::Server(server) => settings.apply(OpenAi::server(server)).map(Self::OpenAi),
            ProviderKind::Simulator => {
                tracing::warn!("the provider `{name}` is a simulator; its answers are made up");
                let base_url = format!("{}/v1", simulator.base_url()?);
                settings.apply(OpenAi::compatible(name, base_url)).map(Self::OpenAi)
            }
            ProviderKind::Compatible => {
                let base_url = config.base_url.as_deref().unwrap_or_default();
                settings.apply(OpenAi::compatible(name, base_url)).map(Self::OpenAi)
            }
        };
        account.context(format!("the provider `{name}`"))
    }

    pub(crate) fn model(&self, name: &str, settings: Settings) -> Arc<dyn ChatModel> {
        match self {
            Self::OpenAi(client) => Arc::new(client.model(name).settings(settings)),
            Self::OpenAiResponses(client) => Arc::new(client.model(name).settings(settings)),
            Self::Anthropic(client) => Arc::new(client.model(name).settings(settings)),
        }
    }

    /// An embedding model, if the provider's protocol has them.
    pub(crate) fn embeddings(&self, model: &str) -> Option<OpenAiEmbeddings> {
        match self {
            Self::OpenAi(client) => Some(client.embeddings(model)),
            Self::OpenAiResponses(_) | Self::Anthropic(_) => None,
        }
    }

    /// Asks for the list of models, which costs nothing, to check the address and the key. Has no timeout.
    pub(crate) async fn probe(&self) -> Result<Probe, ModelError> {
        match self {
            Self::OpenAi(client) => client.probe().await,
            Self::OpenAiResponses(client) => client.probe().await,
            Self::Anthropic(client) => client.probe().await,
        }
    }
}

struct AccountSettings<'a> {
    name: &'a str,
    config: &'a ProviderConfig,
    kind: ProviderKind,
    secrets: &'a Secrets<'a>,
}

impl AccountSettings<'_> {
    fn apply<P: Protocol>(&self, builder: ClientBuilder<P>) -> Result<Client<P>, Box<dyn Error + Send + Sync>> {
        let config = self.config;
        let mut builder =
            builder.name(self.name).propagate_trace(config.propagate_trace).agent_header(config.agent_header);
        if let Some(url) = &config.base_url {
            builder = builder.base_url(url.clone());
        }
        if let Some(http2) = config.http2 {
            builder = builder.http2(http2);
        }
        if let Some(requests) = config.max_in_flight {
            builder = builder.max_in_flight(requests);
        }
        for (header, value) in &config.headers {
            let value = self.secrets.text(value, &self.place(), &format!("the header `{header}`: "));
            builder = builder.secret_header(header.clone(), value);
        }
        if let Some(key) = self.key() {
            builder = builder.api_key(key);
        }
        Ok(builder.build()?)
    }

    /// The API key. An account with its own `base_url` may have none.
    fn key(&self) -> Option<String> {
        if let Some(source) = &self.config.api_key {
            return Some(self.secrets.secret(source.as_ref(), &self.place(), "`api_key`: "));
        }
        match self.kind.key_variable() {
            // The vendor's key must only be sent to the vendor's address.
            Some(variable) if self.config.base_url.is_none() => {
                let source = SecretSource::Env(variable.to_owned());
                Some(self.secrets.secret(&source, &self.place(), "`api_key` is not set, and "))
            }
            _ => None,
        }
    }

    fn place(&self) -> String {
        format!("the provider `{}`", self.name)
    }
}
