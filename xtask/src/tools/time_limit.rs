//! Runs programs that may hang.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Shorter than any program takes, and long enough to cost nothing.
const POLL: Duration = Duration::from_millis(20);

/// Waits for the end of the program, which must succeed. Kills it after `limit`.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<()> {
    let mut child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { bail!("it ended with {status}") };
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            bail!("it did not end within {} s", limit.as_secs_f64());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cargo_version() -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.arg("--version").stdout(std::process::Stdio::null());
        command
    }

    #[test]
    fn a_program_that_succeeds_passes() {
        assert!(run(cargo_version(), Duration::from_mins(1)).is_ok());
    }

    #[test]
    fn a_program_that_fails_is_reported() {
        let mut command = cargo_version();
        command.arg("--no-such-option").stderr(std::process::Stdio::null());
        let error = run(command, Duration::from_mins(1)).expect_err("cargo refuses the option");
        assert!(error.to_string().contains("ended with"), "{error}");
    }

    #[test]
    fn a_program_past_its_limit_is_killed() {
        let error = run(cargo_version(), Duration::ZERO).expect_err("no time at all");
        assert!(error.to_string().contains("did not end within"), "{error}");
    }
}
