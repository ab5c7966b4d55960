//! `[tools.NAME]` sections: tools without code.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use brigade_core::Effect;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{
    ApproveConfig, InDoubtConfig, SecretOrText, SecretSource,
    units::{self, ByteSize},
};

/// A tool for agents. Set either `http` or `command`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ToolConfig {
    /// What the tool does and when to use it. The model sees this.
    pub description: String,
    /// The JSON Schema of the arguments, which must be an object. No arguments by default.
    #[serde(default = "no_arguments")]
    pub input: Map<String, Value>,
    /// Whether a call may be repeated: "repeatable", "keyed" (with an idempotency key) or "once".
    #[serde(default)]
    #[schemars(with = "String")]
    pub effect: Effect,
    /// Which calls wait until a person approves them: "never" (the default), "always", or `{ when = SCHEMA }` for calls whose
    /// arguments match a JSON Schema. A server needs a `store` for this.
    #[serde(default)]
    pub approve: ApproveConfig,
    /// What is done with a call that may have had its effect before a crash, if `effect` is "once": "ask" (the default) waits
    /// until a person decides, "fail" ends the run, and `"tell_model"` lets the model read that it is not known. The call is
    /// never repeated by itself.
    #[serde(default)]
    pub in_doubt: InDoubtConfig,
    /// The maximum duration of one call. 30 s by default.
    #[serde(default, deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// The maximum size of the output; the rest is cut off. 64 KiB by default: more would fill the context of most
    /// models.
    #[serde(default = "default_output", deserialize_with = "units::size")]
    pub max_output: ByteSize,
    /// Sends an HTTP request.
    pub http: Option<HttpConfig>,
    /// Runs a program on this machine. Needs `server.commands = true`.
    pub command: Option<CommandConfig>,
    /// Reserved for MCP servers; setting it is an error that says what to use instead.
    #[serde(default, rename = "mcp")]
    #[schemars(skip)]
    _mcp: Option<Unsupported>,
}

/// What a tool does.
#[derive(Debug, Clone, Copy)]
pub enum ToolKind<'c> {
    /// Sends an HTTP request.
    Http(&'c HttpConfig),
    /// Runs a program.
    Command(&'c CommandConfig),
}

/// A key that is known but not supported; reading it fails.
#[derive(Debug, Clone)]
enum Unsupported {}

impl ToolConfig {
    /// What the tool does, if exactly one of `http` and `command` is set.
    pub fn kind(&self) -> Option<ToolKind<'_>> {
        match (&self.http, &self.command) {
            (Some(http), None) => Some(ToolKind::Http(http)),
            (None, Some(command)) => Some(ToolKind::Command(command)),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(
            "an MCP server has a section of its own; write `[mcp.NAME]`, and `NAME__TOOL` in the `tools` of an agent",
        ))
    }
}

/// An HTTP request. Arguments that are not in the URL are sent as a JSON body, unless the method is GET.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The method. "GET" by default.
    #[serde(default)]
    pub method: HttpMethod,
    /// The URL. `{name}` is replaced by the argument of that name; it is not allowed in the host.
    pub url: String,
    /// Headers without secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Headers with secrets.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, SecretSource>,
    /// Allows addresses of this machine and of private networks. Metadata services of clouds are always refused.
    #[serde(default)]
    pub allow_private: bool,
    /// Sends the trace as a `traceparent` header, for your own server.
    #[serde(default)]
    pub propagate_trace: bool,
}

/// An HTTP method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names of the methods say it all")]
pub enum HttpMethod {
    #[default]
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A program. It runs without a shell and with an empty environment, and reads its arguments as JSON from standard
/// input.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommandConfig {
    /// The program and its arguments. `{name}` is replaced by the argument of that name.
    pub argv: Vec<String>,
    /// The working directory. The folder of the configuration by default.
    pub folder: Option<PathBuf>,
    /// Environment variables. Write a secret as `{ env = "NAME" }` or `{ file = "PATH" }`.
    #[serde(default)]
    pub environment: BTreeMap<String, SecretOrText>,
}

fn no_arguments() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), "object".into()), ("properties".to_owned(), Map::new().into())])
}

const fn default_output() -> ByteSize {
    ByteSize { bytes: 64 << 10 }
}
