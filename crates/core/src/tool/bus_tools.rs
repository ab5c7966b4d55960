//! Tools with which the agents of one run talk to each other.
//!
//! Give each agent of a team both tools. Who is written to need not be waiting: messages stay in its mailbox until it
//! reads them, or until the run ends.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BusError, FunctionTool, Run, ToolError, ToolOutput, tool_fn};

/// The longest message, in bytes: it ends up in the prompt of whoever reads it.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// The longest wait in seconds. An agent's turn is not held open for longer; it may wait again.
pub(crate) const MAX_WAIT_SECONDS: u64 = 60;

/// Arguments of `send_message`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Letter {
    /// The name of the agent that shall read it.
    to: String,
    /// What to say. The other agent sees nothing else of this conversation.
    text: String,
}

/// Arguments of `wait_for_message`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wait {
    /// How long to wait if there is no message yet.
    #[serde(default = "usual_wait")]
    #[schemars(range(min = 0, max = MAX_WAIT_SECONDS))]
    within_seconds: u64,
}

/// Long enough for another agent's turn.
fn usual_wait() -> u64 {
    30
}

/// A message as the reader is shown it. As JSON it cannot pose as anything else.
#[derive(Debug, Serialize)]
struct Received<'a> {
    from: &'a str,
    text: &'a str,
}

/// The tool `send_message`, for the agents of a `team`, given by name.
///
/// ```
/// use brigade_core::{send_message, wait_for_message};
///
/// let for_both = [send_message(["writer", "critic"]), wait_for_message()];
/// ```
pub fn send_message<N: Into<String>>(team: impl IntoIterator<Item = N>) -> FunctionTool {
    let team: Arc<[String]> = team.into_iter().map(Into::into).collect();
    let description = format!(
        "Sends a message to another agent that works on the same task: {}. It reads the message when it calls \
         `wait_for_message`.",
        team.join(", ")
    );
    tool_fn("send_message", &description, move |letter: Letter, run: Run| {
        let team = Arc::clone(&team);
        async move {
            check(&letter, &team, &run)?;
            run.send_message(&letter.to, letter.text).await.map_err(|error| refusal(&letter.to, error))?;
            Ok(ToolOutput::text(format!("Sent to {}.", letter.to)))
        }
    })
}

/// The tool `wait_for_message`: the oldest unread message to the agent that calls it.
pub fn wait_for_message() -> FunctionTool {
    let description = "Reads the next message from another agent that works on the same task, and waits for one if \
                       there is none yet.";
    let tool = tool_fn("wait_for_message", description, |wait: Wait, run: Run| async move {
        let within = Duration::from_secs(wait.within_seconds.min(MAX_WAIT_SECONDS));
        match run.wait_for_message(within).await {
            Ok(Some(message)) => {
                let from = message.from.rsplit('/').next().unwrap_or_default();
                ToolOutput::json(&Received { from, text: &message.body })
            }
            Ok(None) => Ok(ToolOutput::text(format!("No message came within {} seconds.", within.as_secs()))),
            Err(error) => Err(ToolError::new("messages cannot be read now").caused_by(error)),
        }
    });
    // The tool ends in time by itself; this is for a bus that does not.
    tool.polling().timeout(Duration::from_secs(MAX_WAIT_SECONDS + 5))
}

fn check(letter: &Letter, team: &[String], run: &Run) -> Result<(), ToolError> {
    let Letter { to, text } = letter;
    if to == run.agent_name() {
        return Err(ToolError::new("this is your own name; write to another agent"));
    }
    if !team.contains(to) {
        let team = team.join(", ");
        return Err(ToolError::new(format!("there is no agent called `{to}` to write to; the agents are: {team}")));
    }
    if text.len() > MAX_MESSAGE_BYTES {
        let size = text.len();
        let why = format!("a message may have {MAX_MESSAGE_BYTES} bytes, this one has {size}; send the gist of it");
        return Err(ToolError::new(why));
    }
    Ok(())
}

fn refusal(to: &str, error: BusError) -> ToolError {
    let why = match error {
        BusError::InboxFull { .. } => {
            format!("the mailbox of `{to}` is full: it does not read what it is sent; go on without it")
        }
        _ => format!("the message could not be sent to `{to}`"),
    };
    ToolError::new(why).caused_by(error)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Budget, Message, Role, Tool};

    async fn call(tool: &FunctionTool, input: Value, run: &Run) -> String {
        match tool.call(input, run).await {
            Ok(output) => Message::new(Role::User, output.content).text().into_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    fn team() -> (Run, Run, FunctionTool) {
        let desk = Run::new().child("desk", Budget::unlimited()).unwrap();
        let agent = |name| desk.child(name, Budget::unlimited()).unwrap();
        (agent("writer"), agent("critic"), send_message(["writer", "critic"]))
    }

    #[tokio::test(start_paused = true)]
    async fn two_agents_talk() {
        let (writer, critic, send) = team();
        let wait = wait_for_message();
        let receipt = call(&send, json!({"to": "critic", "text": "Is \"this\" good?"}), &writer).await;
        assert_eq!(receipt, "Sent to critic.");
        let read = call(&wait, json!({"within_seconds": 1}), &critic).await;
        assert_eq!(read, r#"{"from":"writer","text":"Is \"this\" good?"}"#);
        call(&send, json!({"to": "writer", "text": "Yes."}), &critic).await;
        assert_eq!(call(&wait, json!({}), &writer).await, r#"{"from":"critic","text":"Yes."}"#);
        assert_eq!(call(&wait, json!({}), &writer).await, "No message came within 30 seconds.");
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_longer_than_the_limit() {
        let (writer, ..) = team();
        let began = tokio::time::Instant::now();
        let read = call(&wait_for_message(), json!({"within_seconds": u64::MAX}), &writer).await;
        assert_eq!(read, "No message came within 60 seconds.");
        assert_eq!(began.elapsed(), Duration::from_secs(MAX_WAIT_SECONDS));
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_sent_is_refused_with_a_reason() {
        let (writer, _, send) = team();
        let to = |to: &str, text: &str| json!({"to": to, "text": text});
        let refused = [to("editor", "hi"), to("writer", "hi"), to("critic", &"x".repeat(MAX_MESSAGE_BYTES + 1))];
        let mut why = Vec::new();
        for letter in refused {
            why.push(call(&send, letter, &writer).await);
        }
        insta::assert_snapshot!(why.join("\n"), @r"
        error: there is no agent called `editor` to write to; the agents are: writer, critic
        error: this is your own name; write to another agent
        error: a message may have 16384 bytes, this one has 16385; send the gist of it
        ");
    }

    #[tokio::test]
    async fn a_mailbox_that_nobody_reads_fills_up() {
        let (writer, _, send) = team();
        let mut last = String::new();
        for _ in 0..65 {
            last = call(&send, json!({"to": "critic", "text": "?"}), &writer).await;
        }
        assert!(last.starts_with("error: the mailbox of `critic` is full"), "{last}");
    }
}
