//! OpenAI Chat Completions, and the many servers that speak it.
//!
//! Requests differ by server and say so in [`Quirks`]; responses are read in the same tolerant way from all of them.
//! What is read leniently is counted as [`Event::WireQuirk`](brigade_core::Event::WireQuirk).
//!
//! What goes back to a server: an assistant's text, refusal and tool calls always; reasoning only in the fields that the
//! server gives and accepts itself ([`Quirks::echo`]); another protocol's reasoning and opaque items never. Results of
//! tools are text here, so pictures in them follow in a user message. Whether a tool failed has no field: the text says
//! it.
//!
//! <https://platform.openai.com/docs/api-reference/chat>

use std::borrow::Cow;

use brigade_core::ModelError;
use http::{HeaderMap, HeaderName};

use super::{
    decode::ChatDecoder,
    encode,
    server::{Quirks, Server},
};
use crate::{
    client::{
        builder::{AccountError, Auth, ClientBuilder},
        client::{Client, Model},
    },
    protocol::protocol::{ModelRequest, Protocol},
};

/// The name under which this protocol keeps what is its own in a transcript.
pub(super) const DIALECT: &str = "openai-chat";

/// An account at OpenAI or at a compatible server, asked through Chat Completions.
pub type OpenAi = Client<ChatCompletions>;

/// A model of such an account.
pub type OpenAiChatModel = Model<ChatCompletions>;

/// The protocol, as a certain server speaks it.
#[derive(Debug, Clone, Copy)]
pub struct ChatCompletions {
    pub(super) quirks: Quirks,
    /// [`Quirks::variant`], worked out once.
    pub(super) variant: u64,
}

impl OpenAi {
    /// The account whose key is in `OPENAI_API_KEY`, at `OPENAI_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        Self::builder().build_from_env("OPENAI_API_KEY", "OPENAI_BASE_URL")
    }

    /// Sets up an account at OpenAI.
    pub fn builder() -> ClientBuilder<ChatCompletions> {
        Self::server(Server::OpenAi)
    }

    /// Sets up an account at a server known by name, with its usual address and its quirks, but without a key.
    pub fn server(server: Server) -> ClientBuilder<ChatCompletions> {
        let protocol = ChatCompletions::new(server.quirks());
        let mut builder = ClientBuilder::new(protocol, server.name(), server.base_url());
        if server == Server::Azure {
            builder.auth = Auth::Header("api-key");
        }
        builder
    }

    /// Sets up an account at a server that is not known by name.
    pub fn compatible(name: impl Into<String>, base_url: impl Into<String>) -> ClientBuilder<ChatCompletions> {
        Self::builder().quirks(Quirks::COMPATIBLE).name(name).base_url(base_url)
    }
}

impl ClientBuilder<ChatCompletions> {
    /// In what the server departs from the others.
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

    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        encode::body(request, self)
    }

    fn headers(&self, _request: &ModelRequest<'_>, _headers: &mut HeaderMap) {}

    fn decoder(&self) -> ChatDecoder {
        ChatDecoder::default()
    }
}
