//! The demo script: a supervisor and three workers answer a question in less than four seconds, for about three cents at
//! list prices.
//!
//! | agent | recognized by | model, dialect | turn 0 | later turns |
//! |---|---|---|---|---|
//! | `desk` | `You are desk` in the system prompt, or the tool `researcher` | [`SUPERVISOR_MODEL`], Anthropic | thinking, a sentence, one call to each worker | the final answer |
//! | `researcher` | `You are researcher`, or the tool `search` | [`WORKER_MODEL`], Chat Completions | calls `search` with `{"query": …}` | facts with their sources |
//! | `critic` | `You are critic` | the same | what is not proven | the same |
//! | `estimator` | `You are estimator`, or the tool `calculate` | the same | calls `calculate` with `{"expression": …}` | the cost of both |
//!
//! The header `x-brigade-agent` takes precedence. Each worker is a tool with the worker's name that takes `{"task": …}`. An
//! agent without tools answers at once. Thinking is sent only if the request enables it. The rules do not depend on the
//! model or the dialect, so other models can be used.

use std::time::Duration;

use serde_json::json;

use crate::script::answer::{ScriptedAnswer, ScriptedToolCall};
use crate::script::script::{AgentMatcher, RequestMatcher, Script};

/// The question.
pub const QUESTION: &str = "Should we move our queue from SQS to Kafka?";
/// The supervisor's name.
pub const SUPERVISOR: &str = "desk";
/// The workers' names, which are also the names of the supervisor's tools.
pub const WORKERS: [&str; 3] = ["researcher", "critic", "estimator"];
/// The supervisor's model.
pub const SUPERVISOR_MODEL: &str = "claude-sonnet-4-5";
/// The workers' model.
pub const WORKER_MODEL: &str = "gpt-5-mini";
/// The researcher's tool; takes `{"query": …}`.
pub const SEARCH_TOOL: &str = "search";
/// The estimator's tool; takes `{"expression": …}`, numbers with `+ - *`.
pub const CALCULATE_TOOL: &str = "calculate";
/// A result for the search tool that fits the answers.
pub const SEARCH_RESULT: &str = "1. AWS, Amazon SQS quotas: standard queues deliver at least once, retain messages for at most 14 days and have a nearly unlimited throughput.\n2. Apache Kafka documentation, Design: consumers keep their own offset in a log and may read it again; order holds within a partition.\n3. AWS, Amazon MSK pricing: kafka.m5.large $0.21 per broker-hour, storage $0.10 per GB-month.";

/// The models of the demo.
pub(crate) const MODELS: [&str; 2] = [SUPERVISOR_MODEL, WORKER_MODEL];

const PLAN: &str = "The question hides three: what Kafka offers that SQS does not, whether this team needs it, and what it costs. Each has a specialist, and none depends on another, so all three can work at once.";

const VERDICT: &str = "**Stay on SQS for now.** What Kafka would add is a log that several consumers can read again, and order within a partition [1][2]. Nothing you told us needs either: one service reads the queue, and every message is deleted once it is done.\n\nThe price of moving is plain. At 120 million messages a month SQS costs about $144; a small managed cluster of three brokers costs about $490, before anyone has operated it.\n\nThe critic's objection stands: your peak was never measured, and next year's load is unknown. **Decide again** when a second team wants the same events, when you need to replay more than 14 days, or when order per customer matters. Until then, publish through a thin interface of your own, and the move stays a week's work.\n\n[1] Amazon SQS quotas  [2] Apache Kafka, Design";

const FACTS: &str = "- SQS standard queues deliver at least once, keep messages for at most 14 days and scale without planning [Amazon SQS quotas].\n- A message read from SQS and deleted is gone. Kafka keeps a log; each consumer has its own offset and may read again [Apache Kafka, Design].\n- Kafka keeps order within a partition. SQS keeps order in FIFO queues only [Amazon SQS quotas].\n- A Kafka cluster has brokers to size, patch and rebalance; MSK takes over part of that [Amazon MSK pricing].";

