//! Keeps every attempt within the budget, and says what it cost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;

use crate::{
    Certainty, ChatModel, ChatReply, ChatRequest, Estimate, Event, ModelError, ModelErrorKind, ModelId, Pricing,
    RateLimits, Reasoning, Run, Settings, Spender, Usage,
    model::attempt::{Attempt, Verdict},
    model::learned::Learned,
    model::pricing::ServedCall,
    money::cost::Charge,
    money::ledger::Hold,
    money::rates::Rates,
};

/// A model whose every attempt is held to the budget of its run: an estimate is reserved before, and replaced after by
/// what was used. It stands directly around the client, inside retries and fallbacks, so that each attempt is paid.
#[derive(Debug, Clone)]
pub struct Metered<M> {
    model: M,
    pricing: Arc<dyn Pricing>,
    unpriced: UnpricedPolicy,
    least_output_tokens: u32,
    shared: Arc<Shared>,
}

/// What to do with a model that has no price, when money is limited. Without such a limit it runs, and its cost is
/// absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnpricedPolicy {
    /// Refuse the call: what cannot be counted cannot be limited.
    #[default]
    Deny,
    /// Count it at these rates, with or without a limit.
    Assume(Rates),
    /// Let it run uncounted, and say so once in the log.
    Warn,
}

/// Puts a meter around a model.
pub trait ModelExt: ChatModel + Sized {
    /// This model, held to the budget of its runs at these prices.
    fn metered(self, pricing: &(impl Pricing + Clone)) -> Metered<Self> {
        Metered::new(self, Arc::new(pricing.clone()))
    }
}

impl<M: ChatModel> ModelExt for M {}

/// What all clones of one meter have learned.
#[derive(Debug)]
struct Shared {
    learned: Learned,
    warned: AtomicBool,
}

/// Some 190 words: the shortest answer or tool call that is worth the prompt that was paid for it.
const LEAST_OUTPUT_TOKENS: u32 = 256;

/// Anthropic's least thinking budget. Less would be refused, or spent before the first word of the answer.
const LEAST_REASONING_TOKENS: u64 = 1_024;

/// Assumed where neither the request nor the price table limits the answer; the longest that most servers give.
const UNKNOWN_OUTPUT_TOKENS: u64 = 32_768;

/// Eight times the largest context window on sale: no prompt has more tokens.
const MOST_INPUT_TOKENS: u64 = 16_000_000;

impl<M: ChatModel> Metered<M> {
    /// The model, held to the budget of its runs at these prices.
    pub fn new(model: M, pricing: Arc<dyn Pricing>) -> Self {
        let shared = Shared { learned: Learned::new(), warned: AtomicBool::new(false) };
        Self {
            model,
            pricing,
            unpriced: UnpricedPolicy::default(),
            least_output_tokens: LEAST_OUTPUT_TOKENS,
            shared: Arc::new(shared),
        }
    }

    /// What to do if the model has no price. [`UnpricedPolicy::Deny`] unless set.
    #[must_use]
    pub fn unpriced(self, unpriced: UnpricedPolicy) -> Self {
        Self { unpriced, ..self }
    }

    /// The fewest output tokens that a tight budget may cut an answer to; below, the call is refused. 256 unless set,
    /// and the request's reasoning on top.
    #[must_use]
    pub fn least_output_tokens(self, tokens: u32) -> Self {
        Self { least_output_tokens: tokens, ..self }
    }

