//! Plays random combinations of faults (swarm testing), and checks the invariants for each.

use std::{sync::Arc, time::Duration};

use brigade_core::{Event, Settings, StopReason, Worker};
use brigade_rehearsal::{Latency, WireDialect};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    judge::judge::{Violation, judge_invariants},
    play::play::play,
    scenario::environment::Environment,
    scenario::observation::{Observation, ObservedEnd},
    scenario::scenario::{ALL_DIALECTS, ANSWER, ANSWERS_AT_ONCE, CALLS_TOOL_FIRST, Caller, Scenario, Team},
    scenario::tools::ToolBehavior,
};

/// The time limit of every run.
const WALL: Duration = Duration::from_mins(15);

/// How long the tool takes: long enough that some callers disconnect meanwhile.
const TOOL_TIME: Duration = Duration::from_millis(700);

/// The most attempts for one model call.
const ATTEMPTS: usize = 3;

/// One fault of each kind that the simulator has, and where it occurs. Names after a `$` are replaced by dialect.
const ACTIONS: [&str; 52] = [
    "do = { status = 429, headers = [[\"retry-after\", \"2\"]] }",
    "do = { status = 429, headers = [[\"retry-after-ms\", \"700\"]] }",
    "do = { status = 429, headers = [[\"retry-after\", \"86400\"]] }",
    "do = { status = 429, headers = [[\"retry-after\", \"banana\"]] }",
    "do = { error = \"$QUOTA\" }",
    "do = { error = \"$OVERLOADED\" }",
    "do = { error = \"$SERVER_ERROR\" }",
    "do = { status = 401 }",
    "do = { status = 404 }",
    "do = { status = 502, html_bytes = 20000 }",
    "do = { status = 200, error = \"$SERVER_ERROR\" }",
    "do = { status = 200, body = \"OK\" }",
    "do = { status = 200, body = \"\" }",
    "do = { status = 200, body = \"{}\" }",
    "at = { before_headers = true }\ndo = { then = \"hold\" }",
    "at = { before_headers = true }\ndo = { stall = \"45s\" }",
    "at = { before_headers = true }\ndo = { then = \"reset\" }",
    "at = { after_bytes = 60 }\ndo = { then = \"close\" }",
    "at = { after_bytes = 200 }\ndo = { then = \"end\" }",
    "at = { after_bytes = 120 }\ndo = { content_length = 5000, then = \"close\" }",
    "at = { after_bytes = 60 }\ndo = { gzip = true, then = \"close\" }",
    "at = { after_deltas = 3 }\ndo = { then = \"end\" }",
    "at = { after_events = 1 }\ndo = { then = \"close\" }",
    "at = { mid_arguments = true }\ndo = { then = \"reset\" }",
    "at = { after_deltas = 2 }\ndo = { sse_error = \"$OVERLOADED\" }",
    "at = { after_events = 0 }\ndo = { sse_error = \"$SERVER_ERROR\" }",
    "at = { after_deltas = 2 }\ndo = { stall = \"10m\" }",
    "at = { after_deltas = 2 }\ndo = { stall = \"30s\" }",
    "at = { after_deltas = 1 }\ndo = { drip = \"5s\" }",
    "at = { after_deltas = 1 }\ndo = { comments = \"10s\" }",
    "at = { after_events = 1 }\ndo = { pings = \"10s\" }",
    "do = { markers = \"no_done\" }",
    "do = { markers = \"neither\" }",
    "do = { markers = \"held_open\" }",
    "do = { markers = \"data_after_done\" }",
    "do = { framing = [\"mixed\", \"bom\", \"comments\", \"no_space\"] }",
    "do = { framing = [\"byte_segments\", \"multi_line\"] }",
    "do = { framing = [\"unknown_events\"] }",
    "do = { framing = [\"bad_json\"] }",
    "do = { usage = \"none\" }",
    "do = { usage = \"zero\" }",
    "do = { usage = \"negative\" }",
    "do = { usage = \"implausible\" }",
    "do = { say = \"empty\" }",
    "do = { say = \"out_of_tokens\" }",
    "do = { say = \"cut_arguments_mislabelled\" }",
    "do = { say = \"deep_arguments\" }",
    "do = { say = \"unknown_tool\" }",
    "do = { say = \"twin_ids\" }",
    "do = { say = \"identical_twins\" }",
    "do = { say = \"reused_id\" }",
    "do = { say = \"refusal\" }",
];

/// A supervisor delegates to two workers at once; one of them calls a tool.
const DELEGATES: &str = r#"
[[rule]]
when   = { agent = "desk", turn = 0 }
answer = { tool_calls = [{ name = "left", arguments = '{"task":"a $CANARY"}' }, { name = "right", arguments = '{"task":"b"}' }] }
[[rule]]
when   = { agent = "left", turn = 0 }
answer = { tool_calls = [{ name = "lookup", arguments = '{"query":"$CANARY"}' }] }
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;

