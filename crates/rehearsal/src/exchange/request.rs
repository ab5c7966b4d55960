//! What the simulator needs to know of a request, whatever its dialect.

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

use crate::protocol::dialect::WireDialect;
use crate::protocol::{ids, tokens};
use crate::script::script::{AgentMatcher, RequestMatcher, Rule, Script, ScriptedAnswer};

/// A request, reduced to what rules, faults and renderers look at.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of a protocol")]
pub(crate) struct Request {
    pub(crate) dialect: WireDialect,
    pub(crate) model: String,
    pub(crate) agent: Option<String>,
    pub(crate) stream: bool,
    /// Chat Completions only: `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    /// Thinking is to be shown: Anthropic's `thinking`, or a summary asked for in Responses.
    pub(crate) thinking: bool,
    /// Responses only: `include` names `reasoning.encrypted_content`.
    pub(crate) encrypted_reasoning: bool,
    pub(crate) system: String,
    pub(crate) last_user: String,
    pub(crate) tool_results: String,
    /// Assistant turns in the history.
    pub(crate) turn: usize,
    pub(crate) tools: Vec<String>,
    /// Whether the model may call tools: some are offered and `tool_choice` is not `none`.
    pub(crate) may_call: bool,
    pub(crate) max_tokens: Option<u64>,
    /// The id of a tool call of an earlier turn, if there was one.
    pub(crate) earlier_call_id: Option<String>,
    /// Responses only: what the answer repeats.
    pub(crate) echo: Echo,
    /// Follows from the body alone.
    pub(crate) seed: u64,
    /// Tokens of the prompt, as a vendor would count them.
    pub(crate) prompt_tokens: u64,
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
            echo: Echo::default(),
            seed: ids::digest(body),
            prompt_tokens: tokens::of_prompt(dialect, body),
        }
    }

    /// Settles who asks: the header if there was one, else the first mark that fits.
    pub(crate) fn recognise(&mut self, header: Option<&str>, marks: &[AgentMatcher]) {
        let marked = || marks.iter().find(|mark| self.bears(mark));
        self.agent = header.map(str::to_owned).or_else(|| marked().map(|mark| mark.name.clone()));
    }

    /// The answer of the first rule that fits.
    pub(crate) fn answer<'s>(&self, script: &'s Script) -> Option<&'s ScriptedAnswer> {
        let fits = |rule: &&Rule| self.meets(&rule.when) && (self.may_call || rule.answer.tool_calls.is_empty());
        script.rules.iter().find(fits).map(|rule| &rule.answer)
    }

    /// Whether this tool is offered.
    pub(crate) fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == tool)
    }

    fn bears(&self, mark: &AgentMatcher) -> bool {
        let says = |text: &String| self.system.contains(text.as_str());
        let marked = mark.system_contains.is_some() || mark.tool_offered.is_some();
        marked
            && mark.system_contains.as_ref().is_none_or(says)
            && mark.tool_offered.as_ref().is_none_or(|tool| self.offers(tool))
    }

    fn meets(&self, when: &RequestMatcher) -> bool {
        fn holds<T>(wanted: Option<&T>, test: impl Fn(&T) -> bool) -> bool {
            wanted.is_none_or(test)
        }
        holds(when.agent.as_ref(), |name| self.agent.as_ref() == Some(name))
            && holds(when.model.as_ref(), |model| self.model == *model)
            && holds(when.dialect.as_ref(), |dialect| self.dialect == *dialect)
            && holds(when.turn.as_ref(), |turn| self.turn == *turn)
            && holds(when.tools.as_ref(), |tools| self.may_call == *tools)
            && holds(when.tool_offered.as_ref(), |tool| self.offers(tool))
            && holds(when.system_contains.as_ref(), |text| self.system.contains(text.as_str()))
            && holds(when.last_user_contains.as_ref(), |text| self.last_user.contains(text.as_str()))
    }
}

/// What the answer repeats of the request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Echo {
    pub(crate) instructions: Option<String>,
    pub(crate) tools: Option<Box<RawValue>>,
    pub(crate) store: bool,
}

/// The content of a message: one text or a list of typed parts. All three dialects allow both.
#[derive(Debug, Clone, Default)]
pub(crate) enum Content {
    #[default]
    Missing,
    Text(String),
    Blocks(Vec<Block>),
}

/// A typed part of a message, with the fields that any of the dialects uses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Block {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    pub(crate) refusal: Option<String>,
    pub(crate) thinking: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) tool_use_id: Option<String>,
    pub(crate) input: Option<Box<RawValue>>,
    pub(crate) content: Content,
}

impl Content {
    /// All the text in it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => {
                let texts: Vec<&str> = blocks.iter().filter_map(|b| b.text.as_deref()).collect();
                texts.join("\n")
            }
        }
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        match self {
            Self::Blocks(blocks) => blocks,
            Self::Missing | Self::Text(_) => &[],
        }
    }

    /// Whether there is nothing in it at all.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Text(text) => text.is_empty(),
            Self::Blocks(blocks) => blocks.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list of parts, or null")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut blocks = Vec::new();
        while let Some(block) = list.next_element()? {
            blocks.push(block);
        }
        Ok(Content::Blocks(blocks))
    }
}

/// A field of which only the presence of some text in it matters.
pub(crate) fn says(raw: Option<&RawValue>, text: &str) -> bool {
    raw.is_some_and(|raw| raw.get().contains(text))
}