    /// What the call may use and cost at the most.
    fn estimate(&self, request: &ChatRequest) -> Estimate {
        let settings = request.settings.over(self.model.settings());
        let input_tokens = self.shared.learned.input(request);
        let ceiling = self.pricing.ceiling(self.model.id(), &settings, input_tokens);
        let assumed = match self.unpriced {
            UnpricedPolicy::Assume(rates) => Some(rates),
            UnpricedPolicy::Deny | UnpricedPolicy::Warn => None,
        };
        let own_limit = ceiling.and_then(|ceiling| ceiling.max_output_tokens).map(u64::from);
        let asked = settings.output_limit().map(u64::from);
        let output_tokens = match (asked, own_limit) {
            (Some(asked), Some(own)) => asked.min(own),
            (asked, own) => asked.or(own).unwrap_or(UNKNOWN_OUTPUT_TOKENS),
        };
        let reasoning = match settings.reasoning {
            Some(Reasoning::Budget(tokens)) => u64::from(tokens),
            Some(Reasoning::Effort(_)) => LEAST_REASONING_TOKENS,
            Some(Reasoning::Off) | None => 0,
        };
        let least = u64::from(self.least_output_tokens).saturating_add(reasoning);
        Estimate {
            input_tokens,
            output_tokens,
            least_output_tokens: least.min(output_tokens),
            rates: ceiling.map(|ceiling| ceiling.rates).or(assumed),
        }
    }

    /// Sets the estimate aside, or refuses the call before anything is sent.
    fn reserve(&self, estimate: Estimate, run: &Run) -> Result<Hold, ModelError> {
        let model = self.model.id();
        if estimate.rates.is_none() && run.ledger().limits_money() {
            self.allow_unpriced(model)?;
        }
        let who = Spender { agent: Arc::clone(run.agent()), model: model.clone() };
        run.ledger().reserve(who, estimate, run.is_wrapping_up()).map_err(|refusal| {
            run.emit(&Event::BudgetRefused(refusal.clone()));
            refused(model, "not asked, because a budget is used up").caused_by(refusal)
        })
    }

    /// Begins an attempt, and answers the request to make where that is another one.
    fn begin<'a>(
        &'a self,
        request: &ChatRequest,
        run: &'a Run,
    ) -> Result<(Attempt<'a>, Option<Box<ChatRequest>>), ModelError> {
        let estimate = self.estimate(request);
        let hold = self.reserve(estimate, run)?;
        let cut = within(request, &estimate, &hold, run);
        Ok((Attempt::begin(run, self.id(), hold), cut.map(Box::new)))
    }

    fn allow_unpriced(&self, model: &ModelId) -> Result<(), ModelError> {
        if self.unpriced != UnpricedPolicy::Warn {
            let way_out = "not asked, because it has no price and money is limited; \
                add its price to the price table, or let unpriced models run at an assumed rate or with a warning";
            return Err(refused(model, way_out));
        }
        if !self.shared.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "brigade_core::budget",
                "{model} has no price: its calls do not count against the limit of money",
            );
        }
        Ok(())
    }

    /// What a successful call used and cost.
    fn charge(&self, reply: &ChatReply, attempt: &Attempt<'_>) -> Charge {
        let estimate = *attempt.estimate();
        let guess = Usage::new(estimate.input_tokens, self.shared.learned.output(&reply.message));
        let (certainty, usage) = match reply.usage {
            Some(usage) if is_plausible(&usage, &guess, &estimate) => (Certainty::Charged, usage),
            Some(usage) => {
                attempt.suspect_usage();
                (Certainty::Estimated, corrected(usage, &guess, &estimate))
            }
            None => (Certainty::Estimated, guess),
        };
        let model = Some(reply.model.as_str()).filter(|model| !model.is_empty());
        let served = ServedCall { asked: self.model.id(), model, service_tier: reply.service_tier.as_deref() };
        self.price(&served, usage, &estimate).at(certainty)
    }

    /// The price of `usage`. Where the table knows none for whoever answered, the rates of the estimate stand in: a
    /// call that was held to a limit must not end up free.
    fn price(&self, served: &ServedCall<'_>, usage: Usage, estimate: &Estimate) -> Priced {
        let known = self.pricing.cost(served, &usage).or(usage.stated_cost);
        let cost = known.or_else(|| estimate.rates.map(|rates| rates.cost(usage.input_tokens, usage.output_tokens)));
        Priced { usage, cost, guessed: known.is_none() }
    }

    /// What a failed call used and cost, if that is known; else whether it may be billed.
    fn verdict(&self, error: &ModelError, attempt: &Attempt<'_>) -> Verdict {
        let failure = error.details();
        if let Some(usage) = failure.usage {
            let served = ServedCall { asked: self.model.id(), model: None, service_tier: None };
            // Reported before the end: some tell the prompt at the start and count the answer as it grows.
            let output_tokens = usage.output_tokens.max(attempt.output_seen());
            let usage = Usage { output_tokens, ..usage };
            return Verdict::Charge(self.price(&served, usage, attempt.estimate()).at(Certainty::Uncertain));
        }
        // Output that came is billed in any case.
        let billed = failure.may_be_billed() || (failure.sent && attempt.output_seen() > 0);
        if billed { Verdict::Uncertain } else { Verdict::Release }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Metered<M> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    fn settings(&self) -> &Settings {
        self.model.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let (mut attempt, cut) = self.begin(request, run)?;
        let request = cut.as_deref().unwrap_or(request);
        match self.model.chat(request, attempt.run()).await {
            Ok(mut reply) => {
                report(self.id(), &reply.limits, run);
                let charge = self.charge(&reply, &attempt);
                if charge.certainty == Certainty::Charged {
                    self.shared.learned.learn(request, &reply.message, &charge.usage);
                }
                attempt.end(None, Verdict::Charge(charge));
                reply.charge = Some(charge);
                Ok(reply)
            }
            Err(error) => {
                report(self.id(), &error.details().limits, run);
                let verdict = self.verdict(&error, &attempt);
                attempt.end(Some(error.kind()), verdict);
                Err(error)
            }
        }
    }
}