/// The scenario and the dialect for a seed.
pub fn random_scenario(seed: u64) -> (Scenario, WireDialect) {
    let mut rng = StdRng::seed_from_u64(seed);
    let teams: [(&'static str, Team); 3] =
        [(ANSWERS_AT_ONCE, asker), (CALLS_TOOL_FIRST, asker_with_tool), (DELEGATES, desk)];
    let (script, team) = *teams.choose(&mut rng).unwrap_or(&(ANSWERS_AT_ONCE, asker));
    let dialect = *ALL_DIALECTS.choose(&mut rng).unwrap_or(&WireDialect::OpenaiChat);
    let mut scenario = Scenario::new("swarm", "random faults").with_script(script).team(team);
    for _ in 0..rng.random_range(1..=4) {
        let action = ACTIONS.choose(&mut rng).unwrap_or(&"");
        scenario = scenario.fault(format_args!("match = {{ {} }}\n{action}", selector(&mut rng)));
    }
    scenario.streams = rng.random_bool(0.7);
    scenario.has_fallback = rng.random_bool(0.4);
    scenario.latency =
        Latency::new(Duration::from_millis(rng.random_range(0..3_000)), Duration::from_millis(rng.random_range(0..50)));
    scenario.wall = Some(WALL);
    scenario.caller = random_caller(&mut rng);
    (scenario, dialect)
}

/// Plays the scenario for a seed, twice if `twice`, and checks the invariants.
///
/// # Errors
/// Fails if the scenario cannot be set up.
pub fn judge_seed(seed: u64, twice: bool) -> anyhow::Result<(Observation, Vec<Violation>)> {
    let (scenario, dialect) = random_scenario(seed);
    let found = play(&scenario, dialect, seed)?;
    let mut violations = judge_invariants(&found);
    violations.extend(bounds(&scenario, &found));
    if twice && play(&scenario, dialect, seed)?.digest() != found.digest() {
        violations.push(Violation { rule: "I10", what: "the second run differs".to_owned() });
    }
    Ok((found, violations))
}

/// Further checks: a finished run has the complete answer; time and requests are bounded.
fn bounds(scenario: &Scenario, observed: &Observation) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut violation = |rule, what| violations.push(Violation { rule, what });
    for end in &observed.ends {
        if let ObservedEnd::Outcome { stop: StopReason::Finished, text, .. } = end
            && text != ANSWER
        {
            violation("I1", format!("an incomplete answer was accepted: {text:?}"));
        }
    }
    if observed.elapsed > WALL + Duration::from_secs(10) {
        violation("I5", format!("the scenario took {:?}", observed.elapsed));
    }
    let questions = observed.count(|event| matches!(event, Event::TurnStarted { .. }));
    let attempts = observed.count(|event| matches!(event, Event::AttemptStarted { .. }));
    let models = if scenario.has_fallback { 2 } else { 1 };
    if attempts > questions * ATTEMPTS * models || observed.calls.len() > attempts {
        let calls = observed.calls.len();
        violation("I6", format!("too many: {attempts} attempts and {calls} requests for {questions} questions"));
    }
    violations
}

fn selector(rng: &mut StdRng) -> String {
    let call = rng.random_range(1..=3_u64);
    let calls = match rng.random_range(0..10) {
        0 => String::new(),
        1..=2 => format!("from_call = {call}"),
        3..=4 => format!("to_call = {call}"),
        _ => format!("call = {call}"),
    };
    let model = if rng.random_bool(0.7) { "model = \"$MAIN\"" } else { "" };
    [model, &calls].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")
}

fn random_caller(rng: &mut StdRng) -> Caller {
    let after = Duration::from_millis(rng.random_range(0..8_000));
    match rng.random_range(0..10) {
        0 => Caller::Disconnects(after),
        1 => Caller::Cancels(after),
        2..=4 => Caller::many(rng.random_range(2..=4), Duration::from_millis(rng.random_range(0..2_000))),
        _ => Caller::once(),
    }
}

/// Limits the output, so that a reported usage beyond the limit is detected.
fn limited() -> Settings {
    Settings::default().max_output_tokens(Some(1_000))
}

fn asker(environment: &Environment) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    Ok(Arc::new(environment.asker()?.settings(limited())))
}

fn asker_with_tool(environment: &Environment) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let lookup = environment.tools().tool("lookup", ToolBehavior::AnswersAfter(TOOL_TIME))?;
    Ok(Arc::new(environment.asker()?.settings(limited()).tool(lookup)))
}

fn desk(environment: &Environment) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let lookup = environment.tools().tool("lookup", ToolBehavior::AnswersAfter(TOOL_TIME))?;
    let left = environment.agent("left")?.settings(limited()).tool(lookup);
    let right = environment.agent("right")?.settings(limited());
    let desk = environment.agent("desk")?.settings(limited());
    Ok(Arc::new(desk.worker(Worker::new(left)).worker(Worker::new(right))))
}
