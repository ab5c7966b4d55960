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
    table::{self, ModelEntry, Table},
    unseen,
};

/// Prices of models. Cheap to clone.
///
/// A model is found by the name sent to the provider, by a dated form of a listed name (`gpt-5-mini-2025-08-07`), and by
/// its vendor's name with the vendor in front (`anthropic/claude-sonnet-4.5`). An account that is named after a provider,
/// such as `groq` or `groq-eu`, has the prices of this provider.
///
/// Servers that run at home cost nothing unless your own table has a price for them: accounts that are named after
/// `ollama`, `vllm`, `lmstudio` or `llamacpp`, and those of [`PriceBook::local_accounts`].
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
    local: Arc<[String]>,
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

/// The entry of all models that run at home.
static FREE: LazyLock<ModelEntry> = LazyLock::new(ModelEntry::default);

impl PriceBook {
    /// The table that is bundled with this crate.
    pub fn bundled() -> Self {
        Self::default()
    }

    /// The bundled table with a user's table over it, in the same format. An entry of the user's table replaces the whole
    /// bundled entry of a model; without `provider` it applies to every account that has no entry of its own.
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
        Ok(Self { overlay: Some(Arc::new(Table::overlay(text)?)), ..Self::default() })
    }

    /// Sets the accounts of servers that run at home, in addition to those named after such a server.
    #[must_use]
    pub fn local_accounts(self, accounts: impl IntoIterator<Item = String>) -> Self {
        Self { local: accounts.into_iter().collect(), ..self }
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
        let (account, model) = (model.provider(), model.model());
        let own = self.overlay.as_ref().and_then(|table| table.find(account, model));
        let entry = own.or_else(|| BUNDLED_TABLE.find(account, model))?;
        let &ModelEntry { context_window, max_input, max_output, .. } = entry;
        Some(ModelLimits { context_window, max_input_tokens: max_input, max_output_tokens: max_output })
    }

    fn entry(&self, account: &str, model: &str) -> Option<&ModelEntry> {
        let overlay = self.overlay.as_ref();
        if table::is_local(account) || self.local.iter().any(|local| local == account) {
            return overlay.and_then(|table| table.find_own(account, model)).or(Some(&*FREE));
        }
        overlay.and_then(|table| table.find(account, model)).or_else(|| BUNDLED_TABLE.find(account, model))
    }
}

impl Pricing for PriceBook {
    fn ceiling(&self, model: &ModelId, settings: &Settings, input_tokens: u64) -> Option<PriceCeiling> {
        let entry = self.entry(model.provider(), model.model())?;
        let unseen = unseen::most(settings, entry.context_window);
        let input_tokens = input_tokens.saturating_add(unseen.unwrap_or(0));
        let conditions =
            CallConditions { moment: self.moment, service_tier: settings.service_tier.as_deref(), input_tokens };
        let rates = cost::highest_rates(entry, &conditions, settings)?;
        let mut ceiling = PriceCeiling::new(rates).max_output_tokens(entry.max_output);
        ceiling.unseen_tokens = unseen;
        ceiling.image_tokens = entry.image_tokens().unwrap_or(PriceCeiling::IMAGE_TOKENS);
        Some(ceiling)
    }

    /// The cost that the provider states, else the cost by the table. A stated zero counts only for a model without a price
    /// and for OpenRouter's `:free` models: gateways that bill elsewhere, such as to a key of the caller's own, state zero.
    fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
        let stated = usage.stated_cost.filter(|&cost| cost >= Money::ZERO);
        let is_free = served.asked.model().ends_with(":free");
        if let Some(cost) = stated.filter(|&cost| cost > Money::ZERO || is_free) {
            return Some(cost);
        }
        let account = served.asked.provider();
        let answered = served.model.and_then(|model| self.entry(account, model));
        let entry = answered.or_else(|| self.entry(account, served.asked.model()));
        let conditions =
            CallConditions { moment: self.moment, service_tier: served.service_tier, input_tokens: usage.input_tokens };
        entry.and_then(|entry| cost::cost(entry, &conditions, usage)).or(stated)
    }
}

impl fmt::Debug for PriceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriceBook").field("as_of", &self.as_of()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
