//! The protocol and its client.

use std::borrow::Cow;

use brigade_core::{ModelError, ProviderData, Settings};
use http::HeaderName;

use super::{
    decode::MessagesDecoder,
    encode,
    model_family::{ModelFamily, anthropic_answer_tokens},
};
use crate::{
    client::{
        builder::{AccountError, Auth, ClientBuilder},
        client::{Client, Model},
    },
    protocol::{
        parameters::SettingLimits,
        protocol::{ModelRequest, Protocol},
    },
};

/// The name of this protocol in [`brigade_core::Dialect`] and [`brigade_core::ProviderData`].
pub(super) const DIALECT: &str = "anthropic-messages";

/// An account at Anthropic, or at a server that speaks its protocol.
pub type Anthropic = Client<Messages>;

/// A model of an [`Anthropic`] account.
pub type AnthropicModel = Model<Messages>;

/// Anthropic's Messages API.
///
/// - Instructions are separate from the conversation. Tool results are user messages; the results of one turn are in one
///   message after the calls, before any text of the user.
/// - `max_tokens` is mandatory. Its default is [`anthropic_answer_tokens`], which [`Settings::answer_tokens`] states, so
///   that budgets reserve the limit that is sent.
/// - Reasoning is requested by a token budget or an effort, whichever the model accepts; [`Reasoning`] of the other form
///   is converted. It is left out where the API refuses it: with a forced tool choice, and when the tool calls in progress
///   have no signed reasoning, for example after a change of provider.
/// - Prompts are cached up to marks. With [`PromptCache`] on, the marks are on the tools, the instructions and the last
///   two user messages. All other bytes stay the same from turn to turn.
/// - A schema is enforced by the API where the model supports it. For older models it is appended to the instructions.
///
/// <https://docs.anthropic.com/en/api/messages>
///
/// [`PromptCache`]: brigade_core::PromptCache
/// [`Reasoning`]: brigade_core::Reasoning
/// [`Settings::answer_tokens`]: brigade_core::Settings::answer_tokens
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages;

impl Anthropic {
    /// An account with the key from `ANTHROPIC_API_KEY`, and the base URL from `ANTHROPIC_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        Self::builder().build_from_env("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
    }

    /// Configures an account. Its defaults are the name `anthropic` and Anthropic's base URL. As in the vendor's own
    /// clients, the base URL does not contain `/v1`. Enable beta features with `.header("anthropic-beta", "…")`.
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

    fn refused(&self, model: &str, settings: &Settings) -> Vec<&'static str> {
        let mut refused =
            vec!["seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias", "n"];
        refused.extend(ModelFamily::of(model).refused(settings));
        refused
    }

    fn limits(&self) -> SettingLimits {
        // <https://docs.anthropic.com/en/api/messages#body-temperature>
        SettingLimits { temperature: 1.0, stop_sequences: usize::MAX }
    }

    fn is_private(&self, _data: &ProviderData) -> bool {
        true
    }

    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        Ok(encode::body(request))
    }

    fn decoder(&self) -> Self::Decoder {
        MessagesDecoder::default()
    }
}
