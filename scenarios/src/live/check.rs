//! The checks: what is asked, and what is looked at in the answer.

use std::{collections::BTreeSet, ops::RangeInclusive};

use brigade_core::{
    Arguments, Certainty, ChatRequest, Message, ModelError, ModelErrorKind, OutputSchema, Part, RawJson, Schema,
    Settings, ToolCall, ToolResult, ToolSet, ToolSpec,
};

use super::{
    facts::{Facts, Obstacle},
    subject::{Answer, Subject},
};

/// A model that no provider has.
pub(super) const UNKNOWN_MODEL: &str = "brigade-no-such-model";

/// Long enough that our count of its tokens means something.
const INSTRUCTIONS: &str = "You take part in a short test of a client program. Follow each request to the letter. \
    Answer in plain English, without headings, lists, tables, quotation marks or code blocks, unless the request asks for \
    one of them. Never explain what you did, never apologize, and never add a question of your own at the end. If a tool \
    is offered and the request asks you to use it, call it once, with the arguments that the request names, and wait for \
    its result before you write an answer.";

const SENTENCE: &str = "Write one sentence of about ten words about a pelican.";
const WEATHER: &str = "What is the weather in Paris? Call the tool once, then repeat the station code of its result.";
const COUNT: &str = "Count from one to sixty in English words, separated by commas.";
const FORM: &str = "How many inhabitants does Paris have, to the nearest million? Answer as JSON with the fields city and \
    inhabitants.";
const STATION: &str = "QX-7731";

const TOOL_SCHEMA: &str =
    r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}"#;
const ANSWER_SCHEMA: &str = r#"{"type":"object","properties":{"city":{"type":"string"},"inhabitants":{"type":"integer"}},"required":["city","inhabitants"],"additionalProperties":false}"#;

/// Two texts of similar meaning, and another one.
const TEXTS: [&str; 3] =
    ["The train to Basel leaves at noon.", "The train to Basel leaves at one.", "Pelicans swallow fish whole."];

/// One thing that is checked. They run in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LiveCheck {
    Account,
    Chat,
    StreamedChat,
    Usage,
    StreamedUsage,
    Headers,
    ToolCall,
    StreamedToolCall,
    JsonSchema,
    Cancellation,
    Embeddings,
    UnknownModel,
    RefusedParameter,
}

impl LiveCheck {
    pub(super) const ALL: [Self; 13] = [
        Self::Account,
        Self::Chat,
        Self::StreamedChat,
        Self::Usage,
        Self::StreamedUsage,
        Self::Headers,
        Self::ToolCall,
        Self::StreamedToolCall,
        Self::JsonSchema,
        Self::Cancellation,
        Self::Embeddings,
        Self::UnknownModel,
        Self::RefusedParameter,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Chat => "chat",
            Self::StreamedChat => "streamed chat",
            Self::Usage => "usage",
            Self::StreamedUsage => "streamed usage",
            Self::Headers => "headers",
            Self::ToolCall => "tool call",
            Self::StreamedToolCall => "streamed tool call",
            Self::JsonSchema => "JSON schema",
            Self::Cancellation => "cancellation",
            Self::Embeddings => "embeddings",
            Self::UnknownModel => "unknown model",
            Self::RefusedParameter => "refused parameter",
        }
    }

    pub(super) async fn run(self, subject: &Subject<'_>) -> Result<Facts, Obstacle> {
        match self {
            Self::Account => account(subject).await,
            Self::Chat => chat(subject, false).await,
            Self::StreamedChat => chat(subject, true).await,
            Self::Usage => usage(subject, false),
            Self::StreamedUsage => usage(subject, true),
            Self::Headers => Ok(headers(subject)),
            Self::ToolCall => tool_call(subject, false).await,
            Self::StreamedToolCall => tool_call(subject, true).await,
            Self::JsonSchema => json_schema(subject).await,
            Self::Cancellation => cancellation(subject).await,
            Self::Embeddings => embeddings(subject).await,
            Self::UnknownModel => unknown_model(subject).await,
            Self::RefusedParameter => refused_parameter(subject).await,
        }
    }
}

