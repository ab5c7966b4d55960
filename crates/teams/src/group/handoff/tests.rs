use brigade_core::{
    Delta, LocalMemory, Memory, ModelErrorKind, Part, Usage,
    testing::{Recorder, ScriptedModel, Turn},
};
use serde_json::json;

use super::*;

fn desk(billing: Turn, memory: &Arc<LocalMemory>) -> (Handoff, ScriptedModel) {
    let transfer = Turn::call("c1", "transfer_to_billing", json!({"reason": "an invoice"}));
    let front = ScriptedModel::new([transfer, Turn::text("You asked about an invoice.")]);
    let agent = |name: &str, model| Agent::new(name, model).memory(Arc::clone(memory));
    let desk = Handoff::new("desk")
        .agent(agent("front", front.clone()))
        .agent(agent("billing", ScriptedModel::new([billing])));
    (desk, front)
}

#[tokio::test]
async fn a_session_shared_by_the_agents_keeps_the_whole_conversation() {
    let memory = Arc::new(LocalMemory::new());
    let (desk, front) = desk(Turn::text("You are paid up."), &memory);
    let outcome = desk.run(Task::from("Do I owe you anything?").session("s")).await.unwrap();
    assert_eq!((outcome.inherited, outcome.new_messages().len()), (0, 4));
    assert_eq!(memory.load("s").await.unwrap(), outcome.transcript.messages());
    desk.run(Task::from("What was that about?").session("s")).await.unwrap();
    assert_eq!(front.requests()[1].transcript.messages()[3].text(), "You are paid up.");
}

#[tokio::test]
async fn the_deltas_of_every_agent_are_emitted() {
    let recorder = Recorder::new();
    let run = Run::builder().observer(Arc::new(recorder.clone())).deltas(true).build();
    desk(Turn::text("You are paid up."), &Arc::default()).0.run_in(&run, "Do I owe you anything?").await.unwrap();
    assert_eq!(recorder.count(|event| matches!(event, Event::Delta(Delta::Text(_)))), 4);
}

#[tokio::test]
async fn the_error_of_one_agent_has_the_cost_of_all() {
    let (desk, _) = desk(Turn::fails(ModelErrorKind::Auth), &Arc::default());
    let error = desk.run("Do I owe you anything?").await.unwrap_err();
    assert_eq!(error.agent(), "desk/billing");
    assert_eq!(error.cost().total.usage, Usage::new(100, 10));
    assert_eq!(error.cost().by_agent.len(), 1);
}

#[tokio::test]
async fn a_transfer_passes_the_whole_conversation_on() {
    let front = ScriptedModel::new([Turn::call("c1", "transfer_to_billing", json!({"reason": "an invoice"}))]);
    let billing = ScriptedModel::new([Turn::text("You are paid up.")]);
    let desk = Handoff::new("desk").agent(Agent::new("front", front)).agent(Agent::new("billing", billing.clone()));
    let outcome = desk.run("Do I owe you anything?").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop), ("You are paid up.", StopReason::Finished));
    let seen = billing.requests().remove(0).transcript;
    assert_eq!(seen.messages()[0].text(), "Do I owe you anything?");
    assert_eq!(
        seen.messages()[2].tool_results().next().unwrap().content,
        [Part::text("The conversation is with billing now.")]
    );
}

#[tokio::test]
async fn a_conversation_ends_at_the_transfer_limit() {
    let passing = |to: &str| {
        let turn = |index| Turn::call(&format!("c{index}"), to, json!({"reason": "not mine"}));
        ScriptedModel::new((0..9).map(turn))
    };
    let desk = Handoff::new("desk")
        .agent(Agent::new("a", passing("transfer_to_b")))
        .agent(Agent::new("b", passing("transfer_to_a")))
        .max_transfers(4);
    let outcome = desk.run("Who helps me?").await.unwrap();
    assert_eq!(outcome.stop, StopReason::LoopDetected);
    assert!(outcome.notice.contains("passed on 4 times"), "{}", outcome.notice);
}
