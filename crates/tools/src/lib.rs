//! Ready tools for Brigade agents.
//!
//! | tool | what it does |
//! |---|---|
//! | [`HttpTool`] | sends a request to one configured address and returns the body; an [`EgressGuard`] keeps the model away from private networks |
//! | [`CommandTool`] | runs one configured program without a shell and returns its output |
//!
//! [`Webhook`] sends signed messages of a program through the same guard.
//!
//! Both tools implement [`Tool`](brigade_core::Tool), so an agent takes them as they are. The model fills in arguments; it
//! never chooses the host, the program or the environment. Arguments are written into a [`Template`].
//!
//! ```
//! use brigade_core::{RawJson, ToolSpec};
//! use brigade_tools::HttpTool;
//!
//! let schema = r#"{
//!     "type": "object",
//!     "properties": { "id": { "type": "integer" } },
//!     "required": ["id"]
//! }"#;
//! let spec = ToolSpec::new("get_user", "Returns a user by id.", RawJson::parse(schema.to_owned())?);
//! let tool = HttpTool::builder(spec, "https://api.example.com/users/{id}")
//!     .secret_header("authorization", "Bearer …")
//!     .max_output(16 << 10)
//!     .build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program depends on `brigade-core` too, for [`ToolSpec`](brigade_core::ToolSpec). A schema can also be generated from a
//! type, with [`Schema::generate`](brigade_core::Schema::generate) and `schemars` 1. Calling a tool without an agent takes
//! a `serde_json::Value` (`serde_json` 1).

mod command;
mod egress;
mod error;
mod http;
mod key;
mod output;
mod redirect;
mod template;
mod webhook;

pub use command::{CommandTool, CommandToolBuilder};
pub use egress::{EgressDenied, EgressGuard};
pub use error::BuildToolError;
pub use http::{HttpTool, HttpToolBuilder};
pub use reqwest::{Method, Url};
pub use template::Template;
pub use webhook::{Webhook, WebhookSender};
