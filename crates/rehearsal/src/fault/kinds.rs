//! The kinds of faults, each at its own layer of the answer.

use serde::{Deserialize, Serialize};

/// What a model may say instead of what the script has it say. Those that concern a tool call make
/// one up if the script has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyFault {
    /// An empty text.
    Empty,
    /// No content at all.
    Nothing,
    /// Blanks.
    Whitespace,
    /// Thoughts and nothing else.
    ReasoningOnly,
    /// Nothing, because the whole token limit went into thinking.
    OutOfTokens,
    /// A call whose arguments break off at the token limit.
    CutArguments,
    /// The same, but the stop reason claims that the call is whole.
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
    /// A call to a tool that nobody offered; its name differs from turn to turn.
    UnknownTool,
    /// Two different calls with the same id.
    TwinIds,
    /// The same call twice, byte for byte.
    IdenticalTwins,
    /// A call with an id that an earlier turn has used.
    ReusedId,
    /// A refusal.
    Refusal,
    /// A text that a content filter cuts in the middle.
    ContentFilter,
}

/// How tool-call deltas of Chat Completions may be cut and labelled. All of these were seen on
/// compatible servers, save `interleaved`, which the format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolDeltas {
    /// The id comes with every delta.
    IdEveryChunk,
    /// All calls have index 0; only their ids tell them apart.
    IndexZero,
    /// There is no index; only the ids tell the calls apart.
    NoIndex,
    /// The name comes with the last piece of the arguments.
    NameAfterArguments,
    /// The name is an empty string.
    EmptyName,
    /// Deltas after the first repeat id and name as empty strings.
    BlankLater,
    /// A whole call comes in one delta.
    WholeCall,
    /// A whole call comes in one delta, its arguments an object and not a string.
    ArgumentsObject,
    /// The deltas of parallel calls come in turns.
    Interleaved,
    /// The finishing chunk comes twice.
    FinishTwice,
}

/// What an answer may tell about usage instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageFault {
    /// Nothing.
    None,
    /// Null.
    Null,
    /// All zero.
    Zero,
    /// A negative number of output tokens.
    Negative,
    /// More output tokens than the request allows: twice `max_tokens` and a thousand.
    Implausible,
    /// A running total on every chunk of Chat Completions.
    EveryChunk,
    /// On the finishing chunk of Chat Completions, and not on a chunk of its own.
    OnFinish,
}

/// How a stream may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalMarkers {
    /// Without the event that tells why the model stopped.
    NoFinish,
    /// With a stop reason of null.
    NullFinish,
    /// Without `[DONE]`, `message_stop` or `response.completed`.
    NoDone,
    /// Without either: a clean end of the body that says nothing.
    Neither,
    /// As it should, but the connection stays open and silent.
    HeldOpen,
    /// As it should, and then a delta comes.
    DataAfterDone,
    /// With `[DONE]` at the end in dialects that have none.
    DoneAdded,
}

/// An unusual way to write an event stream. The WHATWG rules for `text/event-stream` allow all but
/// the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Lines end with CRLF.
    Crlf,
    /// Lines end with CR alone.
    Cr,
    /// Each event ends its lines in another way: LF, CRLF, CR.
    Mixed,
    /// The stream begins with a byte order mark.
    Bom,
    /// No blank after the colon.
    NoSpace,
    /// The data of each event stands on two lines.
    MultiLine,
    /// A comment before each event.
    Comments,
    /// An event of an unknown name before each event.
    UnknownEvents,
    /// No `event:` lines, also where the dialect has them.
    NoEventNames,
    /// Every byte is a chunk of its own, so that letters of several bytes are split.
    ByteSegments,
    /// For an answer in one piece: lines of blanks before the JSON, as a heartbeat.
    LeadingBlanks,
    /// After the third event, one whose data is not JSON.
    BadJson,
    /// After the third event, one with a line of nine mebibytes.
    OversizeLine,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseEnd {
    /// The body ends well-formed, as if that had been all.
    End,
    /// The connection is closed (FIN) in the middle of the body.
    Close,
    /// The connection is reset (RST). In memory, where there is none, it is closed.
    Reset,
    /// Nothing more comes, and the connection stays open.
    Hold,
}
