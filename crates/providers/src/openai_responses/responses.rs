//! OpenAI Responses, used without state at the provider.
//!
//! Follows <https://platform.openai.com/docs/api-reference/responses>. What differs from other protocols, and how it is
//! met:
//!
//! - The conversation is a list of items. An answer's items are kept as they came and sent back in order: messages with
//!   their phase and annotations, reasoning with its encrypted content, and whatever hosted tools left behind.
//! - Nothing is stored at the provider (`store: false`), so reasoning is asked for and sent back in encrypted form. A
//!   reasoning item that has no content of its own, or that nothing follows, would be refused and is left out; the
//!   items it led to then go without their ids, which name it.
//! - With `previous_response_id` or `conversation` in [`Settings::extra`] the provider keeps the conversation: only what
//!   came after the last answer is sent.
//! - There are no stop sequences and no seed here; both are left out. Whether a tool failed has no field: the text
//!   says it. A limit below 16 tokens is raised to 16, the least that the API accepts.
//!
//! [`Settings::extra`]: brigade_core::Settings::extra

use std::borrow::Cow;

use brigade_core::ModelError;
use http::{HeaderMap, HeaderName};

use super::{decode::ResponsesDecoder, encode};
use crate::{
    client::{
        builder::{AccountError, ClientBuilder},
        client::{Client, Model},
    },
    protocol::protocol::{ModelRequest, Protocol},
};

/// The name of this wire format in [`brigade_core::Dialect`] and [`brigade_core::ProviderData`].
pub(super) const DIALECT: &str = "openai-responses";

/// An account at OpenAI or at a compatible server, asked through Responses.
pub type OpenAiResponses = Client<Responses>;

/// A model of such an account.
pub type OpenAiResponsesModel = Model<Responses>;

/// The protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responses {
    reasoning_summary: Option<Cow<'static, str>>,
}

impl OpenAiResponses {
    /// The account whose key is in `OPENAI_API_KEY`, at `OPENAI_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        Self::builder().build_from_env("OPENAI_API_KEY", "OPENAI_BASE_URL")
    }

    /// Sets an account up, called `openai` and at OpenAI's own address unless told otherwise.
    pub fn builder() -> ClientBuilder<Responses> {
        ClientBuilder::new(Responses::default(), "openai", "https://api.openai.com/v1")
    }
}

impl ClientBuilder<Responses> {
    /// Asks for readable summaries of the reasoning: `auto`, `concise` or `detailed`. Off unless asked for, as OpenAI
    /// gives them to verified organisations only.
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

    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        Ok(encode::body(request, self.reasoning_summary.as_deref()))
    }

    fn headers(&self, _request: &ModelRequest<'_>, _headers: &mut HeaderMap) {}

    fn decoder(&self) -> Self::Decoder {
        ResponsesDecoder::default()
    }
}
