//! What holds for every group of agents.

use std::sync::Arc;

use brigade_core::{
    Agent, Budget, Event, Ledger, LocalMemory, Memory, Run, Task, Worker,
    testing::{Recorder, ScriptedModel, Turn},
};

use crate::{Handoff, LocalBus, Pipeline, Quorum, RemoteAgent, TeamRunBuilder, host};

/// Tests that a group around the agent `member` honours the options that all groups share.
macro_rules! honours_its_options {
    ($($test:ident: $group:expr;)*) => {$(
        #[tokio::test]
        async fn $test() {
            let model = ScriptedModel::new((0..9).map(|_| Turn::text("Hello.")));
            let bus = Arc::new(LocalBus::new());
            let member = || Agent::new("member", model.clone());
            let _host = host(member(), &*bus, Ledger::root("host", Budget::unlimited())).await.unwrap();
            let run = Run::builder().bus(bus).build();
            let build: fn(Agent) -> _ = $group;
            let group = build(member());

            let broke = group.clone().budget(Budget::unlimited().tokens(0));
            let _ = broke.run_in(&run, "Who are you?").await;
            assert!(model.requests().is_empty(), "the budget is used up");

            let recorder = Recorder::new();
            let observed = group.clone().observer(Arc::new(recorder.clone()));
            let _ = observed.run("Who are you?").await;
            let (agent, event) = recorder.events().remove(0);
            assert_eq!((&agent, event), (group.name(), Event::RunStarted));

            let memory = Arc::new(LocalMemory::new());
            let group = group.memory(Arc::clone(&memory));
            for question in ["Who are you?", "And who am I?"] {
                group.run_in(&run, Task::from(question).session("s")).await.unwrap();
            }
            let asked = model.requests().pop().unwrap().transcript;
            assert_eq!(asked.messages()[0].text(), "Who are you?", "the members see the session");
            let stored = memory.load("s").await.unwrap();
            assert_eq!((stored.len(), &*stored[2].text()), (4, "And who am I?"), "every message is stored once");
        }
    )*};
}

honours_its_options! {
    a_pipeline_honours_its_options: |member| Pipeline::new("group").stage(member);
    a_handoff_honours_its_options: |member| Handoff::new("group").agent(member);
    a_quorum_honours_its_options: |member| Quorum::new("group").worker(Worker::new(member));
    a_remote_agent_honours_its_options: |_| RemoteAgent::new("member");
}
