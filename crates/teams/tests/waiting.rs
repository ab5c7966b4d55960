//! A group in a durable run: one member waits for a person.

use brigade_core::{
    Agent, Run, ToolOutput, Worker,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use brigade_durable::{
    ApprovalAnswer, ApprovalQuery, ApprovalRule, ApprovedTool, CancellationToken, Durable, MemoryRunStore, RunState,
    Submission,
};
use brigade_teams::Quorum;
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    amount: u32,
}

#[tokio::test(start_paused = true)]
async fn a_quorum_waits_for_a_member_that_waits_for_a_person() {
    let refund = tool_fn("refund", "Pays money back.", |args: Refund, _: Run| async move {
        Ok(ToolOutput::text(format!("paid {}", args.amount)))
    });
    let ann = ScriptedModel::new([Turn::call("1", "refund", json!({ "amount": 250 })), Turn::text("paid")]);
    let ann = Agent::new("ann", ann).tool(ApprovedTool::new(refund, ApprovalRule::Always));
    let bob = Agent::new("bob", ScriptedModel::new([Turn::text("seen")]));
    let team = Quorum::new("team").worker(Worker::new(ann)).worker(Worker::new(bob)).at_least(2);
    let durable = Durable::new(MemoryRunStore::new()).agent("team", team);
    let work = async {
        let run = durable.submit(Submission::new("team", "Pay me back.")).await.unwrap().id();
        let waits = durable.wait_until(run, |run| run.status != RunState::Running && run.status != RunState::Ready);
        let waits = waits.await.unwrap();
        assert_eq!(waits.status, RunState::Waiting, "{waits:?}");
        let approval = durable.store().approvals(&ApprovalQuery::default().run(run)).await.unwrap().remove(0);
        durable.answer_approval(&approval.id, ApprovalAnswer::approve("ada")).await.unwrap();
        durable.wait(run).await.unwrap()
    };
    let ended = tokio::select! {
        () = durable.work(CancellationToken::new()) => panic!("the worker stopped"),
        ended = work => ended,
    };
    assert_eq!(ended.status, RunState::Finished, "{ended:?}");
    assert!(ended.output.unwrap().get().contains("ann: paid\\n\\nbob: seen"));
}
