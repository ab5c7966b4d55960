//! Prices of models: the bundled table, and a user's table over it.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use brigade_core::{ModelId, Money, PriceCeiling, Pricing, ServedCall, Settings, Usage};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    cost::{self, CallConditions},
    table::{ModelEntry, Table},
};

/// Prices of models. Cheap to clone.
///
/// A model is found by the name sent to the provider, by a dated form of a listed name (`gpt-5-mini-2025-08-07`), and by
/// its vendor's name with the vendor in front (`anthropic/claude-sonnet-4.5`). An account that is named after a provider,
/// such as `groq` or `groq-eu`, has the prices of this provider.
///
/// Web searches of a provider are reserved up to the limit in the request, or one per tool without a limit, and charged as
/// the provider reports them; Chat Completions reports none.
///
/// ```
/// use brigade_core::{ModelExt, ModelId, testing::{ScriptedModel, Turn}};
/// use brigade_observability::PriceBook;
///
/// let prices = PriceBook::bundled();
/// assert!(prices.lookup(&ModelId::new("openai", "gpt-5-mini")).is_some());
/// let model = ScriptedModel::new([Turn::text("Hello.")]).metered(&prices);
/// ```
#[derive(Clone, Default)]
pub struct PriceBook {
    overlay: Option<Arc<Table>>,
    moment: Option<Timestamp>,
}

/// The limits of a model. Unknown limits are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelLimits {
    /// Prompt and answer together, in tokens.
    pub context_window: Option<u64>,
    /// The longest prompt, in tokens, if it is shorter than the window.
    pub max_input_tokens: Option<u64>,
    /// The longest answer, in tokens.
    pub max_output_tokens: Option<u32>,
}

/// A price table could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the price table cannot be read; `PriceBook::from_toml_overlay` documents its format")]
pub struct PriceBookError(#[from] toml::de::Error);

const BUNDLED: [&str; 2] = [include_str!("../../prices/models.json"), include_str!("../../prices/embeddings.json")];

/// A test reads the bundled texts, so the fallback, a table without prices, is never used.
static BUNDLED_TABLE: LazyLock<Table> = LazyLock::new(|| Table::bundled(&BUNDLED).unwrap_or_default());

impl PriceBook {
    /// The table that is bundled with this crate.
    pub fn bundled() -> Self {
        Self::default()
    }

    /// The bundled table with a user's table over it, in the same format. An entry of the user's table replaces the whole
    /// bundled entry of a model; without `provider` it applies to every account.
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

    /// Uses the prices at this moment, instead of those at the moment of each call.
    #[must_use]
    pub fn at(self, moment: Timestamp) -> Self {
        Self { moment: Some(moment), ..self }
    }

    /// The date of the prices: of the user's table if it has one, else of the bundled table.
    pub fn as_of(&self) -> Date {
        self.overlay.as_ref().and_then(|table| table.as_of).or(BUNDLED_TABLE.as_of).unwrap_or_default()
    }

    /// The age of the prices.
    pub fn age(&self) -> Duration {
        let then = self.as_of().to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp()).unwrap_or_default();
        let now = self.moment.unwrap_or_else(Timestamp::now);
        Duration::try_from(now.duration_since(then)).unwrap_or_default()
    }

    /// The limits of a model; `None` if it is not listed.
    pub fn lookup(&self, model: &ModelId) -> Option<ModelLimits> {
        let entry = self.entry(model.provider(), model.model())?;
        let &ModelEntry { context_window, max_input, max_output, .. } = entry;
        Some(ModelLimits { context_window, max_input_tokens: max_input, max_output_tokens: max_output })
    }

    fn entry(&self, account: &str, model: &str) -> Option<&ModelEntry> {
        let overlaid = self.overlay.as_ref().and_then(|table| table.find(account, model));
        overlaid.or_else(|| BUNDLED_TABLE.find(account, model))
    }
}

impl Pricing for PriceBook {
    fn ceiling(&self, model: &ModelId, settings: &Settings, input_tokens: u64) -> Option<PriceCeiling> {
        let entry = self.entry(model.provider(), model.model())?;
        let conditions =
            CallConditions { moment: self.moment, service_tier: settings.service_tier.as_deref(), input_tokens };
        let rates = cost::highest_rates(entry, &conditions, settings)?;
        Some(PriceCeiling::new(rates).max_output_tokens(entry.max_output))
    }

    /// The cost that the provider states, else the cost by the table.
    fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
        if let Some(stated) = usage.stated_cost.filter(|&cost| cost >= Money::ZERO) {
            return Some(stated);
        }
        let account = served.asked.provider();
        let answered = served.model.and_then(|model| self.entry(account, model));
        let entry = answered.or_else(|| self.entry(account, served.asked.model()))?;
        let conditions =
            CallConditions { moment: self.moment, service_tier: served.service_tier, input_tokens: usage.input_tokens };
        cost::cost(entry, &conditions, usage)
    }
}

impl fmt::Debug for PriceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriceBook").field("as_of", &self.as_of()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
