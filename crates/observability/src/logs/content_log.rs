//! Logs what is said, for those who ask for it.

use std::{fmt, fmt::Write, sync::Arc};

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelId, Part, Role, Run, Settings};

use crate::mask;

/// A model whose questions and answers are written to the log at INFO, target `brigade_observability::content`.
///
/// Content is in no log unless this wrapper is put around a model on purpose. Each call logs what is new since the
/// model last spoke, and the answer; instructions, tool schemas, reasoning and images are left out. What looks like a
/// credential is masked. Personal data can be taken out with [`ContentLog::redact`].
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

/// A page or two: enough to follow a conversation, and little enough to keep.
const MOST_CHARS: usize = 4_000;

impl<M: ChatModel> ContentLog<M> {
    /// Logs what is said to `model` and what it answers.
    pub fn new(model: M) -> Self {
        Self { model, redact: Arc::new(str::to_owned) }
    }

    /// Changes every text before it is logged. It is given the whole text and runs on the task of the run, so it must
    /// be quick.
    #[must_use]
    pub fn redact(self, redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self { redact: Arc::new(redact), ..self }
    }

    fn log(&self, direction: &str, message: &Message) {
        let said = (self.redact)(words(message).trim_end());
        let said = mask(&said);
        let (shown, dots) = match said.char_indices().nth(MOST_CHARS) {
            Some((end, _)) => (said.split_at(end).0, "…"),
            None => (&*said, ""),
        };
        tracing::info!(target: "brigade_observability::content", model = %self.model.id(), "{direction}: {shown}{dots}");
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
            self.log(if message.role() == Role::Tool { "tool" } else { "user" }, message);
        }
        let reply = self.model.chat(request, run).await?;
        self.log("assistant", &reply.message);
        Ok(reply)
    }
}

impl<M: fmt::Debug> fmt::Debug for ContentLog<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentLog").field("model", &self.model).finish_non_exhaustive()
    }
}

fn words(message: &Message) -> String {
    let mut words = String::new();
    write_words(&mut words, message.parts());
    words
}

fn write_words(words: &mut String, parts: &[Part]) {
    for part in parts {
        // A `String` takes whatever is written to it.
        let _ = match part {
            Part::Text(text) => write!(words, "{} ", text.text),
            Part::ToolCall(call) => write!(words, "[calls {} {}] ", call.name, call.arguments.as_str()),
            Part::ToolResult(result) => {
                let _ = write!(words, "[{}] ", result.name);
                write_words(words, &result.content);
                Ok(())
            }
            Part::Image(_) => write!(words, "[image] "),
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
    async fn a_conversation_is_logged_once_without_secrets_and_as_the_hook_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("brigade.log");
        let target = LogTarget::File(path.clone());
        let (layer, _handle) = Logging::new()
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
        let text = std::fs::read_to_string(path).unwrap();
        let said: Vec<&str> = text.lines().map(|line| line.split_once("content: ").unwrap().1).collect();
        assert_eq!(
            said,
            [
                "user: Who is [name]? model=scripted/model",
                r#"assistant: [calls lookup {"name":"[name]"}] model=scripted/model"#,
                "tool: [lookup] [name]'s key is sk-[masked] model=scripted/model",
                "assistant: Hello, [name]. model=scripted/model",
            ]
        );
    }
}
