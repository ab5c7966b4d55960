//! Keeps every attempt within the budget, and records its cost.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use brigade_tokens::most_tokens;

use crate::{
    Certainty, Charge, ChatModel, ChatReply, ChatRequest, Embedder, Embeddings, Estimate, Event, Hold, ModelError,
    ModelErrorKind, ModelId, Money, PriceCeiling, Pricing, RateLimits, Rates, Reasoning, Run, ServedCall, Settings,
    Usage,
    chat::token_bound::TokenBound,
    model::attempt::{Attempt, Settlement},
};

/// A model, or an [`Embedder`], that keeps to the budget of its run.
///
/// Before each attempt it reserves the cost, and it refuses the attempt if the budget does not cover it. Afterwards it
/// settles the reservation with the real cost. It belongs directly around the client, inside retries and fallbacks, so
/// that every attempt is paid for. If only a part of the output fits the budget, the request's limit of output is lowered.
///
/// Under a hard limit of money or tokens the reservation is an upper bound of what the provider counts, whatever the text,
/// so that calls in parallel cannot exceed the limit together. Without one it is an estimate.
///
/// ```
/// use brigade_core::{
///     Budget, ChatModel, ChatRequest, ModelErrorKind, ModelExt, ModelId, Money, PriceCeiling, Pricing, Rate, Rates, Run,
///     ServedCall, Settings, Usage,
/// };
///
/// /// One dollar per million tokens.
/// #[derive(Debug, Clone)]
/// struct FlatPrice;
///
/// impl FlatPrice {
///     const RATE: Rate = Rate::per_million(Money::from_cents(100));
///     const RATES: Rates = Rates::new(Self::RATE, Self::RATE);
/// }
///
/// impl Pricing for FlatPrice {
///     fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
///         Some(PriceCeiling::new(Self::RATES))
///     }
///
///     fn cost(&self, _: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
///         Some(Self::RATES.cost(usage.input_tokens, usage.output_tokens))
///     }
/// }
///
/// async fn ask(model: impl ChatModel) {
///     let model = model.metered(&FlatPrice);
///     let run = Run::builder().budget(Budget::default().money(Money::from_nano(1))).build();
///     let error = model.chat(&ChatRequest::new("Why is the sky blue?"), &run).await.unwrap_err();
///     assert_eq!(error.kind(), ModelErrorKind::Budget);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Metered<M> {
    model: M,
    pricing: Arc<dyn Pricing>,
    unpriced: UnpricedPolicy,
    least_output_tokens: u32,
    shared: Arc<Shared>,
}

/// What to do with a model without a price in a run whose money is limited. Without such a limit the model is called,
/// and its cost is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnpricedPolicy {
    /// Refuse the call, because its cost cannot be limited.
    #[default]
    Deny,
    /// Assume these prices, also in runs without a limit of money.
    Assume(Rates),
    /// Call the model, and log one warning that its calls do not count against the limit.
    Warn,
}

/// Adds [`ModelExt::metered`] to every model. [`Metered`] has an example.
pub trait ModelExt: ChatModel + Sized {
    /// Wraps the model in [`Metered`], with these prices.
    fn metered(self, pricing: &(impl Pricing + Clone)) -> Metered<Self> {
        Metered::new(self, Arc::new(pricing.clone()))
    }
}

impl<M: ChatModel> ModelExt for M {}

/// The state that clones share.
#[derive(Debug)]
struct Shared {
    /// The input tokens by which the provider exceeded the bound of a prompt. Later bounds include them.
    excess: AtomicU64,
    warned: AtomicBool,
    /// Tokens per 1,000 bytes of the last answer whose usage was reported. Answers without a report count at this rate.
    answer_rate: AtomicU64,
}

/// About 190 words: the shortest answer or tool call that is worth the cost of its prompt.
const LEAST_OUTPUT_TOKENS: u32 = 256;

/// Anthropic's smallest thinking budget. A smaller one would be refused, or used up before the answer begins.
const LEAST_REASONING_TOKENS: u64 = 1_024;

/// The longest answer that most servers give. Assumed if neither the request nor the price list limits the output.
const UNKNOWN_OUTPUT_TOKENS: u64 = 32_768;

/// Longer than any system prompt that a provider is known to add.
const MAX_EXCESS_TOKENS: u64 = 8_192;

/// Eight times the largest context window on sale: no prompt has more tokens.
const MOST_INPUT_TOKENS: u64 = 16_000_000;

