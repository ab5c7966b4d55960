//! `[mcp.NAME]` sections: servers whose tools agents may call.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use brigade_mcp::{McpLimits, NamePatterns, TOOL_SEPARATOR};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Config, Name, Problem, SecretOrText,
    units::{self, ByteSize},
};

/// A server of the Model Context Protocol. Its tools have the name `server__tool`. Set either `command` or `url`.
///
/// `brigade mcp pin` writes their descriptions to `brigade.lock`. A server that describes its tools in another way loses them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct McpConfig {
    /// The program and its arguments. It speaks over its standard input and output. Needs `server.commands = true`.
    pub command: Option<Vec<String>>,
    /// Environment variables of the program, which has no others; not even `PATH`. Write a secret as `{ env = "NAME" }` or
    /// `{ file = "PATH" }`.
    #[serde(default)]
    pub environment: BTreeMap<String, SecretOrText>,
    /// The working directory of the program. The folder of the configuration by default.
    pub folder: Option<PathBuf>,
    /// The address of a server that speaks streamable HTTP.
    pub url: Option<String>,
    /// Headers for the server. Write a secret as `{ env = "NAME" }` or `{ file = "PATH" }`.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretOrText>,
    /// Allows addresses of this machine and of private networks. Metadata services of clouds are always refused.
    #[serde(default)]
    pub allow_private: bool,
    /// The tools that agents may have, by their names at the server. A `*` stands for any text. No others are offered.
    #[schemars(with = "Vec<String>")]
    pub tools: NamePatterns,
    /// The tools that wait at each call until a person approves it. A server needs a `store` for this.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub approve: NamePatterns,
    /// The tools that may be called again with the same arguments, for example after a crash. All others are called once.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub repeatable: NamePatterns,
    /// The maximum time until a server that is started has listed its tools. 10 s by default.
    #[serde(default, deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub start_timeout: Option<Duration>,
    /// The maximum time of a call without progress. 60 s by default.
    #[serde(default, deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub call_timeout: Option<Duration>,
    /// The maximum time of a call with progress. 10 minutes by default.
    #[serde(default, deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub longest_call: Option<Duration>,
    /// The time without calls after which the server is stopped. 10 minutes by default.
    #[serde(default, deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub idle: Option<Duration>,
    /// Whether a server that has ended is started again. True by default.
    #[serde(default = "yes")]
    pub restart: bool,
    /// The maximum size of a result; the rest is cut off. 64 KiB by default.
    #[serde(default = "default_output", deserialize_with = "units::size")]
    pub max_output: ByteSize,
}

impl McpConfig {
    /// The limits of the server.
    pub fn limits(&self) -> McpLimits {
        let default = McpLimits::default();
        default
            .start(self.start_timeout.unwrap_or(default.start))
            .call(self.call_timeout.unwrap_or(default.call))
            .longest_call(self.longest_call.unwrap_or(default.longest_call))
            .idle(self.idle.unwrap_or(default.idle))
            .output_bytes(self.max_output.bytes)
    }
}

impl Config {
    /// The server that a name in the `tools` of an agent refers to, and the name or pattern of its tool. `github__get_*` are all
    /// tools of `[mcp.github]` that begin with `get_`.
    pub fn mcp_tool<'n>(&self, name: &'n str) -> Option<(&'n str, &McpConfig, &'n str)> {
        if self.tools.contains_key(name) {
            return None;
        }
        let (server, tool) = name.split_once(TOOL_SEPARATOR)?;
        Some((server, self.mcp.get(server)?, tool))
    }
}

/// Finds mistakes in the sections of MCP servers.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let of_server = |(name, mcp): (&String, &McpConfig)| {
        let message = server_problem(name, mcp)?;
        Some(Problem::without_location(format!("the MCP server `{name}`: {message}")))
    };
    config.mcp.iter().filter_map(of_server).collect()
}

/// Finds a tool of an MCP server that is not offered.
pub(super) fn tool_problem(config: &Config, name: &Name) -> Option<Problem> {
    let (server, mcp, tool) = config.mcp_tool(name.as_ref())?;
    // Which tools a pattern means is only known from the lock file.
    (!tool.contains('*') && !mcp.tools.matches(tool)).then(|| {
        let message = format!("the MCP server `{server}` offers no tool `{tool}`; add it to `mcp.{server}.tools`");
        Problem::at(name.span(), message)
    })
}

fn server_problem(name: &str, mcp: &McpConfig) -> Option<String> {
    if !brigade_mcp::is_server_name(name) {
        return Some(
            "its name becomes part of names of tools; use 1 to 32 of A-Z, a-z, 0-9, _ and -, without `__`".into(),
        );
    }
    let is_invalid = |variable: &String| variable.is_empty() || variable.contains(['=', '\0']);
    match (&mcp.command, &mcp.url) {
        (Some(_), Some(_)) => Some("`command` and `url` exclude each other; remove one of them".into()),
        (None, None) => Some("set either `command` or `url`".into()),
        (Some(_), None) if !mcp.headers.is_empty() => Some("`headers` belong to a `url`; use `environment`".into()),
        (None, Some(_)) if !mcp.environment.is_empty() || mcp.folder.is_some() => {
            Some("`environment` and `folder` belong to a `command`; use `headers`".into())
        }
        (Some(command), None) if command.first().is_none_or(|program| program.trim().is_empty()) => {
            Some("its program is empty; the first element of `command` must be one".into())
        }
        (Some(command), None) if command.iter().any(|argument| argument.contains('\0')) => {
            Some("an element of `command` has a zero byte, which no program can be given; remove it".into())
        }
        _ if mcp.tools.is_empty() => Some("`tools` is empty, so no agent could use it; name its tools".into()),
        _ => {
            let variable = mcp.environment.keys().find(|variable| is_invalid(variable))?;
            Some(format!("{variable:?} cannot be the name of an environment variable; write one without `=`"))
        }
    }
}

const fn yes() -> bool {
    true
}

const fn default_output() -> ByteSize {
    ByteSize { bytes: 64 << 10 }
}
