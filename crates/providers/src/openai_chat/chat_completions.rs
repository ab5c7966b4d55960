//! The protocol and its client.

use std::borrow::Cow;

use brigade_core::{ModelError, ProviderData, Settings};
use http::HeaderName;

use super::{
    decode::ChatDecoder,
    encode, message,
    server::{Quirks, Server},
};
use crate::{
    client::{
        builder::{AccountError, Auth, ClientBuilder},
        client::{Client, Model},
    },
    protocol::{
        known_models,
        parameters::SettingLimits,
        protocol::{ModelRequest, Protocol},
    },
};

/// The name of this protocol in [`brigade_core::Dialect`] and [`brigade_core::ProviderData`].
pub(super) const DIALECT: &str = "openai-chat";

/// An account at OpenAI or at a compatible server, used through Chat Completions.
pub type OpenAi = Client<ChatCompletions>;

/// A model of an [`OpenAi`] account.
pub type OpenAiChatModel = Model<ChatCompletions>;

/// OpenAI's Chat Completions API, and its variants at other servers.
///
/// Requests differ between servers as [`Quirks`] describes. Responses are read in the same tolerant way from all of them.
///
/// - A server gets back an assistant's text, refusal and tool calls, and reasoning only in fields that the server itself
///   sends and accepts ([`Quirks::echo`]). It never gets another protocol's reasoning or opaque items.
/// - Tool results are text, so images in them follow in a user message. A failed tool is not marked as such.
///
/// <https://platform.openai.com/docs/api-reference/chat>
#[derive(Debug, Clone, Copy)]
pub struct ChatCompletions {
    pub(super) quirks: Quirks,
    /// [`Quirks::variant`], computed once.
    pub(super) variant: u64,
}

impl OpenAi {
    /// An account with the key from `OPENAI_API_KEY`, and the base URL from `OPENAI_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        Self::builder().build_from_env("OPENAI_API_KEY", "OPENAI_BASE_URL")
    }

    /// Configures an account at OpenAI.
    pub fn builder() -> ClientBuilder<ChatCompletions> {
        Self::server(Server::OpenAi)
    }

    /// Configures an account at a known server, with its usual base URL and quirks, but without a key.
    pub fn server(server: Server) -> ClientBuilder<ChatCompletions> {
        let protocol = ChatCompletions::new(server.quirks());
        let mut builder = ClientBuilder::new(protocol, server.name(), server.base_url());
        if server == Server::Azure {
            builder.auth = Auth::Header("api-key");
            builder.usual_path = "/openai/v1";
        }
        builder
    }

    /// Configures an account at any other server.
    pub fn compatible(name: impl Into<String>, base_url: impl Into<String>) -> ClientBuilder<ChatCompletions> {
        let mut builder = Self::builder().quirks(Quirks::COMPATIBLE).name(name).base_url(base_url);
        builder.usual_path = "";
        builder
    }
}

impl ClientBuilder<ChatCompletions> {
    /// Sets how requests to this server differ from those to others.
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.protocol = ChatCompletions::new(quirks);
        self
    }
}

impl ChatCompletions {
    fn new(quirks: Quirks) -> Self {
        Self { quirks, variant: quirks.variant() }
    }
}

impl Default for ChatCompletions {
    fn default() -> Self {
        Self::new(Quirks::default())
    }
}

impl Protocol for ChatCompletions {
    type Decoder = ChatDecoder;

    const CLIENT_REQUEST_ID: Option<HeaderName> = Some(HeaderName::from_static("x-client-request-id"));

    fn path(&self, _model: &str) -> Cow<'static, str> {
        "chat/completions".into()
    }

    fn probe_path(&self) -> Cow<'static, str> {
        "models".into()
    }

    fn answer_tokens(&self, _model: &str) -> Option<u32> {
        None
    }

    fn refused(&self, model: &str, settings: &Settings) -> Vec<&'static str> {
        let mut refused = self.quirks.refuses.to_vec();
        refused.extend(known_models::refused(model, settings));
        // OpenAI keeps labels only with the answers that it stores.
        let is_stored = settings.extra.get("store").is_some_and(|store| store.get() == "true");
        if self.quirks.metadata_needs_store && !is_stored {
            refused.push("metadata");
        }
        refused
    }

    fn limits(&self) -> SettingLimits {
        let Quirks { max_temperature, max_stop_sequences, .. } = self.quirks;
        SettingLimits { temperature: max_temperature, stop_sequences: max_stop_sequences }
    }

    fn is_private(&self, data: &ProviderData) -> bool {
        message::is_private(data)
    }

    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        encode::body(request, self)
    }

    fn decoder(&self) -> ChatDecoder {
        ChatDecoder::default()
    }
}