impl<M> Metered<M> {
    /// Wraps a model, with prices.
    pub fn new(model: M, pricing: Arc<dyn Pricing>) -> Self {
        Self {
            model,
            pricing,
            unpriced: UnpricedPolicy::default(),
            least_output_tokens: LEAST_OUTPUT_TOKENS,
            shared: Arc::new(Shared { excess: 0.into(), warned: false.into(), answer_rate: 250.into() }),
        }
    }

    /// Sets what to do if the model has no price; [`UnpricedPolicy::Deny`] by default.
    #[must_use]
    pub fn unpriced(self, unpriced: UnpricedPolicy) -> Self {
        Self { unpriced, ..self }
    }

    /// Sets the fewest output tokens, in addition to the request's reasoning, that a tight budget may limit an answer
    /// to; 256 by default. If the budget does not cover them, the call is refused.
    #[must_use]
    pub fn least_output_tokens(self, tokens: u32) -> Self {
        Self { least_output_tokens: tokens, ..self }
    }

    /// The most input tokens of a request. Fails if nothing bounds them.
    fn most_input(&self, model: &ModelId, visible: TokenBound, settings: &Settings) -> Result<u64, ModelError> {
        let tokens = visible.tokens.saturating_add(self.shared.excess.load(Ordering::Relaxed));
        let ceiling = self.pricing.ceiling(model, settings, tokens);
        let (image, unseen) = ceiling
            .map_or((PriceCeiling::IMAGE_TOKENS, Some(0)), |ceiling| (ceiling.image_tokens, ceiling.unseen_tokens));
        let why = "not asked, because spending is limited and nothing limits the size of its prompt: the provider keeps \
            the conversation, or runs tools without a limit (`max_uses`, `max_tool_calls`)";
        let unseen = unseen.ok_or_else(|| refused(model, why))?;
        Ok(image.saturating_mul(visible.images).saturating_add(unseen).saturating_add(tokens))
    }

    fn priced(&self, estimate: Estimate, ceiling: Option<PriceCeiling>) -> Estimate {
        let assumed = match self.unpriced {
            UnpricedPolicy::Assume(rates) => Some(rates),
            UnpricedPolicy::Deny | UnpricedPolicy::Warn => None,
        };
        Estimate { rates: ceiling.map(|ceiling| ceiling.rates).or(assumed), ..estimate }
    }

    fn reserve(&self, model: &ModelId, estimate: Estimate, run: &Run) -> Result<Hold, ModelError> {
        if estimate.rates.is_none() && run.ledger().limits_money() {
            self.allow_unpriced(model)?;
        }
        run.ledger().reserve(run.agent(), model, estimate, run.is_wrapping_up()).map_err(|refusal| {
            // A last answer is tried after a refusal, which is reported already.
            if !run.is_wrapping_up() {
                run.emit(&Event::budget_refused(&refusal));
            }
            refused(model, "not asked, because a budget does not cover it").caused_by(refusal)
        })
    }

    fn allow_unpriced(&self, model: &ModelId) -> Result<(), ModelError> {
        if self.unpriced != UnpricedPolicy::Warn {
            let why = "not asked, because it has no price and money is limited; add its price to the file that `prices` \
                names, or set `unpriced = \"warn\"` in its `[models.…]` section (in Rust: `Metered::unpriced`)";
            return Err(refused(model, why));
        }
        if !self.shared.warned.swap(true, Ordering::Relaxed) {
            let text = "has no price: its calls do not count against the limit of money";
            tracing::warn!(target: "brigade_core::budget", "{model} {text}");
        }
        Ok(())
    }

    /// The charge for `usage`. Without a price for the model that answered, the rates of the estimate apply, so that a
    /// call under a limit does not end up free.
    /// A negative price is a mistake, and that a call cost nothing is believed only if no price says otherwise.
    fn charge(&self, certainty: Certainty, usage: Usage, served: &ServedCall<'_>, estimate: &Estimate) -> Charge {
        let usage = usage.stated_cost(usage.stated_cost.filter(|&cost| cost >= Money::ZERO));
        let priced = self.pricing.cost(served, &usage).filter(|&cost| cost >= Money::ZERO);
        let known = priced.or(usage.stated_cost.filter(|&cost| cost > Money::ZERO || estimate.rates.is_none()));
        let assumed = || estimate.rates.map(|rates| rates.cost(usage.input_tokens, usage.output_tokens));
        let cost = known.or_else(assumed);
        let is_assumed = known.is_none() && cost.is_some();
        let certainty = match certainty {
            Certainty::Charged if is_assumed => Certainty::Estimated,
            Certainty::Charged | Certainty::Estimated | Certainty::Uncertain => certainty,
        };
        Charge::new(certainty, usage, cost)
    }

