//! The protocol and its client.

use std::borrow::Cow;

use brigade_core::{ModelError, ProviderData, Settings};
use http::HeaderName;

use super::{decode::ResponsesDecoder, encode};
use crate::{
    client::{
        builder::{AccountError, ClientBuilder},
        client::{Client, Model},
    },
    protocol::{
        known_models,
        parameters::SettingLimits,
        protocol::{ModelRequest, Protocol},
    },
};

/// The name of this protocol in [`brigade_core::Dialect`] and [`brigade_core::ProviderData`].
pub(super) const DIALECT: &str = "openai-responses";

/// An account at OpenAI or at a compatible server, used through Responses.
pub type OpenAiResponses = Client<Responses>;

/// A model of an [`OpenAiResponses`] account.
pub type OpenAiResponsesModel = Model<Responses>;

/// OpenAI's Responses API, used without state at the provider.
///
/// - The conversation is a list of items. The items of an answer are kept and sent back unchanged and in order: messages
///   with their phase and annotations, reasoning with its encrypted content, and the items of hosted tools.
/// - The provider stores nothing (`store: false`), so reasoning is requested and sent back in encrypted form. A reasoning
///   item without content, or without a following item, would be refused and is left out. The items after it are then
///   sent without their ids, which refer to it.
/// - With `previous_response_id` or `conversation` in [`Settings::extra`] the provider keeps the conversation: only the
///   messages after the last answer are sent.
/// - The API has no stop sequences and no seed; both are left out. It has no field for a failed tool. An answer limit
///   below 16 tokens is raised to 16, the API's minimum.
///
/// <https://platform.openai.com/docs/api-reference/responses>
///
/// [`Settings::extra`]: brigade_core::Settings::extra
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responses {
    reasoning_summary: Option<Cow<'static, str>>,
}

impl OpenAiResponses {
    /// An account with the key from `OPENAI_API_KEY`, and the base URL from `OPENAI_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        Self::builder().build_from_env("OPENAI_API_KEY", "OPENAI_BASE_URL")
    }

    /// Configures an account. Its defaults are the name `openai` and OpenAI's base URL.
    pub fn builder() -> ClientBuilder<Responses> {
        ClientBuilder::new(Responses::default(), "openai", "https://api.openai.com/v1")
    }
}

impl ClientBuilder<Responses> {
    /// Requests readable summaries of the reasoning: `auto`, `concise` or `detailed`. Off by default, because OpenAI gives
    /// them only to verified organizations.
    #[must_use]
    pub fn reasoning_summary(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.protocol.reasoning_summary = Some(detail.into());
        self
    }
}

impl Protocol for Responses {
    type Decoder = ResponsesDecoder;

    const CLIENT_REQUEST_ID: Option<HeaderName> = Some(HeaderName::from_static("x-client-request-id"));

    fn path(&self, _model: &str) -> Cow<'static, str> {
        "responses".into()
    }

    fn probe_path(&self) -> Cow<'static, str> {
        "models".into()
    }

    fn answer_tokens(&self, _model: &str) -> Option<u32> {
        None
    }

    fn refused(&self, model: &str, settings: &Settings) -> Vec<&'static str> {
        let mut refused = vec!["stop", "seed", "frequency_penalty", "presence_penalty", "logprobs", "logit_bias", "n"];
        refused.extend(known_models::refused(model, settings));
        refused
    }

    fn limits(&self) -> SettingLimits {
        SettingLimits { temperature: 2.0, stop_sequences: usize::MAX }
    }

    fn is_private(&self, _data: &ProviderData) -> bool {
        true
    }

    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        Ok(encode::body(request, self.reasoning_summary.as_deref()))
    }

    fn decoder(&self) -> Self::Decoder {
        ResponsesDecoder::default()
    }
}
