//! Clients for model providers, behind core's [`ChatModel`](brigade_core::ChatModel).
//!
//! Three wire protocols, each in a folder of the same shape: [`openai_chat`] (Chat Completions and the many servers
//! that speak it), [`openai_responses`] and [`anthropic`]. A protocol only says how a question becomes bytes and how bytes
//! become an answer; [`Client`] and [`Model`] are the same for all.
//!
//! | file | what it holds |
//! |---|---|
//! | `account`, `client` | an account and its connections; [`Client`], [`Model`] and their `ChatModel` |
//! | `http` | sends one request and reads the response |
//! | `reader`, `sse` | whatever comes back, cut into events and given to the protocol's assembly |
//! | `head`, `limits` | what the head of a response says, of rate limits above all; the same for all |
//! | `error` | what an error means; the same for all |
//! | `embeddings` | what texts mean, for [`Embedder`](brigade_core::Embedder) |
//! | `openai_chat`, `openai_responses`, `anthropic` | `wire` (what is read), `encode`, `decode` |
//!
//! Clients never retry, never sleep and never time out beyond connecting: that is for the wrappers around them. They
//! never log a body. Whatever departs from the documented form and can be read all the same is read, and counted as
//! [`Event::WireQuirk`](brigade_core::Event::WireQuirk).
//!
//! ```
//! use std::sync::Arc;
//!
//! use brigade_core::{ChatModel, ChatRequest, Delta, Event, Message, Observer, Reasoning, Run};
//! use brigade_providers::{Anthropic, OpenAi, Server};
//! use brigade_rehearsal::Simulator;
//!
//! /// Prints an answer while it arrives.
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
//! // A simulated provider, so that this example runs without a key. With one, `OpenAi::from_env()` is all it takes.
//! let provider = Simulator::builder().build().serve_locally().await?;
//! let openai = OpenAi::builder().base_url(format!("{}/v1", provider.base_url())).api_key("sk-…").build()?;
//! let anthropic = Anthropic::builder().base_url(provider.base_url()).api_key("sk-ant-…").build()?;
//! assert!(openai.probe().await.is_ok());
//!
//! // A model carries settings for all of its requests; a request may say otherwise.
//! let mini = openai.model("gpt-5-mini").max_output_tokens(500);
//! let claude = anthropic.model("claude-sonnet-4-5").reasoning(Reasoning::Off);
//!
//! let mut request = ChatRequest::new("Why is the sky blue?");
//! let run = Run::builder().deltas(true).observer(Arc::new(Printer)).build();
//! let reply = mini.chat(&request, &run).await?;
//! println!("\n{:?}, {:?}, from {}", reply.finish_reason, reply.usage, reply.model);
//!
//! // The same conversation goes on at another provider.
//! request.transcript.push(reply.message)?;
//! request.transcript.push(Message::user("And at sunset?"))?;
//! let reply = claude.chat(&request, &run).await?;
//! println!("\n{} tokens in, request {:?}", reply.usage.unwrap_or_default().input_tokens, reply.request_id);
//!
//! // Other servers that speak Chat Completions are named, or given by address.
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
