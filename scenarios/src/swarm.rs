//! Faults composed at random: what a seed draws, and what must hold for every seed.

use std::{sync::Arc, time::Duration};

use brigade_core::{Event, Settings, StopReason, Worker};
use brigade_rehearsal::{Latency, WireDialect};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    judge::{Breach, judge_invariants},
    play::play,
    scenario::{ALL, ANSWER, Act, LOOKS_UP, SAYS, Scenario, Team},
    seen::{Ended, Seen},
    stage::Stage,
    tools::Behaviour,
};

/// How long any run may take. What goes on longer is ended.
pub const WALL: Duration = Duration::from_mins(15);

/// How long the tool takes: long enough that some callers go while it is at it.
const LOOK_UP: Duration = Duration::from_millis(700);

/// How many attempts a question to a model may take.
const ATTEMPTS: usize = 3;

/// What can go wrong: one of each kind that the simulator knows, and where. `$` names are filled in by dialect.
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

/// A supervisor asks two workers at once, one of which looks something up.
const DESK: &str = r#"
[[rule]]
when   = { agent = "desk", turn = 0 }
answer = { tool_calls = [{ name = "left", arguments = '{"task":"a $CANARY"}' }, { name = "right", arguments = '{"task":"b"}' }] }
[[rule]]
when   = { agent = "left", turn = 0 }
answer = { tool_calls = [{ name = "lookup", arguments = '{"query":"$CANARY"}' }] }
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;

/// What a seed draws.
pub fn drawn(seed: u64) -> (Scenario, WireDialect) {
    let mut rng = StdRng::seed_from_u64(seed);
    let teams: [(&'static str, Team); 3] = [(SAYS, asker), (LOOKS_UP, looker), (DESK, desk)];
    let (script, team) = *teams.choose(&mut rng).unwrap_or(&(SAYS, asker));
    let dialect = *ALL.choose(&mut rng).unwrap_or(&WireDialect::OpenaiChat);
    let mut scenario = Scenario::new("swarm", "faults drawn at random").script_of(script).team(team);
    for _ in 0..rng.random_range(1..=4) {
        let action = ACTIONS.choose(&mut rng).unwrap_or(&"");
        scenario = scenario.fault(format_args!("match = {{ {} }}\n{action}", selector(&mut rng)));
    }
    scenario.streams = rng.random_bool(0.7);
    scenario.has_fallback = rng.random_bool(0.4);
    scenario.latency = Latency {
        first: Duration::from_millis(rng.random_range(0..3_000)),
        between: Duration::from_millis(rng.random_range(0..50)),
    };
    scenario.wall = Some(WALL);
    scenario.act = act(&mut rng);
    (scenario, dialect)
}

/// Plays what a seed draws, twice if `twice`, and answers what must hold and did not.
///
/// # Errors
/// If it cannot be played.
pub fn judged(seed: u64, twice: bool) -> anyhow::Result<(Seen, Vec<Breach>)> {
    let (scenario, dialect) = drawn(seed);
    let found = play(&scenario, dialect, seed)?;
    let mut breaches = judge_invariants(&found);
    breaches.extend(bounds(&scenario, &found));
    if twice && play(&scenario, dialect, seed)?.digest() != found.digest() {
        breaches.push(Breach { rule: "I10", what: "the second time went differently".to_owned() });
    }
    Ok((found, breaches))
}

/// What holds of every composition: a good end is the whole answer, time and requests have a limit.
fn bounds(scenario: &Scenario, seen: &Seen) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |rule, what| breaches.push(Breach { rule, what });
    for end in &seen.ends {
        if let Ended::Outcome { stop: StopReason::Finished, text, .. } = end
            && text != ANSWER
        {
            breach("I1", format!("half an answer passes for a whole one: {text:?}"));
        }
    }
    if seen.elapsed > WALL + Duration::from_secs(10) {
        breach("I5", format!("it took {:?}", seen.elapsed));
    }
    let questions = seen.count(|event| matches!(event, Event::TurnStarted { .. }));
    let attempts = seen.count(|event| matches!(event, Event::AttemptStarted { .. }));
    let models = if scenario.has_fallback { 2 } else { 1 };
    if attempts > questions * ATTEMPTS * models || seen.calls.len() > attempts {
        let calls = seen.calls.len();
        breach("I6", format!("{questions} questions, {attempts} attempts, {calls} requests"));
    }
    breaches
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

fn act(rng: &mut StdRng) -> Act {
    let after = Duration::from_millis(rng.random_range(0..8_000));
    match rng.random_range(0..10) {
        0 => Act::HangUp(after),
        1 => Act::Cancel(after),
        2..=4 => Act::many(rng.random_range(2..=4), Duration::from_millis(rng.random_range(0..2_000))),
        _ => Act::once(),
    }
}

/// Answers are limited, so that usage beyond the limit can be told.
fn limited() -> Settings {
    Settings { max_output_tokens: Some(1_000), ..Settings::default() }
}

fn asker(stage: &Stage) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    Ok(Arc::new(stage.asker()?.settings(limited())))
}

fn looker(stage: &Stage) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let lookup = stage.tools().tool("lookup", Behaviour::AnswersAfter(LOOK_UP))?;
    Ok(Arc::new(stage.asker()?.settings(limited()).tool(lookup)))
}

fn desk(stage: &Stage) -> anyhow::Result<Arc<dyn brigade_core::Runnable>> {
    let lookup = stage.tools().tool("lookup", Behaviour::AnswersAfter(LOOK_UP))?;
    let left = stage.agent("left")?.settings(limited()).tool(lookup);
    let right = stage.agent("right")?.settings(limited());
    let desk = stage.agent("desk")?.settings(limited());
    Ok(Arc::new(desk.worker(Worker::new(left)).worker(Worker::new(right))))
}
