//! `GET /v1/budgets`: budgets, and how much of them is used.

use std::sync::Arc;

use axum::{Json, extract::State};
use brigade_core::{Ledger, Money, Window};
use schemars::JsonSchema;
use serde::Serialize;

use super::{api::Api, scoped::Reader};

/// The money of an account.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Budget")]
struct BudgetView {
    /// The name of the key, or of the process.
    name: String,
    /// Whether it is the budget of all runs together, or of one key.
    #[schemars(extend("enum" = ["process", "key"]))]
    kind: &'static str,
    /// The calendar period, in UTC, in which the limit applies and the spending counts. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["day", "month"]))]
    window: Option<&'static str>,
    /// The limit in US dollars. Absent if money is not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_usd: Option<Money>,
    /// True if the limit only warns.
    soft: bool,
    spent_usd: Money,
    /// What calls in flight may cost, at most.
    reserved_usd: Money,
}

/// The budgets that the caller may see, that of the process first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BudgetList {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<BudgetView>,
}

/// Shows the budget of the caller's key, or those of the process and of all keys to a caller with the scope `admin`.
pub(crate) async fn list(State(api): State<Arc<Api>>, Reader(caller): Reader) -> Json<BudgetList> {
    let own = caller.visible_owner();
    let process = own.is_none().then(|| BudgetView::of("process", "all runs", api.ledger()));
    let setup = api.setup();
    let keys = setup.access.callers().filter(|key| own.is_none_or(|own| *own == *key.name));
    let keys = keys.map(|key| BudgetView::of("key", &key.name, &key.account));
    Json(BudgetList { object: "list", data: process.into_iter().chain(keys).collect() })
}

impl BudgetView {
    fn of(kind: &'static str, name: &str, account: &Ledger) -> Self {
        let budget = account.budget();
        Self {
            name: name.to_owned(),
            kind,
            window: match budget.window {
                Window::Total => None,
                Window::Day => Some("day"),
                Window::Month => Some("month"),
            },
            limit_usd: budget.usd.map(|cap| cap.limit),
            soft: budget.usd.is_some_and(|cap| cap.soft),
            spent_usd: account.spent_in_window(),
            reserved_usd: account.reserved(),
        }
    }
}
