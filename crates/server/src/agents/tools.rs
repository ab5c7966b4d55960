//! Builds the tools of the configuration.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use brigade_config::{ApproveConfig, CommandConfig, HttpConfig, HttpMethod, Secrets, ToolConfig, ToolKind};
use brigade_core::{RawJson, Schema, Tool, ToolSpec};
use brigade_durable::{ApprovalRule, ApprovedTool};
use brigade_observability::mask;
use brigade_tools::{CommandTool, EgressGuard, HttpTool, Method};

type BuiltTool = Result<Arc<dyn Tool>, Box<dyn Error + Send + Sync>>;

/// Builds a tool. `folder` is the base of relative paths; `allow_commands` permits tools that run programs.
pub(crate) fn build(
    name: &str,
    config: &ToolConfig,
    folder: &Path,
    secrets: &Secrets<'_>,
    allow_commands: bool,
) -> BuiltTool {
    let schema = RawJson::of(&config.input)?;
    Schema::compile(&schema).map_err(|error| format!("`input`: {error}"))?;
    let mut spec = ToolSpec::new(name, config.description.as_str(), schema);
    spec.effect = config.effect;
    spec.timeout = config.timeout;
    let max_output = config.max_output.bytes;
    match config.kind() {
        Some(ToolKind::Http(http)) => build_http(spec, http, secrets, max_output),
        Some(ToolKind::Command(_)) if !allow_commands => {
            Err("the tool runs a program; set `server.commands = true` to allow that".into())
        }
        Some(ToolKind::Command(command)) => build_command(spec, command, folder, secrets, max_output),
        None => Err("set either `http` or `command`".into()),
    }
}

/// The tool, whose calls wait for approvals if the configuration says so.
pub(crate) fn with_approvals(tool: Arc<dyn Tool>, approve: &ApproveConfig, expire: Duration) -> BuiltTool {
    let rule = match approve {
        ApproveConfig::Always => ApprovalRule::Always,
        ApproveConfig::When(schema) => {
            let schema = Schema::compile(&RawJson::of(schema)?);
            ApprovalRule::When(schema.map_err(|error| format!("`approve`: {error}"))?)
        }
        _ => return Ok(tool),
    };
    Ok(Arc::new(ApprovedTool::new(tool, rule).expires_in(expire)))
}

fn build_http(spec: ToolSpec, http: &HttpConfig, secrets: &Secrets<'_>, max_output: usize) -> BuiltTool {
    let place = format!("the tool `{}`", spec.name);
    let mut tool = HttpTool::builder(spec, &http.url)
        .method(match http.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
        })
        .egress(EgressGuard::default().allow_private(http.allow_private))
        .propagate_trace(http.propagate_trace)
        .max_output(max_output);
    for (name, value) in &http.headers {
        tool = tool.header(name, value);
    }
    for (name, secret) in &http.secret_headers {
        let value = secrets.secret(secret, &place, &format!("the header `{name}`: "));
        tool = tool.secret_header(name, value);
    }
    Ok(Arc::new(tool.build()?))
}

fn build_command(
    spec: ToolSpec,
    command: &CommandConfig,
    folder: &Path,
    secrets: &Secrets<'_>,
    max_output: usize,
) -> BuiltTool {
    let place = format!("the tool `{}`", spec.name);
    let directory = command.folder.as_ref().map_or_else(|| folder.to_owned(), |own| folder.join(own));
    let tool = CommandTool::builder(spec, command.argv.iter().cloned()).directory(directory);
    let tool = command.environment.iter().fold(tool, |tool, (name, value)| {
        tool.env(name, secrets.text(value, &place, &format!("the variable `{name}`: ")))
    });
    Ok(Arc::new(tool.max_output(max_output).redact(mask).build()?))
}