/// Tells what a response said about rate limits, if it said anything.
fn report(model: &ModelId, limits: &RateLimits, run: &Run) {
    if !limits.is_empty() {
        run.emit(&Event::RateLimitsReported { model: model.clone(), limits: limits.clone() });
    }
}

/// Usage with its price.
struct Priced {
    usage: Usage,
    cost: Option<crate::Money>,
    guessed: bool,
}

impl Priced {
    /// This as a charge that is no surer than its price.
    fn at(self, certainty: Certainty) -> Charge {
        let Self { usage, cost, guessed } = self;
        let unsure = guessed && cost.is_some() && certainty == Certainty::Charged;
        Charge { certainty: if unsure { Certainty::Estimated } else { certainty }, usage, cost }
    }
}

/// The request with as many output tokens as were reserved, where that must be said: when a budget cut the answer, or
/// when a limit holds and nothing else would make the provider keep to the estimate.
fn within(request: &ChatRequest, asked: &Estimate, hold: &Hold, run: &Run) -> Option<ChatRequest> {
    let is_cut = hold.output_tokens() < asked.output_tokens;
    let is_open = request.settings.max_output_tokens.is_none() && asked.output_tokens == UNKNOWN_OUTPUT_TOKENS;
    let must_say = is_cut || (is_open && run.ledger().limits_spending());
    if !must_say {
        return None;
    }
    let mut request = request.clone();
    request.settings.max_output_tokens = Some(u32::try_from(hold.output_tokens()).unwrap_or(u32::MAX));
    Some(request)
}

/// Whether reported usage can be true: a prompt has tokens, words have tokens, and no provider generates twice what it
/// was allowed to.
fn is_plausible(usage: &Usage, guess: &Usage, estimate: &Estimate) -> bool {
    let said_nothing = guess.output_tokens == 0;
    is_plausible_input(usage.input_tokens)
        && (usage.output_tokens > 0 || said_nothing)
        && usage.output_tokens <= estimate.output_tokens.saturating_mul(2)
}

fn is_plausible_input(tokens: u64) -> bool {
    (1..=MOST_INPUT_TOKENS).contains(&tokens)
}

/// What stands in for implausible usage: the larger of what the answer's length tells and what was reported, the latter
/// no further than was allowed.
fn corrected(reported: Usage, guess: &Usage, estimate: &Estimate) -> Usage {
    let base = if is_plausible_input(reported.input_tokens) { reported } else { *guess };
    let output_tokens = guess.output_tokens.max(reported.output_tokens.min(estimate.output_tokens));
    Usage { output_tokens, stated_cost: None, ..base }
}

pub(crate) fn refused(model: &ModelId, why: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Budget, why).with(|failure| failure.model = Some(model.clone()))
}

#[cfg(test)]
mod tests;
