//! Tools with which the agents of one run send each other messages.

use std::{sync::Arc, time::Duration};

use brigade_core::{Effect, FunctionTool, Run, ToolError, ToolOutput, tool_fn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BusError, TeamRun};

/// The longest message, in bytes: it becomes part of the receiver's prompt.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// The longest wait. An agent can call the tool again to wait longer.
const MAX_WAIT_SECONDS: u64 = 60;

/// Arguments of `send_message`.
#[derive(Debug, Deserialize, JsonSchema)]
struct SendMessage {
    /// The name of the agent to send it to.
    to: String,
    /// The message. The other agent sees nothing else of this conversation.
    text: String,
}

/// Arguments of `wait_for_message`.
#[derive(Debug, Deserialize, JsonSchema)]
struct WaitForMessage {
    /// How long to wait if there is no message yet.
    #[serde(default = "default_wait")]
    #[schemars(range(min = 0, max = MAX_WAIT_SECONDS))]
    within_seconds: u64,
}

/// Long enough for another agent's turn.
fn default_wait() -> u64 {
    30
}

/// A message as the receiving model reads it. JSON keeps its text apart from other parts of the prompt.
#[derive(Debug, Serialize)]
struct Received<'a> {
    from: &'a str,
    text: &'a str,
}

/// The tools `send_message` and `wait_for_message`, for an agent of a team whose members are given by name.
///
/// Give both tools to each agent. A receiver does not have to be waiting: messages stay in its mailbox until it reads
/// them or the run ends.
///
/// ```
/// use brigade_core::{Agent, ChatModel};
/// use brigade_teams::bus_tools;
///
/// fn writer(model: impl ChatModel) -> Agent {
///     let [send_message, wait_for_message] = bus_tools(["writer", "critic"]);
///     Agent::new("writer", model).tool(send_message).tool(wait_for_message)
/// }
/// ```
pub fn bus_tools<N: Into<String>>(team: impl IntoIterator<Item = N>) -> [FunctionTool; 2] {
    [send_message(team.into_iter().map(Into::into).collect()), wait_for_message()]
}

fn send_message(team: Arc<[String]>) -> FunctionTool {
    let description = format!(
        "Sends a message to another agent that works on the same task: {}. It reads the message when it calls \
         `wait_for_message`.",
        team.join(", ")
    );
    let tool = tool_fn("send_message", &description, move |message: SendMessage, run: Run| {
        let team = Arc::clone(&team);
        async move {
            check(&message, &team, &run)?;
            let SendMessage { to, text } = message;
            run.send_message(&to, text).await.map_err(|error| refusal(&to, error))?;
            Ok(ToolOutput::text(format!("Sent to {to}.")))
        }
    });
    // A message of a step that a crash interrupted is lost with the mailbox.
    tool.effect(Effect::Repeatable)
}

fn wait_for_message() -> FunctionTool {
    let description = "Reads the next message from another agent that works on the same task, and waits for one if \
                       there is none yet.";
    let tool = tool_fn("wait_for_message", description, |wait: WaitForMessage, run: Run| async move {
        let within = Duration::from_secs(wait.within_seconds.min(MAX_WAIT_SECONDS));
        match run.wait_for_message(within).await {
            Ok(Some(message)) => {
                let from = message.from.rsplit('/').next().unwrap_or_default();
                ToolOutput::json(&Received { from, text: &message.body })
            }
            Ok(None) => Ok(ToolOutput::text(format!("No message came within {within:?}."))),
            Err(error) => Err(ToolError::new("messages cannot be read now").caused_by(error)),
        }
    });
    // The tool keeps to its own limit; this one is for a bus that does not return.
    tool.polling().effect(Effect::Repeatable).timeout(Duration::from_secs(MAX_WAIT_SECONDS + 5))
}

fn check(message: &SendMessage, team: &[String], run: &Run) -> Result<(), ToolError> {
    let SendMessage { to, text } = message;
    if to == run.agent_name() {
        let why = "this is your own name; write to another agent";
        return Err(ToolError::new(why).caused_by(why));
    }
    if !team.contains(to) {
        let team = team.join(", ");
        let why = format!("there is no agent called `{to}` to write to; the agents are: {team}");
        return Err(ToolError::new(why).caused_by("there is no agent of this name to write to"));
    }
    if text.len() > MAX_MESSAGE_BYTES {
        let size = text.len();
        let why = format!("a message may have {MAX_MESSAGE_BYTES} bytes, this one has {size}; send a summary");
        return Err(ToolError::new(why.clone()).caused_by(why));
    }
    Ok(())
}

fn refusal(to: &str, error: BusError) -> ToolError {
    let why = match error {
        BusError::InboxFull(_) => {
            format!("the mailbox of `{to}` is full: it does not read its messages; go on without it")
        }
        BusError::NoListener(_) | BusError::NoAnswer { .. } | BusError::Unavailable(_) => {
            format!("the message could not be sent to `{to}`")
        }
    };
    ToolError::new(why).caused_by(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{agent, call};

    fn team() -> (Run, Run, FunctionTool) {
        let desk = agent(&Run::new(), "desk");
        (agent(&desk, "writer"), agent(&desk, "critic"), send_message(["writer", "critic"].map(String::from).into()))
    }

    #[tokio::test(start_paused = true)]
    async fn two_agents_exchange_messages() {
        let (writer, critic, send) = team();
        let wait = wait_for_message();
        let receipt = call(&send, json!({"to": "critic", "text": "Is \"this\" good?"}), &writer).await;
        assert_eq!(receipt, "Sent to critic.");
        let read = call(&wait, json!({"within_seconds": 1}), &critic).await;
        assert_eq!(read, r#"{"from":"writer","text":"Is \"this\" good?"}"#);
        call(&send, json!({"to": "writer", "text": "Yes."}), &critic).await;
        assert_eq!(call(&wait, json!({}), &writer).await, r#"{"from":"critic","text":"Yes."}"#);
        assert_eq!(call(&wait, json!({}), &writer).await, "No message came within 30s.");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_the_limit() {
        let (writer, ..) = team();
        let started = tokio::time::Instant::now();
        let read = call(&wait_for_message(), json!({"within_seconds": u64::MAX}), &writer).await;
        assert_eq!(read, "No message came within 60s.");
        assert_eq!(started.elapsed(), Duration::from_secs(MAX_WAIT_SECONDS));
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_sent_is_refused_with_a_reason() {
        let (writer, _, send) = team();
        let to = |to: &str, text: &str| json!({"to": to, "text": text});
        let refused = [to("editor", "hi"), to("writer", "hi"), to("critic", &"x".repeat(MAX_MESSAGE_BYTES + 1))];
        let mut why = Vec::new();
        for message in refused {
            why.push(call(&send, message, &writer).await);
        }
        insta::assert_snapshot!(why.join("\n"), @r"
        error: there is no agent called `editor` to write to; the agents are: writer, critic
        error: this is your own name; write to another agent
        error: a message may have 16384 bytes, this one has 16385; send a summary
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
