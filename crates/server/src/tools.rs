//! Tools that the configuration describes.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use brigade_core::{RawJson, Schema, Tool, ToolSpec};

use crate::config::{self, ToolKind};

mod command;
mod egress;
mod http;
mod template;
mod text;

/// Makes a tool; `folder` is where relative paths begin. Programs need `commands`.
pub(crate) fn build(
    name: &str,
    written: &config::Tool,
    folder: &Path,
    commands: bool,
) -> anyhow::Result<Arc<dyn Tool>> {
    let schema = RawJson::of(&written.input)?;
    Schema::compile(&schema).context("its `input`")?;
    let mut spec = ToolSpec::new(name, written.description.as_str(), schema);
    spec.effect = written.effect;
    spec.timeout = written.timeout;
    match written.kind() {
        Some(ToolKind::Http(http)) => Ok(Arc::new(http::HttpTool::new(spec, (written, http), folder)?)),
        Some(ToolKind::Command(_)) if !commands => {
            bail!("it runs a program, which `server.commands = true` must allow");
        }
        Some(ToolKind::Command(command)) => Ok(Arc::new(command::CommandTool::new(spec, (written, command), folder)?)),
        None => bail!("a tool has either `http` or `command`"),
    }
}
