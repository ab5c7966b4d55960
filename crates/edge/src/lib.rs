//! What an axum service needs at its border with the internet. It knows nothing of agents.
//!
//! | to do this | use |
//! |---|---|
//! | accept connections, with limits on their number and on slow clients | [`serve`], [`serve_with_limits`] |
//! | keep the connections of known clients when others flood the service | [`Connection`] |
//! | answer `/livez` and `/readyz` | [`Health`] |
//! | refuse large heads, and large or slow bodies | [`check_head`], [`read_body`] |
//! | refuse requests that a web page sends by DNS rebinding | [`is_sent_to_loopback`] |
//! | let web pages of other origins send requests | [`cors_layer`], [`Origin`] |
//! | answer paths such as `//v1/models/` | [`ignore_extra_slashes`] |
//! | say what is wrong with a value in JSON or TOML | [`reword`], [`suggestion`] |
//! | read fields of a JSON body that clients write in several forms, and describe a body in OpenAPI | [`Object`], [`TextOr`], [`whole`], [`ApiSchemas`] |
//! | limit the work of the process, fairly between its owners | [`Admission`] |
//! | stop on SIGTERM, reload on SIGHUP | [`stop_signal`], [`HangupSignal`] |
//!
//! Each part works alone, and all of them together are a service:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use brigade_edge::{CheckResult, ConnectionLimits, Health, HealthCheck, async_trait, serve_with_limits};
//! use tokio::{
//!     io::{AsyncReadExt, AsyncWriteExt},
//!     net::{TcpListener, TcpStream},
//!     sync::watch,
//! };
//!
//! #[derive(Debug)]
//! struct Database;
//!
//! #[async_trait]
//! impl HealthCheck for Database {
//!     async fn check(&self) -> Vec<CheckResult> {
//!         vec![CheckResult::passed("database")]
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let app = Router::new().route("/", get(|| async { "Hello." })).merge(Health::new().check(Database).router());
//! let mut limits = ConnectionLimits::default();
//! limits.write_timeout = Duration::from_secs(10);
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let (stop, stopped) = watch::channel(false);
//! let client = async move {
//!     let mut client = TcpStream::connect(address).await?;
//!     client.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer).await?;
//!     assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"));
//!     // A program calls `stop_signal().await` before this.
//!     stop.send_replace(true);
//!     std::io::Result::Ok(())
//! };
//! let ((), result) = tokio::join!(serve_with_limits(limits, listener, app, stopped), client);
//! # result
//! # }
//! ```
//!
//! A program depends on `axum` 0.8 too, and on `tokio` 1 with the features `macros`, `net` and `rt-multi-thread`.

mod admission;
mod api_schemas;
mod body;
mod client_stream;
mod connections;
mod cors;
mod head;
mod health;
mod host;
mod json_types;
mod listen;
mod origin;
mod parser_message;
mod path;
mod request_error;
mod signals;

pub use admission::{Admission, AdmissionError, Place};
pub use api_schemas::ApiSchemas;
pub use async_trait::async_trait;
pub use body::read_body;
pub use connections::{Connection, ConnectionLimits};
pub use cors::cors_layer;
pub use head::check_head;
pub use health::{CheckResult, Health, HealthCheck, Readiness};
pub use host::is_sent_to_loopback;
pub use json_types::{Object, TextOr, whole};
pub use listen::{serve, serve_with_limits};
pub use origin::{Origin, ParseOriginError};
pub use parser_message::{reword, suggestion};
pub use path::{ignore_extra_slashes, without_extra_slashes};
pub use request_error::RequestError;
pub use signals::{HangupSignal, stop_signal};
