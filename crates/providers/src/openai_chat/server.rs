//! The servers that speak Chat Completions, and the differences between their requests.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    str::FromStr,
};

/// A server that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum Server {
    OpenAi,
    Azure,
    Ollama,
    Vllm,
    LlamaCpp,
    LmStudio,
    OpenRouter,
    Groq,
    DeepSeek,
    Together,
    Mistral,
}

/// How requests to a server differ from those to others. Responses are read in the same way from all servers.
///
/// ```
/// use brigade_providers::{OpenAi, Quirks};
///
/// let mut quirks = Quirks::COMPATIBLE;
/// quirks.null_content = false;
/// let server = OpenAi::compatible("lab", "http://127.0.0.1:8000/v1").quirks(quirks);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a difference between servers")]
#[non_exhaustive]
pub struct Quirks {
    /// The field that limits the tokens of an answer.
    pub max_tokens_field: &'static str,
    /// The field of the sampling seed.
    pub seed_field: &'static str,
    /// The role of instructions.
    pub system_role: &'static str,
    /// The `tool_choice` that makes the model call at least one tool.
    pub required_tool_choice: &'static str,
    /// Whether the usage of a stream is requested with `stream_options`.
    pub stream_options: bool,
    /// Whether the server enforces a JSON Schema. Without it the schema is added to the prompt, and the server enforces
    /// JSON only.
    pub json_schema: bool,
    /// Whether a format of the answer may be requested beside tools. Otherwise the schema is added to the prompt while
    /// tools are offered, because the server refuses both together.
    pub format_beside_tools: bool,
    /// Whether users and assistants must alternate, with an assistant's message between tool results and the user.
    pub strict_roles: bool,
    /// Whether an assistant message that only calls tools has `content: null`. Otherwise its content is an empty text.
    pub null_content: bool,
    /// Whether labels are refused unless the answer is stored.
    pub metadata_needs_store: bool,
    /// The settings that the server refuses, for any model.
    pub refuses: &'static [&'static str],
    /// The highest temperature that the server takes. A higher one is reduced to it.
    pub max_temperature: f32,
    /// The most stop sequences that the server takes. Further ones are left out.
    pub max_stop_sequences: usize,
    /// How reasoning is requested.
    pub reasoning: ReasoningField,
    /// The nonstandard fields of an assistant message that are sent back. Strict servers refuse a message with an unknown
    /// field; others lose their reasoning without it.
    pub echo: &'static [&'static str],
    /// Which tool call ids are accepted.
    pub call_ids: CallIds,
}

/// How reasoning is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningField {
    /// `reasoning_effort`, a string.
    Effort,
    /// `reasoning`, an object with an effort or a number of tokens.
    Object,
    /// `thinking`, an object that turns it on or off, beside `reasoning_effort`.
    Thinking,
}

/// Which tool call ids are accepted. Other ids are replaced by a hash, always the same for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallIds {
    /// Any, up to this number of bytes.
    UpTo(usize),
    /// Exactly nine letters and digits.
    NineAlphanumeric,
}

impl Server {
    /// All known servers.
    pub const ALL: [Self; 11] = [
        Self::OpenAi,
        Self::Azure,
        Self::Ollama,
        Self::Vllm,
        Self::LlamaCpp,
        Self::LmStudio,
        Self::OpenRouter,
        Self::Groq,
        Self::DeepSeek,
        Self::Together,
        Self::Mistral,
    ];

