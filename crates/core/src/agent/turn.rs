//! One model turn.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    BudgetExceeded, Certainty, Charge, ChatModel, ChatReply, ChatRequest, Effect, Event, Interruption, JournalError,
    Message, ModelError, ModelErrorKind, ModelId, Run, TranscriptError, Usage,
    agent::run_end::{RunEnd, exhausted},
    run::step::Step,
};

/// Why a turn brought no reply.
pub(crate) enum TurnError {
    /// The run was stopped meanwhile.
    Interrupted(Interruption),
    /// The model failed.
    Model(ModelError),
    /// The journal of the run failed.
    Journal(JournalError),
}

/// One request to the model within a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnRequest<'a> {
    /// The number of the turn, from 1.
    pub(crate) turn: u32,
    /// How often the model was asked in this turn before.
    pub(crate) again: u32,
    /// How the run ends after this turn, if it is the last one.
    pub(crate) wrapping_up: Option<&'a RunEnd>,
}

/// The output of a turn, as the journal keeps it.
#[derive(Serialize, Deserialize)]
pub(super) struct TurnRecord {
    reply: Result<ChatReply, Refusal>,
    /// How the run ends after this turn. The limits that decided this are not checked again.
    pub(super) wrapping_up: Option<RunEnd>,
}

/// A failure after which the loop goes on.
#[derive(Serialize, Deserialize)]
struct Refusal {
    kind: ModelErrorKind,
    model: Option<ModelId>,
    message: String,
    exhausted: Option<BudgetExceeded>,
}

/// Longer than the name of any model. A provider may send anything as a name.
const MAX_NAME_CHARS: usize = 100;

/// Asks the model once, however many attempts its wrappers make. The reply names the model that answered. Ends early when
/// the run is stopped.
pub(crate) async fn ask(
    model: &dyn ChatModel,
    request: &ChatRequest,
    run: &Run,
    asked: TurnRequest<'_>,
) -> Result<ChatReply, TurnError> {
    let step = run.open_step::<TurnRecord>(format_args!("{asked}"), model.id().model(), Effect::Repeatable, || {
        run.digest_since_turn()
    });
    let step = match step.map_err(TurnError::Journal)? {
        Step::Recorded(TurnRecord { reply, .. }) => return reply.map_err(|refusal| TurnError::Model(refusal.into())),
        Step::New(step) => step,
    };
    let result = step.run.until_stopped(call(model, request, &step.run, asked.turn)).await;
    let result = result.map_err(TurnError::Interrupted)?;
    let recorded = match &result {
        Ok(reply) => Some(Ok(reply.clone())),
        Err(error) => Refusal::of(error).map(Err),
    };
    let recorded = match recorded {
        Some(reply) => step.done(&TurnRecord { reply, wrapping_up: asked.wrapping_up.cloned() }).await,
        None => step.failed().await,
    };
    recorded.map_err(TurnError::Journal)?;
    result.map_err(TurnError::Model)
}

async fn call(model: &dyn ChatModel, request: &ChatRequest, run: &Run, turn: u32) -> Result<ChatReply, ModelError> {
    let id = model.id();
    run.emit(&Event::TurnStarted { turn, model: id.clone() });
    let started = Instant::now();
    let spent_before = run.ledger().spending().total();
    let mut reply = model.chat(request, run).await?;
    let spent = run.ledger().spending();
    let model = reply.answered_by.get_or_insert_with(|| id.clone()).clone();
    let is_other_name = !reply.model.is_empty() && *reply.model != **model.model();
    run.emit(&Event::TurnEnded {
        turn,
        served: is_other_name.then(|| reply.model.chars().take(MAX_NAME_CHARS).collect::<String>().into()),
        model,
        usage: reply.usage,
        cost: spent.cost().filter(|_| spent.calls > 0).map(|total| total - spent_before),
        stop: reply.finish_reason,
        tool_calls: reply.message.tool_calls().count(),
        elapsed: started.elapsed(),
    });
    charge_unmetered(&reply, request, reply.answered_by.as_ref().unwrap_or(id), run);
    Ok(reply)
}

impl fmt::Display for TurnRequest<'_> {
    /// The path of the step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.again {
            0 => write!(f, "{}", self.turn),
            again => write!(f, "{}/again:{again}", self.turn),
        }
    }
}

impl Refusal {
    /// The failure, unless the run fails with it.
    fn of(error: &ModelError) -> Option<Self> {
        let kind = error.kind();
        let is_answer =
            matches!(kind, ModelErrorKind::Budget | ModelErrorKind::ContextLength | ModelErrorKind::Refused);
        let details = error.details();
        is_answer.then(|| Self {
            kind,
            model: details.model.clone(),
            message: details.message.clone(),
            exhausted: exhausted(error),
        })
    }
}

impl From<Refusal> for ModelError {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(refusal.kind, refusal.message).with(|details| details.model = refusal.model);
        match refusal.exhausted {
            Some(exhausted) => error.caused_by(exhausted),
            None => error,
        }
    }
}

/// Charges the tokens of a reply from a model that is not metered.
pub(crate) fn charge_unmetered(reply: &ChatReply, request: &ChatRequest, model: &ModelId, run: &Run) {
    if reply.charge.is_some() {
        return;
    }
    let certainty = if reply.usage.is_some() { Certainty::Charged } else { Certainty::Estimated };
    let estimate = || Usage::new(request.estimated_input_tokens(), (reply.message.size_bytes() as u64).div_ceil(4));
    run.charge(model, &Charge { certainty, usage: reply.usage.unwrap_or_else(estimate), cost: None });
}

/// Why a model that is not metered must not be asked again: its price is unknown, and the run has a money budget.
pub(crate) fn refuse_unmetered(reply: &ChatReply, model: &ModelId, run: &Run) -> Option<String> {
    (reply.charge.is_none() && run.ledger().limits_money()).then(|| {
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
