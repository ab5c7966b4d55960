//! What models cost: a dated table that is part of the program, and what a file adds to it.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use brigade_core::{ModelId, Money, PriceCeiling, Pricing, ServedCall, Settings, Usage};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    bill::{self, Terms},
    table::{Entry, Table},
};

/// What models cost. Cheap to clone.
///
/// The bundled table is read when the first price is asked for. A model is found by the name sent to the provider, by a
/// dated form of a listed name (`gpt-5-mini-2025-08-07`), and by its maker's name with the maker in front
/// (`anthropic/claude-sonnet-4.5`). Web searches that a provider makes are reserved as far as the request limits them, else
/// one for each call, and charged as they are reported; Chat Completions reports none. An account that is named after a provider, such as `groq` or `groq-eu`, is billed at
/// this provider's prices.
#[derive(Clone, Default)]
pub struct PriceBook {
    overlay: Option<Arc<Table>>,
    moment: Option<Timestamp>,
}

/// What is known about a model besides its price. Absent is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFacts {
    /// Prompt and answer together, in tokens.
    pub context_window: Option<u64>,
    /// The longest prompt, in tokens, where it is less than the window.
    pub max_input_tokens: Option<u64>,
    /// The longest answer, in tokens.
    pub max_output_tokens: Option<u32>,
}

/// A price table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the price table cannot be read; the documentation of `PriceBook::from_toml_overlay` shows its form")]
pub struct PriceBookError(#[from] toml::de::Error);

const BUNDLED: [&str; 2] = [include_str!("../../prices/models.json"), include_str!("../../prices/embeddings.json")];

/// A test reads the bundled texts, so in a program that was tested the fallback is never used; it would leave every model
/// without a price.
static BUNDLED_TABLE: LazyLock<Table> = LazyLock::new(|| Table::bundled(&BUNDLED).unwrap_or_default());

impl PriceBook {
    /// The table that is part of the program.
    pub fn bundled() -> Self {
        Self::default()
    }

    /// The bundled table under one written by the user, in the same form. What the user's table knows about a model
    /// replaces all that the bundled one knows, and an entry without `provider` holds for every account.
    ///
    /// ```
    /// use brigade_core::ModelId;
    /// use brigade_observability::PriceBook;
    ///
    /// let prices = PriceBook::from_toml_overlay(
    ///     r#"
    ///     as_of = "2026-09-01"
    ///
    ///     [[models]]
    ///     ids = ["our-own-model"]
    ///     max_output = 8192
    ///     standard = { input = "0", output = "0" }
    ///     "#,
    /// )?;
    /// assert!(prices.lookup(&ModelId::new("vllm", "our-own-model")).is_some());
    /// # Ok::<(), brigade_observability::PriceBookError>(())
    /// ```
    pub fn from_toml_overlay(text: &str) -> Result<Self, PriceBookError> {
        Ok(Self { overlay: Some(Arc::new(Table::overlay(text)?)), moment: None })
    }

    /// The prices that were, or will be, in force at this moment, instead of those at the moment of each call.
    #[must_use]
    pub fn at(self, moment: Timestamp) -> Self {
        Self { moment: Some(moment), ..self }
    }

    /// The day on which the prices were true: of the overlay if there is one that says, else of the bundled table.
    pub fn as_of(&self) -> Date {
        self.overlay.as_ref().and_then(|table| table.as_of).or(BUNDLED_TABLE.as_of).unwrap_or_default()
    }

    /// How old the prices are.
    pub fn age(&self) -> Duration {
        let then = self.as_of().to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp()).unwrap_or_default();
        let now = self.moment.unwrap_or_else(Timestamp::now);
        Duration::try_from(now.duration_since(then)).unwrap_or_default()
    }

    /// What is known about a model besides its price.
    pub fn lookup(&self, model: &ModelId) -> Option<ModelFacts> {
        let entry = self.entry(model.provider(), model.model())?;
        let &Entry { context_window, max_input, max_output, .. } = entry;
        Some(ModelFacts { context_window, max_input_tokens: max_input, max_output_tokens: max_output })
    }

    fn entry(&self, account: &str, model: &str) -> Option<&Entry> {
        let overlaid = self.overlay.as_ref().and_then(|table| table.find(account, model));
        overlaid.or_else(|| BUNDLED_TABLE.find(account, model))
    }
}

impl Pricing for PriceBook {
    fn ceiling(&self, model: &ModelId, settings: &Settings, input_tokens: u64) -> Option<PriceCeiling> {
        let entry = self.entry(model.provider(), model.model())?;
        let terms = Terms { moment: self.moment, service_tier: settings.service_tier.as_deref(), input_tokens };
        let rates = bill::dearest(entry, &terms, settings)?;
        Some(PriceCeiling::new(rates).max_output_tokens(entry.max_output))
    }

    /// What the provider itself states is what it bills; the table is for those who state nothing.
    fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
        if let Some(stated) = usage.stated_cost.filter(|&cost| cost >= Money::ZERO) {
            return Some(stated);
        }
        let account = served.asked.provider();
        let answered = served.model.and_then(|model| self.entry(account, model));
        let entry = answered.or_else(|| self.entry(account, served.asked.model()))?;
        let terms = Terms { moment: self.moment, service_tier: served.service_tier, input_tokens: usage.input_tokens };
        bill::cost(entry, &terms, usage)
    }
}

impl fmt::Debug for PriceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriceBook").field("as_of", &self.as_of()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