    fn settlement_of(&self, error: &ModelError, attempt: &Attempt<'_>) -> Settlement {
        let details = error.details();
        if let Some(usage) = details.usage {
            // Some providers report the prompt at the start and count the output as it grows.
            let output_tokens = usage.output_tokens.max(attempt.output_tokens().unwrap_or(0));
            let usage = usage.output_tokens(output_tokens);
            let served = ServedCall::new(attempt.model());
            return Settlement::Charge(self.charge(Certainty::Uncertain, usage, &served, attempt.estimate()));
        }
        // Output that arrived is billed in any case.
        let may_be_billed = details.may_be_billed() || (details.sent && attempt.output_tokens().is_some());
        if may_be_billed { Settlement::Uncertain } else { Settlement::Release }
    }
}

impl<M: ChatModel> Metered<M> {
    /// The largest usage and cost of the call: a bound if spending is limited, else an estimate.
    fn estimate(&self, request: &ChatRequest, run: &Run) -> Result<Estimate, ModelError> {
        let (model, settings) = (self.model.id(), request.settings.over(self.model.settings()));
        let input_tokens = if run.ledger().limits_spending() {
            self.most_input(model, TokenBound::of_request(request, &settings), &settings)?
        } else {
            request.estimated_input_tokens()
        };
        let ceiling = self.pricing.ceiling(model, &settings, input_tokens);
        let requested = settings.output_limit().map(u64::from);
        let limit = ceiling.map_or(requested, |ceiling| ceiling.output_tokens(requested));
        let output_tokens = limit.unwrap_or(UNKNOWN_OUTPUT_TOKENS);
        let reasoning = match settings.reasoning {
            Some(Reasoning::Budget(tokens)) => u64::from(tokens),
            Some(Reasoning::Effort(_)) => LEAST_REASONING_TOKENS,
            Some(Reasoning::Off) | None => 0,
        };
        let least = u64::from(self.least_output_tokens).saturating_add(reasoning);
        let estimate = Estimate::new(input_tokens, output_tokens).least_output_tokens(least.min(output_tokens));
        Ok(self.priced(estimate, ceiling))
    }

