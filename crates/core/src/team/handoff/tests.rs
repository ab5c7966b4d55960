use serde_json::json;

use super::*;
use crate::{
    Delta, LocalMemory, Memory, ModelErrorKind,
    testing::{Recorder, ScriptedModel, Turn},
};

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
async fn a_session_keeps_what_whoever_held_the_conversation_said() {
    let memory = Arc::new(LocalMemory::new());
    let (desk, front) = desk(Turn::text("You are paid up."), &memory);
    let outcome = desk.run(Task::from("Do I owe you anything?").session("s")).await.unwrap();
    assert_eq!((outcome.inherited, outcome.new_messages().len()), (0, 4));
    assert_eq!(memory.load("s").await.unwrap(), outcome.transcript.messages());
    desk.run(Task::from("What was that about?").session("s")).await.unwrap();
    assert_eq!(front.requests()[1].transcript.messages()[3].text(), "You are paid up.");
}

#[tokio::test]
async fn whoever_answers_is_heard_piece_by_piece() {
    let recorder = Recorder::new();
    let run = Run::builder().observer(Arc::new(recorder.clone())).deltas(true).build();
    desk(Turn::text("You are paid up."), &Arc::default()).0.run_in(&run, "Do I owe you anything?").await.unwrap();
    assert_eq!(recorder.count(|event| matches!(event, Event::Delta(Delta::Text(_)))), 4);
}

#[tokio::test]
async fn an_error_tells_what_all_of_them_have_spent() {
    let (desk, _) = desk(Turn::fails(ModelErrorKind::Auth), &Arc::default());
    let error = desk.run("Do I owe you anything?").await.unwrap_err();
    assert_eq!(error.agent(), "desk/billing");
    assert_eq!(error.cost().total.usage, crate::Usage::new(100, 10));
    assert_eq!(error.cost().by_agent.len(), 1);
}
