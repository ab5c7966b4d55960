//! The requests and answers of `OpenAI`'s APIs, as agents take and give them. Nothing here sends or receives anything: a
//! server parses bodies into these types, runs an agent, and writes its outcome with them.
//!
//! | to do this | use |
//! |---|---|
//! | read a chat completion | [`ChatBody`], [`ChatConversation`] |
//! | write a chat completion, or a chunk of a streamed one | [`ChatCompletion`], [`ChatChunk`] |
//! | read a request for a response | [`ResponseBody`], [`ResponseInput`] |
//! | let clients bring tools along | [`ClientTools`], [`FunctionCall`] |
//! | write a response | [`ResponseObject`], [`OutputItem`] |
//! | write a streamed response | [`ResponseWriter`] |
//!
//! What is read may have more fields than `OpenAI` documents, or other spellings of numbers, because clients write them. A
//! field that would change the answer and is not supported is refused by its name, in a [`FieldError`].
//!
//! ```
//! use brigade_core::Settings;
//! use brigade_openai::{ResponseBody, ResponseInput};
//!
//! let body: ResponseBody = serde_json::from_str(r#"{"model": "desk", "input": "Is Kafka faster than SQS?"}"#)?;
//! body.refuse_unsupported(false)?;
//! let settings = body.settings(&Settings::default())?;
//! let ResponseInput { messages, .. } = body.input(&|_| None)?;
//! assert_eq!((messages.len(), settings), (1, Settings::default()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chat;
mod client;
mod responses;
mod shared;

pub use chat::chat_body::ChatBody;
pub use chat::chat_messages::ChatConversation;
pub use chat::chat_usage::ChatUsage;
pub use chat::completion::{ChatChunk, ChatCompletion, ChatHead, ChunkChoice};
pub use client::client_calls::ClientCalls;
pub use client::shown_text::{ShownText, TextPiece, TextPosition};
pub use responses::body::ResponseBody;
pub use responses::input::ResponseInput;
pub use responses::input_items::{InputItemList, InputItemParams};
pub use responses::object::{ResponseFailure, ResponseObject, ResponseStatus, missing_rest};
pub use responses::output::{ItemStatus, OutputItem, OutputPart};
pub use responses::writer::{NumberedResponseEvent, ResponseEvent, ResponseFrame, ResponseWriter};
pub use shared::brigade_details::BrigadeDetails;
pub use shared::client_tools::{ClientTools, FunctionCall};
pub use shared::error_code::ErrorCode;
pub use shared::field_error::FieldError;
