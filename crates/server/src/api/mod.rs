//! The HTTP API: OpenAI-compatible chat completions, Brigade's own runs, metrics and health.

mod accepts_runs;
pub(crate) mod access;
pub(crate) mod api;
mod approvals;
mod budgets;
mod chat;
mod chat_stream;
mod durable_runs;
mod error;
mod error_code;
mod events;
mod head;
mod idempotent;
mod ignored_tools;
mod json_body;
pub(crate) mod mcp;
mod metrics;
mod models;
mod openai;
mod openapi;
mod path;
pub(crate) mod request_ids;
mod request_rate;
mod response_request;
mod response_stream;
mod responses;
mod resume;
mod routes;
mod run_view;
mod runs;
mod scoped;
pub(crate) mod served_setup;
pub(crate) mod start;
mod usage;

pub(crate) use error::ApiError;
