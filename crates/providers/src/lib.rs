//! Clients for model providers. They implement core's [`ChatModel`](brigade_core::ChatModel) and
//! [`Embedder`](brigade_core::Embedder).
//!
//! A [`Client`] is an account at a provider, and a [`Model`] is one of its models. Both are generic over the wire
//! [`Protocol`]:
//!
//! | protocol | client | model |
//! |---|---|---|
//! | OpenAI Chat Completions, and the many servers that speak it | [`OpenAi`] | [`OpenAiChatModel`] |
//! | OpenAI Responses | [`OpenAiResponses`] | [`OpenAiResponsesModel`] |
//! | Anthropic Messages | [`Anthropic`] | [`AnthropicModel`] |
//!
//! Clients never retry, never sleep and have no timeout except for connecting: wrappers around them do that. They never
//! log a body. A response that departs from the documented form is read where possible, and the departure is reported
//! as [`Event::WireQuirk`](brigade_core::Event::WireQuirk).
//!
//! # Layout
//!
//! | folder | contents |
//! |---|---|
//! | `json` | lenient reading and direct writing of JSON |
//! | `http` | connections, accounts, response heads, rate limits, errors, server-sent events |
//! | `protocol` | the interface of a wire protocol, the response reader, helpers that several protocols share |
//! | `client` | [`Client`], [`Model`] and [`ClientBuilder`] |
//! | `openai_chat`, `openai_responses`, `anthropic` | a protocol each: `wire` (types of responses), `encode`, `decode` |
//! | `openai_embeddings` | [`OpenAiEmbeddings`] |
//!
//! # Request types
//!
//! Requests to OpenAI's APIs are written with the types of `async-openai`, except where these cannot express a request:
//!
//! | exception | reason |
//! |---|---|
//! | the outermost object | messages and tools are kept as encoded bytes, [`Settings::extra`] may replace any field, and field names, service tiers and the role of instructions differ between servers |
//! | schemas of tools and answers | `async-openai` holds them as a `Value`, which sorts the properties; models fill them in their order |
//! | fields that a server wants back, such as `reasoning_content` | no room for unknown fields; they are flattened beside the type |
//! | instructions in Chat Completions | their role differs between servers |
//! | `content: null` of an assistant's message in Chat Completions | the crate leaves it out, and some servers want it |
//! | `custom` of a custom tool call in Chat Completions | the crate writes it as `custom_tool` |
//! | `reasoning` in Responses | the kind of a summary may be one that the crate does not know |
//! | images in Responses | the crate always writes `detail` |
//! | an assistant's text in Responses | the crate requires an id and a status, which an answer of another provider does not have |
//! | tool results in Responses | their content may be in the provider's own form |
//! | items of Responses that go back | they go back byte for byte |
//! | requests for embeddings | their texts are borrowed; the crate's type would copy them |
//!
//! Responses are read with types of this crate, because those of `async-openai` refuse much of what servers send.
//!
//! [`Settings::extra`]: brigade_core::Settings::extra
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use brigade_core::{ChatModel, ChatRequest, Delta, Event, Message, Observer, Reasoning, Run};
//! use brigade_providers::{Anthropic, OpenAi, Server};
//! use brigade_rehearsal::Simulator;
//!
//! /// Prints an answer as it arrives.
//! #[derive(Debug)]
//! struct Printer;
//!
//! impl Observer for Printer {
//!     fn on_event(&self, _: &Run, event: &Event) {
//!         if let Event::Delta(Delta::Text(text)) = event {
//!             print!("{text}");
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A simulated provider, so that this example runs without a key. With a key, use `OpenAi::from_env()`.
//! let provider = Simulator::builder().build().serve_locally().await?;
//! let openai = OpenAi::builder().base_url(format!("{}/v1", provider.base_url())).api_key("sk-…").build()?;
//! let anthropic = Anthropic::builder().base_url(provider.base_url()).api_key("sk-ant-…").build()?;
//! assert!(openai.probe().await.is_ok());
//!
//! // A model has default settings, which a request can override.
//! let mini = openai.model("gpt-5-mini").max_output_tokens(500);
//! let claude = anthropic.model("claude-sonnet-4-5").reasoning(Reasoning::Off);
//!
//! let mut request = ChatRequest::new("Why is the sky blue?");
//! let run = Run::builder().deltas(true).observer(Arc::new(Printer)).build();
//! let reply = mini.chat(&request, &run).await?;
//! println!("\n{:?}, {:?}, from {}", reply.finish_reason, reply.usage, reply.model);
//!
//! // The same conversation continues at another provider.
//! request.transcript.push(reply.message)?;
//! request.transcript.push(Message::user("And at sunset?"))?;
//! let reply = claude.chat(&request, &run).await?;
//! println!("\n{} tokens in, request {:?}", reply.usage.unwrap_or_default().input_tokens, reply.request_id);
//!
//! // Other servers that speak Chat Completions, by name or by address.
//! let llama = OpenAi::server(Server::Ollama).build()?.model("llama3.3");
//! let own = OpenAi::compatible("gpu-7", "http://10.0.0.7:8000/v1").build()?.model("qwen3-32b");
//! assert_eq!((llama.id().to_string(), own.id().to_string()), ("ollama/llama3.3".into(), "gpu-7/qwen3-32b".into()));
//! # Ok(())
//! # }
//! ```

mod anthropic;
mod client;
mod http;
mod json;
mod openai_chat;
mod openai_embeddings;
mod openai_responses;
mod protocol;
#[cfg(test)]
mod tests;

pub use anthropic::messages::{Anthropic, AnthropicModel, Messages};
pub use anthropic::model_family::anthropic_answer_tokens;
pub use client::builder::{AccountError, ClientBuilder};
pub use client::client::{Client, Model, Probe};
pub use openai_chat::chat_completions::{ChatCompletions, OpenAi, OpenAiChatModel};
pub use openai_chat::server::{CallIds, Quirks, ReasoningField, Server, UnknownServer};
pub use openai_embeddings::embeddings::OpenAiEmbeddings;
pub use openai_responses::responses::{OpenAiResponses, OpenAiResponsesModel, Responses};
pub use protocol::protocol::Protocol;
