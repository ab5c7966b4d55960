//! Output of commands. Unlike the standard macros, it does not panic if nothing reads it.

use std::{
    fmt,
    io::{self, Write as _},
};

use anyhow::Context as _;

/// Standard output was closed, for example by `head`, which has read enough. The command ends without a message.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(super) struct OutputClosed;

/// Writes a line to standard output.
pub(super) fn print(line: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes a line to standard error. A failure is ignored, because there is nowhere to report it.
pub(super) fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a line to standard output, or returns the error from the calling function.
macro_rules! out {
    ($($argument:tt)*) => {
        $crate::cli::output::print(format_args!($($argument)*))?
    };
}

/// Writes a line to standard error.
macro_rules! note {
    ($($argument:tt)*) => {
        $crate::cli::output::note(format_args!($($argument)*))
    };
}
