//! Clients for model providers, behind core's [`ChatModel`](brigade_core::ChatModel).
//!
//! Three wire protocols, each in a folder of four files: [`openai_chat`] (Chat Completions and the many servers that
//! speak it), [`openai_responses`] and [`anthropic`]. A protocol only says how a question becomes bytes and how bytes
//! become an answer; [`Client`] and [`Model`] are the same for all.
//!
//! Clients never retry, never sleep and never time out beyond connecting: that is for the wrappers around them. They
//! never log a body.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use brigade_core::{ChatModel, ChatRequest, Run};
//! use brigade_providers::OpenAi;
//!
//! let mini = OpenAi::from_env()?.model("gpt-5-mini").max_output_tokens(500);
//! let reply = mini.chat(&ChatRequest::new("Why is the sky blue?"), &Run::new()).await?;
//! println!("{}", reply.message.text());
//! # Ok(())
//! # }
//! ```

pub mod anthropic;
mod call;
mod client;
mod digest;
mod effort;
mod error;
mod http;
mod intake;
mod json;
mod limits;
pub mod openai_chat;
pub mod openai_responses;
mod protocol;
mod settings;
mod sse;

pub use anthropic::{Anthropic, AnthropicModel};
pub use client::{AccountError, Client, ClientBuilder, Model, Reachable};
pub use openai_chat::{OpenAi, OpenAiChatModel, Quirks, Server};
pub use openai_responses::{OpenAiResponses, OpenAiResponsesModel};
