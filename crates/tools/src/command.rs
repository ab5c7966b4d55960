//! A tool that runs a program.

use std::{borrow::Cow, fmt, path::PathBuf, pin::pin, process::Stdio, time::Duration};

use async_trait::async_trait;
use brigade_core::{Run, Tool, ToolError, ToolOutput, ToolSpec};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{BuildToolError, Template, error::failed, key::idempotency_key, output::to_text};

/// Runs a program and returns its standard output.
///
/// The program has no shell, an empty environment and its arguments as JSON on standard input. A tool whose effect is
/// [`Effect::Keyed`](brigade_core::Effect::Keyed) finds the key of a run with a journal in `IDEMPOTENCY_KEY`. It is killed when the
/// call is cancelled or times out. Processes that it has started end a quarter of a second after it, unless they left its
/// process group; what they print until then belongs to the output. If the program fails, the model sees its exit status and
/// the end of its standard error.
///
/// ```
/// use brigade_core::{RawJson, ToolSpec};
/// use brigade_tools::CommandTool;
///
/// let schema = r#"{ "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] }"#;
/// let spec = ToolSpec::new("count_lines", "Counts the lines of a file.", RawJson::parse(schema.to_owned())?);
/// let tool = CommandTool::builder(spec, ["wc", "-l", "--", "{path}"]).directory("docs").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CommandTool {
    spec: ToolSpec,
    program: String,
    arguments: Vec<Template>,
    directory: PathBuf,
    environment: Environment,
    max_output: usize,
    redact: Redact,
}

/// Builds a [`CommandTool`].
#[derive(Debug)]
#[must_use]
pub struct CommandToolBuilder {
    spec: ToolSpec,
    command: Vec<String>,
    directory: PathBuf,
    environment: Environment,
    max_output: usize,
    redact: Redact,
}

