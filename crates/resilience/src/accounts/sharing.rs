//! Connects wrappers to the state that they share.

use brigade_core::ChatModel;

use crate::{Accounts, Breaker, Hedge, RateLimit, Retry};

impl<M: ChatModel> RateLimit<M> {
    /// Shares the limits with all callers of the same model, or of its family, that use `accounts`. The first wrapper
    /// determines the settings.
    #[must_use]
    pub fn within(self, accounts: &Accounts) -> Self {
        let limiter = accounts.limiter(self.id(), self.rate_limit_settings());
        self.with_limiter(limiter)
    }
}

impl<M: ChatModel> Breaker<M> {
    /// Shares the circuits with all callers of the same model or account that use `accounts`. The first wrapper
    /// determines the settings.
    #[must_use]
    pub fn within(self, accounts: &Accounts) -> Self {
        let circuits = accounts.circuits(self.id(), self.breaker_settings());
        self.with_circuits(circuits)
    }
}

impl<M: ChatModel> Retry<M> {
    /// Shares the retry budget with all callers of the same model that use `accounts`. The first wrapper determines
    /// its size.
    #[must_use]
    pub fn within(self, accounts: &Accounts) -> Self {
        let budget = accounts.retry_budget(self.id(), self.retry_settings());
        self.with_budget(budget, accounts.jitter())
    }
}

impl<M: ChatModel> Hedge<M> {
    /// Shares the retry budget with all callers of the same model that use `accounts`. The first wrapper determines
    /// its size.
    #[must_use]
    pub fn within(self, accounts: &Accounts) -> Self {
        let budget = accounts.retry_budget(self.id(), self.retry_settings());
        self.with_budget(budget)
    }
}
