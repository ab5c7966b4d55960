//! Connections that fail, and responses with an error status: R01 to R10.

use std::{sync::Arc, time::Duration};

use brigade_core::{BreakerState, Event, ModelErrorKind as Kind, Settings, TimeoutPhase};
use brigade_rehearsal::WireDialect;

use super::expect_count;
use crate::{
    scenario::observation::{Observation, ObservedEnd},
    scenario::scenario::{ANSWER, Caller, ExpectedBill, ExpectedEnd, Scenario, Unreachable},
};

const ANTHROPIC: &[WireDialect] = &[WireDialect::Anthropic];

pub(super) fn all() -> Vec<Scenario> {
    let families = [
        unreachable(),
        no_response(),
        rate_limits(),
        spend_caps(),
        overload(),
        html_pages(),
        client_errors(),
        invalid_bodies(),
        truncated_bodies(),
    ];
    families.into_iter().flatten().collect()
}

fn unreachable() -> Vec<Scenario> {
    let unreachable = |scenario: Scenario, why| Scenario { unreachable: Some(why), ..scenario };
    let fails = |id, title, why| {
        unreachable(Scenario::new(id, title), why)
            .expect_end(ExpectedEnd::Failure(Kind::Unreachable), 0..=0)
            .takes_millis(0..=5_000)
            .expect_bill(ExpectedBill::Nothing, |observed| {
                expect_count(observed.attempts().count(), 3, "attempts")?;
                expect_count(observed.failed_with(Kind::Unreachable), 3, "unreachable errors")
            })
    };
    vec![
        fails("R01", "the connection is refused", Unreachable::ConnectionRefused),
        fails("R01/name", "the host name does not exist", Unreachable::UnknownHost),
        unreachable(
            Scenario::new("R01/fallback", "the connection is refused, with a fallback"),
            Unreachable::ConnectionRefused,
        )
        .with_fallback()
        .takes_millis(0..=5_000)
        .expect_bill(ExpectedBill::Exact, degraded),
    ]
}

fn no_response() -> Vec<Scenario> {
    let silent = |id, title, selector: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ {selector} }}\nat = {{ before_headers = true }}\ndo = {{ then = \"hold\" }}"))
    };
    vec![
        silent("R02", "no response, with a fallback", "model = \"$MAIN\"")
            .with_fallback()
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(60_000..=61_000)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                expect_count(observed.failed_with(Kind::Timeout(TimeoutPhase::FirstDelta)), 1, "timeouts")?;
                degraded(observed)
            }),
        silent("R02/alone", "no response", "")
            .expect_end(ExpectedEnd::Failure(Kind::Timeout(TimeoutPhase::FirstDelta)), 2..=2)
            .takes_millis(120_000..=121_000)
            .expect_bill(ExpectedBill::Uncertain(2), |_| Ok(())),
        silent("R02/once", "no response to the first request", "call = 1")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(60_000..=61_000)
            .expect_bill(ExpectedBill::Uncertain(1), |_| Ok(())),
        // Without streaming nothing arrives until the answer is complete, which for a thousand tokens may take 50 s more.
        silent("R02/unstreamed", "no response, without streaming", "")
            .unstreamed()
            .team(|environment| {
                let settings = Settings::default().max_output_tokens(Some(1_000));
                Ok(Arc::new(environment.asker()?.settings(settings)))
            })
            .expect_end(ExpectedEnd::Failure(Kind::Timeout(TimeoutPhase::Attempt)), 2..=2)
            .takes_millis(220_000..=221_000)
            .expect_bill(ExpectedBill::Uncertain(2), |_| Ok(())),
    ]
}

