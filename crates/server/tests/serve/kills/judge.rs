//! Compares what the server says with what happened outside of it.

use std::collections::{BTreeMap, BTreeSet};

use brigade_core::{Money, Rate, Rates, Spending, StepRecord, StepState};
use brigade_rehearsal::{CallRecord, CallState};
use rusqlite::Connection;

use super::{
    client::EndedRun,
    world::{TURNS, ToolEffect, World},
};
use crate::support::{Server, json_of};

/// The prices of the model.
const RATES: Rates = Rates::new(Rate::per_million(Money::from_cents(25)), Rate::per_million(Money::from_cents(200)));

/// What the journals had after the kills, by the id of the run in hexadecimal digits and the path of the step.
#[derive(Debug, Default)]
pub(super) struct Journals {
    completed: BTreeMap<(String, String), Watermark>,
    /// The uncertain cost of each model turn in flight at the last kill that found it.
    uncertain: BTreeMap<(String, String), Money>,
    in_flight: usize,
}

/// How much had happened outside when a step was first found completed.
#[derive(Debug)]
struct Watermark {
    name: String,
    calls: u64,
    effects: usize,
}

impl Journals {
    /// Reads the file that a killed server left.
    pub(super) fn read(&mut self, world: &World) {
        let Ok(database) = Connection::open(world.folder.path().join("brigade.db")) else { return };
        let rows = "SELECT lower(hex(runs.run)), record FROM durable_steps JOIN durable_runs AS runs ON runs.id = durable_steps.run";
        // The first servers were killed before they had created the tables.
        let Ok(mut select) = database.prepare(rows) else { return };
        let (calls, effects) = (world.provider.call_log().totals().arrived, world.effects.all().len());
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let record: StepRecord = serde_json::from_str(row.get_ref(1).unwrap().as_str().unwrap()).unwrap();
            let place = (row.get(0).unwrap(), record.path);
            if record.state == StepState::Done {
                let watermark = Watermark { name: record.name, calls, effects };
                self.completed.entry(place).or_insert(watermark);
            } else if record.cost.uncertain > Money::ZERO {
                let known = self.uncertain.insert(place, record.cost.uncertain);
                self.in_flight += usize::from(known != Some(record.cost.uncertain));
            }
        }
    }
}

/// Panics if a rule is broken. Returns what was found.
pub(super) async fn judge(world: &World, journals: &Journals, ended: &[EndedRun], server: &Server) -> String {
    let (calls, effects) = (world.provider.call_log().calls(), world.effects.all());
    let traces: BTreeMap<String, &str> =
        ended.iter().map(|run| (run.id.replace('-', ""), run.trace.as_str())).collect();
    assert_eq!(traces.len(), ended.len(), "each key has a run of its own");
    one_run_for_each_key(world, ended);
    each_run_did_all_of_its_steps(ended, &calls, &effects);
    nothing_completed_is_repeated(journals, &traces, &calls, &effects);
    no_effect_is_there_twice(&effects);
    let total = bill_is_true(journals, &calls, server).await;
    events_are_complete(ended, server).await;
    let sum = |count: fn(&EndedRun) -> usize| ended.iter().map(count).sum::<usize>();
    format!(
        "{} runs, {} calls, {} steps found completed, {} calls in flight, {} decisions, {} set aside, {} and {} uncertain",
        ended.len(),
        calls.len(),
        journals.completed.len(),
        journals.in_flight,
        sum(|run| run.decisions),
        sum(|run| run.set_aside),
        total.charged,
        total.uncertain,
    )
}

