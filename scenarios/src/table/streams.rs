//! Streams that break off, stall, or report wrong usage: R11 to R19.

use std::{sync::Arc, time::Duration};

use brigade_core::{ModelErrorKind as Kind, Settings, TimeoutPhase};
use brigade_rehearsal::WireDialect;

use super::expect_count;
use crate::{
    scenario::observation::Observation,
    scenario::scenario::{ANSWER, Caller, ExpectedBill, ExpectedEnd, Scenario},
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
    let breaks = |id, title, at: &str, fault: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\nat = {{ {at} }}\ndo = {{ {fault} }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
    };
    let error = "sse_error = \"$OVERLOADED\"";
    vec![
        breaks("R11", "the stream ends early and cleanly", "after_deltas = 3", "then = \"end\"")
            .expect_bill(ExpectedBill::Uncertain(1), |observed| expect_count(observed.restarts(), 1, "restarts")),
        breaks("R11/silent", "the stream ends before the first delta", "after_events = 1", "then = \"end\"")
            .expect_bill(ExpectedBill::Uncertain(1), |observed| expect_count(observed.restarts(), 0, "restarts")),
        Scenario::new("R11/always", "every stream ends early")
            .fault("at = { after_deltas = 3 }\ndo = { then = \"end\" }")
            .expect_end(ExpectedEnd::Failure(Kind::Broken), 2..=2)
            .expect_bill(ExpectedBill::Uncertain(2), |observed| expect_count(observed.restarts(), 1, "restarts")),
        breaks("R12", "a connection reset within a tool call", "mid_arguments = true", "then = \"reset\"")
            .with_tool()
            .expect_end(ExpectedEnd::Answer(ANSWER), 3..=3)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| expect_count(observed.tool_runs.len(), 1, "tool runs")),
        breaks("R13", "an error event within the stream", "after_deltas = 3", error).expect_bill(
            ExpectedBill::Uncertain(1),
            |observed| {
                expect_count(observed.failed_with(Kind::Overloaded), 1, "overload errors")?;
                expect_count(observed.restarts(), 1, "restarts")
            },
        ),
        breaks("R13/first", "an error event as the first event", "after_events = 0", error).expect_bill(
            ExpectedBill::Uncertain(1),
            |observed| {
                expect_count(observed.failed_with(Kind::Overloaded), 1, "overload errors")?;
                expect_count(observed.restarts(), 0, "restarts")
            },
        ),
    ]
}

fn stalls() -> Vec<Scenario> {
    let stalls = |id, title, at: &str, fault: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\nat = {{ {at} }}\ndo = {{ {fault} }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(120_000..=121_000)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                expect_count(observed.failed_with(Kind::Timeout(TimeoutPhase::Idle)), 1, "timeouts")
            })
    };
    let begins = |id, title, fault: &str| {
        stalls(id, title, "after_events = 1", fault)
            .takes_millis(60_000..=61_000)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                expect_count(observed.failed_with(Kind::Timeout(TimeoutPhase::FirstDelta)), 1, "timeouts")
            })
    };
    vec![
        stalls("R14", "the stream stalls", "after_deltas = 5", "stall = \"10m\""),
        stalls("R15/drip", "one byte every five seconds", "after_deltas = 2", "drip = \"5s\""),
        stalls("R15/comments", "only comments, after some deltas", "after_deltas = 2", "comments = \"10s\""),
        stalls("R15/pings", "only pings, after some deltas", "after_deltas = 2", "pings = \"10s\""),
        begins("R15/first-comments", "only comments", "comments = \"10s\""),
        begins("R15/first-pings", "only pings", "pings = \"10s\""),
    ]
}

fn markers() -> Vec<Scenario> {
    let ends = |id, title, markers: &str| Scenario::new(id, title).fault(format!("do = {{ markers = \"{markers}\" }}"));
    let broken = |id, title, markers: &str| {
        ends(id, title, markers)
            .expect_end(ExpectedEnd::Failure(Kind::Broken), 2..=2)
            .expect_bill(ExpectedBill::Mixed, |_| Ok(()))
    };
    vec![
        ends("R16/no-finish", "an end marker without a stop reason", "no_finish")
            .in_dialects(CHAT)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.quirks("stop_missing"), 1, "quirks")),
        ends("R16/null-finish", "an end marker with a null stop reason", "null_finish")
            .in_dialects(CHAT)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.quirks("stop_missing"), 1, "quirks")),
        // The call is run although no stop reason says that it is complete, because its arguments are valid.
        Scenario::new("R16/no-finish-tool", "an end marker without a stop reason, after a tool call")
            .in_dialects(CHAT)
            .with_tool()
            .fault("match = { call = 1 }\ndo = { markers = \"no_finish\" }")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.tool_runs.len(), 1, "tool runs")),
        ends("R16/no-done", "a stop reason without an end marker", "no_done")
            .in_dialects(CHAT)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.quirks("end_marker_missing"), 1, "quirks")
            }),
        ends("R16/no-stop", "a stop reason without an end marker", "no_done")
            .in_dialects(ANTHROPIC)
            .expect_bill(ExpectedBill::Exact, |_| Ok(())),
        broken("R16/no-completed", "no end marker", "no_done").in_dialects(RESPONSES),
        broken("R16/neither", "neither an end marker nor a stop reason", "neither"),
        ends("R16/held", "the connection stays open after the end marker", "held_open").takes_millis(0..=1_000),
        ends("R16/after", "data after the end marker", "data_after_done"),
        ends("R16/done", "the end marker of another dialect", "done_added").in_dialects(RESPONSES_AND_ANTHROPIC),
    ]
}

