//! Tools that need no code: a request, or a program.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use brigade_core::Effect;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{
    Secret,
    units::{self, Size},
};

/// A tool that agents may be given. It has either `http` or `command`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    /// What it does and when to use it, for the model.
    pub(crate) description: String,
    /// The JSON Schema of its arguments: an object.
    #[serde(default = "no_arguments")]
    pub(crate) input: Map<String, Value>,
    /// Whether it may be run again: "repeatable", "keyed" or "once".
    #[serde(default)]
    #[schemars(with = "String")]
    pub(crate) effect: Effect,
    /// How long one call may take. 30 s if absent.
    #[serde(default, deserialize_with = "units::some_time")]
    #[schemars(with = "Option<String>")]
    pub(crate) timeout: Option<Duration>,
    /// How much of its output is kept.
    #[serde(default = "usual_output")]
    pub(crate) max_output: Size,
    /// A request to a server.
    pub(crate) http: Option<Http>,
    /// A program on this machine. Only where `server.commands` is on.
    pub(crate) command: Option<Command>,
    /// A server that offers tools of its own. There is no such kind yet, and whoever writes it is told so.
    #[serde(default, rename = "mcp")]
    #[schemars(skip)]
    _mcp: Option<NotYet>,
}

/// What a tool does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ToolKind<'c> {
    Http(&'c Http),
    Command(&'c Command),
}

/// What cannot be written.
#[derive(Debug, Clone)]
enum NotYet {}

impl Tool {
    /// What it does, if it says one thing.
    pub(crate) fn kind(&self) -> Option<ToolKind<'_>> {
        match (&self.http, &self.command) {
            (Some(http), None) => Some(ToolKind::Http(http)),
            (None, Some(command)) => Some(ToolKind::Command(command)),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(
            "tools of MCP servers cannot be used yet; describe what the tool does as `http` or `command`",
        ))
    }
}

/// A request to a server. Arguments that the address does not name become its JSON body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// "GET", if absent.
    #[serde(default)]
    pub(crate) method: Method,
    /// The address. `{name}` is replaced by the argument of that name, but not in the host.
    pub(crate) url: String,
    /// Headers that are no secrets.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers that are.
    #[serde(default)]
    pub(crate) secret_headers: BTreeMap<String, Secret>,
    /// Also addresses of this machine and of private networks. The metadata services of clouds are never reached.
    #[serde(default)]
    pub(crate) allow_private: bool,
    /// Sends `traceparent`, for a server of your own that continues traces.
    #[serde(default)]
    pub(crate) propagate_trace: bool,
}

/// What a request does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    #[default]
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A program. It has no shell, an empty environment, and its arguments as JSON on standard input.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    /// The program and its arguments. `{name}` is replaced by the argument of that name.
    pub(crate) argv: Vec<String>,
    /// Where it runs; the folder of the configuration if absent.
    pub(crate) folder: Option<PathBuf>,
    /// The environment it gets.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
}

fn no_arguments() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), "object".into()), ("properties".to_owned(), Map::new().into())])
}

const fn usual_output() -> Size {
    Size { bytes: 64 << 10 }
}
