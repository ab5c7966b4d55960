//! Decides what the loop does with a reply.

use std::mem;

use serde_json::value::RawValue;

use crate::{ChatReply, FinishReason, Part, Schema, Settings, StopReason, agent::run_end::RunEnd, run::log::count};

/// How many places of an answer are tried as the beginning of a document.
const MAX_DOCUMENTS: usize = 64;

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
            "" if !has_calls && !is_cut => self.check_reasoning(reply),
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

    /// Takes a document that the provider filed as reasoning for the answer, if there is no other.
    fn check_reasoning(&mut self, reply: &ChatReply) -> NextStep {
        let mut thinking = reply.message.parts().iter().filter_map(|part| match part {
            Part::Thinking(thinking) => Some(&*thinking.text),
            _ => None,
        });
        let document = |schema| matching_document(thinking.next_back()?, schema).ok();
        match self.schema.as_ref().and_then(document) {
            Some(json) => NextStep::Finish(json.to_owned()),
            None => self.reject_empty(false),
        }
    }

    /// Checks an answer against the output schema.
    fn check(&mut self, text: &str) -> NextStep {
        let Some(schema) = &self.schema else { return NextStep::Finish(text.to_owned()) };
        let violations = match matching_document(text, schema) {
            Ok(json) => return NextStep::Finish(json.to_owned()),
            Err(violations) => violations,
        };
        if self.may_ask_again() {
            let note =
                format!("[notice] Your answer does not match the schema: {violations}. Answer again with JSON only.");
            return NextStep::AskAgain { keep_reply: true, note };
        }
        let tries = count(u64::from(self.rejections), "answer");
        let notice = format!("The answer does not match the schema, even after {tries}: {violations}.");
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

/// The JSON document in an answer that matches the schema: all of it, or one within prose, fences or end markers. The
/// error says what is wrong with the last document.
fn matching_document<'t>(text: &'t str, schema: &Schema) -> Result<&'t str, String> {
    let check = |json: &str| serde_json::from_str(json).map(|value| schema.check(&value));
    let text = text.trim_matches(|character: char| character.is_whitespace() || matches!(character, '\u{feff}' | '`'));
    let text = text.strip_prefix("json").unwrap_or(text).trim();
    let mut violations = match check(text) {
        Ok(Ok(())) => return Ok(text),
        Ok(Err(violations)) => violations,
        Err(error) => format!("it is not a JSON document ({error})"),
    };
    let mut rest = text;
    for _ in 0..MAX_DOCUMENTS {
        let Some(start) = rest.find(['{', '[']) else { break };
        rest = rest.get(start..).unwrap_or_default();
        let mut documents = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let end = match documents.next() {
            Some(Ok(document)) => match check(document.get()) {
                Ok(Ok(())) => return Ok(document.get()),
                Ok(Err(found)) => {
                    violations = found;
                    documents.byte_offset()
                }
                Err(_) => documents.byte_offset(),
            },
            _ => 1,
        };
        rest = rest.get(end..).unwrap_or_default();
    }
    Err(violations)
}

fn refused(reply: &ChatReply) -> RunEnd {
    let reason = reply.raw_finish_reason.as_deref().unwrap_or(reply.finish_reason.name());
    RunEnd::new(StopReason::Refused, format!("The model declined to answer ({reason})."))
}

fn truncated() -> RunEnd {
    let notice = "The answer was cut off at the limit of output tokens; raise `max_output_tokens` or ask for less.";
    RunEnd::new(StopReason::Truncated, notice)
}
