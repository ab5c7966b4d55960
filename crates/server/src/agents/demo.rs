//! The team of `brigade demo`: a supervisor with three workers. The simulator's script answers for them.

use std::{sync::Arc, time::Duration};

use brigade_core::{Agent, Budget, ChatModel, OnFailure, ParseError, Tool, ToolError, ToolOutput, Worker, tool_fn};
use brigade_rehearsal::demo as script;
use schemars::JsonSchema;
use serde::Deserialize;

/// Ten times what the most expensive correct run of the demo costs.
const BUDGET: &str = "0.50";

/// The budget of one run of the demo.
pub(crate) fn budget() -> Result<Budget, ParseError> {
    Ok(Budget::default().usd(BUDGET)?.turns(24).wall(Duration::from_mins(5)))
}

/// Builds the team. The script recognizes each agent by the start of its instructions.
pub(crate) fn team(supervisor_model: Arc<dyn ChatModel>, worker_model: &Arc<dyn ChatModel>) -> Agent {
    let [researcher, critic, estimator] = script::WORKERS;
    let agent = |name, instructions| Agent::new(name, Arc::clone(worker_model)).instructions(instructions);
    let researcher = agent(researcher, "You are researcher. Find facts with the search tool. Cite each one.")
        .purpose("Finds facts and cites them.")
        .tool(search());
    let critic =
        agent(critic, "You are critic. List what has not been proven.").purpose("Finds the weak spots of a plan.");
    let estimator = agent(estimator, "You are estimator. Estimate cost with the calculate tool. Show the sums.")
        .purpose("Estimates what something costs.")
        .tool(calculate());
    let worker = |agent| Worker::new(agent).timeout(Duration::from_secs(30));
    Agent::new(script::SUPERVISOR, supervisor_model)
        .instructions("You are desk. Plan the work, delegate it, then answer in your own words.")
        .worker(worker(researcher).on_failure(OnFailure::fallback("No research available.")))
        .worker(worker(critic))
        .worker(worker(estimator))
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// What to look for.
    query: String,
}

fn search() -> impl Tool {
    tool_fn(script::SEARCH_TOOL, "Searches vendor documentation.", |args: Search, _| async move {
        if args.query.trim().is_empty() {
            let why = "the query is empty; write what to look for";
            return Err(ToolError::new(why).caused_by(why));
        }
        // The latency of a real search.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(ToolOutput::text(script::SEARCH_RESULT))
    })
}

#[derive(Deserialize, JsonSchema)]
struct Calculate {
    /// Numbers with + - *.
    expression: String,
}

fn calculate() -> impl Tool {
    tool_fn(script::CALCULATE_TOOL, "Calculates sums and products.", |args: Calculate, _| async move {
        let why = "the expression is not valid; use only numbers with + - *";
        let result = evaluate(&args.expression).ok_or_else(|| ToolError::new(why).caused_by(why))?;
        Ok(ToolOutput::text(format!("{result:.2}")))
    })
}

/// Evaluates a sum of products, such as `3 * 0.5 + 2 - 1`.
fn evaluate(expression: &str) -> Option<f64> {
    let mut total = 0.0;
    // A minus becomes the sign of the term after it.
    for term in expression.replace('-', "+-").split('+').filter(|term| !term.trim().is_empty()) {
        let (sign, term) = term.trim().strip_prefix('-').map_or((1.0, term), |rest| (-1.0, rest));
        let factors = term.split('*').map(|factor| factor.trim().parse::<f64>().ok());
        total += sign * factors.product::<Option<f64>>()?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    #[test]
    fn sums_of_products_are_evaluated_and_other_text_is_refused() {
        assert_eq!(evaluate("3 * 0.5 + 2 - 1"), Some(2.5));
        assert_eq!(evaluate("3 - 2 * 2"), Some(-1.0));
        assert_eq!(evaluate("rm -rf"), None);
    }
}
