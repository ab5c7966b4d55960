//! Anthropic Messages.
//!
//! Follows <https://docs.anthropic.com/en/api/messages>. What differs from other protocols, and how it is met:
//!
//! - Instructions stand apart from the conversation. Tool results are user messages; all results of one turn go into
//!   the message right after the calls, before any words of the user.
//! - `max_tokens` is mandatory. Unless set, it leaves [`anthropic_answer_tokens`] for the answer beside the reasoning, within what
//!   the model can do. The model's settings tell, so that budgets reserve what is sent.
//! - Reasoning is asked for by a token budget or by a degree, as the model wants it ([`Reasoning`] of the other form is
//!   translated). It is left out where the API forbids it: when a tool choice is forced, or when the tool calls in
//!   progress came without signed reasoning, as after a change of provider.
//! - Prompts are cached up to marks. With [`PromptCache`] on, these stand on the tools, the instructions and the last
//!   two messages of the user; the marks are spliced in, so that all other bytes are the same from turn to turn.
//! - A schema is enforced where the model can; for older ones it is put in words behind the instructions.
//!
//! [`PromptCache`]: brigade_core::PromptCache
//! [`Reasoning`]: brigade_core::Reasoning

use std::borrow::Cow;

use brigade_core::ModelError;
use http::{HeaderMap, HeaderName};

use super::{decode::MessagesDecoder, encode, model_family::anthropic_answer_tokens};
use crate::{
    client::{
        builder::{AccountError, Auth, ClientBuilder},
        client::{Client, Model},
    },
    protocol::protocol::{ModelRequest, Protocol},
};

/// The name of this wire format in [`brigade_core::Dialect`] and [`brigade_core::ProviderData`].
pub(super) const DIALECT: &str = "anthropic-messages";

/// An account at Anthropic, or at a server that speaks its protocol.
pub type Anthropic = Client<Messages>;

/// A model of such an account.
pub type AnthropicModel = Model<Messages>;

/// The protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages;

impl Anthropic {
    /// The account whose key is in `ANTHROPIC_API_KEY`, at `ANTHROPIC_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        Self::builder().build_from_env("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
    }

    /// Sets an account up, called `anthropic` and at Anthropic's own address unless told otherwise. The base URL is
    /// written as the vendor's own clients want it, without `/v1`. Beta features are asked for with
    /// `.header("anthropic-beta", "…")`.
    pub fn builder() -> ClientBuilder<Messages> {
        let mut builder = ClientBuilder::new(Messages, "anthropic", "https://api.anthropic.com");
        builder.auth = Auth::Header("x-api-key");
        builder.header("anthropic-version", "2023-06-01")
    }
}

impl Protocol for Messages {
    type Decoder = MessagesDecoder;

    const CLIENT_REQUEST_ID: Option<HeaderName> = None;

    fn path(&self, _model: &str) -> Cow<'static, str> {
        "v1/messages".into()
    }

    fn probe_path(&self) -> Cow<'static, str> {
        "v1/models?limit=1".into()
    }

    fn answer_tokens(&self, model: &str) -> Option<u32> {
        Some(anthropic_answer_tokens(model))
    }

    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        Ok(encode::body(request))
    }

    fn headers(&self, _request: &ModelRequest<'_>, _headers: &mut HeaderMap) {}

    fn decoder(&self) -> Self::Decoder {
        MessagesDecoder::default()
    }
}
