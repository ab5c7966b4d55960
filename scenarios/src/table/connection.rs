//! Connections that do not stand, and answers that are a status: R01 to R10.

use std::{sync::Arc, time::Duration};

use brigade_core::{Event, ModelErrorKind as Kind, Settings, TimeoutPhase};
use brigade_rehearsal::WireDialect;

use crate::{
    scenario::{Act, Bill, Ends, Nowhere, Scenario},
    seen::{Ended, Seen},
};

const ANTHROPIC: &[WireDialect] = &[WireDialect::Anthropic];

pub(super) fn all() -> Vec<Scenario> {
    let families = [nobody(), silence(), rate_limits(), spent(), storm(), pages(), refusals(), disguises(), cuts()];
    families.into_iter().flatten().collect()
}

fn nobody() -> Vec<Scenario> {
    let nobody = |scenario: Scenario, where_to| Scenario { nobody_there: Some(where_to), ..scenario };
    let alone = |id, title, where_to| {
        nobody(Scenario::new(id, title), where_to).ends(Ends::Fails(Kind::Unreachable), 0..=0).takes(0..=5_000).judged(
            Bill::Nothing,
            |seen| {
                is(seen.attempts().count(), 3, "attempts")?;
                is(seen.failed_with(Kind::Unreachable), 3, "refused connections")
            },
        )
    };
    vec![
        alone("R01", "nobody there", Nowhere::Refuses),
        alone("R01/name", "nobody of that name", Nowhere::Unknown),
        nobody(Scenario::new("R01/fallback", "nobody there, but another model"), Nowhere::Refuses)
            .with_fallback()
            .takes(0..=5_000)
            .judged(Bill::Exact, degraded),
    ]
}

fn silence() -> Vec<Scenario> {
    let silent = |id, title, whom: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ {whom} }}\nat = {{ before_headers = true }}\ndo = {{ then = \"hold\" }}"))
    };
    vec![
        silent("R02", "accepts, never answers, but another model", "model = \"$MAIN\"")
            .with_fallback()
            .ends(Ends::Says(crate::ANSWER), 2..=2)
            .takes(60_000..=61_000)
            .judged(Bill::Uncertain(1), |seen| {
                is(seen.failed_with(Kind::Timeout(TimeoutPhase::FirstDelta)), 1, "timeouts")?;
                degraded(seen)
            }),
        silent("R02/alone", "accepts, never answers", "")
            .ends(Ends::Fails(Kind::Timeout(TimeoutPhase::FirstDelta)), 2..=2)
            .takes(120_000..=121_000)
            .judged(Bill::Uncertain(2), |_| Ok(())),
        silent("R02/once", "accepts, answers the second time only", "call = 1")
            .ends(Ends::Says(crate::ANSWER), 2..=2)
            .takes(60_000..=61_000)
            .judged(Bill::Uncertain(1), |_| Ok(())),
        // Of a whole answer nothing is seen until it is done, which for a thousand tokens may take 50 s more.
        silent("R02/whole", "accepts, never answers, asked for a whole answer", "")
            .whole()
            .team(|stage| {
                let settings = Settings { max_output_tokens: Some(1_000), ..Settings::default() };
                Ok(Arc::new(stage.asker()?.settings(settings)))
            })
            .ends(Ends::Fails(Kind::Timeout(TimeoutPhase::Attempt)), 2..=2)
            .takes(220_000..=221_000)
            .judged(Bill::Uncertain(2), |_| Ok(())),
    ]
}

fn rate_limits() -> Vec<Scenario> {
    let polite = |id, title, header: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\ndo = {{ status = 429, headers = [{header}] }}"))
            .ends(Ends::Says(crate::ANSWER), 2..=2)
    };
    let hostile = |id, title, headers: &str| {
        polite(id, title, headers)
            .takes(0..=1_500)
            .judged(Bill::Exact, |seen| is(seen.quirks("retry_after_rejected"), 1, "rejected"))
    };
    let day = "[\"retry-after\", \"86400\"]";
    vec![
        polite("R03", "polite 429", "[\"retry-after\", \"2\"]").takes(2_000..=3_200).judged(Bill::Exact, retried),
        polite("R03/ms", "polite 429 in milliseconds", "[\"retry-after-ms\", \"1500\"]")
            .takes(1_500..=2_600)
            .judged(Bill::Exact, retried),
        polite("R04/day", "429 that asks for a day", day)
            .ends(Ends::Fails(Kind::RateLimited), 1..=1)
            .takes(0..=10)
            .judged(Bill::Nothing, |_| Ok(())),
        Scenario::new("R04/day-fallback", "429 that asks for a day, but another model")
            .with_fallback()
            .fault(format!("match = {{ model = \"$MAIN\" }}\ndo = {{ status = 429, headers = [{day}] }}"))
            .ends(Ends::Says(crate::ANSWER), 2..=2)
            .takes(0..=1_000)
            .judged(Bill::Exact, degraded),
        hostile("R04/word", "429 with a word for a number", "[\"retry-after\", \"banana\"]"),
        hostile("R04/negative", "429 with a negative wait", "[\"retry-after\", \"-1\"]"),
        hostile("R04/nan", "429 with no number", "[\"retry-after\", \"NaN\"]"),
        hostile("R04/past", "429 with a date that has passed", "[\"retry-after\", \"Wed, 21 Oct 2015 07:28:00 GMT\"]"),
        hostile("R04/two", "429 with two waits", "[\"retry-after\", \"1\"], [\"retry-after\", \"3600\"]"),
    ]
}

