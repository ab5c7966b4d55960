//! The name, labels and help text of every metric.
//!
//! Metrics have OpenTelemetry's names if there are any, spelled for Prometheus: `_` for `.`, the unit and `_total` at the
//! end. Other names start with `brigade_`. The conventions for generative AI are in
//! development and have been renamed before, hence [`Convention`].
//! See <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>.

use serde::Deserialize;

/// A version of the OpenTelemetry conventions for generative AI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Convention {
    /// The newest names: `gen_ai.client.inference.*`, with a counter for each kind of token.
    #[default]
    ClientInference,
    /// The earlier names: `gen_ai.client.operation.*`, with one histogram `gen_ai.client.token.usage`.
    ClientOperation,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric<const LABELS: usize> {
    pub(crate) name: &'static str,
    pub(crate) labels: [&'static str; LABELS],
    pub(crate) help: &'static str,
}

const fn metric<const L: usize>(name: &'static str, labels: [&'static str; L], help: &'static str) -> Metric<L> {
    Metric { name, labels, help }
}

/// The labels of a model call in the conventions.
const CALL: [&str; 4] = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"];

/// The labels of the tokens of a call in the conventions.
const TOKENS: [&str; 3] = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];

pub(crate) const INFERENCE_DURATION: Metric<4> =
    metric("gen_ai_client_inference_duration_seconds", CALL, "Duration of one request to a model.");
pub(crate) const OPERATION_DURATION: Metric<4> =
    metric("gen_ai_client_operation_duration_seconds", CALL, INFERENCE_DURATION.help);
pub(crate) const INFERENCE_FIRST_CHUNK: Metric<3> = metric(
    "gen_ai_client_inference_time_to_first_chunk_seconds",
    TOKENS,
    "Time from the request to the first chunk of the answer; streamed calls only.",
);
pub(crate) const OPERATION_FIRST_CHUNK: Metric<3> =
    metric("gen_ai_client_operation_time_to_first_chunk_seconds", TOKENS, INFERENCE_FIRST_CHUNK.help);
pub(crate) const INPUT_TOKENS: Metric<3> = metric(
    "gen_ai_client_inference_usage_input_tokens_total",
    TOKENS,
    "Prompt tokens, including those read from and written to caches.",
);
pub(crate) const OUTPUT_TOKENS: Metric<3> =
    metric("gen_ai_client_inference_usage_output_tokens_total", TOKENS, "Generated tokens, including reasoning.");
pub(crate) const CACHE_READ_TOKENS: Metric<3> = metric(
    "gen_ai_client_inference_usage_cache_read_input_tokens_total",
    TOKENS,
    "Prompt tokens read from a prompt cache.",
);
pub(crate) const CACHE_WRITE_TOKENS: Metric<3> = metric(
    "gen_ai_client_inference_usage_cache_write_input_tokens_total",
    TOKENS,
    "Prompt tokens written to a prompt cache.",
);
pub(crate) const REASONING_TOKENS: Metric<3> =
    metric("gen_ai_client_inference_usage_reasoning_output_tokens_total", TOKENS, "Generated reasoning tokens.");
pub(crate) const TOKEN_USAGE: Metric<4> = metric(
    "gen_ai_client_token_usage",
    ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"],
    "Tokens of one call, by type: input or output.",
);
pub(crate) const INVOKE_AGENT: Metric<2> = metric(
    "gen_ai_invoke_agent_duration_seconds",
    ["gen_ai_agent_name", "error_type"],
    "Duration of agent runs, including their workers.",
);
pub(crate) const EXECUTE_TOOL: Metric<2> =
    metric("gen_ai_execute_tool_duration_seconds", ["gen_ai_tool_name", "error_type"], "Duration of tool calls.");

/// Cost in nano-dollars, as the counters of the recorder are integers. It is exported as [`COST_USD`].
pub(crate) const COST: Metric<4> = metric(
    "brigade_cost_nano_usd_total",
    ["provider", "model", "agent", "kind"],
    "Cost of model calls in US dollars; kind: charged (reported usage), estimated, uncertain (failed after sending).",
);
/// Cost in US dollars, as Prometheus reads it.
pub(crate) const COST_USD: &str = "brigade_cost_usd_total";
pub(crate) const RUNS: Metric<2> = metric(
    "brigade_runs_total",
    ["agent", "outcome"],
    "Ended runs by outcome; errors by the party at fault. Runs with the outcome `waiting` wait and go on later.",
);
pub(crate) const RUN_DURATION: Metric<1> =
    metric("brigade_run_duration_seconds", ["agent"], "Duration of runs from start to end.");
pub(crate) const OVERHEAD: Metric<1> = metric(
    "brigade_overhead_seconds",
    ["agent"],
    "Time of a run in which no model or tool worked for it and it waited for no limit or retry.",
);
pub(crate) const TURNS: Metric<1> = metric("brigade_turns_per_run", ["agent"], "Model turns of a run.");
pub(crate) const RUNS_IN_FLIGHT: Metric<1> =
    metric("brigade_runs_in_flight", ["agent"], "Runs that have started and not ended.");
pub(crate) const RUNS_WAITING: Metric<0> =
    metric("brigade_runs_waiting", [], "Runs that wait for one of the places for runs of this process.");
pub(crate) const ATTEMPTS: Metric<3> = metric(
    "brigade_attempts_total",
    ["provider", "model", "outcome"],
    "Requests to models by outcome: ok, or the error by the party at fault.",
);
pub(crate) const RETRIES: Metric<1> = metric("brigade_retries_total", ["reason"], "Retries of failed calls.");
pub(crate) const RETRIES_SUPPRESSED: Metric<1> = metric(
    "brigade_retries_suppressed_total",
    ["reason"],
    "Failed calls that were not retried because the retry budget was used up.",
);
pub(crate) const FALLBACKS: Metric<3> =
    metric("brigade_fallbacks_total", ["from", "to", "reason"], "Calls that fell back to another model.");