fn rate_limits() -> Vec<Scenario> {
    let short_wait = |id, title, header: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\ndo = {{ status = 429, headers = [{header}] }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
    };
    // The message of OpenAI's error names a wait of two seconds, which then counts.
    let invalid_wait = |id, title, headers: &str| {
        short_wait(id, title, headers).takes_millis(0..=3_200).expect_bill(ExpectedBill::Exact, |observed| {
            expect_count(observed.quirks("retry_after_rejected"), 1, "rejected")
        })
    };
    let day = "[\"retry-after\", \"86400\"]";
    vec![
        short_wait("R03", "429 with a short wait", "[\"retry-after\", \"2\"]")
            .takes_millis(2_000..=3_200)
            .expect_bill(ExpectedBill::Exact, retried),
        short_wait("R03/ms", "429 with a wait in milliseconds", "[\"retry-after-ms\", \"1500\"]")
            .takes_millis(1_500..=2_600)
            .expect_bill(ExpectedBill::Exact, retried),
        short_wait("R04/day", "429 with a wait of a day", day)
            .expect_end(ExpectedEnd::Failure(Kind::RateLimited), 1..=1)
            .takes_millis(0..=10)
            .expect_bill(ExpectedBill::Nothing, |_| Ok(())),
        Scenario::new("R04/day-fallback", "429 with a wait of a day, with a fallback")
            .with_fallback()
            .fault(format!("match = {{ model = \"$MAIN\" }}\ndo = {{ status = 429, headers = [{day}] }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .takes_millis(0..=1_000)
            .expect_bill(ExpectedBill::Exact, degraded),
        invalid_wait("R04/word", "429 with a word as the wait", "[\"retry-after\", \"banana\"]"),
        invalid_wait("R04/negative", "429 with a negative wait", "[\"retry-after\", \"-1\"]"),
        invalid_wait("R04/nan", "429 with NaN as the wait", "[\"retry-after\", \"NaN\"]"),
        invalid_wait(
            "R04/past",
            "429 with a date that has passed",
            "[\"retry-after\", \"Wed, 21 Oct 2015 07:28:00 GMT\"]",
        ),
        invalid_wait(
            "R04/two",
            "429 with two different waits",
            "[\"retry-after\", \"1\"], [\"retry-after\", \"3600\"]",
        ),
    ]
}

fn spend_caps() -> Vec<Scenario> {
    // A second run, one second later, must not send a request.
    let spent = |id, title, error: &str| {
        Scenario::new(id, title)
            .fault(format!("do = {{ error = \"{error}\" }}"))
            .called_by(Caller::many(2, Duration::from_secs(1)))
            .expect_end(ExpectedEnd::Any, 1..=1)
            .expect_bill(ExpectedBill::Nothing, |observed| {
                is_ended(observed, &["quota", "circuit_open"])?;
                expect_count(
                    observed.count(|event| matches!(event, Event::BreakerChanged { state: BreakerState::Open, .. })),
                    1,
                    "open breakers",
                )
            })
    };
    vec![
        spent("R05", "429 because of a spend cap", "$QUOTA"),
        spent("R05/credit", "400 because the account has no credit", "credit_balance_too_low").in_dialects(ANTHROPIC),
        spent("R05/limit", "400 because of a spend limit", "spend_limit_reached").in_dialects(ANTHROPIC),
        Scenario::new("R05/fallback", "429 because of a spend cap, with a fallback")
            .with_fallback()
            .fault("match = { model = \"$MAIN\" }\ndo = { error = \"$QUOTA\" }")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, degraded),
    ]
}

fn overload() -> Vec<Scenario> {
    let fault = "match = { model = \"$MAIN\", before = \"60s\" }\ndo = { error = \"$OVERLOADED\" }";
    vec![
        Scenario::new("R06", "overloaded, fifty runs at once, with a fallback")
            .with_fallback()
            .fault(fault)
            .called_by(Caller::many(50, Duration::ZERO))
            .expect_end(ExpectedEnd::Answer(ANSWER), 100..=110)
            .takes_millis(0..=5_000)
            .expect_bill(ExpectedBill::Exact, |observed| {
                let opened =
                    observed.count(|event| matches!(event, Event::BreakerChanged { state: BreakerState::Open, .. }));
                let suppressed = observed.count(|event| matches!(event, Event::RetrySuppressed { .. }));
                if opened == 0 || suppressed == 0 {
                    return Err(format!("{opened} breakers opened, {suppressed} retries were suppressed"));
                }
                degraded(observed)
            }),
        Scenario::new("R06/minute", "overloaded for a minute, a run every two seconds, with a fallback")
            .with_fallback()
            .fault(fault)
            .called_by(Caller::many(60, Duration::from_secs(2)))
            .expect_end(ExpectedEnd::Answer(ANSWER), 60..=90)
            .takes_millis(118_000..=122_000)
            .expect_bill(ExpectedBill::Exact, recovered),
    ]
}

fn html_pages() -> Vec<Scenario> {
    let page = |id, title, fault: &str| {
        Scenario::new(id, title).fault(fault).expect_end(ExpectedEnd::Failure(Kind::Transient), 3..=3).expect_bill(
            ExpectedBill::Nothing,
            |observed| {
                let message = failure(observed)?;
                let is_short = message.len() < 3 << 10 && !message.contains(char::is_control);
                if is_short { Ok(()) } else { Err(format!("the error has {} bytes: {message:?}", message.len())) }
            },
        )
    };
    vec![
        page("R07", "an HTML page as the response", "do = { status = 502, html_bytes = 1048576 }"),
        page(
            "R07/lying",
            "an HTML page with the content type of JSON",
            "do = { status = 503, html_bytes = 4096, headers = [[\"content-type\", \"application/json\"]] }",
        ),
    ]
}

fn client_errors() -> Vec<Scenario> {
    let refused = |id, status: u16, kind| {
        Scenario::new(id, "a permanent client error")
            .fault(format!("do = {{ status = {status} }}"))
            .expect_end(ExpectedEnd::Failure(kind), 1..=1)
            .expect_bill(ExpectedBill::Nothing, |observed| {
                let message = failure(observed)?;
                if message.contains(", request req_") {
                    Ok(())
                } else {
                    Err(format!("the request id is missing: {message}"))
                }
            })
    };
    // The breaker of the credentials opens, for every model of the account.
    let opens_breaker = |scenario: Scenario| {
        scenario.expect_bill(ExpectedBill::Nothing, |observed| {
            expect_count(
                observed.count(|event| matches!(event, Event::BreakerChanged { state: BreakerState::Open, .. })),
                1,
                "open breakers",
            )
        })
    };
    vec![
        refused("R08/400", 400, Kind::Caller),
        opens_breaker(refused("R08/401", 401, Kind::Auth)),
        opens_breaker(refused("R08/403", 403, Kind::Auth)),
        opens_breaker(refused("R08/404", 404, Kind::NoSuchModel)),
        refused("R08/413", 413, Kind::Caller),
        refused("R08/422", 422, Kind::Caller),
        Scenario::new("R08/quotes-key", "a client error that quotes the API key")
            .fault("do = { status = 401, body = '{\"error\":{\"message\":\"no such key: $KEY\"}}' }")
            .expect_end(ExpectedEnd::Failure(Kind::Auth), 1..=1)
            .expect_bill(ExpectedBill::Nothing, |_| Ok(())),
    ]
}

fn invalid_bodies() -> Vec<Scenario> {
    let body = |id, body: &str| {
        Scenario::new(id, "a response that is not an answer")
            .fault(format!("do = {{ status = 200, body = '{body}' }}"))
            .expect_end(ExpectedEnd::Failure(Kind::Broken), 2..=2)
            .expect_bill(ExpectedBill::Uncertain(2), |_| Ok(()))
    };
    vec![
        Scenario::new("R09/error", "an error body with status 200")
            .fault("do = { status = 200, error = \"$SERVER_ERROR\" }")
            .expect_end(ExpectedEnd::Failure(Kind::Transient), 2..=2)
            .expect_bill(ExpectedBill::Uncertain(2), |_| Ok(())),
        body("R09/object", "{}"),
        body("R09/no-choices", "{\"choices\":[]}"),
        body("R09/text", "OK"),
        body("R09/empty", ""),
        body("R09/unstreamed", "{\"choices\":[]}").unstreamed(),
    ]
}

fn truncated_bodies() -> Vec<Scenario> {
    let cut = |id, title, fault: &str| {
        Scenario::new(id, title)
            .unstreamed()
            .fault(fault)
            .expect_end(ExpectedEnd::Failure(Kind::Broken), 2..=2)
            .expect_bill(ExpectedBill::Uncertain(2), |_| Ok(()))
    };
    vec![
        cut(
            "R10",
            "a body shorter than its content length",
            "at = { after_bytes = 120 }\ndo = { content_length = 5000, then = \"close\" }",
        ),
        cut("R10/gzip", "half of a gzip body", "at = { after_bytes = 60 }\ndo = { gzip = true, then = \"close\" }"),
        cut(
            "R10/chunked",
            "a chunked body without its last chunk",
            "at = { after_bytes = 120 }\ndo = { then = \"close\" }",
        ),
    ]
}

/// Every outcome lists a degraded model.
fn degraded(observed: &Observation) -> Result<(), String> {
    let all = observed.ends.iter().all(|end| match end {
        ObservedEnd::Outcome { degraded, .. } => degraded.iter().any(|part| part.starts_with("model:")),
        _ => false,
    });
    if all { Ok(()) } else { Err("an outcome does not list the failed model as degraded".to_owned()) }
}

/// The error message of the first run.
fn failure(observed: &Observation) -> Result<&str, String> {
    match observed.ends.first() {
        Some(ObservedEnd::Failed { message, .. }) => Ok(message),
        other => Err(format!("the run did not fail: {other:?}")),
    }
}

fn retried(observed: &Observation) -> Result<(), String> {
    expect_count(
        observed.count(|event| matches!(event, Event::Retrying { reason: Kind::RateLimited, .. })),
        1,
        "retries",
    )
}

/// Few requests go to the model while it is down, and it gets requests again soon after it has recovered.
fn recovered(observed: &Observation) -> Result<(), String> {
    let main = crate::scenario::environment::main_model(observed.dialect);
    let down = observed.calls.iter().filter(|call| call.model == main && call.status >= 500).count();
    let back = observed.calls.iter().find(|call| call.model == main && call.status == 200);
    match back {
        _ if down > 36 => Err(format!("{down} requests of 30 runs to a model that was down")),
        Some(call) if call.arrived <= Duration::from_secs(80) => Ok(()),
        other => Err(format!("the model recovered after 60 s and first answered {other:?}")),
    }
}

fn is_ended(observed: &Observation, expected: &[&str]) -> Result<(), String> {
    let names: Vec<&str> = observed.ends.iter().map(ObservedEnd::name).collect();
    if names == expected { Ok(()) } else { Err(format!("the runs ended with {names:?}, not {expected:?}")) }
}
