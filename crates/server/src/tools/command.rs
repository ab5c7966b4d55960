//! A tool that runs a program.

use std::{path::Path, path::PathBuf, process::Stdio};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use brigade_core::{Run, Tool, ToolError, ToolOutput, ToolSpec};
use brigade_observability::mask;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{template::Template, text::text};
use crate::config;

/// Runs a program, and answers with what it writes.
#[derive(Debug)]
pub(crate) struct CommandTool {
    spec: ToolSpec,
    program: String,
    arguments: Vec<Template>,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    max_output: usize,
}

/// What is read at a time.
const READ_BYTES: usize = 8 << 10;

/// So much of the end of what a program complains about is told to the model: what went wrong stands there.
const ERROR_BYTES: usize = 4 << 10;

impl CommandTool {
    pub(crate) fn new(
        spec: ToolSpec,
        (tool, command): (&config::Tool, &config::Command),
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let (program, arguments) = command.argv.split_first().context("`argv` names no program")?;
        if Template::parse(program).names().next().is_some() {
            bail!("the program itself cannot be an argument of the model");
        }
        let folder = command.folder.as_ref().map_or_else(|| folder.to_owned(), |own| folder.join(own));
        Ok(Self {
            spec,
            program: program.clone(),
            arguments: arguments.iter().map(|text| Template::parse(text)).collect(),
            // An empty path is no folder.
            folder: if folder.as_os_str().is_empty() { ".".into() } else { folder },
            environment: command.environment.clone().into_iter().collect(),
            max_output: tool.max_output.bytes,
        })
    }

    async fn run(&self, input: Map<String, Value>) -> Result<ToolOutput, ToolError> {
        let mut process = Command::new(&self.program)
            .args(self.fill(&input)?)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A call that is over time or cancelled takes its process with it.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ToolError::new(format!("`{}` cannot be run: {error}", self.program)))?;
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program need not read it.
                let _ = stdin.write_all(Value::Object(input).to_string().as_bytes()).await;
            }
        };
        let ((), output, complaint) = tokio::join!(feed, beginning(stdout, self.max_output), end(stderr, ERROR_BYTES));
        let status = process.wait().await.map_err(|error| ToolError::new(format!("it was lost: {error}")))?;
        if status.success() {
            return Ok(ToolOutput::text(output));
        }
        // A program that fails may show what it was called with.
        Err(ToolError::new(format!("it ended with {status}: {}", mask(&complaint))))
    }

    fn fill(&self, input: &Map<String, Value>) -> Result<Vec<String>, ToolError> {
        let fill = |template: &Template| {
            let text = template.fill(input, |value| Ok(value.to_owned()))?;
            // What the model writes must not be taken for an option.
            if template.begins_with_place() && text.starts_with('-') {
                return Err(ToolError::new(format!("`{text}` must not begin with a dash")));
            }
            Ok(text)
        };
        self.arguments.iter().map(fill).collect()
    }
}

#[async_trait]
impl Tool for CommandTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, _run: &Run) -> Result<ToolOutput, ToolError> {
        match input {
            Value::Object(input) => self.run(input).await,
            _ => Err(ToolError::new("the arguments are no object")),
        }
    }
}

/// The beginning of what is written. The rest is read and dropped, so that the program does not wait for ever.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut kept, mut buffer, mut is_cut) = (Vec::new(), vec![0; READ_BYTES], false);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = most - kept.len();
        is_cut |= count > room;
        kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
    }
    text(kept, most, if is_cut { "\n[cut here: there is more]" } else { "" })
}

/// The end of what is written.
async fn end(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut kept, mut buffer, mut is_cut) = (Vec::new(), vec![0; READ_BYTES], false);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let excess = kept.len().saturating_sub(most);
        is_cut |= excess > 0;
        kept.drain(..excess);
    }
    let mark = if is_cut { "[cut here: there was more before]\n" } else { "" };
    // Characters that are replaced take more room than before, and what is said last matters most.
    format!("{mark}{}", text(kept, most * 3, ""))
}

#[cfg(test)]
mod tests;
