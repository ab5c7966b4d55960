//! The simulator as the reference: what it answers to the checks, and what the checks can cost.

use std::time::Duration;

use anyhow::anyhow;
use brigade_core::{Budget, ErrorChain, Ledger, ModelId, Money, Pricing, Settings};
use brigade_observability::PriceBook;
use brigade_rehearsal::{FaultPlan, Script, Simulator, SimulatorBuilder};

use super::{
    check::LiveCheck,
    facts::{Facts, Obstacle},
    subject::Subject,
    target::Target,
};

/// The simulator answers the checks as a model that follows instructions would.
const SCRIPT: &str = r#"
[[rule]]
when   = { last_user_contains = "weather in Paris", turn = 0, tools = true }
answer = { tool_calls = [{ name = "weather", arguments = '{"city":"Paris"}' }] }
[[rule]]
when   = { last_user_contains = "weather in Paris", turn = 1 }
answer = { text = "The result of the tool was: {{tool_results}}" }
[[rule]]
when   = { last_user_contains = "about a pelican" }
answer = { text = "A pelican dives from the sky and swallows its fish whole." }
[[rule]]
when   = { last_user_contains = "inhabitants" }
answer = { text = '{"city":"Paris","inhabitants":2000000}' }
[[rule]]
when   = { last_user_contains = "Count from one" }
answer = { text = "one, two, three, four, five, six, seven, eight, nine, ten", latency = { first = "10ms", between = "2s" } }
"#;

/// The unknown model. The simulator itself answers for any name.
const FAULTS: &str = r#"
[[fault]]
id    = "unknown model"
match = { model = "brigade-no-such-model", dialect = "anthropic" }
do    = { error = "not_found_error" }
[[fault]]
id    = "unknown model"
match = { model = "brigade-no-such-model" }
do    = { error = "model_not_found" }
"#;

/// More than the checks cost at the highest price on the market. A limit makes each reservation an upper bound.
const REFERENCE_BUDGET: Money = Money::from_dollars(1_000);

/// The results of tools are sent back with the answers that asked for them: one whole and one streamed.
const FOLLOW_UPS: u64 = 2;

/// What the simulator answers to one check.
pub(super) type Expected = Result<Facts, String>;

/// What is known before anything is spent.
#[derive(Debug)]
pub(super) struct Reference {
    /// In the order of the checks; the reason if the target does not offer it.
    pub(super) expected: Vec<Expected>,
    pub(super) calls: u64,
    /// The most that the calls can cost.
    pub(super) cost: Money,
}

/// A simulator that passes all checks. The faults of `faults`, a fault plan in TOML, are injected into its answers.
pub fn live_simulator(faults: &str) -> anyhow::Result<SimulatorBuilder> {
    let faults = FaultPlan::from_toml(&format!("{faults}\n{FAULTS}"))?;
    Ok(Simulator::builder().script(Script::from_toml(SCRIPT)?).faults(faults))
}

impl Reference {
    /// Runs all checks against a simulator, with the clients, the settings and the prices of the target.
    pub(super) async fn of(target: &Target, prices: &PriceBook, limit: Duration) -> anyhow::Result<Self> {
        let simulator = live_simulator("")?.build().serve_locally().await?;
        let account = target.open(Some(&simulator.base_url()))?;
        let ledger = Ledger::root("the rehearsal", Budget::unlimited().money(REFERENCE_BUDGET));
        let subject = Subject::new(target, account, prices, ledger);
        let mut expected = Vec::new();
        for check in LiveCheck::ALL {
            let found = tokio::time::timeout(limit, check.run(&subject)).await?;
            expected.push(match found {
                Ok(facts) => Ok(facts),
                Err(Obstacle::NotOffered(why)) => Err(why),
                Err(Obstacle::NotRun(why)) => return Err(anyhow!("at the simulator, {}: {why}", check.name())),
                Err(Obstacle::Failed(error)) => {
                    return Err(anyhow!("the simulator failed at {}: {}", check.name(), ErrorChain(&error)));
                }
            });
        }
        let made = subject.reservations();
        let mut cost = made.cost;
        let id = ModelId::new(target.name.clone(), target.model.clone());
        if let Some(ceiling) = prices.ceiling(&id, Settings::none(), 1_000) {
            cost += ceiling.rates.cost(FOLLOW_UPS * u64::from(target.output_tokens()), 0);
        }
        Ok(Self { expected, calls: made.calls, cost })
    }
}
