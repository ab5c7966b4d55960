//! One model turn.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    Certainty, Charge, ChatModel, ChatReply, ChatRequest, Effect, Event, Interruption, Message, ModelError, ModelId,
    Run, TranscriptError, Usage,
};

/// Why a turn brought no reply.
pub(crate) enum TurnError {
    /// The run was stopped meanwhile.
    Interrupted(Interruption),
    /// The model failed.
    Model(ModelError),
}

/// Asks the model once, however many attempts its wrappers make. Ends early when the run is stopped.
pub(crate) async fn ask(
    model: &dyn ChatModel,
    request: &ChatRequest,
    run: &Run,
    turn: u32,
) -> Result<ChatReply, TurnError> {
    let id = model.id();
    run.emit(&Event::TurnStarted { turn, model: id.clone() });
    let started = Instant::now();
    let spent_before = run.ledger().spending().total();
    let answer = run.step(turn, None, Effect::Once, run.until_stopped(model.chat(request, run))).await;
    let reply = answer.map_err(TurnError::Interrupted)?.map_err(TurnError::Model)?;
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
    Ok(reply)
}

/// Charges the tokens of a reply from a model that is not metered. Its price is unknown: under a money budget, returns
/// why the model must not be asked again.
pub(crate) fn charge_unmetered(reply: &ChatReply, request: &ChatRequest, model: &ModelId, run: &Run) -> Option<String> {
    if reply.charge.is_some() {
        return None;
    }
    let certainty = if reply.usage.is_some() { Certainty::Charged } else { Certainty::Estimated };
    let estimate = || Usage::new(request.estimated_input_tokens(), (reply.message.size_bytes() as u64).div_ceil(4));
    run.charge(model, &Charge { certainty, usage: reply.usage.unwrap_or_else(estimate), cost: None });
    run.ledger().limits_money().then(|| {
        format!("{model} is not metered, so the money budget cannot be kept; wrap the model with `.metered(&prices)`")
    })
}

/// Adds a reply with tool calls to the transcript, which makes repeated call ids unique. Emits an event for each change.
pub(crate) fn push_calls(
    request: &mut ChatRequest,
    reply: Message,
    model: &ModelId,
    run: &Run,
) -> Result<(), TranscriptError> {
    let original = reply.clone();
    request.transcript.push(reply)?;
    for (call, kept) in original.tool_calls().zip(request.transcript.open_calls()) {
        if !call.id.is_empty() && call.id != kept.id {
            run.emit(&Event::WireQuirk {
                provider: Arc::clone(model.provider()),
                kind: "duplicate_tool_call_id".into(),
            });
        }
    }
    Ok(())
}
