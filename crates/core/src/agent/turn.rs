//! One model turn.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    Certainty, Charge, ChatModel, ChatReply, ChatRequest, Effect, Event, Interruption, Message, ModelError, ModelId,
    Run, TranscriptError, Usage,
};

/// Asks the model once, however many attempts that takes below. Ends early when the run is stopped.
pub(crate) async fn ask(
    model: &dyn ChatModel,
    request: &ChatRequest,
    (run, turn): (&Run, u32),
) -> Result<Result<ChatReply, ModelError>, Interruption> {
    let id = model.id();
    run.emit(&Event::TurnStarted { turn, model: id.clone() });
    let started = Instant::now();
    let spent_before = run.ledger().spending().total();
    let answer = run.step(turn, None, Effect::Once, run.until_stopped(model.chat(request, run))).await?;
    if let Ok(reply) = &answer {
        let spent = run.ledger().spending();
        run.emit(&Event::TurnEnded {
            turn,
            model: id.clone(),
            usage: reply.usage,
            cost: spent.cost().map(|_| spent.total() - spent_before),
            stop: reply.finish_reason,
            tool_calls: reply.message.tool_calls().count(),
            elapsed: started.elapsed(),
        });
    }
    Ok(answer)
}

/// Books what a model that nobody meters used, so that tokens are counted all the same. Money cannot be: under a limit
/// of it, answers why the model must not be asked again.
pub(crate) fn book_unmetered(
    reply: &ChatReply,
    request: &ChatRequest,
    (model, run): (&ModelId, &Run),
) -> Option<String> {
    if reply.charge.is_some() {
        return None;
    }
    let certainty = if reply.usage.is_some() { Certainty::Charged } else { Certainty::Estimated };
    let guess = || Usage::new(request.estimated_input_tokens(), (reply.message.size_bytes() as u64).div_ceil(4));
    run.charge(model, &Charge { certainty, usage: reply.usage.unwrap_or_else(guess), cost: None });
    run.ledger().limits_money().then(|| {
        format!("{model} is not metered, so that the limit of money cannot be kept; wrap it with `.metered(&prices)`")
    })
}

/// Keeps a reply that asks for tools. Ids that were used before are made unique, and that is told.
pub(crate) fn keep_calls(
    request: &mut ChatRequest,
    message: Message,
    (model, run): (&ModelId, &Run),
) -> Result<(), TranscriptError> {
    let told = message.clone();
    request.transcript.push(message)?;
    for (call, kept) in told.tool_calls().zip(request.transcript.open_calls()) {
        if !call.id.is_empty() && call.id != kept.id {
            run.emit(&Event::WireQuirk { provider: Arc::clone(model.provider()), kind: "duplicate_tool_call_id" });
        }
    }
    Ok(())
}
