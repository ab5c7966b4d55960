//! Asking another model when one cannot answer.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Degradation, Event, FinishReason, ModelError, ModelErrorKind, ModelId, Run,
    Settings,
};
use serde::{Deserialize, Serialize};

use crate::shared::watch::Watched;

/// Asks the next model of a chain when one could not answer. The last resort, and never for a request that is wrong
/// or may not be paid for: the next model would only fail, or spend, as well.
///
/// The run's outcome lists each model that was done without under `degraded`. If no model answers, the last one's
/// error is returned.
#[derive(Debug, Clone)]
pub struct Fallback<M> {
    first: M,
    others: Vec<FallbackModel>,
    rules: FallbackRules,
}

/// A model that stands in for another.
#[derive(Debug, Clone)]
pub struct FallbackModel {
    model: Arc<dyn ChatModel>,
    has_larger_context: bool,
}

/// For which failures another model is asked, besides those of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackRules {
    /// Also a prompt that is too long for the model before. Off: without knowing that the next model takes more, that
    /// is a wasted call; [`FallbackModel::with_larger_context`] says so of one model.
    pub on_context_length: bool,
    /// Also a request that the model before declined. Off: shopping around for a model that complies is a decision
    /// that only the operator can make.
    pub on_refused: bool,
    /// How often an answer of which a part has been shown may begin again, retries included. 1: a listener who saw two
    /// beginnings distrusts a third.
    pub restarts: u32,
}

impl<M: ChatModel> Fallback<M> {
    /// Asks `first`, and `other` when that fails.
    pub fn new(first: M, other: impl Into<FallbackModel>) -> Self {
        Self::chain(first, [other.into()])
    }

    /// Asks `first`, and the others one after the other when those before have failed.
    pub fn chain(first: M, others: impl IntoIterator<Item = FallbackModel>) -> Self {
        Self { first, others: others.into_iter().collect(), rules: FallbackRules::default() }
    }

    /// One more model, for when all before it have failed.
    #[must_use]
    pub fn fallback(mut self, other: impl Into<FallbackModel>) -> Self {
        self.others.push(other.into());
        self
    }

    /// For which failures the next model is asked.
    #[must_use]
    pub fn rules(self, rules: FallbackRules) -> Self {
        Self { rules, ..self }
    }

    async fn ask(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let watched = Watched::over(run);
        let result = self.first.chat(request, watched.run()).await;
        if failure(&result).is_none() {
            return result;
        }
        // In a box, as few calls come here, and every call would have to hold room for it.
        Box::pin(self.ask_others(result, request, &watched)).await
    }

    /// Asks one after the other until one has an answer that stands.
    async fn ask_others(
        &self,
        mut result: Result<ChatReply, ModelError>,
        request: &ChatRequest,
        watched: &Watched,
    ) -> Result<ChatReply, ModelError> {
        let run = watched.run();
        let mut from = self.id();
        for other in &self.others {
            let Some(reason) = failure(&result) else { break };
            if !self.allows(reason, other) {
                continue;
            }
            if run.check().is_err() || !self.restart(watched) {
                break;
            }
            note(run, &result, (from, other.model.id(), reason));
            let next = other.model.chat(request, run).await;
            // A model that declined has at least answered.
            result = if next.is_err() && result.is_ok() { result } else { next };
            from = other.model.id();
        }
        result
    }

    /// Whether `other` may be asked after a failure of kind `reason`.
    fn allows(&self, reason: ModelErrorKind, other: &FallbackModel) -> bool {
        match reason {
            ModelErrorKind::Caller | ModelErrorKind::Budget | ModelErrorKind::Cancelled => false,
            ModelErrorKind::ContextLength => self.rules.on_context_length || other.has_larger_context,
            ModelErrorKind::Refused => self.rules.on_refused,
            ModelErrorKind::Auth
            | ModelErrorKind::Quota
            | ModelErrorKind::RateLimited
            | ModelErrorKind::Overloaded
            | ModelErrorKind::Unreachable
            | ModelErrorKind::Transient
            | ModelErrorKind::Timeout(_)
            | ModelErrorKind::Broken
            | ModelErrorKind::CircuitOpen => true,
        }
    }

    /// Declares void what listeners have seen, if they have seen something. False if they were told so often enough.
    fn restart(&self, watched: &Watched) -> bool {
        if watched.has_shown() {
            if !watched.may_restart(self.rules.restarts) {
                return false;
            }
            watched.run().emit(&Event::ReplyRestarted);
        }
        true
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Fallback<M> {
    fn id(&self) -> &ModelId {
        self.first.id()
    }

    fn settings(&self) -> &Settings {
        self.first.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        if self.others.is_empty() { self.first.chat(request, run).await } else { self.ask(request, run).await }
    }
}

impl FallbackModel {
    /// A model that stands in for another.
    pub fn new(model: impl ChatModel) -> Self {
        Self { model: Arc::new(model), has_larger_context: false }
    }

    /// The model takes longer prompts than those before it, so it may be asked when a prompt was too long for them.
    #[must_use]
    pub fn with_larger_context(self) -> Self {
        Self { has_larger_context: true, ..self }
    }
}

impl<M: ChatModel> From<M> for FallbackModel {
    fn from(model: M) -> Self {
        Self::new(model)
    }
}

impl Default for FallbackRules {
    fn default() -> Self {
        Self { on_context_length: false, on_refused: false, restarts: 1 }
    }
}

/// Why the next model might be asked; absent for an answer that stands.
fn failure(result: &Result<ChatReply, ModelError>) -> Option<ModelErrorKind> {
    match result {
        Err(error) => Some(error.kind()),
        Ok(reply) if matches!(reply.finish_reason, FinishReason::Refusal | FinishReason::ContentFilter) => {
            Some(ModelErrorKind::Refused)
        }
        Ok(_) => None,
    }
}

/// Tells observers, and the run's outcome once for all turns.
fn note(run: &Run, result: &Result<ChatReply, ModelError>, (from, to, reason): (&ModelId, &ModelId, ModelErrorKind)) {
    run.emit(&Event::FellBack { from: from.clone(), to: to.clone(), reason });
    let part = format!("model:{}", from.model());
    if run.degraded().iter().all(|known| known.part != part) {
        let reason = match result {
            Err(error) => error.to_string(),
            Ok(_) => "the model declined".to_owned(),
        };
        run.degrade(Degradation::new(part, format!("{reason}; {to} was asked instead")));
    }
}

#[cfg(test)]
mod tests;
