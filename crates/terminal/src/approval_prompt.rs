//! Asks the person at the terminal whether calls are made.

use std::io::{self, IsTerminal as _, Write as _};

use brigade_core::async_trait;
use brigade_durable::{ApprovalRequest, Decide, Verdict};
use tokio::sync::{Mutex, oneshot};

use crate::printable;

/// Asks the person at the terminal whether calls that need an approval are made, one call at a time. It writes to standard
/// error and reads a line of standard input: `y` makes the call, and anything else denies it, with the line as the reason.
///
/// ```
/// use brigade_core::Run;
/// use brigade_durable::Approver;
/// use brigade_terminal::ApprovalPrompt;
///
/// // Without a terminal the approver is missing, so calls that need an approval are not made.
/// let approver = ApprovalPrompt::of_terminal().map(Approver::new).unwrap_or_default();
/// let run = Run::builder().shared(approver).build();
/// ```
#[derive(Debug)]
pub struct ApprovalPrompt {
    /// Held while the person is asked.
    turn: Mutex<()>,
}

impl ApprovalPrompt {
    /// A prompt at the terminal of this process; absent if standard input or standard error is not a terminal.
    pub fn of_terminal() -> Option<Self> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then(|| Self { turn: Mutex::default() })
    }
}

#[async_trait]
impl Decide for ApprovalPrompt {
    async fn decide(&self, request: ApprovalRequest) -> Verdict {
        let _turn = self.turn.lock().await;
        let ApprovalRequest { agent, tool, arguments, .. } = request;
        let call = format!("{agent} asks to call {tool} with {arguments}");
        // A failure is seen when the answer is read.
        let _ = write!(io::stderr(), "\n{}\nMake this call? [y, n, or why not] ", printable(&call));
        let (sender, answer) = oneshot::channel();
        // A thread of its own: a task of the runtime that reads could not be aborted, and the program would not end.
        let reading = std::thread::Builder::new().name("brigade-approval".into()).spawn(move || {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
        });
        match (reading, answer.await) {
            (Ok(_), Ok(Ok(line))) => verdict(&line),
            _ => Verdict::Deny("The terminal gave no answer.".to_owned()),
        }
    }
}

fn verdict(line: &str) -> Verdict {
    match line.trim() {
        "y" | "Y" | "yes" => Verdict::Approve,
        "" | "n" | "N" | "no" => Verdict::Deny(String::new()),
        reason => Verdict::Deny(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_allows_a_call() {
        assert_eq!(verdict("y\n"), Verdict::Approve);
        assert_eq!(verdict(" yes \n"), Verdict::Approve);
        for no in ["", "\n", "n\n", "no\n"] {
            assert_eq!(verdict(no), Verdict::Deny(String::new()), "{no:?}");
        }
        assert_eq!(verdict("yes, but only 10\n"), Verdict::Deny("yes, but only 10".to_owned()));
    }
}
