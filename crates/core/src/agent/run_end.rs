//! How the loop ended.

use std::sync::Arc;

use crate::{
    BudgetExceeded, ErrorChain, Interruption, ModelError, ModelErrorKind, Run, StopReason,
    tool::outcome::ToolCallOutcome,
};

/// How the loop ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) stop: StopReason,
    /// What to know about it, for a person.
    pub(crate) notice: String,
    /// The answer, where there is a better one than what the transcript holds.
    pub(crate) text: Option<String>,
    pub(crate) ended_by: Option<Arc<str>>,
    /// The budget that was used up, if one was and if it is known.
    pub(crate) used_up: Option<BudgetExceeded>,
}

impl End {
    pub(crate) fn new(stop: StopReason, notice: impl Into<String>) -> Self {
        Self { stop, notice: notice.into(), text: None, ended_by: None, used_up: None }
    }

    pub(super) fn finished() -> Self {
        Self::new(StopReason::Finished, "")
    }

    pub(super) fn max_turns(agent: &str, limit: u32) -> Self {
        let notice = format!("{agent} used all of its {limit} turns; raise its turn limit or give it a smaller task.");
        Self::new(StopReason::MaxTurns, notice)
    }

    pub(crate) fn budget(refusal: &impl std::fmt::Display) -> Self {
        Self::new(StopReason::Budget, format!("Stopped before the next call: {refusal}."))
    }

    pub(super) fn refused(refusal: &BudgetExceeded) -> Self {
        Self { used_up: Some(refusal.clone()), ..Self::budget(refusal) }
    }

    /// The model was not asked, for want of budget.
    pub(super) fn not_asked(error: &ModelError) -> Self {
        Self { used_up: used_up(error), ..Self::budget(&ErrorChain(error).to_string()) }
    }

    pub(super) fn without_tool(call: &ToolCallOutcome) -> Self {
        Self { used_up: call.used_up.clone(), ..Self::new(StopReason::Budget, call.result.text()) }
    }

    pub(super) fn stopped(stopped: Interruption, run: &Run) -> Self {
        let notice = match stopped {
            Interruption::Cancelled if run.is_out_of_budget() => {
                "It was stopped when the budget was used up.".to_owned()
            }
            Interruption::Cancelled => "The run was cancelled.".to_owned(),
            Interruption::Deadline => format!("The time of {} was up.", run.agent()),
        };
        Self::new(stopped.into(), notice)
    }

    pub(super) fn by_tool(call: &ToolCallOutcome) -> Self {
        let ended_by = Some(call.result.name.as_str().into());
        Self { text: Some(call.result.text()), ended_by, ..Self::finished() }
    }

    /// This end after the last answer that was asked for did not come.
    pub(super) fn without_answer(self, error: &ModelError) -> Self {
        let notice = match error.kind() {
            // That is what the notice says already.
            ModelErrorKind::Budget => self.notice,
            _ => format!("{} The last answer did not come: {}.", self.notice, ErrorChain(error)),
        };
        Self { notice, ..self }
    }

    pub(super) fn with_text(self, text: String) -> Self {
        Self { text: (!text.is_empty()).then_some(text), ..self }
    }
}

/// The budget for want of which a model was not asked.
fn used_up(error: &ModelError) -> Option<BudgetExceeded> {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<BudgetExceeded>()).cloned()
}