fn spent() -> Vec<Scenario> {
    // A second run, a second later, must not even ask.
    let spent = |id, title, error: &str| {
        Scenario::new(id, title)
            .fault(format!("do = {{ error = \"{error}\" }}"))
            .act(Act::many(2, Duration::from_secs(1)))
            .ends(Ends::Differ, 1..=1)
            .judged(Bill::Nothing, |seen| {
                is_ended(seen, &["quota", "circuit_open"])?;
                is(seen.count(|event| matches!(event, Event::BreakerChanged { state: "open", .. })), 1, "open breakers")
            })
    };
    vec![
        spent("R05", "429 that is a spend cap", "$QUOTA"),
        spent("R05/credit", "400 that is an empty account", "credit_balance_too_low").only(ANTHROPIC),
        spent("R05/limit", "400 that is a spend limit", "spend_limit_reached").only(ANTHROPIC),
        Scenario::new("R05/fallback", "429 that is a spend cap, but another model")
            .with_fallback()
            .fault("match = { model = \"$MAIN\" }\ndo = { error = \"$QUOTA\" }")
            .ends(Ends::Says(crate::ANSWER), 2..=2)
            .judged(Bill::Exact, degraded),
    ]
}

fn storm() -> Vec<Scenario> {
    let fault = "match = { model = \"$MAIN\", before = \"60s\" }\ndo = { error = \"$OVERLOADED\" }";
    vec![
        Scenario::new("R06", "overloaded, fifty at once, another model")
            .with_fallback()
            .fault(fault)
            .act(Act::many(50, Duration::ZERO))
            .ends(Ends::Says(crate::ANSWER), 100..=110)
            .takes(0..=5_000)
            .judged(Bill::Exact, |seen| {
                let opened = seen.count(|event| matches!(event, Event::BreakerChanged { state: "open", .. }));
                let held_back = seen.count(|event| matches!(event, Event::RetrySuppressed { .. }));
                if opened == 0 || held_back == 0 {
                    return Err(format!("{opened} breakers opened, {held_back} retries were held back"));
                }
                degraded(seen)
            }),
        Scenario::new("R06/minute", "overloaded for a minute, a run each two seconds, another model")
            .with_fallback()
            .fault(fault)
            .act(Act::many(60, Duration::from_secs(2)))
            .ends(Ends::Says(crate::ANSWER), 60..=90)
            .takes(118_000..=122_000)
            .judged(Bill::Exact, recovered),
    ]
}

fn pages() -> Vec<Scenario> {
    let page = |id, title, fault: &str| {
        Scenario::new(id, title).fault(fault).ends(Ends::Fails(Kind::Transient), 3..=3).judged(Bill::Nothing, |seen| {
            let message = failure(seen)?;
            let tame = message.len() < 3 << 10 && !message.contains(char::is_control);
            if tame { Ok(()) } else { Err(format!("{} bytes are told: {message:?}", message.len())) }
        })
    };
    vec![
        page("R07", "a page of HTML for an answer", "do = { status = 502, html_bytes = 1048576 }"),
        page(
            "R07/lying",
            "a page of HTML that says it is JSON",
            "do = { status = 503, html_bytes = 4096, headers = [[\"content-type\", \"application/json\"]] }",
        ),
    ]
}

