//! Streams that break, stall and lie: R11 to R19.

use std::{sync::Arc, time::Duration};

use brigade_core::{ModelErrorKind as Kind, Settings, TimeoutPhase};
use brigade_rehearsal::WireDialect;

use super::connection::is;
use crate::{
    scenario::{ANSWER, Act, Bill, Ends, Scenario},
    seen::Seen,
};

const CHAT: &[WireDialect] = &[WireDialect::OpenaiChat];
const RESPONSES_AND_ANTHROPIC: &[WireDialect] = &[WireDialect::OpenaiResponses, WireDialect::Anthropic];
const ANTHROPIC: &[WireDialect] = &[WireDialect::Anthropic];
const RESPONSES: &[WireDialect] = &[WireDialect::OpenaiResponses];

pub(super) fn all() -> Vec<Scenario> {
    let families = [breaks(), stalls(), markers(), frames(), tool_deltas(), usage()];
    families.into_iter().flatten().collect()
}

fn breaks() -> Vec<Scenario> {
    let breaks = |id, title, at: &str, what: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\nat = {{ {at} }}\ndo = {{ {what} }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
    };
    let error = "sse_error = \"$OVERLOADED\"";
    vec![
        breaks("R11", "the stream ends early and cleanly", "after_deltas = 3", "then = \"end\"")
            .judged(Bill::Uncertain(1), |seen| is(seen.restarts(), 1, "restarts")),
        breaks("R11/silent", "it ends before anything was shown", "after_events = 1", "then = \"end\"")
            .judged(Bill::Uncertain(1), |seen| is(seen.restarts(), 0, "restarts")),
        Scenario::new("R11/always", "each stream ends early")
            .fault("at = { after_deltas = 3 }\ndo = { then = \"end\" }")
            .ends(Ends::Fails(Kind::Broken), 2..=2)
            .judged(Bill::Uncertain(2), |seen| is(seen.restarts(), 1, "restarts")),
        breaks("R12", "reset inside a tool call", "mid_arguments = true", "then = \"reset\"")
            .with_tool()
            .ends(Ends::Says(ANSWER), 3..=3)
            .judged(Bill::Uncertain(1), |seen| is(seen.tool_runs.len(), 1, "tool runs")),
        breaks("R13", "an error in the middle", "after_deltas = 3", error).judged(Bill::Uncertain(1), |seen| {
            is(seen.failed_with(Kind::Overloaded), 1, "overloads")?;
            is(seen.restarts(), 1, "restarts")
        }),
        breaks("R13/first", "an error as the first event", "after_events = 0", error).judged(
            Bill::Uncertain(1),
            |seen| {
                is(seen.failed_with(Kind::Overloaded), 1, "overloads")?;
                is(seen.restarts(), 0, "restarts")
            },
        ),
    ]
}

fn stalls() -> Vec<Scenario> {
    let stalls = |id, title, at: &str, what: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\nat = {{ {at} }}\ndo = {{ {what} }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
            .takes(120_000..=121_000)
            .judged(Bill::Uncertain(1), |seen| is(seen.failed_with(Kind::Timeout(TimeoutPhase::Idle)), 1, "timeouts"))
    };
    let begins = |id, title, what: &str| {
        stalls(id, title, "after_events = 1", what).takes(60_000..=61_000).judged(Bill::Uncertain(1), |seen| {
            is(seen.failed_with(Kind::Timeout(TimeoutPhase::FirstDelta)), 1, "timeouts")
        })
    };
    vec![
        stalls("R14", "silence in the middle", "after_deltas = 5", "stall = \"10m\""),
        stalls("R15/drip", "a byte each five seconds", "after_deltas = 2", "drip = \"5s\""),
        stalls("R15/comments", "nothing but comments", "after_deltas = 2", "comments = \"10s\""),
        stalls("R15/pings", "nothing but pings", "after_deltas = 2", "pings = \"10s\""),
        begins("R15/first-comments", "nothing but comments from the start", "comments = \"10s\""),
        begins("R15/first-pings", "nothing but pings from the start", "pings = \"10s\""),
    ]
}

fn markers() -> Vec<Scenario> {
    let ends = |id, title, markers: &str| Scenario::new(id, title).fault(format!("do = {{ markers = \"{markers}\" }}"));
    let broken = |id, title, markers: &str| {
        ends(id, title, markers).ends(Ends::Fails(Kind::Broken), 2..=2).judged(Bill::Mixed, |_| Ok(()))
    };
    vec![
        ends("R16/no-finish", "the end without a reason", "no_finish")
            .only(CHAT)
            .judged(Bill::Exact, |seen| is(seen.quirks("stop_missing"), 1, "quirks")),
        ends("R16/null-finish", "the end with a reason of null", "null_finish")
            .only(CHAT)
            .judged(Bill::Exact, |seen| is(seen.quirks("stop_missing"), 1, "quirks")),
        // A call is run although nothing says that it is whole, because it can be read and fits.
        Scenario::new("R16/no-finish-tool", "the end without a reason, after a tool call")
            .only(CHAT)
            .with_tool()
            .fault("match = { call = 1 }\ndo = { markers = \"no_finish\" }")
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| is(seen.tool_runs.len(), 1, "tool runs")),
        ends("R16/no-done", "a reason without the end", "no_done")
            .only(CHAT)
            .judged(Bill::Exact, |seen| is(seen.quirks("end_marker_missing"), 1, "quirks")),
        ends("R16/no-stop", "a reason without the end", "no_done").only(ANTHROPIC).judged(Bill::Exact, |_| Ok(())),
        broken("R16/no-completed", "no end", "no_done").only(RESPONSES),
        broken("R16/neither", "no end and no reason", "neither"),
        ends("R16/held", "the end, and the connection stays open", "held_open").takes(0..=1_000),
        ends("R16/after", "something after the end", "data_after_done"),
        ends("R16/done", "an end marker of another dialect", "done_added").only(RESPONSES_AND_ANTHROPIC),
    ]
}

