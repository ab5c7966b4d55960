//! Logs prompts and answers.

use std::{fmt, fmt::Write, sync::Arc};

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelId, Part, Role, Run, Settings};

use super::mask::mask;

/// Logs the prompts and answers of a model at INFO, target `brigade_observability::content`.
///
/// No other log contains them. Each call logs the messages since the last answer, and the new answer; instructions, tool
/// schemas, reasoning and images are left out. Credentials are masked. [`ContentLog::redact`] can remove personal data.
///
/// ```
/// use brigade_core::testing::{ScriptedModel, Turn};
/// use brigade_observability::ContentLog;
///
/// let model = ScriptedModel::new([Turn::text("Hello, Ada.")]);
/// let logged = ContentLog::new(model).redact(|text| text.replace("Ada", "[name]"));
/// ```
#[derive(Clone)]
pub struct ContentLog<M> {
    model: M,
    redact: Redact,
}

type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// A page or two: enough to follow a conversation.
const MAX_CHARS: usize = 4_000;

impl<M: ChatModel> ContentLog<M> {
    /// Wraps a model.
    pub fn new(model: M) -> Self {
        Self { model, redact: Arc::new(str::to_owned) }
    }

    /// Sets a function that changes every text before it is logged. It gets the complete text and runs on the task of the
    /// run, so it must be fast.
    #[must_use]
    pub fn redact(self, redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self { redact: Arc::new(redact), ..self }
    }

    fn log(&self, direction: &str, message: &Message, model: &ModelId) {
        let text = (self.redact)(text_of(message).trim_end());
        let text = mask(&text);
        let (shown, dots) = match text.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => (text.split_at(end).0, "…"),
            None => (&*text, ""),
        };
        tracing::info!(target: "brigade_observability::content", %model, "{direction}: {shown}{dots}");
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for ContentLog<M> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    fn settings(&self) -> &Settings {
        self.model.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let messages = request.transcript.messages();
        let new = messages.iter().rposition(|message| message.role() == Role::Assistant).map_or(0, |last| last + 1);
        for message in messages.iter().skip(new) {
            self.log(if message.role() == Role::Tool { "tool" } else { "user" }, message, self.id());
        }
        let reply = self.model.chat(request, run).await?;
        self.log("assistant", &reply.message, reply.answered_by.as_ref().unwrap_or(self.id()));
        Ok(reply)
    }
}

impl<M: fmt::Debug> fmt::Debug for ContentLog<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentLog").field("model", &self.model).finish_non_exhaustive()
    }
}

fn text_of(message: &Message) -> String {
    let mut text = String::new();
    write_parts(&mut text, message.parts());
    text
}

fn write_parts(out: &mut String, parts: &[Part]) {
    for part in parts {
        // Writing to a `String` cannot fail.
        let _ = match part {
            Part::Text(text) => write!(out, "{} ", text.text),
            Part::ToolCall(call) => write!(out, "[calls {} {}] ", call.name, call.arguments.as_str()),
            Part::ToolResult(result) => {
                let _ = write!(out, "[{}] ", result.name);
                write_parts(out, &result.content);
                Ok(())
            }
            Part::Image(_) => write!(out, "[image] "),
            Part::Thinking(_) | Part::Opaque(_) => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::{
        Agent,
        testing::{ScriptedModel, Turn},
        tool_fn,
    };
    use serde_json::json;
    use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

    use super::*;
    use crate::{LogTarget, Logging};

    #[tokio::test]
    async fn each_message_is_logged_once_masked_and_redacted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("brigade.log");
        let target = LogTarget::File(path.clone());
        let (layer, logging) = Logging::new()
            .level("warn,brigade_observability::content=info")
            .variable(None)
            .target(target)
            .layer()
            .unwrap();
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        let lookup = tool_fn("lookup", "Looks up.", |_: serde_json::Value, _: Run| async {
            Ok::<_, brigade_core::ToolError>("Ada's key is sk-proj-abcdefghijklmnop".into())
        });
        let model = ScriptedModel::new([Turn::call("1", "lookup", json!({"name": "Ada"})), Turn::text("Hello, Ada.")]);
        let model = ContentLog::new(model).redact(|text| text.replace("Ada", "[name]"));
        Agent::new("desk", model).tool(lookup).run("Who is Ada?").await.unwrap();
        logging.flush();
        let text = std::fs::read_to_string(path).unwrap();
        let logged: Vec<&str> = text.lines().map(|line| line.split_once("content: ").unwrap().1).collect();
        assert_eq!(
            logged,
            [
                "user: Who is [name]? model=scripted/model",
                r#"assistant: [calls lookup {"name":"[name]"}] model=scripted/model"#,
                "tool: [lookup] [name]'s key is sk-[masked] model=scripted/model",
                "assistant: Hello, [name]. model=scripted/model",
            ]
        );
    }
}
