//! What holds for every group of agents.

use std::sync::Arc;

use brigade_core::{
    Agent, Arguments, Budget, Event, Image, Ledger, LocalMemory, Memory, Message, Part, Role, Run, Runnable, Task,
    ToolCall, ToolResult, Transcript, Worker,
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

/// Tests that the first agent of a group sees the whole task: its images and the conversation before it.
#[tokio::test]
async fn every_group_passes_the_whole_task_on() {
    type Group = fn(Agent) -> Box<dyn Runnable>;
    let groups: [Group; 4] = [
        |member| Box::new(Pipeline::new("group").stage(member)),
        |member| Box::new(Handoff::new("group").agent(member)),
        |member| Box::new(Quorum::new("group").worker(Worker::new(member))),
        |_| Box::new(RemoteAgent::new("member")),
    ];
    let image = || Part::Image(Image::Url("https://example.com/chart.png".to_owned()));
    let mut history = Transcript::new();
    history.push(Message::new(Role::User, vec![Part::text("What is this?"), image()])).unwrap();
    let call = ToolCall::new("c1", "look", Arguments::parse("{}".to_owned()));
    history.push(Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())])).unwrap();
    history.answer_calls(vec![ToolResult::new(&call, vec![Part::text("a chart"), image()])]).unwrap();
    history.push(Message::assistant("A chart.")).unwrap();
    let question = Message::new(Role::User, vec![Part::text("And this?"), image()]);
    for (index, group) in groups.iter().enumerate() {
        for (task, expected) in [
            (Task::from(question.clone()).history(history.clone()), 5),
            (Task::from(Message::new(Role::User, vec![image()])), 1),
            (Task::resume(history.clone()), 4),
        ] {
            let model = ScriptedModel::new([Turn::text("Hello.")]);
            let member = Agent::new("member", model.clone());
            let bus = Arc::new(LocalBus::new());
            let _host = host(member.clone(), &*bus, Ledger::root("host", Budget::unlimited())).await.unwrap();
            let run = Run::builder().bus(bus).build();
            let mut wanted = task.history.messages().to_vec();
            wanted.extend(task.message.clone());
            assert_eq!(wanted.len(), expected);
            group(member).run(&run, task).await.unwrap();
            assert_eq!(model.requests()[0].transcript.messages(), wanted, "group {index}");
        }
    }
}
