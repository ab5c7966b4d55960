//! The spending and the counts of a part of a run, for its journal.

use serde::{Deserialize, Serialize};

use crate::{
    Ledger, ModelId, Money, Spending,
    money::account::AccountKind,
    money::cost::{Spender, ToolCaller},
};

/// The spending and the counts of one account and the accounts below it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Items {
    pub(super) spending: Vec<(Spender, Spending)>,
    pub(super) tool_calls: Vec<(ToolCaller, u64)>,
    pub(super) turns: u64,
}

impl Items {
    pub(crate) fn total(&self) -> Spending {
        let mut total = Spending::default();
        for (_, spending) in &self.spending {
            total += *spending;
        }
        total
    }

    /// The spending alone, of a step that is done again: its calls are counted then.
    pub(crate) fn spending(self) -> Self {
        Self { spending: self.spending, ..Self::default() }
    }
}

impl Ledger {
    /// What was spent and counted at this account, which must keep its spending by agent and model. With a model, what is
    /// reserved counts as its uncertain cost.
    pub(crate) fn items(&self, in_flight: Option<&ModelId>) -> Items {
        let balance = self.account().balance();
        let mut spending: Vec<_> =
            balance.by_spender.iter().map(|(spender, spending)| (spender.clone(), *spending)).collect();
        if let Some(model) = in_flight.filter(|_| balance.outstanding > 0) {
            let reserved = Spending {
                calls: balance.outstanding,
                unpriced_calls: if balance.reserved_usd == Money::ZERO { balance.outstanding } else { 0 },
                uncertain: balance.reserved_usd,
                uncertain_tokens: balance.reserved_tokens,
                ..Spending::default()
            };
            spending.push((Spender { agent: self.name().clone(), model: model.clone() }, reserved));
        }
        let tool_calls = balance.tool_calls.iter().map(|(caller, calls)| (caller.clone(), *calls)).collect();
        Items { spending, tool_calls, turns: balance.turns }
    }

    /// Adds what was spent and counted before the run was replayed, at this account and those above it up to that of the
    /// run. The accounts above the run were charged then.
    pub(crate) fn replay(&self, items: &Items) {
        for ledger in self.lineage() {
            let account = ledger.account();
            account.balance().replay(items, account.is_itemized());
            if account.kind == AccountKind::Run {
                break;
            }
        }
    }

    pub(crate) fn replay_turn(&self) {
        self.replay(&Items { turns: 1, ..Items::default() });
    }
}
