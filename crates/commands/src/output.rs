//! Output of commands. Unlike the standard macros, it does not panic if nothing reads it.

use std::{
    env, fmt,
    io::{self, Write as _},
    net::SocketAddr,
};

use anyhow::Context as _;
use brigade_core::{Money, Outcome};
use brigade_terminal::printable;

/// Standard output was closed, for example by `head`, which has read enough. The command ends without a message.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// Writes a line to standard output.
pub fn print_line(line: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes a line to standard error. A failure is ignored, because there is nowhere to report it.
pub fn note_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes why a run ended, what of its cost is uncertain, and which parts failed, to standard error.
pub fn note_end(outcome: &Outcome) {
    if !outcome.notice.is_empty() {
        note_line(format_args!("note: {}", printable(&outcome.notice)));
    }
    let uncertain = outcome.cost.total.uncertain;
    if uncertain > Money::ZERO {
        note_line(format_args!(
            "note: {uncertain} of the cost is uncertain: calls that were cancelled or failed after they were sent cost at \
             most this much; the provider may bill less, or nothing; `max_output_tokens` of a model or agent limits it"
        ));
    }
    for degraded in outcome.degraded.iter().filter(|degraded| !outcome.notice.contains(&degraded.reason)) {
        note_line(format_args!("degraded: {}: {}", degraded.part, printable(&degraded.reason)));
    }
}

/// How the user called this program, for commands to copy.
pub fn program() -> String {
    if env::var_os("CARGO_MANIFEST_DIR").is_some() {
        return "cargo run --".to_owned();
    }
    env::args().next().filter(|path| path.contains(['/', '\\'])).unwrap_or_else(|| "brigade".to_owned())
}

/// Parses the address of an option.
pub fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address with a port, such as 127.0.0.1:8080")
}

/// A number with its noun, in the plural if it is not 1.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Writes a line to standard output, or returns the error from the calling function.
#[macro_export]
macro_rules! out {
    ($($argument:tt)*) => {
        $crate::print_line(format_args!($($argument)*))?
    };
}

/// Writes a line to standard error.
#[macro_export]
macro_rules! note {
    ($($argument:tt)*) => {
        $crate::note_line(format_args!($($argument)*))
    };
}
