//! What the model says in one call, ready to be put into a dialect's form.

use crate::exchange::request::Request;
use crate::fault::kinds::ToolDeltas;
use crate::protocol::dialect::WireDialect;
use crate::protocol::ids::Ids;
use crate::protocol::tokens;
use crate::protocol::usage::{BilledUsage, Place, Told};
use crate::script::script::{FinishReason, ScriptedAnswer};

/// The moment every answer claims to be created at (2026-01-01), fixed so that answers are
/// the same in every run.
pub(crate) const CREATED: u64 = 1_767_225_600;

/// One complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) parts: Vec<Part>,
    pub(crate) stop: FinishReason,
    /// What a vendor would bill.
    pub(crate) usage: BilledUsage,
    /// What the answer says about that.
    pub(crate) told: Told,
    pub(crate) place: Place,
    pub(crate) model: String,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Thinking(String),
    Text(String),
    Refusal(String),
    Call(Call),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl Call {
    /// The arguments with "no arguments" written as an empty object.
    pub(crate) fn object(&self) -> &str {
        if self.arguments.is_empty() { "{}" } else { &self.arguments }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` line; Chat Completions has none.
    pub(crate) name: Option<&'static str>,
    pub(crate) data: String,
    pub(crate) kind: Kind,
}

/// What an event is, as far as faults and latency care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Begins or ends something.
    Frame,
    /// Carries new text, thinking or the beginning of a call.
    Delta,
    /// Carries a piece of a tool call's arguments.
    Arguments,
    /// Tells why the model stopped.
    Finish,
    /// Tells the usage and nothing else.
    Usage,
    /// Ends the stream.
    Done,
    /// Keeps the connection alive.
    Ping,
}

impl Kind {
    /// Whether the model had to work for it.
    pub(crate) fn is_delta(self) -> bool {
        matches!(self, Self::Delta | Self::Arguments)
    }
}

impl Reply {
    /// Fills in the script's answer for this request.
    pub(crate) fn new(answer: &ScriptedAnswer, request: &Request) -> Self {
        let mut ids = Ids::new(request.seed);
        let mut parts = Vec::new();
        let mut push = |text: &str, part: fn(String) -> Part| {
            if !text.is_empty() {
                parts.push(part(fill(text, request, str::to_owned)));
            }
        };
        if request.dialect != WireDialect::Anthropic || request.thinking {
            push(&answer.thinking, Part::Thinking);
        }
        push(&answer.text, Part::Text);
        push(&answer.refusal, Part::Refusal);
        for call in &answer.tool_calls {
            parts.push(Part::Call(Call {
                id: call_id(request.dialect, &mut ids),
                name: fill(&call.name, request, str::to_owned),
                arguments: fill(&call.arguments, request, escaped),
            }));
        }
        if request.thinking && request.dialect == WireDialect::Anthropic {
            think_before_calls(&mut parts);
        }
        let stop = answer.stop.unwrap_or(if answer.tool_calls.is_empty() {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        });
        let mut reply = Self {
            parts,
            stop,
            usage: BilledUsage::default(),
            told: Told::default(),
            place: Place::Usual,
            model: answer.model.as_ref().unwrap_or(&request.model).clone(),
            seed: ids.next(),
        };
        reply.count(answer, request);
        reply
    }

    /// Repeats the last user message: the answer when no rule fits.
    pub(crate) fn echo(request: &Request) -> Self {
        let said = if request.last_user.is_empty() { "Understood." } else { "You said: {{last_user}}" };
        Self::new(&ScriptedAnswer::text(said), request)
    }

    pub(crate) fn calls_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Call(call) => Some(call),
            Part::Thinking(_) | Part::Text(_) | Part::Refusal(_) => None,
        })
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| match part {
            Part::Call(call) => Some(call),
            Part::Thinking(_) | Part::Text(_) | Part::Refusal(_) => None,
        })
    }

    /// In about how many deltas a stream would tell it.
    pub(crate) fn words(&self) -> usize {
        let count = |part: &Part| match part {
            Part::Thinking(text) | Part::Text(text) | Part::Refusal(text) => words(text).count(),
            Part::Call(call) => 1 + pieces(&call.arguments).count(),
        };
        self.parts.iter().map(count).sum()
    }

    fn count(&mut self, answer: &ScriptedAnswer, request: &Request) {
        let given = &answer.usage;
        let (mut said, mut thought) = (0, 0);
        for part in &self.parts {
            match part {
                Part::Thinking(text) => thought += tokens::of_text(text),
                Part::Text(text) | Part::Refusal(text) => said += tokens::of_text(text),
                Part::Call(call) => said += tokens::of_call(&call.name, &call.arguments),
            }
        }
        let reasoning = given.reasoning.unwrap_or(thought);
        let cached = given.cached.unwrap_or(0);
        let cache_write = given.cache_write.unwrap_or(0);
        self.usage = BilledUsage {
            input: given.input.unwrap_or(request.prompt_tokens).max(cached + cache_write),
            cached,
            cache_write,
            output: given.output.unwrap_or(said + reasoning),
            reasoning,
        };
        self.told = self.usage.into();
    }
}

/// How tool-call deltas of Chat Completions are cut and labelled; other than usual only in faults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Show thinking as `reasoning_content`, as `DeepSeek` and many compatible servers do.
    pub(crate) reasoning_content: bool,
    pub(crate) deltas: Option<ToolDeltas>,
}

/// An id of the form the vendor gives to tool calls.
pub(crate) fn call_id(dialect: WireDialect, ids: &mut Ids) -> String {
    match dialect {
        WireDialect::Anthropic => ids.letters("toolu_01", 22),
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => ids.letters("call_", 24),
    }
}

/// Cuts a text into pieces of one word each, as a tokenizer roughly would. Nothing is lost, and no
/// piece is empty.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let word = rest
            .char_indices()
            .skip(1)
            .find(|&(_, letter)| letter == ' ' || letter == '\n')
            .map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(word);
        rest = tail;
        Some(piece)
    })
}

/// Cuts a tool call's arguments into pieces of a few letters.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const LETTERS: usize = 9;
    // A call of five megabytes is to come in thousands of events, not in a million.
    let letters = LETTERS.max(text.len() / 4096);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = rest.char_indices().nth(letters).map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(cut);
        rest = tail;
        Some(piece)
    })
}

/// With thinking on, a call always follows a thought; one without words is sent as a bare signature.
fn think_before_calls(parts: &mut Vec<Part>) {
    let calls = parts.iter().any(|part| matches!(part, Part::Call(_)));
    if calls && !matches!(parts.first(), Some(Part::Thinking(_))) {
        parts.insert(0, Part::Thinking(String::new()));
    }
}

fn fill(text: &str, request: &Request, form: fn(&str) -> String) -> String {
    if !text.contains("{{") {
        return text.to_owned();
    }
    let agent = request.agent.as_deref().unwrap_or("");
    let values = [
        ("{{turn}}", request.turn.to_string()),
        ("{{model}}", form(&request.model)),
        ("{{agent}}", form(agent)),
        ("{{tool_results}}", form(&request.tool_results)),
        ("{{last_user}}", form(&request.last_user)),
    ];
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}