fn frames() -> Vec<Scenario> {
    let legal = |id, framing: &str| {
        Scenario::new(id, "an unusual but legal framing").fault(format!("do = {{ framing = [{framing}] }}"))
    };
    let illegal = |id, framing: &str| {
        Scenario::new(id, "an illegal framing")
            .fault(format!("match = {{ call = 1 }}\ndo = {{ framing = [\"{framing}\"] }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Uncertain(1), |seen| is(seen.failed_with(Kind::Broken), 1, "broken answers"))
    };
    vec![
        legal("R17/crlf", "\"crlf\""),
        legal("R17/cr", "\"cr\""),
        legal("R17/mixed", "\"mixed\", \"bom\", \"comments\""),
        legal("R17/no-space", "\"no_space\""),
        legal("R17/multi-line", "\"multi_line\""),
        legal("R17/bytes", "\"byte_segments\""),
        legal("R17/no-names", "\"no_event_names\""),
        legal("R17/unknown", "\"unknown_events\"")
            .judged(Bill::Exact, |seen| is(seen.quirks("unknown_event"), 1, "quirks")),
        legal("R17/blanks", "\"leading_blanks\"").whole(),
        illegal("R17/bad-json", "bad_json"),
        illegal("R17/oversize", "oversize_line"),
    ]
}

fn tool_deltas() -> Vec<Scenario> {
    let shape = |id, shape: &str| {
        Scenario::new(id, "a tool call told in another way")
            .only(CHAT)
            .with_tool()
            .fault(format!("match = {{ call = 1 }}\ndo = {{ tool_deltas = \"{shape}\" }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| is(seen.tool_runs.len(), 1, "tool runs"))
    };
    vec![
        shape("R18/id-every-chunk", "id_every_chunk"),
        shape("R18/index-zero", "index_zero"),
        shape("R18/no-index", "no_index"),
        shape("R18/late-name", "name_after_arguments"),
        shape("R18/blank-later", "blank_later"),
        shape("R18/whole", "whole_call"),
        shape("R18/object", "arguments_object"),
        shape("R18/interleaved", "interleaved"),
        shape("R18/finish-twice", "finish_twice"),
        shape("R18/empty-name", "empty_name").judged(Bill::Exact, |seen| is(seen.tool_runs.len(), 0, "tool runs")),
    ]
}

fn usage() -> Vec<Scenario> {
    let lies = |id, title, lie: &str| Scenario::new(id, title).fault(format!("do = {{ usage = \"{lie}\" }}"));
    // Two answers tell what they took; the third one lies.
    let guessed = |id, title, lie: &str| {
        let lie = format!("match = {{ call = 3 }}\ndo = {{ usage = \"{lie}\" }}");
        let scenario = Scenario::new(id, title).fault(lie).act(Act::many(3, Duration::from_secs(1)));
        scenario.ends(Ends::Says(ANSWER), 3..=3).judged(Bill::Estimated(1), near_enough)
    };
    vec![
        guessed("R19/none", "no usage", "none"),
        guessed("R19/null", "usage of null", "null"),
        guessed("R19/zero", "usage of zero", "zero"),
        lies("R19/every-chunk", "usage on every chunk", "every_chunk"),
        lies("R19/on-finish", "usage on the last piece", "on_finish"),
        // The provider's word counts as far as it could be true, which is far more than what came.
        lies("R19/implausible", "more output than was allowed", "implausible")
            .team(|stage| {
                let settings = Settings { max_output_tokens: Some(1_000), ..Settings::default() };
                Ok(Arc::new(stage.asker()?.settings(settings)))
            })
            .judged(Bill::Estimated(1), |seen| is(seen.quirks("usage_suspect"), 1, "quirks")),
        guessed("R19/negative", "negative usage", "negative"),
        lies("R19/never", "no answer ever tells its usage", "none")
            .script_of(format!("[[rule]]\nanswer = {{ text = \"{PROSE}\" }}"))
            .act(Act::many(3, Duration::from_secs(9)))
            .ends(Ends::Says(PROSE), 3..=3)
            .takes(0..=30_000)
            .judged(Bill::Estimated(3), near_enough),
    ]
}

/// An answer of some length. A tokenizer makes longer tokens of it than four bytes.
const PROSE: &str = "Queues between services smooth over bursts, but they also hide trouble: a consumer that falls behind is not seen until its backlog is hours deep. Measure the age of the oldest message, not the length of the queue. Set a limit on both, and decide beforehand what is dropped when it is met, because at three in the morning nobody will decide it well. Of the two designs, the log keeps what was said and lets each reader go at its own pace; the broker forgets, and is simpler to run. If replay matters, take the log. If it does not, the broker costs less and wakes fewer people.";

/// What was estimated is within 15 % of what the provider counted for the same calls.
fn near_enough(seen: &Seen) -> Result<(), String> {
    let (ours, truth) = (seen.spending.estimated.nano(), (seen.truth - seen.spending.charged).nano());
    if (ours - truth).abs() * 100 > truth * 15 {
        return Err(format!("estimated {} for {}", seen.spending.estimated, seen.truth - seen.spending.charged));
    }
    Ok(())
}
