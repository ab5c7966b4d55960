//! Keeps embeddings within the budget, and says what they cost.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Certainty, Charge, Embedder, Embeddings, Estimate, Event, ModelError, ModelId, Pricing, Run, Settings, Spender,
    Usage,
    model::attempt::{Attempt, Verdict},
    model::metered::refused,
    model::pricing::ServedCall,
    money::ledger::Hold,
};

/// An embedding model whose every call is held to the budget of its run, and paid for by it, as
/// [`Metered`](crate::Metered) does for models that answer. One without a price is refused where money is limited.
#[derive(Debug, Clone)]
pub struct MeteredEmbedder<E> {
    embedder: E,
    pricing: Arc<dyn Pricing>,
}

impl<E: Embedder> MeteredEmbedder<E> {
    /// The model, held to the budget of its runs at these prices.
    pub fn new(embedder: E, pricing: Arc<dyn Pricing>) -> Self {
        Self { embedder, pricing }
    }

    fn estimate(&self, texts: &[&str]) -> Estimate {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        // Each text begins and ends with a token of its own at the most.
        let input_tokens = (bytes as u64).div_ceil(4) + 2 * texts.len() as u64;
        let ceiling = self.pricing.ceiling(self.embedder.id(), &Settings::default(), input_tokens);
        Estimate { input_tokens, rates: ceiling.map(|ceiling| ceiling.rates), ..Estimate::default() }
    }

    fn reserve(&self, estimate: Estimate, run: &Run) -> Result<Hold, ModelError> {
        let model = self.embedder.id();
        if estimate.rates.is_none() && run.ledger().limits_money() {
            let why = "not asked, because it has no price and money is limited; add its price to the price table";
            return Err(refused(model, why));
        }
        let who = Spender { agent: Arc::clone(run.agent()), model: model.clone() };
        run.ledger().reserve(who, estimate, run.is_wrapping_up()).map_err(|refusal| {
            run.emit(&Event::BudgetRefused(refusal.clone()));
            refused(model, "not asked, because a budget is used up").caused_by(refusal)
        })
    }

    fn charge(&self, found: &Embeddings, estimate: &Estimate) -> Charge {
        let usage = found.usage.unwrap_or(Usage::new(estimate.input_tokens, 0));
        let model = Some(found.model.as_str()).filter(|model| !model.is_empty());
        let known = self.pricing.cost(&ServedCall { asked: self.embedder.id(), model, service_tier: None }, &usage);
        let is_sure = found.usage.is_some() && known.is_some();
        let certainty = if is_sure { Certainty::Charged } else { Certainty::Estimated };
        let cost = known.or_else(|| estimate.rates.map(|rates| rates.cost(usage.input_tokens, 0)));
        Charge { certainty, usage, cost }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Embedder> Embedder for MeteredEmbedder<E> {
    fn id(&self) -> &ModelId {
        self.embedder.id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        let hold = self.reserve(self.estimate(texts), run)?;
        let mut attempt = Attempt::begin(run, self.id(), hold);
        let answer = self.embedder.embed(texts, attempt.run()).await;
        match &answer {
            Ok(found) => {
                let charge = self.charge(found, attempt.estimate());
                attempt.end(None, Verdict::Charge(charge));
            }
            Err(error) => {
                let failure = error.details();
                // Vendors bill no request that they answer with an error status.
                let is_declined = failure.status.is_some_and(|status| status >= 400);
                let verdict = if failure.sent && !is_declined { Verdict::Uncertain } else { Verdict::Release };
                attempt.end(Some(error.kind()), verdict);
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Budget, Ledger, ModelErrorKind, Money, PriceCeiling, Rate, Rates, model::pricing::ServedCall};

    /// Says how many texts there are in so many dimensions, and takes ten tokens for each.
    #[derive(Debug)]
    struct Counting(ModelId);

    /// A dollar for a million tokens of `known`.
    #[derive(Debug)]
    struct OneModel;

    impl Pricing for OneModel {
        fn ceiling(&self, model: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
            let rates = Rates { input: Rate::per_million(Money::from_nano(1_000_000_000)), ..Rates::default() };
            (&**model.model() == "known").then_some(PriceCeiling { rates, max_output_tokens: None })
        }
        fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
            self.ceiling(served.asked, &Settings::default(), 0).map(|it| it.rates.cost(usage.input_tokens, 0))
        }
    }

    #[async_trait]
    impl Embedder for Counting {
        fn id(&self) -> &ModelId {
            &self.0
        }
        async fn embed(&self, texts: &[&str], _: &Run) -> Result<Embeddings, ModelError> {
            if texts.contains(&"broken") {
                let error = ModelError::new(ModelErrorKind::Broken, "cut");
                return Err(error.with(|failure| failure.sent = true));
            }
            let usage = Some(Usage::new(10 * texts.len() as u64, 0));
            Ok(Embeddings { vectors: vec![vec![1.0]; texts.len()], model: String::new(), usage })
        }
    }

    fn embedder(model: &str) -> MeteredEmbedder<Counting> {
        MeteredEmbedder::new(Counting(ModelId::new("test", model)), Arc::new(OneModel))
    }

    fn run(limit: &str) -> Run {
        Run::builder().account(Ledger::root("test", Budget::default().usd(limit).unwrap())).build()
    }

    #[tokio::test]
    async fn what_texts_take_is_charged_to_the_run() {
        let run = run("1");
        embedder("known").embed(&["one", "two"], &run).await.unwrap();
        let spent = run.ledger().spending();
        assert_eq!((spent.calls, spent.charged, spent.usage), (1, Money::from_nano(20_000), Usage::new(20, 0)));
        embedder("known").embed(&["broken"], &run).await.unwrap_err();
        assert_eq!(run.ledger().spending().uncertain, Money::from_nano(4_000), "it may be billed");
        assert_eq!(run.ledger().outstanding(), 0);
    }

    #[tokio::test]
    async fn nothing_is_asked_that_the_budget_does_not_allow() {
        let error = embedder("known").embed(&["one"], &run("0.000001")).await.unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::Budget);
        let error = embedder("unknown").embed(&["one"], &run("1")).await.unwrap_err();
        assert!(error.to_string().contains("no price"), "{error}");
        embedder("unknown").embed(&["one"], &Run::new()).await.unwrap();
    }
}
