use brigade_core::{
    Agent, Event, FinishReason, StopReason,
    testing::{Recorder, ScriptedModel, Turn},
};

use super::*;

#[tokio::test]
async fn each_answer_is_the_task_of_the_next_stage_and_a_partial_answer_ends_the_pipeline() {
    let writer = ScriptedModel::new([Turn::text("draft")]);
    let editor = ScriptedModel::new([Turn::text("final")]);
    let pipeline =
        Pipeline::new("press").stage(Agent::new("writer", writer)).stage(Agent::new("editor", editor.clone()));
    let outcome = pipeline.run("Write.").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.turns), ("final", 2));
    assert_eq!(editor.requests()[0].transcript.messages()[0].text(), "draft");
    assert_eq!(
        outcome.cost.by_agent.keys().map(|agent| &**agent).collect::<Vec<_>>(),
        ["press/editor", "press/writer"]
    );

    let cut = ScriptedModel::new([Turn::text("dra").stopping(FinishReason::MaxTokens)]);
    let editor = ScriptedModel::new([Turn::text("never asked")]);
    let pipeline = Pipeline::new("press").stage(Agent::new("writer", cut)).stage(Agent::new("editor", editor.clone()));
    let outcome = pipeline.run("Write.").await.unwrap();
    assert_eq!((outcome.stop, editor.turns_left()), (StopReason::Truncated, 1));
}

#[tokio::test]
async fn a_pipeline_emits_the_start_and_end_of_its_own_run() {
    let recorder = Recorder::new();
    let pipeline = Pipeline::new("press").stage(Agent::new("writer", ScriptedModel::new([Turn::text("draft")])));
    let run = Run::builder().observer(Arc::new(recorder.clone())).build();
    Runnable::run(&pipeline, &run, "Write.".into()).await.unwrap();
    let events: Vec<_> = recorder
        .events()
        .into_iter()
        .filter_map(|(agent, event)| match event {
            Event::RunStarted => Some(format!("{agent} started")),
            Event::RunEnded { turns, .. } => Some(format!("{agent} ended after {turns} turns")),
            _ => None,
        })
        .collect();
    let ends = ["press/writer ended after 1 turns", "press ended after 1 turns"];
    assert_eq!(events, ["press started", "press/writer started", ends[0], ends[1]]);
}