fn request(question: &str) -> ChatRequest {
    ChatRequest::new(question).instructions(Some(Message::system(INSTRUCTIONS)))
}

fn yes_or_no(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

async fn account(subject: &Subject<'_>) -> Result<Facts, Obstacle> {
    match subject.account.probe().await {
        Ok(()) => {
            let mut facts = Facts::default();
            facts.add("list of models", "answered");
            Ok(facts)
        }
        Err(error) if is_missing(&error) => {
            Err(Obstacle::NotOffered("the server has no list of models at this address".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the server does not have the endpoint, or the model.
fn is_missing(error: &ModelError) -> bool {
    matches!(error.details().status, Some(404 | 405 | 501)) || error.kind() == ModelErrorKind::NoSuchModel
}

async fn chat(subject: &Subject<'_>, streamed: bool) -> Result<Facts, Obstacle> {
    let answer = subject.ask(&request(SENTENCE), streamed).await?;
    let mut facts = Facts::default();
    let text = answer.reply.message.text().to_lowercase();
    facts.add("text", if text.contains("pelican") { "as asked" } else { text_form(&text) });
    add_common(&mut facts, &answer, &subject.target.model);
    if streamed {
        facts.add("deltas", if answer.pieces > 1 { "several" } else { "not several: the answer came as a whole" });
        facts.add("the deltas make up the answer", yes_or_no(answer.streamed == answer.reply.message.text()));
    }
    subject.keep(streamed, answer);
    Ok(facts)
}

fn text_form(text: &str) -> &'static str {
    if text.trim().is_empty() { "empty" } else { "not as asked" }
}

/// What every answer should have.
fn add_common(facts: &mut Facts, answer: &Answer, asked: &str) {
    facts.add("finish reason", answer.reply.finish_reason.name());
    let model = answer.reply.model.as_str();
    let model = match model {
        "" => "absent".to_owned(),
        // A dated name, or a name without the vendor in front.
        name if name.starts_with(asked) || asked.ends_with(name) || name.ends_with(asked) => "the one asked".to_owned(),
        other => format!("another one, {other}"),
    };
    facts.add("model in the answer", model);
    facts.add("deviations from the documentation", quirks(&answer.quirks));
}

fn quirks(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

fn usage(subject: &Subject<'_>, streamed: bool) -> Result<Facts, Obstacle> {
    let answer = subject.kept(streamed).ok_or(Obstacle::NotRun("there is no such answer to look at"))?;
    let mut facts = Facts::default();
    facts.add("usage", if answer.reply.usage.is_some() { "reported" } else { "absent" });
    let is_charged = answer.reply.charge.is_some_and(|charge| charge.certainty == Certainty::Charged);
    facts.add("it is charged", if is_charged { "as reported" } else { "by our own estimate" });
    let Some(usage) = answer.reply.usage else { return Ok(facts) };
    let counted = answer.counted_input;
    facts.add("input tokens", plausible(usage.input_tokens, counted / 2..=counted * 2, counted));
    let bytes = answer.reply.message.size_bytes() as u64;
    let shown = usage.output_tokens.saturating_sub(usage.reasoning_tokens.unwrap_or_default());
    facts.add("output tokens", plausible(shown, bytes / 12..=bytes + 16, bytes.div_ceil(4)));
    let other = subject.kept(!streamed).and_then(|answer| answer.reply.usage).map(|usage| usage.input_tokens);
    if let Some(whole) = other.filter(|_| streamed) {
        let is_same = whole == usage.input_tokens;
        let same = if is_same { "yes".to_owned() } else { format!("no, {whole} and {}", usage.input_tokens) };
        facts.add("the same prompt counts the same, whole and streamed", same);
    }
    Ok(facts)
}

fn plausible(reported: u64, range: RangeInclusive<u64>, counted: u64) -> String {
    if range.contains(&reported) && reported > 0 {
        return "plausible".to_owned();
    }
    format!("implausible, {reported} where we count about {counted}")
}

fn headers(subject: &Subject<'_>) -> Facts {
    let mut facts = Facts::default();
    let present = |is_present| if is_present { "present" } else { "absent" };
    let kept = [false, true].map(|streamed| subject.kept(streamed));
    facts.add("request id", present(kept.iter().flatten().all(|answer| answer.reply.request_id.is_some())));
    facts.add("rate limits", present(kept.iter().flatten().all(|answer| !answer.reply.limits.is_empty())));
    facts
}

async fn tool_call(subject: &Subject<'_>, streamed: bool) -> Result<Facts, Obstacle> {
    let tool = ToolSpec::new("weather", "Reports the weather in a city.", json(TOOL_SCHEMA));
    let mut request = request(WEATHER).tools(ToolSet::new(vec![tool]));
    let answer = subject.ask(&request, streamed).await?;
    let mut facts = Facts::default();
    let calls: Vec<ToolCall> = answer.reply.message.tool_calls().cloned().collect();
    facts.add("tool calls", calls.len());
    add_common(&mut facts, &answer, &subject.target.model);
    if calls.is_empty() {
        return Ok(facts);
    }
    facts.add("tool name", if calls.iter().all(|call| call.name == "weather") { "as offered" } else { "another one" });
    let forms: BTreeSet<&str> = calls.iter().map(|call| document_form(&call.arguments, TOOL_SCHEMA)).collect();
    facts.add("arguments", forms.into_iter().collect::<Vec<_>>().join(", "));
    let results = calls.iter().map(|call| {
        ToolResult::new(call, vec![Part::text(format!("18 degrees Celsius, light rain. Station code: {STATION}."))])
    });
    let pushed = request.transcript.push(answer.reply.message.clone());
    if pushed.and_then(|()| request.transcript.answer_calls(results.collect())).is_err() {
        facts.add("the call can be answered", "no");
        return Ok(facts);
    }
    let answer = subject.ask(&request, streamed).await?;
    facts.add("finish reason after the result", answer.reply.finish_reason.name());
    facts.add("the answer uses the result", yes_or_no(answer.reply.message.text().contains(STATION)));
    facts.add("deviations after the result", quirks(&answer.quirks));
    Ok(facts)
}

fn json(text: &str) -> RawJson {
    // The texts are constants.
    RawJson::parse(text.to_owned()).unwrap_or_else(|_| RawJson::empty_object())
}

/// Whether a document is JSON, and matches the schema.
fn document_form(document: &Arguments, schema: &str) -> &'static str {
    let value = match document {
        Arguments::Json(raw) => serde_json::from_str(raw.get()),
        Arguments::Malformed(text) => serde_json::from_str(text),
    };
    match (value, Schema::compile(&json(schema))) {
        (Err(_), _) => "not JSON",
        (Ok(value), Ok(schema)) if schema.check(&value).is_err() => "JSON that does not match the schema",
        (Ok(_), _) => "JSON that matches the schema",
    }
}

async fn json_schema(subject: &Subject<'_>) -> Result<Facts, Obstacle> {
    let schema = OutputSchema::new("city", json(ANSWER_SCHEMA)).strict(true);
    let request = request(FORM).settings(Settings::default().output(Some(schema)));
    let answer = subject.ask(&request, false).await?;
    let mut facts = Facts::default();
    let text = answer.reply.message.text();
    let form = match document_form(&Arguments::parse(text.to_string()), ANSWER_SCHEMA) {
        "not JSON" if text.contains("```") => "JSON between Markdown fences, or prose",
        form => form,
    };
    facts.add("answer", if text.trim().is_empty() { "empty" } else { form });
    add_common(&mut facts, &answer, &subject.target.model);
    Ok(facts)
}

async fn cancellation(subject: &Subject<'_>) -> Result<Facts, Obstacle> {
    let before = subject.ledger.spending();
    let answer = subject.ask_and_cancel(&request(COUNT)).await?;
    let mut facts = Facts::default();
    let end =
        if answer.is_none() { "cancelled after its first piece" } else { "complete before it could be cancelled" };
    facts.add("the answer was", end);
    let is_uncertain = subject.ledger.spending().uncertain_tokens > before.uncertain_tokens;
    facts.add("it counts as", if is_uncertain { "uncertain spending" } else { "spending" });
    Ok(facts)
}

async fn embeddings(subject: &Subject<'_>) -> Result<Facts, Obstacle> {
    let not_offered = |why: &str| Obstacle::NotOffered(why.to_owned());
    let Some(model) = &subject.target.embedding_model else {
        return Err(not_offered("no embedding model is known for it; name one with --embedding-model"));
    };
    let found = match subject.embed(model, &TEXTS).await {
        None => return Err(not_offered("the dialect has no embeddings")),
        Some(Err(error)) if is_missing(&error) => {
            let status =
                error.details().status.map_or_else(|| "no status".to_owned(), |status| format!("HTTP {status}"));
            return Err(not_offered(&format!("{status} for the embedding model {model}")));
        }
        Some(found) => found?,
    };
    let mut facts = Facts::default();
    facts.add("vectors", found.vectors.len());
    if let [one, alike, other] = &found.vectors[..] {
        facts.add("similar texts are close", yes_or_no(cosine(one, alike) > cosine(one, other)));
    }
    facts.add("usage", if found.usage.is_some() { "reported" } else { "absent" });
    if let Some(usage) = found.usage {
        let counted = TEXTS.iter().map(|text| text.len() as u64).sum::<u64>().div_ceil(4);
        facts.add("input tokens", plausible(usage.input_tokens, counted / 3..=counted * 3, counted));
    }
    Ok(facts)
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}

async fn unknown_model(subject: &Subject<'_>) -> Result<Facts, Obstacle> {
    let before = subject.ledger.spending().calls;
    let result = subject.ask_model(UNKNOWN_MODEL, &request(SENTENCE), false).await;
    refusal("a model that does not exist", result, before, subject)
}

async fn refused_parameter(subject: &Subject<'_>) -> Result<Facts, Obstacle> {
    let before = subject.ledger.spending().calls;
    // As an additional field, because the client leaves out what it knows to be refused.
    let extra = [("temperature".to_owned(), json("-2"))];
    let request = request(SENTENCE).settings(Settings::default().extra(extra.into()));
    let result = subject.ask(&request, false).await;
    refusal("a temperature of -2", result, before, subject)
}

/// The facts about a call that the provider should refuse.
fn refusal(
    what: &'static str,
    result: Result<Answer, ModelError>,
    calls_before: u64,
    subject: &Subject<'_>,
) -> Result<Facts, Obstacle> {
    let mut facts = Facts::default();
    match result {
        Ok(_) => facts.add(what, "accepted and answered"),
        Err(error) => match error.kind() {
            kind @ (ModelErrorKind::Caller
            | ModelErrorKind::NoSuchModel
            | ModelErrorKind::Auth
            | ModelErrorKind::Refused
            | ModelErrorKind::ContextLength
            | ModelErrorKind::Broken
            | ModelErrorKind::Transient
            | ModelErrorKind::Overloaded) => {
                facts.add(what, format_args!("refused with an error of the kind `{}`", kind.name()));
            }
            // These say nothing about the request.
            ModelErrorKind::Quota
            | ModelErrorKind::RateLimited
            | ModelErrorKind::Unreachable
            | ModelErrorKind::Timeout(_)
            | ModelErrorKind::Budget
            | ModelErrorKind::CircuitOpen
            | ModelErrorKind::Cancelled => return Err(error.into()),
        },
    }
    facts.add("it counts as spending", yes_or_no(subject.ledger.spending().calls > calls_before));
    Ok(facts)
}