fn one_run_for_each_key(world: &World, ended: &[EndedRun]) {
    let database = Connection::open(world.folder.path().join("brigade.db")).unwrap();
    let count = |sql| database.query_row(sql, [], |row| row.get::<_, usize>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM durable_runs"), ended.len(), "runs that no client asked for");
    assert_eq!(count("SELECT count(*) FROM durable_runs WHERE status <> 'finished'"), 0);
}

fn each_run_did_all_of_its_steps(ended: &[EndedRun], calls: &[CallRecord], effects: &[ToolEffect]) {
    for run in ended {
        for (agent, turn) in TURNS.iter().flat_map(|(agent, turns)| (0..*turns).map(move |turn| (*agent, turn))) {
            let answered =
                |call: &&CallRecord| is_of(call, &run.trace, agent, turn) && call.state == CallState::Complete;
            assert!(calls.iter().any(|call| answered(&call)), "{run:?}: turn {turn} of {agent} was never answered");
        }
        let paid = effects.iter().filter(|effect| effect.trace == run.trace && effect.tool.starts_with("pay/")).count();
        assert!(paid + run.decisions >= 2, "{run:?}: {paid} payments were made");
    }
}

fn nothing_completed_is_repeated(
    journals: &Journals,
    traces: &BTreeMap<String, &str>,
    calls: &[CallRecord],
    effects: &[ToolEffect],
) {
    for ((run, path), watermark) in &journals.completed {
        let trace = traces.get(run).unwrap_or_else(|| panic!("the run {run} was not acknowledged"));
        let (above, last) = path.rsplit_once('/').unwrap_or(("desk", path));
        if let Ok(turn) = last.parse::<usize>() {
            let agent = above.rsplit('/').next().unwrap_or_default();
            let late = |call: &&CallRecord| is_of(call, trace, agent, turn - 1) && call.number > watermark.calls;
            assert!(!calls.iter().any(|call| late(&call)), "{run} {path} was completed, and asked again");
        } else if last.starts_with("tool:") {
            let tool = match watermark.name.as_str() {
                "pay" if above == "2" => "pay/2",
                "pay" => "pay/1",
                name => name,
            };
            let late =
                effects.iter().skip(watermark.effects).any(|effect| effect.trace == *trace && effect.tool == tool);
            assert!(!late, "{run} {path} was completed, and {tool} called again");
        }
    }
}

fn is_of(call: &CallRecord, trace: &str, agent: &str, turn: usize) -> bool {
    call.trace.as_deref() == Some(trace) && call.agent.as_deref() == Some(agent) && call.turn == turn
}

fn no_effect_is_there_twice(effects: &[ToolEffect]) {
    let mut paid = BTreeSet::new();
    for effect in effects.iter().filter(|effect| effect.tool.starts_with("pay/")) {
        assert!(paid.insert((&effect.trace, &effect.tool)), "paid twice: {effect:?}");
    }
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for effect in effects.iter().filter(|effect| effect.tool == "put") {
        let key = effect.key.as_deref().unwrap_or_else(|| panic!("a keyed call without its key: {effect:?}"));
        let first = *keys.entry(effect.trace.as_str()).or_insert(key);
        assert_eq!(first, key, "a keyed call is repeated under its key");
    }
}

async fn bill_is_true(journals: &Journals, calls: &[CallRecord], server: &Server) -> Spending {
    let (_, usage) = json_of(server.get("/v1/usage")).await;
    let total: Spending = serde_json::from_value(usage["total"].clone()).unwrap();
    let truth =
        calls.iter().map(|call| RATES.cost(call.usage.input, call.usage.output)).fold(Money::ZERO, |a, b| a + b);
    let sure = total.charged + total.estimated;
    assert!(sure <= truth && truth <= sure + total.uncertain, "the provider bills {truth}: {usage}");
    let in_flight = journals.uncertain.values().fold(Money::ZERO, |sum, cost| sum + *cost);
    assert!(total.uncertain <= in_flight, "only {in_flight} were in flight at the kills: {usage}");
    total
}

/// A client that was there from the start has received each event that is stored.
async fn events_are_complete(ended: &[EndedRun], server: &Server) {
    for (run, received) in ended.iter().filter_map(|run| Some((run, run.events.as_ref()?))) {
        let (_, text) = json_of(server.get(&format!("/v1/runs/{}/events", run.id))).await;
        let frames = text.as_str().unwrap().split("\n\n").filter(|frame| !frame.contains("event:"));
        let stored = frames.filter_map(|frame| frame.lines().find_map(|line| line.strip_prefix("id:")));
        let missing: Vec<_> = stored.filter(|id| !received.contains(&id.trim().parse().unwrap())).collect();
        assert!(missing.is_empty(), "{}: the events {missing:?} were not sent to a client that followed", run.id);
    }
}
