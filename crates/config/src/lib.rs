//! Brigade's configuration: one TOML file, overridden by environment variables.
//!
//! It is checked completely when it is read: unknown keys, references between sections, and secrets. Each problem is
//! reported with its location and, for a typo, with a suggestion.
//!
//! | to do this | use |
//! |---|---|
//! | read a file, or text | [`LoadedConfig`]; its [`Config`] has the sections |
//! | say where each value was set | [`LoadedConfig::origins`] |
//! | print the JSON Schema for editors | [`LoadedConfig::schema`] |
//! | warn about unlimited cost and missing fallbacks | [`lint()`] |
//! | bound the cost of one run | [`WorstCase`] |
//!
//! `brigade-server` builds agents from it: `ConfiguredApi::start(&loaded)`.
//!
//! ```
//! use brigade_config::LoadedConfig;
//!
//! let text = "[providers.openai]\n[models.mini]\nprovider = \"openai\"\nmodle = \"gpt-5-mini\"\n";
//! let error = LoadedConfig::parse("brigade.toml".as_ref(), text, []).unwrap_err();
//! assert!(error.to_string().starts_with("brigade.toml:4:1: unknown key `modle`; did you mean `model`?"));
//! ```

mod agent;
mod approvals;
mod base_url;
mod budget;
mod config;
mod environment;
mod keys;
mod lint;
mod load;
mod load_error;
mod mcp;
mod model;
mod problem;
mod provider;
mod recall;
mod reference;
mod references;
mod secret_reader;
mod secrets;
mod server;
mod short_forms;
mod sources;
mod tool;
mod units;
mod unused;
mod worst_case;

pub use agent::{AgentConfig, CallerInstructions, ClientToolsConfig, FailurePolicy, OnExhaustedConfig, WorkerConfig};
pub use approvals::{ApprovalsConfig, ApproveConfig, InDoubtConfig};
pub use budget::BudgetConfig;
pub use config::Config;
pub use environment::environment;
pub use keys::{KeyConfig, KeyHash, KeyScope, LOCAL_CALLER, ParseKeyHashError, key_name_problem};
pub use lint::{Lint, lint};
pub use load::{ConfigValue, LoadedConfig};
pub use load_error::LoadConfigError;
pub use mcp::McpConfig;
pub use model::{ModelConfig, UnpricedConfig};
pub use problem::ConfigError;
pub use provider::{ProviderConfig, ProviderKind};
pub use recall::{AgentRecallConfig, EmbeddingConfig, NoteOwner, NoteTool, RecallConfig, Retention};
pub use reference::{SecretOrText, SecretSource, TextSource};
pub use references::ANY_ORIGIN_WITHOUT_KEYS;
pub use secret_reader::Secrets;
pub use server::{LogConfig, ServerConfig};
pub use tool::{CommandConfig, HttpConfig, HttpMethod, ToolConfig, ToolKind};
pub use units::ByteSize;
pub use worst_case::WorstCase;

use config::{NAME_RULE, Name, is_plain_name};
use problem::Problem;

#[cfg(test)]
mod tests;
