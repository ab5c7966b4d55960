//! The [`Fallback`] wrapper.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Degradation, Event, FinishReason, ModelError, ModelErrorKind, ModelId, Run,
    Settings,
};
use serde::{Deserialize, Serialize};

use crate::shared::reply_watch::ReplyWatch;

/// Asks the next model of a chain when one cannot answer. The last resort. It is not used for a request that is invalid
/// or over budget, because the next model would fail, or spend money, as well.
///
/// The reply names the model that answered in [`ChatReply::answered_by`]. The run's outcome lists each model that was
/// replaced under `degraded`. If no model answers, the last error is
/// returned.
///
/// # Examples
///
/// ```
/// use brigade_core::{
///     ChatModel, ChatRequest, ModelErrorKind, Run,
///     testing::{ScriptedModel, Turn},
/// };
/// use brigade_resilience::Fallback;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let large = ScriptedModel::named("large", [Turn::fails(ModelErrorKind::Overloaded)]);
/// let small = ScriptedModel::named("small", [Turn::text("I am small.")]);
/// let run = Run::new();
/// let reply = Fallback::new(large, small).chat(&ChatRequest::new("Who are you?"), &run).await?;
/// assert_eq!(reply.message.text(), "I am small.");
/// assert_eq!(run.degraded()[0].part, "model:large");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Fallback<M> {
    first: M,
    fallbacks: Vec<FallbackModel>,
    rules: FallbackRules,
}

/// A model that replaces another one which cannot answer.
#[derive(Debug, Clone)]
pub struct FallbackModel {
    model: Arc<dyn ChatModel>,
    has_larger_context: bool,
}

/// The failures after which another model is asked, in addition to failures of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FallbackRules {
    /// Also if the prompt was too long. Default off: unless the next model takes longer prompts, the call is wasted. See
    /// [`FallbackModel::with_larger_context`] for a single model.
    pub on_context_length: bool,
    /// Also if the model refused to answer. Default off: only the operator can decide to look for a model that complies.
    pub on_refused: bool,
    /// How often a reply may start again after a part of it was shown, including retries. Default 1: a listener who saw
    /// two beginnings does not trust a third.
    pub restarts: u32,
}

setters!(FallbackRules { on_context_length: bool, on_refused: bool, restarts: u32 });

impl<M: ChatModel> Fallback<M> {
    /// Asks `first`, and `other` if that fails.
    pub fn new(first: M, other: impl Into<FallbackModel>) -> Self {
        Self::chain(first, [other.into()])
    }

    /// Asks `first`, and each fallback in turn if all models before it failed.
    pub fn chain(first: M, fallbacks: impl IntoIterator<Item = FallbackModel>) -> Self {
        Self { first, fallbacks: fallbacks.into_iter().collect(), rules: FallbackRules::default() }
    }

    /// Adds a model at the end of the chain.
    #[must_use]
    pub fn fallback(mut self, other: impl Into<FallbackModel>) -> Self {
        self.fallbacks.push(other.into());
        self
    }

    /// Sets the failures after which the next model is asked.
    #[must_use]
    pub fn rules(self, rules: FallbackRules) -> Self {
        Self { rules, ..self }
    }

    /// Whether `other` may be asked after a failure of this kind.
    fn allows(&self, reason: ModelErrorKind, other: &FallbackModel) -> bool {
        match reason {
            ModelErrorKind::Caller | ModelErrorKind::Budget | ModelErrorKind::Cancelled => false,
            ModelErrorKind::ContextLength => self.rules.on_context_length || other.has_larger_context,
            ModelErrorKind::Refused => self.rules.on_refused,
            ModelErrorKind::NoSuchModel
            | ModelErrorKind::Auth
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

    /// Restarts the reply if a part of it was shown. False if that is not allowed any more.
    fn restart(&self, watch: &ReplyWatch) -> bool {
        if !watch.has_partial_reply() {
            return true;
        }
        let is_allowed = watch.may_restart(self.rules.restarts);
        if is_allowed {
            watch.run().emit(&Event::ReplyRestarted);
        }
        is_allowed
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
        let watch = ReplyWatch::new(run);
        let run = watch.run();
        let mut result = self.first.chat(request, run).await;
        let (mut failed, mut refusal) = (self.id(), None);
        for other in &self.fallbacks {
            let Some(reason) = failure(&result) else { break };
            if !self.allows(reason, other) {
                continue;
            }
            if run.check().is_err() || !self.restart(&watch) {
                break;
            }
            let to = other.model.id().clone();
            run.emit(&Event::FellBack { from: failed.clone(), to, reason });
            degrade(run, &result, failed, other.model.id());
            let before = std::mem::replace(&mut result, other.chat(request, run).await);
            refusal = before.ok().or(refusal);
            failed = other.model.id();
        }
        // A refusal is a better answer than an error.
        result.or_else(|error| refusal.ok_or(error))
    }
}

impl FallbackModel {
    /// A fallback for another model.
    pub fn new(model: impl ChatModel) -> Self {
        Self { model: Arc::new(model), has_larger_context: false }
    }

    /// Asks the model. Its reply names it, because callers see only the first model of the chain.
    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let mut reply = self.model.chat(request, run).await?;
        reply.answered_by.get_or_insert_with(|| self.model.id().clone());
        Ok(reply)
    }

    /// Declares that the model takes longer prompts than those before it, so that it is asked if a prompt was too long
    /// for them.
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

/// Why another model may have to be asked; `None` if the result is an answer.
fn failure(result: &Result<ChatReply, ModelError>) -> Option<ModelErrorKind> {
    match result {
        Err(error) => Some(error.kind()),
        Ok(reply) if matches!(reply.finish_reason, FinishReason::Refusal | FinishReason::ContentFilter) => {
            Some(ModelErrorKind::Refused)
        }
        Ok(_) => None,
    }
}

/// Notes in the run's outcome that a model was replaced, once for all turns.
fn degrade(run: &Run, result: &Result<ChatReply, ModelError>, from: &ModelId, to: &ModelId) {
    let part = format!("model:{}", from.model());
    if run.degraded().iter().any(|known| known.part == part) {
        return;
    }
    let reason = match result {
        Err(error) => error.to_string(),
        Ok(_) => "the model declined".to_owned(),
    };
    run.degrade(Degradation::new(part, format!("{reason}; {to} was asked instead")));
}

#[cfg(test)]
mod tests;