/// Environment variables. `Debug` shows only their names, because values may be secrets.
struct Environment(Vec<(String, String)>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

type Redact = fn(&str) -> Cow<'_, str>;

/// The variable with the key under which a keyed call may be repeated.
const IDEMPOTENCY_KEY: &str = "IDEMPOTENCY_KEY";

const READ_BYTES: usize = 8 << 10;

/// How long the pipes are read after the end of the program, if another process holds them open: long enough for a filter
/// such as `tee` to pass on what it has read.
const GRACE: Duration = Duration::from_millis(250);

/// The reason of a failure is usually at the end of standard error, so this much of the end is kept.
const ERROR_BYTES: usize = 4 << 10;

impl CommandTool {
    /// Starts a builder. `command` is the program followed by its arguments; the arguments may have placeholders such as
    /// `{path}`.
    pub fn builder<S: Into<String>>(spec: ToolSpec, command: impl IntoIterator<Item = S>) -> CommandToolBuilder {
        CommandToolBuilder {
            spec,
            command: command.into_iter().map(Into::into).collect(),
            directory: ".".into(),
            environment: Environment(Vec::new()),
            max_output: crate::http::MAX_OUTPUT,
            redact: |text| Cow::Borrowed(text),
        }
    }

    async fn run(&self, input: Map<String, Value>, run: &Run) -> Result<ToolOutput, ToolError> {
        let mut command = Command::new(&self.program);
        command
            .args(self.fill_arguments(&input)?)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.0.iter().map(|(name, value)| (name, value)))
            .envs(idempotency_key(&self.spec, run).map(|key| (IDEMPOTENCY_KEY, key)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let spawned = command.spawn();
        let mut process = spawned.map_err(|error| failed(format!("cannot run `{}`: {error}", self.program)))?;
        // Ends what the program leaves behind, also if this call is cancelled. Dropped before the process, which must not
        // be reaped earlier: its id is the group's.
        let group = ProcessGroup(process.id());
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let write_input = async {
            if let Some(mut stdin) = stdin {
                // Fails if the program does not read its input, which is allowed.
                let _ = stdin.write_all(Value::Object(input).to_string().as_bytes()).await;
            }
        };
        let (mut output, mut complaint) = (PipeOutput::start(self.max_output), PipeOutput::end(ERROR_BYTES));
        let status = {
            let pipes = async { tokio::join!(write_input, output.read(stdout), complaint.read(stderr)) };
            let mut pipes = pin!(pipes);
            tokio::select! {
                status = process.wait() => {
                    // Processes that the program has left behind may hold the pipes open for ever.
                    let _ = tokio::time::timeout(GRACE, pipes).await;
                    status
                }
                _ = &mut pipes => process.wait().await,
            }
        };
        drop(group);
        let status = status.map_err(|error| failed(format!("cannot read the program's exit status: {error}")))?;
        if status.success() {
            return Ok(ToolOutput::text(output.into_text()));
        }
        let status = format!("the program ended with {status}");
        Err(ToolError::new(format!("{status}: {}", (self.redact)(&complaint.into_text()))).caused_by(status))
    }

    fn fill_arguments(&self, input: &Map<String, Value>) -> Result<Vec<String>, ToolError> {
        let fill = |template: &Template| {
            let text = template.fill(input, |value| Ok(value.to_owned()))?;
            // Text of the model must not become an option of the program.
            if template.starts_with_placeholder() && text.starts_with('-') {
                let error = ToolError::new(format!("`{text}` must not start with a dash"));
                return Err(error.caused_by("an argument starts with a dash"));
            }
            Ok(text)
        };
        self.arguments.iter().map(fill).collect()
    }
}

impl CommandToolBuilder {
    /// The working directory. The directory of the process by default.
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// Adds a variable to the program's environment, which is empty otherwise.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.0.push((name.into(), value.into()));
        self
    }

    /// The number of bytes of output that are kept; the rest is read and dropped. 64 KiB by default: more would fill the
    /// context of most models.
    pub fn max_output(self, bytes: usize) -> Self {
        Self { max_output: bytes, ..self }
    }

    /// Applies `redact` to standard error before the model sees it, for programs that print credentials when they fail.
    /// By default nothing is changed.
    pub fn redact(self, redact: fn(&str) -> Cow<'_, str>) -> Self {
        Self { redact, ..self }
    }

    /// Builds the tool.
    ///
    /// # Errors
    ///
    /// Fails if the command is empty, its program has a placeholder, or one of its arguments has a placeholder that is not
    /// an argument of the tool.
    pub fn build(self) -> Result<CommandTool, BuildToolError> {
        let Self { spec, command, directory, environment, max_output, redact } = self;
        let mut command = command.into_iter();
        let program = command.next().ok_or(BuildToolError::NoProgram)?;
        if Template::parse(&program).names().next().is_some() {
            return Err(BuildToolError::ProgramPlaceholder(program));
        }
        let arguments: Vec<_> = command.map(|text| Template::parse(&text)).collect();
        arguments.iter().try_for_each(|argument: &Template| argument.check(&spec))?;
        // An empty path is not a directory to the operating system.
        let directory = if directory.as_os_str().is_empty() { ".".into() } else { directory };
        Ok(CommandTool { spec, program, arguments, directory, environment, max_output, redact })
    }
}

#[async_trait]
impl Tool for CommandTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        match input {
            Value::Object(input) => self.run(input, run).await,
            _ => Err(failed("the arguments must be a JSON object")),
        }
    }
}

/// The output of a program to a pipe, within a limit of size.
#[derive(Debug)]
struct PipeOutput {
    bytes: Vec<u8>,
    limit: usize,
    keeps_end: bool,
    is_cut: bool,
}

/// A program and the processes that it has started. Dropping it kills them.
#[derive(Debug)]
struct ProcessGroup(Option<u32>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.0.and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)) {
            // Fails if all processes of the group have ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl PipeOutput {
    /// Keeps the first `limit` bytes. The rest is read too, so that the program does not block on a full pipe.
    fn start(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, keeps_end: false, is_cut: false }
    }

    /// Keeps the last `limit` bytes.
    fn end(limit: usize) -> Self {
        Self { keeps_end: true, ..Self::start(limit) }
    }

    /// Reads to the end of the pipe. If the future is dropped, nothing that was read is lost.
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            self.add(buffer.get(..count).unwrap_or_default());
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = if self.keeps_end { bytes.len() } else { bytes.len().min(self.limit - self.bytes.len()) };
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
        let excess = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.is_cut |= excess > 0 || room < bytes.len();
    }

    fn into_text(self) -> String {
        if !self.keeps_end {
            return to_text(self.bytes, self.limit, if self.is_cut { "\n[cut here: there is more]" } else { "" });
        }
        let note = if self.is_cut { "[cut here: there was more before]\n" } else { "" };
        // Replacing invalid UTF-8 can triple the length, and the end must not be lost.
        format!("{note}{}", to_text(self.bytes, self.limit * 3, ""))
    }
}

#[cfg(test)]
mod tests;