pub(crate) const BREAKER_STATE: Metric<2> = metric(
    "brigade_breaker_state",
    ["provider", "model"],
    "State of a circuit breaker: 0 closed, 1 half open, 2 open.",
);
pub(crate) const RATE_LIMIT_WAIT: Metric<2> = metric(
    "brigade_rate_limit_wait_seconds",
    ["provider", "model"],
    "Time that calls waited for a rate limit, or for other requests of the account to end.",
);
pub(crate) const RATE_LIMIT_REMAINING: Metric<3> = metric(
    "brigade_rate_limit_remaining",
    ["provider", "model", "dimension"],
    "What remains of a rate limit according to the last response.",
);
pub(crate) const TOOL_CALLS: Metric<2> =
    metric("brigade_tool_calls_total", ["tool", "outcome"], "Tool calls by outcome; `waiting` ones are made later.");
pub(crate) const WORKER_FAILURES: Metric<2> =
    metric("brigade_worker_failures_total", ["worker", "policy"], "Failed workers by failure policy.");
pub(crate) const LOOPS: Metric<1> =
    metric("brigade_loop_detected_total", ["kind"], "Notices to agents that repeat themselves.");
pub(crate) const BUDGET_REFUSALS: Metric<2> = metric(
    "brigade_budget_refusals_total",
    ["scope", "quantity"],
    "Refusals by hard limits; scope: process, run, agent, account.",
);
pub(crate) const BUDGET_WARNINGS: Metric<2> =
    metric("brigade_budget_warnings_total", ["scope", "quantity"], "Crossed soft limits.");
pub(crate) const USAGE_MISSING: Metric<2> =
    metric("brigade_usage_missing_total", ["provider", "model"], "Answers whose provider did not report usage.");
pub(crate) const WIRE_QUIRKS: Metric<1> = metric(
    "brigade_wire_quirks_total",
    ["kind"],
    "Responses that deviate from the provider's documentation and could be read.",
);
pub(crate) const DEGRADED: Metric<1> =
    metric("brigade_degraded_total", ["part"], "Parts of runs that failed and that the runs went on without.");
pub(crate) const REQUEST_ERRORS: Metric<1> =
    metric("brigade_request_errors_total", ["code"], "Requests that were answered with an error, by code.");
pub(crate) const APPROVALS_PENDING: Metric<0> =
    metric("brigade_approvals_pending", [], "Calls that wait until a person allows them, counted up to 1,000.");
pub(crate) const APPROVALS_ANSWERED: Metric<1> =
    metric("brigade_approvals_answered_total", ["decision"], "Answers to approvals in this process, by decision.");
pub(crate) const BUDGET_LIMIT: Metric<1> =
    metric("brigade_budget_limit_usd", ["scope"], "Money limit of a watched account.");
pub(crate) const BUDGET_REMAINING: Metric<1> =
    metric("brigade_budget_remaining_usd", ["scope"], "What remains of the money limit, less reservations.");
pub(crate) const PRICE_TABLE_AGE: Metric<0> = metric("brigade_price_table_age_seconds", [], "Age of the price table.");
pub(crate) const LOG_LINES_DROPPED: Metric<0> = metric(
    "brigade_log_lines_dropped_total",
    [],
    "Log lines that were dropped because the log was not read fast enough.",
);
pub(crate) const STORE_FAILING: Metric<0> =
    metric("brigade_store_failing", [], "1 while the store cannot be written, also because another program locks it.");
pub(crate) const STORE_LOST: Metric<0> =
    metric("brigade_store_writes_lost_total", [], "Events and messages that could not be stored. Cost is never lost.");
pub(crate) const KEYS_FORGOTTEN: Metric<0> = metric(
    "brigade_idempotency_keys_forgotten_total",
    [],
    "Idempotency keys that were forgotten because there is no store. A request with such a key runs again.",
);
pub(crate) const WEBHOOK_FAILED: Metric<0> = metric(
    "brigade_webhook_messages_failed_total",
    [],
    "Messages about calls that wait for an approval that the webhook's receiver did not get.",
);
pub(crate) const SERIES_DROPPED: Metric<0> =
    metric("brigade_metric_samples_dropped_total", [], "Samples that were dropped because there were too many series.");

/// The upper bounds of the buckets of every histogram. Without them the exporter would write summaries, which cannot be
/// summed over several processes.
pub(crate) const BUCKETS: [(&str, &[f64]); 11] = [
    (INFERENCE_DURATION.name, &CALL_SECONDS),
    (OPERATION_DURATION.name, &CALL_SECONDS),
    (INFERENCE_FIRST_CHUNK.name, &CALL_SECONDS),
    (OPERATION_FIRST_CHUNK.name, &CALL_SECONDS),
    (EXECUTE_TOOL.name, &CALL_SECONDS),
    (TOKEN_USAGE.name, &TOKEN_COUNTS),
    (INVOKE_AGENT.name, &RUN_SECONDS),
    (RUN_DURATION.name, &RUN_SECONDS),
    (RATE_LIMIT_WAIT.name, &[0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0]),
    (OVERHEAD.name, &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0]),
    (TURNS.name, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0, 50.0, 100.0]),
];

/// The buckets that the conventions recommend for model calls, and more of them up to the default deadline of a run:
/// reasoning takes minutes, and a worker is a tool.
const CALL_SECONDS: [f64; 18] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
    900.0,
];

/// The buckets that the conventions recommend for tokens of one call: powers of four.
const TOKEN_COUNTS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Up to twice the default deadline of a run, which is 900 s.
const RUN_SECONDS: [f64; 13] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1_800.0];