fn frames() -> Vec<Scenario> {
    let valid = |id, framing: &str| {
        Scenario::new(id, "an unusual but valid framing").fault(format!("do = {{ framing = [{framing}] }}"))
    };
    let invalid = |id, framing: &str| {
        Scenario::new(id, "an invalid framing")
            .fault(format!("match = {{ call = 1 }}\ndo = {{ framing = [\"{framing}\"] }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                expect_count(observed.failed_with(Kind::Broken), 1, "broken answers")
            })
    };
    vec![
        valid("R17/crlf", "\"crlf\""),
        valid("R17/cr", "\"cr\""),
        valid("R17/mixed", "\"mixed\", \"bom\", \"comments\""),
        valid("R17/no-space", "\"no_space\""),
        valid("R17/multi-line", "\"multi_line\""),
        valid("R17/bytes", "\"byte_segments\""),
        valid("R17/no-names", "\"no_event_names\""),
        valid("R17/unknown", "\"unknown_events\"")
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.quirks("unknown_event"), 1, "quirks")),
        valid("R17/blanks", "\"leading_blanks\"").unstreamed(),
        invalid("R17/bad-json", "bad_json"),
        invalid("R17/oversize", "oversize_line"),
    ]
}

fn tool_deltas() -> Vec<Scenario> {
    let shape = |id, shape: &str| {
        Scenario::new(id, "an unusual form of tool call deltas")
            .in_dialects(CHAT)
            .with_tool()
            .fault(format!("match = {{ call = 1 }}\ndo = {{ tool_deltas = \"{shape}\" }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.tool_runs.len(), 1, "tool runs"))
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
        shape("R18/empty-name", "empty_name")
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.tool_runs.len(), 0, "tool runs")),
    ]
}

fn usage() -> Vec<Scenario> {
    let wrong = |id, title, usage: &str| Scenario::new(id, title).fault(format!("do = {{ usage = \"{usage}\" }}"));
    // Two answers report their usage; the third one reports a wrong one or none.
    let estimated = |id, title, usage: &str| {
        let fault = format!("match = {{ call = 3 }}\ndo = {{ usage = \"{usage}\" }}");
        let scenario = Scenario::new(id, title).fault(fault).called_by(Caller::many(3, Duration::from_secs(1)));
        scenario
            .expect_end(ExpectedEnd::Answer(ANSWER), 3..=3)
            .expect_bill(ExpectedBill::Estimated(1), is_close_estimate)
    };
    vec![
        estimated("R19/none", "no usage", "none"),
        estimated("R19/null", "null as usage", "null"),
        estimated("R19/zero", "usage of zero", "zero"),
        wrong("R19/every-chunk", "usage on every chunk", "every_chunk"),
        wrong("R19/on-finish", "usage on the last chunk", "on_finish"),
        // The reported usage counts up to the output limit, which is far more than the answer's length.
        wrong("R19/implausible", "more output than max_output_tokens", "implausible")
            .team(|environment| {
                let settings = Settings::default().max_output_tokens(Some(1_000));
                Ok(Arc::new(environment.asker()?.settings(settings)))
            })
            .expect_bill(ExpectedBill::Estimated(1), |observed| {
                expect_count(observed.quirks("usage_suspect"), 1, "quirks")
            }),
        estimated("R19/negative", "negative usage", "negative"),
        wrong("R19/never", "usage is never reported", "none")
            .with_script(format!("[[rule]]\nanswer = {{ text = \"{PROSE}\" }}"))
            .called_by(Caller::many(3, Duration::from_secs(9)))
            .expect_end(ExpectedEnd::Answer(PROSE), 3..=3)
            .takes_millis(0..=30_000)
            .expect_bill(ExpectedBill::Estimated(3), is_close_estimate),
    ]
}

/// A longer answer. Its tokens have more than four bytes on average.
const PROSE: &str = "Queues between services smooth over bursts, but they also hide trouble: a consumer that falls behind is not seen until its backlog is hours deep. Measure the age of the oldest message, not the length of the queue. Set a limit on both, and decide beforehand what is dropped when it is met, because at three in the morning it will not be decided well. Of the two designs, the log keeps what was said and lets each reader go at its own pace; the broker forgets, and is simpler to run. If replay matters, take the log. If it does not, the broker costs less and wakes fewer people.";

/// The estimate is within 15 % of what the provider bills for the same calls.
fn is_close_estimate(observed: &Observation) -> Result<(), String> {
    let (ours, billed) = (observed.spending.estimated.nano(), (observed.billed - observed.spending.charged).nano());
    if (ours - billed).abs() * 100 > billed * 15 {
        return Err(format!(
            "estimated {} for {}",
            observed.spending.estimated,
            observed.billed - observed.spending.charged
        ));
    }
    Ok(())
}