    fn reply_charge(&self, reply: &ChatReply, attempt: &Attempt<'_>) -> Charge {
        let estimate = attempt.estimate();
        let guess = || {
            let output_tokens = if attempt.is_limited {
                TokenBound::of_message(&reply.message).tokens.min(estimate.output_tokens)
            } else {
                let rate = self.shared.answer_rate.load(Ordering::Relaxed);
                (reply.message.size_bytes() as u64).saturating_mul(rate).div_ceil(1_000)
            };
            Usage::new(estimate.input_tokens, output_tokens)
        };
        let (certainty, usage) = match reply.usage {
            Some(usage) if is_plausible(&usage, reply, estimate) => (Certainty::Charged, usage),
            Some(usage) => {
                attempt.report_implausible_usage();
                (Certainty::Estimated, corrected(usage, &guess(), estimate))
            }
            None => (Certainty::Estimated, guess()),
        };
        let served = served_call(self.model.id(), &reply.model).service_tier(reply.service_tier.as_deref());
        self.charge(certainty, usage, &served, estimate)
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
        let excess = self.shared.excess.load(Ordering::Relaxed);
        let estimate = self.estimate(request, run)?;
        let hold = self.reserve(self.model.id(), estimate, run)?;
        let request = limit_output(request, &estimate, &hold, run);
        let mut attempt = Attempt::begin(run, self.model.id(), hold).await?;
        match self.model.chat(&request, attempt.run()).await {
            Ok(mut reply) => {
                report_limits(self.model.id(), &reply.limits, run);
                let charge = self.reply_charge(&reply, &attempt);
                if charge.certainty == Certainty::Charged {
                    let (bytes, usage) = (reply.message.size_bytes() as u64, charge.usage);
                    let shown = usage.output_tokens.saturating_sub(usage.reasoning_tokens.unwrap_or_default());
                    let rate = shown.saturating_mul(1_000).checked_div(bytes).unwrap_or_default();
                    self.shared.answer_rate.store(rate.clamp(50, 1_000), Ordering::Relaxed);
                }
                if charge.certainty == Certainty::Charged && attempt.is_limited {
                    let excess = excess + charge.usage.input_tokens.saturating_sub(estimate.input_tokens);
                    self.shared.excess.fetch_max(excess.min(MAX_EXCESS_TOKENS), Ordering::Relaxed);
                }
                attempt.end(None, Settlement::Charge(charge));
                reply.charge = Some(charge);
                Ok(reply)
            }
            Err(error) => {
                report_limits(self.model.id(), &error.details().limits, run);
                let settlement = self.settlement_of(&error, &attempt);
                attempt.end(Some(error.kind()), settlement);
                Err(error)
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Embedder> Embedder for Metered<E> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        let bound = run.ledger().limits_spending();
        let tokens_of = |text: &&str| if bound { most_tokens(text) } else { (text.len() as u64).div_ceil(4) };
        // A provider adds at most one token at each end of a text.
        let input_tokens = texts.iter().map(|text| 2 + tokens_of(text)).sum();
        let ceiling = self.pricing.ceiling(self.model.id(), Settings::none(), input_tokens);
        let estimate = self.priced(Estimate::new(input_tokens, 0), ceiling);
        let hold = self.reserve(self.model.id(), estimate, run)?;
        let mut attempt = Attempt::begin(run, self.model.id(), hold).await?;
        let result = self.model.embed(texts, attempt.run()).await;
        match &result {
            Ok(found) => {
                let certainty = if found.usage.is_some() { Certainty::Charged } else { Certainty::Estimated };
                let usage = found.usage.unwrap_or(Usage::new(input_tokens, 0));
                let served = served_call(self.model.id(), &found.model);
                let charge = self.charge(certainty, usage, &served, attempt.estimate());
                attempt.end(None, Settlement::Charge(charge));
            }
            Err(error) => attempt.end(Some(error.kind()), self.settlement_of(error, &attempt)),
        }
        result
    }
}

fn served_call<'a>(asked: &'a ModelId, model: &'a str) -> ServedCall<'a> {
    ServedCall::new(asked).model(Some(model).filter(|model| !model.is_empty()))
}

/// Emits the rate limits that a response reported, if any.
fn report_limits(model: &ModelId, limits: &RateLimits, run: &Run) {
    if !limits.is_empty() {
        run.emit(&Event::RateLimitsReported { model: model.clone(), limits: limits.clone() });
    }
}

/// Limits the output of the request to the reservation, if a budget lowered the reservation, or if spending is
/// limited and nothing else keeps the provider to the estimate.
fn limit_output<'a>(request: &'a ChatRequest, asked: &Estimate, hold: &Hold, run: &Run) -> Cow<'a, ChatRequest> {
    let is_lowered = hold.output_tokens() < asked.output_tokens;
    let is_open = request.settings.max_output_tokens.is_none() && asked.output_tokens == UNKNOWN_OUTPUT_TOKENS;
    let mut request = Cow::Borrowed(request);
    if is_lowered || (is_open && run.ledger().limits_spending()) {
        let limit = u32::try_from(hold.output_tokens()).unwrap_or(u32::MAX);
        request.to_mut().settings.max_output_tokens = Some(limit);
    }
    request
}

/// Whether reported usage can be true: a prompt has tokens, an answer with text has tokens, and no provider generates
/// more than twice the allowed output.
fn is_plausible(usage: &Usage, reply: &ChatReply, estimate: &Estimate) -> bool {
    let is_empty = reply.message.size_bytes() == 0;
    is_plausible_input(usage.input_tokens)
        && (usage.output_tokens > 0 || is_empty)
        && usage.output_tokens <= estimate.output_tokens.saturating_mul(2)
}

fn is_plausible_input(tokens: u64) -> bool {
    (1..=MOST_INPUT_TOKENS).contains(&tokens)
}

/// Replaces implausible usage by the larger of the guess and the report. The report counts up to the allowed output.
fn corrected(reported: Usage, guess: &Usage, estimate: &Estimate) -> Usage {
    let base = if is_plausible_input(reported.input_tokens) { reported } else { *guess };
    let output_tokens = guess.output_tokens.max(reported.output_tokens.min(estimate.output_tokens));
    base.stated_cost(None).output_tokens(output_tokens)
}

fn refused(model: &ModelId, why: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Budget, why).with(|details| details.model = Some(model.clone()))
}

#[cfg(test)]
mod tests;
