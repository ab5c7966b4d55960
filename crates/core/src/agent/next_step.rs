//! Decides what the loop does with a reply.

use std::mem;

use crate::{ChatReply, FinishReason, Schema, Settings, StopReason, agent::run_end::RunEnd};

/// What the loop does with a reply.
#[derive(Debug)]
pub(crate) enum NextStep {
    /// Finish with this answer.
    Finish(String),
    /// Run the tools that the reply calls.
    RunTools,
    /// Send the reply back, because the provider paused a long turn.
    Continue,
    /// Ask again with this note, because the reply is unusable. The model sees the reply too if `keep_reply` is set.
    AskAgain { keep_reply: bool, note: String },
    /// End the run without a usable answer.
    Stop(RunEnd),
}

/// Decides what the loop does with each reply, and limits how often the model is asked again.
#[derive(Debug)]
pub(crate) struct ReplyClassifier {
    schema: Option<Schema>,
    reasks_left: u32,
    rejections: u32,
    /// Whether the last reply used up its tokens before any text.
    needs_more_output: bool,
}

impl ReplyClassifier {
    pub(crate) fn new(schema: Option<Schema>, reasks: u32) -> Self {
        Self { schema, reasks_left: reasks, rejections: 0, needs_more_output: false }
    }

    /// Returns how many replies were rejected so far.
    pub(crate) fn rejections(&self) -> u32 {
        self.rejections
    }

    /// Doubles the limit of output tokens if the last reply used them up before any text.
    pub(crate) fn raise_output_limit(&mut self, settings: &mut Settings, defaults: &Settings) {
        if mem::take(&mut self.needs_more_output) {
            let limit = settings.over(defaults).output_limit();
            settings.max_output_tokens = limit.map(|tokens| tokens.saturating_mul(2));
        }
    }

    pub(crate) fn next_step(&mut self, reply: &ChatReply, tools_are_off: bool) -> NextStep {
        let has_calls = reply.message.tool_calls().next().is_some();
        let is_cut = match reply.finish_reason {
            FinishReason::Refusal | FinishReason::ContentFilter => return NextStep::Stop(refused(reply)),
            FinishReason::Pause if !has_calls => return NextStep::Continue,
            FinishReason::MaxTokens | FinishReason::ContextWindow => true,
            FinishReason::EndTurn
            | FinishReason::ToolCalls
            | FinishReason::StopSequence
            | FinishReason::Pause
            | FinishReason::Unknown => false,
        };
        if has_calls && !tools_are_off {
            return NextStep::RunTools;
        }
        let text = reply.message.text();
        match text.trim() {
            "" if !has_calls => self.reject_empty(is_cut),
            _ if is_cut => NextStep::Stop(truncated()),
            text => self.check(text),
        }
    }

    /// Handles an empty answer. Some models write nothing when they have finished, and reasoning can use up the tokens of the
    /// answer.
    fn reject_empty(&mut self, is_cut: bool) -> NextStep {
        self.needs_more_output = is_cut;
        // A second empty answer is final: asking more often has not been seen to help.
        let may_ask_again = self.rejections == 0 && self.may_ask_again();
        match (may_ask_again, is_cut) {
            (true, true) => ask_again("[notice] Your answer ended before any text. Think less and answer now."),
            (true, false) => ask_again("[notice] Your answer was empty. Answer the task in words now."),
            (false, true) => NextStep::Stop(truncated()),
            (false, false) => NextStep::Stop(RunEnd::new(
                StopReason::Empty,
                "The model gave an empty answer, even when it was asked again.",
            )),
        }
    }

    /// Checks an answer against the output schema.
    fn check(&mut self, text: &str) -> NextStep {
        let Some(schema) = &self.schema else { return NextStep::Finish(text.to_owned()) };
        let json = without_fence(text);
        let checked = match serde_json::from_str(json) {
            Ok(value) => schema.check(&value),
            Err(error) => Err(format!("it is not a JSON document ({error})")),
        };
        let Err(violations) = checked else { return NextStep::Finish(json.to_owned()) };
        if self.may_ask_again() {
            let note =
                format!("[notice] Your answer does not match the schema: {violations}. Answer again with JSON only.");
            return NextStep::AskAgain { keep_reply: true, note };
        }
        let tries = self.rejections;
        let notice = format!("The answer does not match the schema, even after {tries} tries: {violations}.");
        NextStep::Stop(RunEnd::new(StopReason::InvalidOutput, notice))
    }

    fn may_ask_again(&mut self) -> bool {
        self.rejections += 1;
        let may = self.reasks_left > 0;
        self.reasks_left = self.reasks_left.saturating_sub(1);
        may
    }
}

/// Asks again after an empty reply, which is not kept, because providers reject it.
fn ask_again(note: &str) -> NextStep {
    NextStep::AskAgain { keep_reply: false, note: note.to_owned() }
}

/// Removes the Markdown fence that models without enforced output often put around JSON.
fn without_fence(text: &str) -> &str {
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inner.and_then(|inner| inner.strip_suffix("```")).map_or(text, str::trim)
}

fn refused(reply: &ChatReply) -> RunEnd {
    let reason = reply.raw_finish_reason.as_deref().unwrap_or(reply.finish_reason.name());
    RunEnd::new(StopReason::Refused, format!("The model declined to answer ({reason})."))
}

fn truncated() -> RunEnd {
    let notice = "The answer was cut off at the limit of output tokens; raise `max_output_tokens` or ask for less.";
    RunEnd::new(StopReason::Truncated, notice)
}