    /// The name in configuration files, and the default name of the account.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llamacpp",
            Self::LmStudio => "lmstudio",
            Self::OpenRouter => "openrouter",
            Self::Groq => "groq",
            Self::DeepSeek => "deepseek",
            Self::Together => "together",
            Self::Mistral => "mistral",
        }
    }

    /// The usual base URL. Azure has none: use that of the resource, up to `/openai/v1` or
    /// `/openai/deployments/{deployment}`.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Azure => "",
            Self::Ollama => "http://127.0.0.1:11434/v1",
            Self::Vllm => "http://127.0.0.1:8000/v1",
            Self::LlamaCpp => "http://127.0.0.1:8080/v1",
            Self::LmStudio => "http://127.0.0.1:1234/v1",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
            Self::Groq => "https://api.groq.com/openai/v1",
            Self::DeepSeek => "https://api.deepseek.com",
            Self::Together => "https://api.together.xyz/v1",
            Self::Mistral => "https://api.mistral.ai/v1",
        }
    }

    /// The environment variable from which the vendor's own tools read the key; none for servers on the same machine.
    pub const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("OPENAI_API_KEY"),
            Self::Azure => Some("AZURE_OPENAI_API_KEY"),
            Self::OpenRouter => Some("OPENROUTER_API_KEY"),
            Self::Groq => Some("GROQ_API_KEY"),
            Self::DeepSeek => Some("DEEPSEEK_API_KEY"),
            Self::Together => Some("TOGETHER_API_KEY"),
            Self::Mistral => Some("MISTRAL_API_KEY"),
            Self::Ollama | Self::Vllm | Self::LlamaCpp | Self::LmStudio => None,
        }
    }

    /// How requests to this server differ.
    pub const fn quirks(self) -> Quirks {
        let openai = Quirks {
            max_tokens_field: "max_completion_tokens",
            echo: &[],
            call_ids: CallIds::UpTo(40),
            metadata_needs_store: true,
            // <https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop>
            max_stop_sequences: 4,
            strict_roles: false,
            ..Quirks::COMPATIBLE
        };
        match self {
            Self::OpenAi | Self::Azure => openai,
            Self::Vllm | Self::LlamaCpp | Self::Together => Quirks::COMPATIBLE,
            // They refused null in some versions.
            Self::Ollama | Self::LmStudio => Quirks { null_content: false, ..Quirks::COMPATIBLE },
            Self::OpenRouter => Quirks { reasoning: ReasoningField::Object, ..Quirks::COMPATIBLE },
            // Refuses unknown fields. <https://console.groq.com/docs/openai>
            Self::Groq => Quirks {
                echo: &["reasoning"],
                format_beside_tools: false,
                refuses: &["logit_bias", "logprobs", "metadata", "prompt_cache_key", "top_logprobs"],
                ..openai
            },
            Self::DeepSeek => Quirks {
                json_schema: false,
                // <https://api-docs.deepseek.com/api/create-chat-completion>
                max_stop_sequences: 16,
                reasoning: ReasoningField::Thinking,
                echo: &["reasoning_content"],
                null_content: false,
                ..Quirks::COMPATIBLE
            },
            // Refuses unknown fields with a 422; its reasoning is a part of the content.
            Self::Mistral => Quirks {
                seed_field: "random_seed",
                required_tool_choice: "any",
                stream_options: false,
                echo: &["content"],
                null_content: false,
                refuses: &["logit_bias", "logprobs", "service_tier", "top_logprobs", "user"],
                // <https://docs.mistral.ai/api/#tag/chat>
                max_temperature: 1.5,
                call_ids: CallIds::NineAlphanumeric,
                ..Quirks::COMPATIBLE
            },
        }
    }
}

impl Quirks {
    /// The most widely accepted values, for unknown servers.
    pub const COMPATIBLE: Self = Self {
        max_tokens_field: "max_tokens",
        seed_field: "seed",
        system_role: "system",
        required_tool_choice: "required",
        stream_options: true,
        json_schema: true,
        format_beside_tools: true,
        strict_roles: true,
        null_content: true,
        metadata_needs_store: false,
        refuses: &[],
        max_temperature: 2.0,
        max_stop_sequences: usize::MAX,
        reasoning: ReasoningField::Effort,
        echo: &["reasoning", "reasoning_content", "reasoning_details", "extra_content"],
        call_ids: CallIds::UpTo(64),
    };

    /// A number that differs between quirks that encode messages differently.
    pub(super) fn variant(&self) -> u64 {
        let Self { system_role, echo, call_ids, null_content, .. } = self;
        let mut hasher = DefaultHasher::new();
        (system_role, echo, call_ids, null_content).hash(&mut hasher);
        hasher.finish()
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Server::OpenAi.quirks()
    }
}

/// A name is not that of a known server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a known server; use one of {known}, or any server by its base URL", known = known_names())]
pub struct UnknownServer(String);

impl FromStr for Server {
    type Err = UnknownServer;

    fn from_str(name: &str) -> Result<Self, UnknownServer> {
        Self::ALL.into_iter().find(|server| server.name() == name).ok_or_else(|| UnknownServer(name.to_owned()))
    }
}

fn known_names() -> String {
    Server::ALL.map(Server::name).join(", ")
}
