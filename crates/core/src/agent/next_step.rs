//! What a reply means for the run.

use crate::{Agent, ChatReply, FinishReason, Schema, Settings, StopReason, agent::run_end::End};

/// What a reply means for the run.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is the answer.
    Final(String),
    /// It asks for tools.
    Tools,
    /// The provider paused; sending the reply back goes on.
    Continue,
    /// It is of no use: ask again with this note, showing the reply or not.
    Again { keep: bool, note: String },
    /// The run ends here.
    Stop(End),
}

/// Decides what replies mean, and how often the model is asked again.
#[derive(Debug)]
pub(crate) struct Judge {
    schema: Option<Schema>,
    reasks_left: u32,
    rejections: u32,
    widen: bool,
}

impl Judge {
    pub(crate) fn new(agent: &Agent) -> Self {
        Self { schema: agent.output.clone(), reasks_left: agent.limits.reasks, rejections: 0, widen: false }
    }

    /// How many answers were rejected so far.
    pub(crate) fn rejections(&self) -> u32 {
        self.rejections
    }

    /// Gives the next answer twice the room, if the last one had none left for text.
    pub(crate) fn widen(&mut self, settings: &mut Settings, defaults: &Settings) {
        if std::mem::take(&mut self.widen) {
            let limit = settings.output_limit_over(defaults);
            settings.max_output_tokens = limit.map(|tokens| tokens.saturating_mul(2));
        }
    }

    pub(crate) fn judge(&mut self, reply: &ChatReply, closing: bool) -> Answer {
        let has_calls = reply.message.tool_calls().next().is_some();
        match reply.finish_reason {
            FinishReason::Refusal | FinishReason::ContentFilter => return Answer::Stop(refused(reply)),
            FinishReason::Pause if !has_calls => return Answer::Continue,
            _ if has_calls && !closing => return Answer::Tools,
            _ => {}
        }
        let text = reply.message.text();
        let text = text.trim();
        if text.is_empty() && !has_calls {
            return self.empty(reply.finish_reason);
        }
        if matches!(reply.finish_reason, FinishReason::MaxTokens | FinishReason::ContextWindow) {
            return Answer::Stop(truncated());
        }
        self.check(text)
    }

    /// Some models say nothing when they mean to be done, and reasoning can use up all the room for an answer.
    fn empty(&mut self, stop: FinishReason) -> Answer {
        let cut = matches!(stop, FinishReason::MaxTokens | FinishReason::ContextWindow);
        self.widen = cut;
        // Asking more than once for an answer to an empty one has not been seen to help.
        if self.rejections > 0 || !self.may_ask_again() {
            let end = End::new(StopReason::Empty, "The model answered with nothing, also when asked again.");
            return Answer::Stop(if cut { truncated() } else { end });
        }
        let note = if cut {
            "[notice] Your answer ended before any text. Think less and answer now."
        } else {
            "[notice] Your answer was empty. Answer the task in words now."
        };
        Answer::Again { keep: false, note: note.to_owned() }
    }

    /// Checks an answer against the schema that it must match.
    fn check(&mut self, text: &str) -> Answer {
        let Some(schema) = &self.schema else { return Answer::Final(text.to_owned()) };
        let json = without_fence(text);
        let checked = match serde_json::from_str(json) {
            Ok(value) => schema.check(&value),
            Err(error) => Err(format!("it is no JSON document ({error})")),
        };
        let Err(violations) = checked else { return Answer::Final(json.to_owned()) };
        if !self.may_ask_again() {
            let notice =
                format!("The answer does not match the schema, also after {} tries: {violations}.", self.rejections);
            return Answer::Stop(End::new(StopReason::InvalidOutput, notice));
        }
        let note =
            format!("[notice] Your answer does not match the schema: {violations}. Answer again with JSON only.");
        Answer::Again { keep: true, note }
    }

    fn may_ask_again(&mut self) -> bool {
        self.rejections += 1;
        let left = self.reasks_left > 0;
        self.reasks_left = self.reasks_left.saturating_sub(1);
        left
    }
}

/// Models without enforced output like to wrap JSON in a Markdown fence.
fn without_fence(text: &str) -> &str {
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inner.and_then(|inner| inner.strip_suffix("```")).map_or(text, str::trim)
}

fn refused(reply: &ChatReply) -> End {
    let word = reply.raw_finish_reason.as_deref().unwrap_or(reply.finish_reason.name());
    End::new(StopReason::Refused, format!("The model declined to answer ({word})."))
}

fn truncated() -> End {
    let notice = "The answer was cut off at the limit of output tokens; raise `max_output_tokens` or ask for less.";
    End::new(StopReason::Truncated, notice)
}
