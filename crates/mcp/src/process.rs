//! The process of a server that speaks over its standard input and output.

use std::{
    borrow::Cow,
    env, fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{McpError, visible::one_line};

/// How a server is started.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) server: String,
    pub(crate) command: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// Applied to standard error before it is logged.
    pub(crate) redact: fn(&str) -> Cow<'_, str>,
}

/// Values of the environment may be secrets.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let environment: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        let Self { server, command, folder, .. } = self;
        f.debug_struct("Program")
            .field("server", server)
            .field("command", command)
            .field("folder", folder)
            .field("environment", &environment)
            .finish_non_exhaustive()
    }
}

/// A running server. Dropping it kills the server with all processes of its group.
#[derive(Debug)]
pub(crate) struct Process {
    // Dropped before the child, whose id is that of the group.
    group: ProcessGroup,
    child: Child,
}

/// The pipes of a server.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) input: ChildStdin,
    pub(crate) output: ChildStdout,
}

/// How long a server may take to end after its standard input was closed.
const GRACE: Duration = Duration::from_millis(500);

/// The most of standard error that is logged in [`LOG_WINDOW`]; the rest is read and dropped.
const LOG_LINES: u32 = 50;
const LOG_WINDOW: Duration = Duration::from_secs(10);
const LOG_LINE_BYTES: usize = 1 << 10;

/// The most of a line that is redacted. More than is logged: a secret at the cut would be logged in part otherwise.
const READ_LINE_BYTES: usize = 64 << 10;

impl Program {
    /// The path of the program. It is looked up in this process's `PATH`, because the server's environment has none.
    pub(crate) fn path(&self) -> Result<PathBuf, McpError> {
        let program = self.command.first().filter(|program| !program.trim().is_empty());
        let program = program.ok_or_else(|| McpError::NoProgram(self.server.clone()))?;
        let missing = || McpError::ProgramMissing { server: self.server.clone(), program: program.clone() };
        if program.contains('/') {
            let path = self.folder.join(program);
            return if is_file(&path) { Ok(path) } else { Err(missing()) };
        }
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| is_file(path)).ok_or_else(missing)
    }

    /// Finds mistakes that would show at the start.
    pub(crate) fn check(&self) -> Result<(), McpError> {
        if !self.folder.is_dir() {
            return Err(McpError::Folder { server: self.server.clone(), folder: self.folder.clone() });
        }
        self.path().map(drop)
    }

    /// Starts the server in a process group of its own. Returns a future that logs its standard error.
    pub(crate) fn start(&self) -> Result<(Process, Pipes, impl Future<Output = ()> + use<>), McpError> {
        let failed = |why: String| McpError::Start { server: self.server.clone(), why };
        let mut command = Command::new(std::path::absolute(self.path()?).map_err(|error| failed(error.to_string()))?);
        command
            .args(self.command.iter().skip(1))
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| failed(format!("it cannot be started: {error}")))?;
        let group = ProcessGroup(child.id());
        let (input, output, complaints) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = input.zip(output).map(|(input, output)| Pipes { input, output });
        let pipes = pipes.ok_or_else(|| failed("it has no pipes".to_owned()))?;
        let (server, redact) = (self.server.clone(), self.redact);
        let logging = async move {
            if let Some(pipe) = complaints {
                log_lines(pipe, redact, |line| tracing::info!(mcp = %server, "{line}")).await;
            }
        };
        Ok((Process { group, child }, pipes, logging))
    }
}

impl Process {
    /// Waits for the end of the server, and kills what it leaves behind in its group. Once `stop` is cancelled, the server has a short time
    /// to end by itself. Returns how it ended.
    pub(crate) async fn run(self, stop: CancellationToken) -> String {
        let Self { group, mut child } = self;
        let status = tokio::select! {
            status = child.wait() => Some(status),
            () = stop.cancelled() => tokio::time::timeout(GRACE, child.wait()).await.ok(),
        };
        drop(group);
        match status {
            Some(Ok(status)) => format!("its process ended with {status}"),
            Some(Err(error)) => format!("its process cannot be observed: {error}"),
            None => "its process was killed".to_owned(),
        }
    }
}

/// A program and the processes that it has started and that have not left its group. Dropping it kills them.
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

fn is_file(path: &Path) -> bool {
    path.is_file()
}

/// Logs what a server writes to standard error, within limits of length and rate.
async fn log_lines(mut pipe: impl AsyncRead + Unpin, redact: fn(&str) -> Cow<'_, str>, mut log: impl FnMut(&str)) {
    let (mut line, mut buffer) = (Vec::new(), vec![0; 4 << 10]);
    let (mut window, mut logged) = (Instant::now(), 0);
    let mut end_line = |line: &mut Vec<u8>| {
        if window.elapsed() >= LOG_WINDOW {
            (window, logged) = (Instant::now(), 0);
        }
        logged += 1;
        if logged <= LOG_LINES {
            log(&one_line(&redact(&String::from_utf8_lossy(line)), LOG_LINE_BYTES));
        } else if logged == LOG_LINES + 1 {
            log(&format!("more output of the server is not logged for {LOG_WINDOW:?}"));
        }
        line.clear();
    };
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        for &byte in buffer.iter().take(count) {
            if byte == b'\n' {
                end_line(&mut line);
            } else if line.len() < READ_LINE_BYTES {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        end_line(&mut line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn logged(written: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let redact: fn(&str) -> Cow<'_, str> = |text| text.replace("sk-secret", "[secret]").into();
        log_lines(written, redact, |line| lines.push(line.to_owned())).await;
        lines
    }

    #[tokio::test]
    async fn a_secret_at_the_end_of_a_long_line_is_redacted_before_the_line_is_cut() {
        for length in LOG_LINE_BYTES - 12..LOG_LINE_BYTES + 12 {
            let lines = logged(format!("{}sk-secret and more\n", "x".repeat(length)).as_bytes()).await;
            assert!(lines.len() == 1 && !lines[0].contains("sk-"), "{length}: {lines:?}");
            assert!(lines[0].len() <= LOG_LINE_BYTES + '…'.len_utf8());
        }
    }

    #[tokio::test]
    async fn the_last_line_is_logged_without_a_line_feed() {
        assert_eq!(logged(b"one\npanicked: no config").await, ["one", "panicked: no config"]);
        assert_eq!(logged(b"one\n").await, ["one"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_lines_is_logged_up_to_a_limit() {
        let lines = logged("x\n".repeat(10_000).as_bytes()).await;
        assert_eq!(lines.len(), LOG_LINES as usize + 1);
        assert_eq!(lines.last().unwrap(), "more output of the server is not logged for 10s");
    }
}