const DOUBTS: &str = "Not proven so far:\n1. That throughput is a problem at all. There is no figure for the peak.\n2. That anybody needs to replay messages, the one thing SQS cannot do.\n3. That the team can run Kafka at night. No owner is named.\n4. That the saving survives the migration: two systems side by side for a quarter, and every consumer made idempotent.\nIf none of these is answered, the cheaper mistake is to wait.";

const COST: &str = "For 120 million messages a month, three requests each (send, receive, delete):\n- SQS: 360 million requests at $0.40 per million = $144 a month.\n- MSK: 3 brokers at $0.21 an hour for 730 hours, and 300 GB at $0.10 = $489.90 a month.\nKafka costs $345.90 a month more, without the hours of those who operate it.";

impl Script {
    /// The script of the [`demo`](crate::demo) module.
    pub fn demo() -> Self {
        let mut script = Self::default();
        for name in [SUPERVISOR].into_iter().chain(WORKERS) {
            script = script.agent(AgentMatcher::by_system(name, format!("You are {name}")));
        }
        for (name, tool) in [(SUPERVISOR, WORKERS[0]), ("researcher", SEARCH_TOOL), ("estimator", CALCULATE_TOOL)] {
            script = script.agent(AgentMatcher::by_tool(name, tool));
        }
        let first_turn = |agent| RequestMatcher::default().agent(agent).turn(0);
        let any_turn = |agent| RequestMatcher::default().agent(agent);
        script
            .rule(first_turn(SUPERVISOR), delegation())
            .rule(any_turn(SUPERVISOR), verdict())
            .rule(first_turn("researcher"), search())
            .rule(any_turn("researcher"), paced(ScriptedAnswer::text(FACTS), 250).usage(1480, 230))
            .rule(any_turn("critic"), paced(ScriptedAnswer::text(DOUBTS), 500).usage(590, 402))
            .rule(first_turn("estimator"), calculation())
            .rule(any_turn("estimator"), paced(ScriptedAnswer::text(COST), 300).usage(740, 168))
    }
}

/// An answer that starts after so many milliseconds and continues at about 150 words per second.
fn paced(answer: ScriptedAnswer, first_millis: u64) -> ScriptedAnswer {
    answer.latency(Duration::from_millis(first_millis), Duration::from_millis(5))
}

fn delegation() -> ScriptedAnswer {
    let tasks = [
        "Find what SQS and Kafka guarantee about delivery, order, retention and replay. Cite each fact.",
        "List what has not been proven about the need to leave SQS.",
        "Estimate the monthly cost of SQS and of a small managed Kafka at 120 million messages a month.",
    ];
    let calls =
        WORKERS.into_iter().zip(tasks).map(|(worker, task)| ScriptedToolCall::new(worker, json!({ "task": task })));
    let mut answer = paced(ScriptedAnswer::calls(calls), 350).thinking(PLAN).usage(1840, 496);
    "I will have the facts, the doubts and the cost looked at side by side.".clone_into(&mut answer.text);
    answer.usage.cache_write = Some(1792);
    answer
}

fn verdict() -> ScriptedAnswer {
    let mut answer = paced(ScriptedAnswer::text(VERDICT), 350).usage(3120, 418);
    answer.usage.cached = Some(1792);
    answer
}

fn search() -> ScriptedAnswer {
    let query = json!({ "query": "Amazon SQS vs Apache Kafka delivery guarantees retention replay pricing" });
    paced(ScriptedAnswer::calls([ScriptedToolCall::new(SEARCH_TOOL, query)]), 250).usage(620, 48)
}

fn calculation() -> ScriptedAnswer {
    let expression = json!({ "expression": "3 * 0.21 * 730 + 300 * 0.10 - 120 * 3 * 0.40" });
    paced(ScriptedAnswer::calls([ScriptedToolCall::new(CALCULATE_TOOL, expression)]), 300).usage(560, 64)
}
