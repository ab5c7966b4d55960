//! A request, independent of its dialect.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::dialect::WireDialect;
use crate::protocol::{
    ids,
    tokens::{self, CountTokens},
};
use crate::script::answer::ScriptedAnswer;
use crate::script::script::{AgentMatcher, RequestMatcher, Rule, Script};

/// A request, reduced to the parts that rules, faults and replies depend on.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the protocols")]
pub(crate) struct Request {
    pub(crate) dialect: WireDialect,
    pub(crate) model: String,
    pub(crate) agent: Option<String>,
    pub(crate) stream: bool,
    /// Chat Completions only: `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    /// Whether the reply shows thinking: Anthropic's `thinking`, or a reasoning summary in Responses.
    pub(crate) thinking: bool,
    /// Responses only: `include` names `reasoning.encrypted_content`.
    pub(crate) encrypted_reasoning: bool,
    pub(crate) system: String,
    pub(crate) last_user: String,
    pub(crate) tool_results: String,
    /// The number of assistant turns in the history.
    pub(crate) turn: usize,
    pub(crate) tools: Vec<String>,
    /// Whether the model may call tools: some are offered and `tool_choice` is not `none`.
    pub(crate) may_call: bool,
    pub(crate) max_tokens: Option<u64>,
    /// The id of a tool call in an earlier turn.
    pub(crate) earlier_call_id: Option<String>,
    /// Responses only: the fields that the reply repeats.
    pub(crate) echoed: EchoedFields,
    /// The source of ids and other random-looking text; depends on the body alone.
    pub(crate) seed: u64,
    /// The input tokens, as a vendor would count them.
    pub(crate) prompt_tokens: u64,
    /// The request as it came.
    pub(crate) body: Bytes,
    /// Counts the tokens of the answer.
    pub(crate) count_tokens: CountTokens,
}

impl Request {
    pub(crate) fn new(dialect: WireDialect, body: &[u8]) -> Self {
        Self {
            dialect,
            model: String::new(),
            agent: None,
            stream: false,
            include_usage: false,
            thinking: false,
            encrypted_reasoning: false,
            system: String::new(),
            last_user: String::new(),
            tool_results: String::new(),
            turn: 0,
            tools: Vec::new(),
            may_call: false,
            max_tokens: None,
            earlier_call_id: None,
            echoed: EchoedFields::default(),
            seed: ids::digest(body),
            prompt_tokens: tokens::of_prompt(dialect, body, tokens::of_text),
            count_tokens: tokens::of_text,
            body: Bytes::new(),
        }
    }

    /// Counts the tokens of the prompt and of the answer in another way.
    pub(crate) fn count_with(&mut self, count_tokens: CountTokens, body: &[u8]) {
        self.prompt_tokens = tokens::of_prompt(self.dialect, body, count_tokens);
        self.count_tokens = count_tokens;
    }

    /// Determines the calling agent: from the header if there is one, else by the first matcher that fits.
    pub(crate) fn identify_agent(&mut self, header: Option<&str>, matchers: &[AgentMatcher]) {
        let by_matcher = || matchers.iter().find(|matcher| self.is_from(matcher)).map(|matcher| matcher.name.clone());
        self.agent = header.map(str::to_owned).or_else(by_matcher);
    }

    /// The answer of the first rule that matches.
    pub(crate) fn answer<'s>(&self, script: &'s Script) -> Option<&'s ScriptedAnswer> {
        let applies = |rule: &&Rule| self.matches(&rule.when) && (self.may_call || rule.answer.tool_calls.is_empty());
        script.rules.iter().find(applies).map(|rule| &rule.answer)
    }

    /// Whether the body has this text in it.
    pub(crate) fn body_contains(&self, text: &str) -> bool {
        !text.is_empty() && self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == tool)
    }

    fn is_from(&self, matcher: &AgentMatcher) -> bool {
        let AgentMatcher { system_contains, tool_offered, .. } = matcher;
        (system_contains.is_some() || tool_offered.is_some())
            && system_contains.as_ref().is_none_or(|text| self.system.contains(text.as_str()))
            && tool_offered.as_ref().is_none_or(|tool| self.offers(tool))
    }

    fn matches(&self, matcher: &RequestMatcher) -> bool {
        matcher.agent.as_ref().is_none_or(|name| self.agent.as_ref() == Some(name))
            && matcher.model.as_ref().is_none_or(|model| self.model == *model)
            && matcher.dialect.is_none_or(|dialect| self.dialect == dialect)
            && matcher.turn.is_none_or(|turn| self.turn == turn)
            && matcher.tools.is_none_or(|tools| self.may_call == tools)
            && matcher.tool_offered.as_ref().is_none_or(|tool| self.offers(tool))
            && matcher.system_contains.as_ref().is_none_or(|text| self.system.contains(text.as_str()))
            && matcher.last_user_contains.as_ref().is_none_or(|text| self.last_user.contains(text.as_str()))
    }
}

/// The fields of a Responses request that the reply repeats.
#[derive(Debug, Clone, Default)]
pub(crate) struct EchoedFields {
    pub(crate) instructions: Option<String>,
    pub(crate) tools: Option<Box<RawValue>>,
    pub(crate) store: bool,
}

/// Whether the JSON of a field contains this text.
pub(crate) fn contains(raw: Option<&RawValue>, text: &str) -> bool {
    raw.is_some_and(|raw| raw.get().contains(text))
}
