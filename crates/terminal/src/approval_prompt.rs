//! Asks the person at the terminal whether calls are made.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
};

use brigade_core::async_trait;
use brigade_durable::{ApprovalAnswer, ApprovalRequest, Decide};
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
pub struct ApprovalPrompt {
    /// Reads one line. It blocks.
    read_line: Arc<dyn Fn() -> io::Result<String> + Send + Sync>,
    /// Locked while the person is asked. A question that was abandoned, for example because the run was cancelled, leaves a
    /// thread that reads a line.
    reading: Mutex<Option<Line>>,
}

/// A line that a thread reads.
type Line = oneshot::Receiver<io::Result<String>>;

/// The name of the person at the terminal.
const PERSON: &str = "the person at the terminal";

impl ApprovalPrompt {
    /// A prompt at the terminal of this process; absent if standard input or standard error is not a terminal.
    pub fn of_terminal() -> Option<Self> {
        let read_line = || {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        };
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then(|| Self::new(read_line))
    }

    fn new(read_line: impl Fn() -> io::Result<String> + Send + Sync + 'static) -> Self {
        Self { read_line: Arc::new(read_line), reading: Mutex::default() }
    }

    /// Starts to read a line, on a thread of its own: a task of the runtime that reads could not be aborted, and the program
    /// would not end.
    fn start_reading(&self) -> Option<Line> {
        let (sender, line) = oneshot::channel();
        let read_line = Arc::clone(&self.read_line);
        let reading = std::thread::Builder::new().name("brigade-approval".into()).spawn(move || {
            // Nothing receives the line if the program ends.
            let _ = sender.send(read_line());
        });
        reading.ok().map(|_| line)
    }
}

#[async_trait]
impl Decide for ApprovalPrompt {
    async fn decide(&self, request: ApprovalRequest) -> ApprovalAnswer {
        let mut reading = self.reading.lock().await;
        // A line that was written before this question is shown is not an answer to it.
        let is_old = |line: &mut Line| !matches!(line.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        reading.take_if(is_old);
        let ApprovalRequest { agent, tool, arguments, .. } = request;
        let call = format!("{agent} asks to call {tool} with {arguments}");
        // A failure is seen when the answer is read.
        let _ = write!(io::stderr(), "\n{}\nMake this call? [y, n, or why not] ", printable(&call));
        if reading.is_none() {
            *reading = self.start_reading();
        }
        let line = match reading.as_mut() {
            Some(line) => line.await,
            None => return unanswered(),
        };
        *reading = None;
        match line {
            Ok(Ok(line)) => answer(&line),
            Ok(Err(_)) | Err(_) => unanswered(),
        }
    }
}

impl fmt::Debug for ApprovalPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovalPrompt").finish_non_exhaustive()
    }
}

fn answer(line: &str) -> ApprovalAnswer {
    match line.trim() {
        "y" | "Y" | "yes" => ApprovalAnswer::approve(PERSON),
        "" | "n" | "N" | "no" => ApprovalAnswer::deny(PERSON),
        reason => ApprovalAnswer::deny(PERSON).reason(Some(reason.to_owned())),
    }
}

fn unanswered() -> ApprovalAnswer {
    ApprovalAnswer::deny("the terminal").reason(Some("The terminal gave no answer.".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex as StdMutex, mpsc},
    };

    use brigade_core::{
        Agent, Run, ToolOutput,
        testing::{ScriptedModel, Turn},
        tool_fn,
    };
    use brigade_durable::{ApprovalRule, ApprovedTool, Approver};

    use super::*;

    #[test]
    fn only_a_clear_yes_allows_a_call() {
        assert_eq!(answer("y\n"), ApprovalAnswer::approve(PERSON));
        assert_eq!(answer(" yes \n"), ApprovalAnswer::approve(PERSON));
        for no in ["", "\n", "n\n", "no\n"] {
            assert_eq!(answer(no), ApprovalAnswer::deny(PERSON), "{no:?}");
        }
        let why = Some("yes, but only 10".to_owned());
        assert_eq!(answer("yes, but only 10\n"), ApprovalAnswer::deny(PERSON).reason(why));
    }

    /// A prompt of several runs.
    struct Shared(Arc<ApprovalPrompt>);

    #[async_trait]
    impl Decide for Shared {
        async fn decide(&self, request: ApprovalRequest) -> ApprovalAnswer {
            self.0.decide(request).await
        }
    }

    /// An agent that asks the prompt about one call, and ends with the result of the call.
    async fn ask(prompt: &Arc<ApprovalPrompt>) -> String {
        let turns = [Turn::text("").and_call("1", "pay", "{}"), Turn::text("The end.")];
        let model = ScriptedModel::new(turns);
        let pay = tool_fn("pay", "Pays.", async |_: BTreeMap<String, String>, _: Run| Ok(ToolOutput::text("paid")));
        let clerk = Agent::new("clerk", model.clone()).tool(ApprovedTool::new(pay, ApprovalRule::Always));
        let approver = Approver::new(Shared(Arc::clone(prompt)));
        clerk.run_in(&Run::builder().shared(approver).build(), "Pay.").await.map(drop).unwrap_or_default();
        format!("{:?}", model.requests())
    }

    /// Waits until a question is shown.
    async fn is_asked(prompt: &ApprovalPrompt) {
        while prompt.reading.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
    }

    async fn abandon(prompt: &Arc<ApprovalPrompt>) {
        tokio::select! {
            asked = ask(prompt) => panic!("there is no answer yet: {asked}"),
            () = is_asked(prompt) => {}
        }
    }

    #[tokio::test]
    async fn a_line_goes_to_the_question_that_is_shown_and_not_to_one_that_was_abandoned() {
        let (keyboard, lines) = mpsc::channel::<&str>();
        let lines = StdMutex::new(lines);
        let prompt = Arc::new(ApprovalPrompt::new(move || {
            let line = lines.lock().map_err(|_| io::ErrorKind::Other)?.recv();
            line.map(str::to_owned).map_err(io::Error::other)
        }));
        abandon(&prompt).await;
        // The thread of the abandoned question reads the answer to the next one.
        let answer = async {
            is_asked(&prompt).await;
            keyboard.send("y").unwrap();
        };
        let (asked, ()) = tokio::join!(ask(&prompt), answer);
        assert!(asked.contains("paid"), "{asked}");

        abandon(&prompt).await;
        keyboard.send("y").unwrap();
        while prompt.reading.lock().await.as_ref().is_some_and(oneshot::Receiver::is_empty) {
            tokio::task::yield_now().await;
        }
        let answer = async {
            is_asked(&prompt).await;
            keyboard.send("Too much.").unwrap();
        };
        let (asked, ()) = tokio::join!(ask(&prompt), answer);
        assert!(asked.contains("Too much.") && !asked.contains("paid"), "the late line answers nothing: {asked}");
    }
}
