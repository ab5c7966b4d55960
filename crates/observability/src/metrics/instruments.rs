//! All metrics, ready to be recorded.

use std::sync::Arc;

use brigade_core::Usage;
use metrics::{Counter, Gauge, Histogram};

use super::{
    labels::{LabelValue, ModelLabels},
    metrics::to_gauge,
    names,
    series::{Family, Registry},
};
use crate::Convention;

/// The metrics that [`Metrics`](super::metrics::Metrics) records. The number of each family is its number of labels.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) inference_duration: Family<4, Histogram>,
    pub(crate) first_chunk: Family<3, Histogram>,
    pub(crate) tokens: Tokens,
    pub(crate) invoke_agent: Family<2, Histogram>,
    pub(crate) execute_tool: Family<2, Histogram>,
    pub(crate) cost: Family<4, Counter>,
    pub(crate) runs: Family<2, Counter>,
    pub(crate) run_duration: Family<1, Histogram>,
    pub(crate) overhead: Family<1, Histogram>,
    pub(crate) turns: Family<1, Histogram>,
    pub(crate) runs_in_flight: Family<1, Gauge>,
    pub(crate) runs_waiting: Family<0, Gauge>,
    pub(crate) attempts: Family<3, Counter>,
    pub(crate) retries: Family<1, Counter>,
    pub(crate) retries_suppressed: Family<1, Counter>,
    pub(crate) fallbacks: Family<3, Counter>,
    pub(crate) breaker_state: Family<2, Gauge>,
    pub(crate) rate_limit_wait: Family<2, Histogram>,
    pub(crate) rate_limit_remaining: Family<3, Gauge>,
    pub(crate) tool_calls: Family<2, Counter>,
    pub(crate) worker_failures: Family<2, Counter>,
    pub(crate) loops: Family<1, Counter>,
    pub(crate) budget_refusals: Family<2, Counter>,
    pub(crate) budget_warnings: Family<2, Counter>,
    pub(crate) usage_missing: Family<2, Counter>,
    pub(crate) wire_quirks: Family<1, Counter>,
    pub(crate) degraded: Family<1, Counter>,
    pub(crate) request_errors: Family<1, Counter>,
    pub(crate) approvals_pending: Family<0, Gauge>,
    pub(crate) approvals_answered: Family<1, Counter>,
    pub(crate) budget_limit: Family<1, Gauge>,
    pub(crate) budget_remaining: Family<1, Gauge>,
    pub(crate) price_table_age: Family<0, Gauge>,
    pub(crate) log_lines_dropped: Family<0, Counter>,
    pub(crate) store_failing: Family<0, Gauge>,
    pub(crate) store_lost: Family<0, Counter>,
    pub(crate) keys_forgotten: Family<0, Counter>,
    pub(crate) webhook_failed: Family<0, Counter>,
}

/// Token metrics of one convention.
#[derive(Debug)]
pub(crate) enum Tokens {
    /// A counter for each kind.
    Counters(Box<TokenCounters>),
    /// One histogram with the kind as a label.
    Histogram(Family<4, Histogram>),
}

/// A counter for each kind of token.
#[derive(Debug)]
pub(crate) struct TokenCounters {
    input: Family<3, Counter>,
    output: Family<3, Counter>,
    cache_read: Family<3, Counter>,
    cache_write: Family<3, Counter>,
    reasoning: Family<3, Counter>,
}

/// The conventions' name of a model call.
pub(crate) const CHAT: LabelValue = "chat";