fn refusals() -> Vec<Scenario> {
    let refused = |id, status: u16, kind| {
        Scenario::new(id, "refused for good")
            .fault(format!("do = {{ status = {status} }}"))
            .ends(Ends::Fails(kind), 1..=1)
            .judged(Bill::Nothing, |seen| {
                let message = failure(seen)?;
                if message.contains(", request req_") { Ok(()) } else { Err(format!("whose request? {message}")) }
            })
    };
    // The credentials rest, and so does every model that is asked with them.
    let rests = |scenario: Scenario| {
        scenario.judged(Bill::Nothing, |seen| {
            is(seen.count(|event| matches!(event, Event::BreakerChanged { state: "open", .. })), 1, "open breakers")
        })
    };
    vec![
        refused("R08/400", 400, Kind::Caller),
        rests(refused("R08/401", 401, Kind::Auth)),
        rests(refused("R08/403", 403, Kind::Auth)),
        refused("R08/404", 404, Kind::Caller),
        refused("R08/413", 413, Kind::Caller),
        refused("R08/422", 422, Kind::Caller),
        Scenario::new("R08/quotes-key", "refused with the key in the answer")
            .fault("do = { status = 401, body = '{\"error\":{\"message\":\"no such key: $KEY\"}}' }")
            .ends(Ends::Fails(Kind::Auth), 1..=1)
            .judged(Bill::Nothing, |_| Ok(())),
    ]
}

fn disguises() -> Vec<Scenario> {
    let body = |id, body: &str| {
        Scenario::new(id, "nonsense dressed as an answer")
            .fault(format!("do = {{ status = 200, body = '{body}' }}"))
            .ends(Ends::Fails(Kind::Broken), 2..=2)
            .judged(Bill::Uncertain(2), |_| Ok(()))
    };
    vec![
        Scenario::new("R09/error", "an error dressed as an answer")
            .fault("do = { status = 200, error = \"$SERVER_ERROR\" }")
            .ends(Ends::Fails(Kind::Transient), 2..=2)
            .judged(Bill::Uncertain(2), |_| Ok(())),
        body("R09/object", "{}"),
        body("R09/no-choices", "{\"choices\":[]}"),
        body("R09/text", "OK"),
        body("R09/empty", ""),
        body("R09/whole", "{\"choices\":[]}").whole(),
    ]
}

fn cuts() -> Vec<Scenario> {
    let cut = |id, title, fault: &str| {
        Scenario::new(id, title)
            .whole()
            .fault(fault)
            .ends(Ends::Fails(Kind::Broken), 2..=2)
            .judged(Bill::Uncertain(2), |_| Ok(()))
    };
    vec![
        cut(
            "R10",
            "shorter than announced",
            "at = { after_bytes = 120 }\ndo = { content_length = 5000, then = \"close\" }",
        ),
        cut("R10/gzip", "half of a gzip", "at = { after_bytes = 60 }\ndo = { gzip = true, then = \"close\" }"),
        cut("R10/chunked", "without the last chunk", "at = { after_bytes = 120 }\ndo = { then = \"close\" }"),
    ]
}

/// The other model answered, and the outcome says so.
fn degraded(seen: &Seen) -> Result<(), String> {
    let all = seen.ends.iter().all(|end| match end {
        Ended::Outcome { degraded, .. } => degraded.iter().any(|part| part.starts_with("model:")),
        _ => false,
    });
    if all { Ok(()) } else { Err("the outcome does not say that a model was done without".to_owned()) }
}

/// How the first run failed, in words.
fn failure(seen: &Seen) -> Result<&str, String> {
    match seen.ends.first() {
        Some(Ended::Failed { message, .. }) => Ok(message),
        other => Err(format!("it did not fail but {other:?}")),
    }
}

fn retried(seen: &Seen) -> Result<(), String> {
    is(seen.count(|event| matches!(event, Event::Retrying { reason: Kind::RateLimited, .. })), 1, "retries")
}

/// Few calls are wasted on the model that is down, and it is asked again soon after it is back.
fn recovered(seen: &Seen) -> Result<(), String> {
    let main = crate::main_model(seen.dialect);
    let down = seen.calls.iter().filter(|call| call.model == main && call.status >= 500).count();
    let back = seen.calls.iter().find(|call| call.model == main && call.status == 200);
    match back {
        _ if down > 36 => Err(format!("{down} calls of 30 runs to a model that was down")),
        Some(call) if call.arrived <= Duration::from_secs(80) => Ok(()),
        other => Err(format!("the model was back after 60 s and first answered {other:?}")),
    }
}

fn is_ended(seen: &Seen, expected: &[&str]) -> Result<(), String> {
    let names: Vec<&str> = seen.ends.iter().map(Ended::name).collect();
    if names == expected { Ok(()) } else { Err(format!("the runs ended with {names:?}, not {expected:?}")) }
}

/// A number is what it should be.
pub(super) fn is(number: usize, expected: usize, what: &str) -> Result<(), String> {
    if number == expected { Ok(()) } else { Err(format!("{number} {what}, not {expected}")) }
}
