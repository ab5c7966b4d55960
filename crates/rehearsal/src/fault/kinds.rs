//! The kinds of faults, by layer.

use serde::{Deserialize, Serialize};

/// A faulty reply of the model in place of the scripted one. Faults of a tool call invent one if the script has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplyFault {
    /// An empty text.
    Empty,
    /// No content at all.
    Nothing,
    /// Blanks.
    Whitespace,
    /// Only thinking.
    ReasoningOnly,
    /// Nothing, because thinking used the whole token limit.
    OutOfTokens,
    /// A call whose arguments break off at the token limit.
    CutArguments,
    /// The same, but the stop reason claims that the call is complete.
    CutArgumentsMislabelled,
    /// A call with empty arguments.
    EmptyArguments,
    /// A call with `null` as arguments.
    NullArguments,
    /// A call with `NaN` in its arguments, which is not JSON.
    NanArguments,
    /// A call with one key twice in its arguments.
    DuplicateKeys,
    /// A call with five megabytes of arguments.
    HugeArguments,
    /// A call whose arguments nest ten thousand deep.
    DeepArguments,
    /// A call to a tool that was not offered. Its name differs from turn to turn.
    UnknownTool,
    /// Two different calls with the same id.
    TwinIds,
    /// The same call twice, byte for byte.
    IdenticalTwins,
    /// A call with the id of a call in an earlier turn.
    ReusedId,
    /// A refusal.
    Refusal,
    /// A text that a content filter cut off in the middle.
    ContentFilter,
    /// Reasoning between `<think>` and `</think>` at the head of the text, as from a server without a parser for it.
    ThinkTags,
    /// The same without the opening tag, which the template has put into the prompt.
    UnopenedThinkTags,
    /// The text between Markdown fences, with prose around them.
    FencedText,
}

/// Unusual tool-call deltas of Chat Completions. All of them were observed on compatible servers, except `interleaved`,
/// which the format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolDeltas {
    /// The id comes with every delta.
    IdEveryChunk,
    /// All calls have index 0; only their ids tell them apart.
    IndexZero,
    /// No index; only the ids tell the calls apart.
    NoIndex,
    /// The name comes with the last piece of the arguments.
    NameAfterArguments,
    /// The name is an empty string.
    EmptyName,
    /// Deltas after the first repeat id and name as empty strings.
    BlankLater,
    /// A whole call comes in one delta.
    WholeCall,
    /// A whole call comes in one delta, with an object as arguments instead of a string.
    ArgumentsObject,
    /// The deltas of parallel calls alternate.
    Interleaved,
    /// The chunk with the finish reason comes twice.
    FinishTwice,
}

/// Wrong usage in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsageFault {
    /// No usage.
    None,
    /// Null.
    Null,
    /// All zero.
    Zero,
    /// A negative number of output tokens.
    Negative,
    /// More output tokens than the request allows: twice `max_tokens`, plus a thousand.
    Implausible,
    /// A running total on every chunk of Chat Completions.
    EveryChunk,
    /// On the chunk with the finish reason instead of a chunk of its own, in Chat Completions.
    OnFinish,
    /// True at first, then zero: one more chunk in Chat Completions, and the input of Anthropic's `message_delta`.
    ZeroAtEnd,
    /// With the cost of a call with an own key at a router: a fee of zero, and what the model's provider bills, 36 thousandths
    /// of a dollar.
    OwnKeyCost,
}

/// Missing or additional terminal markers of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TerminalMarkers {
    /// Without the event with the stop reason.
    NoFinish,
    /// With a stop reason of null.
    NullFinish,
    /// Without `[DONE]`, `message_stop` or `response.completed`.
    NoDone,
    /// Without both: only the body ends cleanly.
    Neither,
    /// All markers, but the connection stays open and silent.
    HeldOpen,
    /// Without `[DONE]`, `message_stop` or `response.completed`, and the connection stays open and silent.
    NoDoneHeldOpen,
    /// All markers, but the end of the body comes five milliseconds later.
    LateEnd,
    /// All markers, followed by another delta.
    DataAfterDone,
    /// With `[DONE]` at the end, in dialects that do not have it.
    DoneAdded,
}

/// An unusual way to write an event stream. The WHATWG rules for `text/event-stream` allow all but
/// the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Framing {
    /// Lines end with CRLF.
    Crlf,
    /// Lines end with CR alone.
    Cr,
    /// The line end changes with each event: LF, CRLF, CR.
    Mixed,
    /// The stream begins with a byte order mark.
    Bom,
    /// No blank after the colon.
    NoSpace,
    /// The data of each event is split into two lines.
    MultiLine,
    /// A comment before each event.
    Comments,
    /// An event with an unknown name before each event.
    UnknownEvents,
    /// No `event:` lines, even where the dialect has them.
    NoEventNames,
    /// Every byte is a chunk of its own, which splits characters of several bytes.
    ByteSegments,
    /// For a reply that is not streamed: blank lines before the JSON, as a heartbeat.
    LeadingBlanks,
    /// After the third event, an event whose data is not JSON.
    BadJson,
    /// After the third event, an event with a line of nine mebibytes.
    OversizeLine,
}

/// How a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseEnd {
    /// The body ends cleanly, as if it were complete.
    End,
    /// The connection is closed (FIN) in the middle of the body.
    Close,
    /// The connection is reset (RST). A connection in memory is closed instead.
    Reset,
    /// Nothing more comes, and the connection stays open.
    Hold,
}
