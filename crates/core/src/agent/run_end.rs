//! How the loop ended.

use std::{fmt, iter, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    BudgetExceeded, ErrorChain, Interruption, ModelError, ModelErrorKind, Run, StopReason, run::log::count,
    tool::outcome::ToolCallOutcome,
};

/// How the loop ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunEnd {
    pub(crate) stop: StopReason,
    /// A sentence for people about the limit that was met.
    pub(crate) notice: String,
    /// The answer, if it is a better one than the model's last text.
    pub(crate) text: Option<String>,
    /// The tool that ended the run.
    pub(crate) ended_by: Option<Arc<str>>,
    /// The budget that was exhausted, if it is known.
    pub(crate) exhausted: Option<Box<BudgetExceeded>>,
}

impl RunEnd {
    pub(crate) fn new(stop: StopReason, notice: impl Into<String>) -> Self {
        Self { stop, notice: notice.into(), text: None, ended_by: None, exhausted: None }
    }

    pub(super) fn finished() -> Self {
        Self::new(StopReason::Finished, "")
    }

    pub(super) fn max_turns(agent: &str, limit: u32) -> Self {
        let turns = count(u64::from(limit), "turn");
        let notice = format!("{agent} used all of its {turns}; raise its turn limit or give it a smaller task.");
        Self::new(StopReason::MaxTurns, notice)
    }

    /// Ends at a budget that is not known in detail.
    pub(super) fn budget(refusal: &impl fmt::Display) -> Self {
        Self::new(StopReason::Budget, format!("Stopped before the next call: {refusal}."))
    }

    pub(super) fn budget_exceeded(refusal: &BudgetExceeded) -> Self {
        Self { exhausted: Some(Box::new(refusal.clone())), ..Self::budget(refusal) }
    }

    /// Ends because a budget refused the model call.
    pub(super) fn call_refused(error: &ModelError) -> Self {
        exhausted(error).map_or_else(|| Self::budget(&ErrorChain(error)), |refusal| Self::budget_exceeded(&refusal))
    }

    /// Ends because a budget refused a tool call.
    pub(super) fn tool_refused(call: &ToolCallOutcome) -> Self {
        Self { exhausted: call.used_up.clone().map(Box::new), ..Self::new(StopReason::Budget, call.result.text()) }
    }

    pub(crate) fn interrupted(interruption: Interruption, run: &Run) -> Self {
        let notice = match interruption {
            Interruption::Cancelled if run.is_out_of_budget() => {
                "The run was cancelled because the budget was used up.".to_owned()
            }
            Interruption::Cancelled => "The run was cancelled.".to_owned(),
            Interruption::Deadline => {
                format!(
                    "{} ran out of time; the limit is the `wall` of a budget or the `timeout` of a worker.",
                    run.agent()
                )
            }
        };
        Self::new(interruption.into(), notice)
    }

    /// Ends with the output of a tool as the answer.
    pub(super) fn ended_by_tool(call: &ToolCallOutcome) -> Self {
        let ended_by = Some(call.result.name.as_str().into());
        Self { text: Some(call.result.text()), ended_by, ..Self::finished() }
    }

    /// Adds that the last answer, which the model was asked for at this end, failed.
    pub(super) fn without_answer(mut self, error: &ModelError) -> Self {
        if error.kind() != ModelErrorKind::Budget || self.stop != StopReason::Budget {
            self.notice = format!("{} The last answer failed: {}.", self.notice, ErrorChain(error));
        }
        self
    }

    pub(super) fn with_text(self, text: String) -> Self {
        Self { text: (!text.is_empty()).then_some(text), ..self }
    }
}

pub(super) fn exhausted(error: &ModelError) -> Option<BudgetExceeded> {
    let mut causes = iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<BudgetExceeded>()).cloned()
}
