//! One model turn.

use tokio::time::Instant;

use crate::{
    Agent, Certainty, Charge, ChatModel, ChatReply, ChatRequest, Effect, Estimate, Event, ModelError, Run, Spender,
    Step, Stopped, Usage, turns::End,
};

/// Asks the model once, however many attempts that takes below. Ends early when the run is stopped.
pub(crate) async fn ask(
    model: &dyn ChatModel,
    request: &ChatRequest,
    (run, turn): (&Run, u32),
) -> Result<Result<ChatReply, ModelError>, Stopped> {
    let id = model.id();
    run.emit(&Event::TurnStarted { turn, model: id.clone() });
    let started = Instant::now();
    let spent_before = run.ledger().spending();
    let step = Step { turn, tool: None, effect: Effect::Once };
    let answer = run.step(step, run.until_stopped(model.chat(request, run))).await?;
    if let Ok(reply) = &answer {
        let spent = run.ledger().spending();
        run.emit(&Event::TurnEnded {
            turn,
            model: id.clone(),
            usage: reply.usage,
            cost: spent.cost().map(|_| spent.total() - spent_before.total()),
            stop: reply.stop.kind,
            tool_calls: reply.message.tool_calls().count(),
            elapsed: started.elapsed(),
        });
    }
    Ok(answer)
}

/// Books what a model without metering used, so that tokens are counted all the same. Money cannot be: under a limit
/// of money such a run ends here rather than spend unseen.
pub(crate) fn unmetered(reply: &ChatReply, agent: &Agent, run: &Run) -> Option<End> {
    if reply.charge.is_some() {
        return None;
    }
    let spender = Spender { agent: run.agent().clone(), model: agent.model.id().clone() };
    let certainty = if reply.usage.is_some() { Certainty::Charged } else { Certainty::Estimated };
    let usage = reply.usage.unwrap_or(Usage::new(0, reply.message.size_bytes() as u64 / 4));
    // Nothing is asked for, so nothing is refused.
    if let Ok(hold) = run.ledger().reserve(spender, Estimate::default(), true) {
        hold.settle(&Charge { certainty, usage, cost: None });
    }
    run.ledger().limits_money().then(|| {
        let model = agent.model.id();
        End::budget(&format_args!(
            "{model} is not metered, so that the limit of money cannot be kept; wrap it with `.metered(&prices)`"
        ))
    })
}