impl Instruments {
    pub(crate) fn new(registry: &Arc<Registry>, convention: Convention) -> Self {
        let (duration, first_chunk) = match convention {
            Convention::ClientInference => (names::INFERENCE_DURATION, names::INFERENCE_FIRST_CHUNK),
            Convention::ClientOperation => (names::OPERATION_DURATION, names::OPERATION_FIRST_CHUNK),
        };
        Self {
            inference_duration: registry.family(duration),
            first_chunk: registry.family(first_chunk),
            tokens: Tokens::new(registry, convention),
            invoke_agent: registry.family(names::INVOKE_AGENT),
            execute_tool: registry.family(names::EXECUTE_TOOL),
            cost: registry.family(names::COST),
            runs: registry.family(names::RUNS),
            run_duration: registry.family(names::RUN_DURATION),
            overhead: registry.family(names::OVERHEAD),
            turns: registry.family(names::TURNS),
            runs_waiting: registry.family(names::RUNS_WAITING),
            runs_in_flight: registry.family(names::RUNS_IN_FLIGHT),
            attempts: registry.family(names::ATTEMPTS),
            retries: registry.family(names::RETRIES),
            retries_suppressed: registry.family(names::RETRIES_SUPPRESSED),
            fallbacks: registry.family(names::FALLBACKS),
            breaker_state: registry.family(names::BREAKER_STATE),
            rate_limit_wait: registry.family(names::RATE_LIMIT_WAIT),
            rate_limit_remaining: registry.family(names::RATE_LIMIT_REMAINING),
            tool_calls: registry.family(names::TOOL_CALLS),
            worker_failures: registry.family(names::WORKER_FAILURES),
            loops: registry.family(names::LOOPS),
            budget_refusals: registry.family(names::BUDGET_REFUSALS),
            budget_warnings: registry.family(names::BUDGET_WARNINGS),
            usage_missing: registry.family(names::USAGE_MISSING),
            wire_quirks: registry.family(names::WIRE_QUIRKS),
            degraded: registry.family(names::DEGRADED),
            request_errors: registry.family(names::REQUEST_ERRORS),
            approvals_pending: registry.family(names::APPROVALS_PENDING),
            approvals_answered: registry.family(names::APPROVALS_ANSWERED),
            budget_limit: registry.family(names::BUDGET_LIMIT),
            budget_remaining: registry.family(names::BUDGET_REMAINING),
            price_table_age: registry.family(names::PRICE_TABLE_AGE),
            log_lines_dropped: registry.family(names::LOG_LINES_DROPPED),
            store_failing: registry.family(names::STORE_FAILING),
            store_lost: registry.family(names::STORE_LOST),
            keys_forgotten: registry.family(names::KEYS_FORGOTTEN),
            webhook_failed: registry.family(names::WEBHOOK_FAILED),
        }
    }
}

impl Tokens {
    fn new(registry: &Arc<Registry>, convention: Convention) -> Self {
        match convention {
            Convention::ClientOperation => Self::Histogram(registry.family(names::TOKEN_USAGE)),
            Convention::ClientInference => Self::Counters(Box::new(TokenCounters {
                input: registry.family(names::INPUT_TOKENS),
                output: registry.family(names::OUTPUT_TOKENS),
                cache_read: registry.family(names::CACHE_READ_TOKENS),
                cache_write: registry.family(names::CACHE_WRITE_TOKENS),
                reasoning: registry.family(names::REASONING_TOKENS),
            })),
        }
    }

    /// Counts the tokens of a call. A part that the provider did not report makes no series, not even one at zero.
    pub(crate) fn record(&self, model: ModelLabels, usage: &Usage) {
        let ModelLabels { provider, model, .. } = model;
        match self {
            Self::Counters(counters) => counters.count([CHAT, provider, model], usage),
            Self::Histogram(histogram) => {
                for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
                    histogram.with([CHAT, provider, model, kind]).record(to_gauge(tokens));
                }
            }
        }
    }
}

impl TokenCounters {
    fn count(&self, labels: [LabelValue; 3], usage: &Usage) {
        let parts = [
            (&self.input, Some(usage.input_tokens)),
            (&self.output, Some(usage.output_tokens)),
            (&self.cache_read, usage.cache_read_tokens),
            (&self.cache_write, usage.cache_write_tokens),
            (&self.reasoning, usage.reasoning_tokens),
        ];
        for (family, tokens) in parts {
            if let Some(tokens) = tokens {
                family.with(labels).increment(tokens);
            }
        }
    }
}
