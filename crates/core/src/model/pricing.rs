//! Prices of model calls.

use std::fmt;

use crate::{ModelId, Money, Rates, Settings, Usage};

/// A source of prices. Implement it for your own price list, or use the `PriceBook` of `brigade-observability`.
///
/// ```
/// use brigade_core::{Money, ModelId, PriceCeiling, Pricing, Rate, Rates, ServedCall, Settings, Usage};
///
/// /// Two dollars per million input tokens and eight per million output tokens.
/// #[derive(Debug, Clone)]
/// struct OnePrice(Rates);
///
/// impl Pricing for OnePrice {
///     fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
///         Some(PriceCeiling::new(self.0))
///     }
///
///     fn cost(&self, _: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
///         Some(self.0.cost(usage.input_tokens, usage.output_tokens))
///     }
/// }
///
/// let per_million = |cents| Rate::per_million(Money::from_cents(cents));
/// let prices = OnePrice(Rates::new(per_million(200), per_million(800)));
/// let model = ModelId::new("openai", "gpt-5-mini");
/// assert_eq!(prices.cost(&ServedCall::new(&model), &Usage::new(1_000_000, 0)), Some(Money::from_cents(200)));
/// ```
pub trait Pricing: fmt::Debug + Send + Sync + 'static {
    /// The highest prices that can apply to a prompt of `input_tokens` with these settings. Absent if the model has no
    /// price.
    fn ceiling(&self, model: &ModelId, settings: &Settings, input_tokens: u64) -> Option<PriceCeiling>;

    /// The cost of a call, at the price of the model and the service tier that served it. Absent if it has no price.
    fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money>;
}

/// The highest prices that can apply to one call, and the model's own limit of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PriceCeiling {
    /// The prices.
    pub rates: Rates,
    /// The most tokens that the model can generate, if known.
    pub max_output_tokens: Option<u32>,
    /// The most input tokens that an image counts as; [`PriceCeiling::IMAGE_TOKENS`] by default.
    pub image_tokens: u64,
    /// The most input tokens that come from outside the request: a conversation that the provider keeps, the results of
    /// tools that it runs. 0 by default. Absent if nothing bounds them; such a call is refused if spending is limited.
    pub unseen_tokens: Option<u64>,
}

/// The model and the service tier that served a call. Its price depends on them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ServedCall<'a> {
    /// The configured model.
    pub asked: &'a ModelId,
    /// The model that answered, as the provider names it; absent if the provider did not say.
    pub model: Option<&'a str>,
    /// The service tier, if the provider reported it.
    pub service_tier: Option<&'a str>,
}

impl PriceCeiling {
    /// The tokens of the largest image of the models that resolve images finest, such as Qwen's; the models of OpenAI and
    /// Anthropic count fewer.
    pub const IMAGE_TOKENS: u64 = 16_384;

    /// Prices of a model whose own limit of output is not known.
    pub const fn new(rates: Rates) -> Self {
        Self { rates, max_output_tokens: None, image_tokens: Self::IMAGE_TOKENS, unseen_tokens: Some(0) }
    }

    /// Sets the most tokens that the model can generate.
    #[must_use]
    pub const fn max_output_tokens(self, tokens: Option<u32>) -> Self {
        Self { max_output_tokens: tokens, ..self }
    }

    /// The most tokens that a call can generate when the request allows `requested`. Absent if nothing limits it.
    pub fn output_tokens(&self, requested: Option<u64>) -> Option<u64> {
        requested.into_iter().chain(self.max_output_tokens.map(u64::from)).min()
    }
}

impl<'a> ServedCall<'a> {
    /// A call of a model whose provider reported neither the model nor the service tier.
    pub const fn new(asked: &'a ModelId) -> Self {
        Self { asked, model: None, service_tier: None }
    }

    /// Sets the model that answered, as the provider names it.
    #[must_use]
    pub fn model(self, model: Option<&'a str>) -> Self {
        Self { model, ..self }
    }

    /// Sets the service tier.
    #[must_use]
    pub fn service_tier(self, tier: Option<&'a str>) -> Self {
        Self { service_tier: tier, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_of_output_applies() {
        let own = PriceCeiling::new(Rates::default()).max_output_tokens(Some(1_000));
        assert_eq!(
            [None, Some(64_000), Some(0)].map(|requested| own.output_tokens(requested)),
            [Some(1_000), Some(1_000), Some(0)]
        );
        let unknown = PriceCeiling::new(Rates::default());
        assert_eq!([None, Some(64_000)].map(|requested| unknown.output_tokens(requested)), [None, Some(64_000)]);
    }

    #[test]
    fn the_setters_of_a_served_call_keep_each_other() {
        let id = ModelId::new("acme", "m");
        for served in [
            ServedCall::new(&id).model(Some("m-1")).service_tier(Some("flex")),
            ServedCall::new(&id).service_tier(Some("flex")).model(Some("m-1")),
        ] {
            assert_eq!((served.asked, served.model, served.service_tier), (&id, Some("m-1"), Some("flex")));
        }
    }

    #[test]
    fn a_price_ceiling_has_the_largest_image_and_no_unseen_tokens_by_default() {
        let rates = Rates::new(crate::Rate::per_million(Money::from_dollars(1)), crate::Rate::default());
        let ceiling = PriceCeiling::new(rates).max_output_tokens(Some(9));
        let expected = PriceCeiling { rates, max_output_tokens: Some(9), image_tokens: 16_384, unseen_tokens: Some(0) };
        assert_eq!(ceiling, expected);
    }
}
