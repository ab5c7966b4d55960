//! The three protocols.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The provider protocol of a call. It follows from the path of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireDialect {
    /// `OpenAI` Chat Completions, `POST /v1/chat/completions`.
    #[serde(alias = "openai", alias = "chat")]
    OpenaiChat,
    /// `OpenAI` Responses, `POST /v1/responses`.
    #[serde(alias = "responses")]
    OpenaiResponses,
    /// Anthropic Messages, `POST /v1/messages`.
    #[serde(alias = "anthropic-messages")]
    Anthropic,
}

impl WireDialect {
    /// The path of its requests.
    pub const fn path(self) -> &'static str {
        match self {
            Self::OpenaiChat => "/v1/chat/completions",
            Self::OpenaiResponses => "/v1/responses",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// The dialect of requests to this path, if any.
    pub fn of_path(path: &str) -> Option<Self> {
        [Self::OpenaiChat, Self::OpenaiResponses, Self::Anthropic].into_iter().find(|dialect| dialect.path() == path)
    }
}

impl fmt::Display for WireDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
        })
    }
}
