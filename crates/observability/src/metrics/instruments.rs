//! All metrics, ready to be recorded.

use brigade_core::Usage;
use metrics::{Counter, Gauge, Histogram};

use super::{
    metrics::lossy,
    names,
    series::{Family, Series},
    vocabulary::{ModelTerms, Value},
};
use crate::Convention;

/// All metrics that follow from the events of runs.
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
    pub(crate) request_errors: Family<1, Counter>,
}

/// Tokens, as the chosen convention wants them.
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

/// The name of the operation in the conventions.
pub(crate) const CHAT: Value = Value::Word("chat");

impl Instruments {
    pub(crate) fn new(all: &Series, convention: Convention) -> Self {
        let (duration, first_chunk) = match convention {
            Convention::ClientInference => (names::INFERENCE_DURATION, names::INFERENCE_FIRST_CHUNK),
            Convention::ClientOperation => (names::OPERATION_DURATION, names::OPERATION_FIRST_CHUNK),
        };
        Self {
            inference_duration: all.family(duration),
            first_chunk: all.family(first_chunk),
            tokens: Tokens::new(all, convention),
            invoke_agent: all.family(names::INVOKE_AGENT),
            execute_tool: all.family(names::EXECUTE_TOOL),
            cost: all.family(names::COST),
            runs: all.family(names::RUNS),
            run_duration: all.family(names::RUN_DURATION),
            overhead: all.family(names::OVERHEAD),
            turns: all.family(names::TURNS),
            runs_in_flight: all.family(names::RUNS_IN_FLIGHT),
            attempts: all.family(names::ATTEMPTS),
            retries: all.family(names::RETRIES),
            retries_suppressed: all.family(names::RETRIES_SUPPRESSED),
            fallbacks: all.family(names::FALLBACKS),
            breaker_state: all.family(names::BREAKER_STATE),
            rate_limit_wait: all.family(names::RATE_LIMIT_WAIT),
            rate_limit_remaining: all.family(names::RATE_LIMIT_REMAINING),
            tool_calls: all.family(names::TOOL_CALLS),
            worker_failures: all.family(names::WORKER_FAILURES),
            loops: all.family(names::LOOPS),
            budget_refusals: all.family(names::BUDGET_REFUSALS),
            budget_warnings: all.family(names::BUDGET_WARNINGS),
            usage_missing: all.family(names::USAGE_MISSING),
            wire_quirks: all.family(names::WIRE_QUIRKS),
            request_errors: all.family(names::REQUEST_ERRORS),
        }
    }
}

impl Tokens {
    fn new(all: &Series, convention: Convention) -> Self {
        match convention {
            Convention::ClientOperation => Self::Histogram(all.family(names::TOKEN_USAGE)),
            Convention::ClientInference => Self::Counters(Box::new(TokenCounters {
                input: all.family(names::INPUT_TOKENS),
                output: all.family(names::OUTPUT_TOKENS),
                cache_read: all.family(names::CACHE_READ_TOKENS),
                cache_write: all.family(names::CACHE_WRITE_TOKENS),
                reasoning: all.family(names::REASONING_TOKENS),
            })),
        }
    }

    /// Counts what a call used. What the provider did not report is not counted as zero: it makes no series.
    pub(crate) fn record(&self, all: &Series, model: ModelTerms, usage: &Usage) {
        match self {
            Self::Counters(counters) => counters.count(all, [CHAT, model.provider, model.model], usage),
            Self::Histogram(histogram) => {
                for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
                    let labels = [CHAT, model.provider, model.model, Value::Word(kind)];
                    histogram.with(all, labels).record(lossy(tokens));
                }
            }
        }
    }
}

impl TokenCounters {
    fn count(&self, all: &Series, labels: [Value; 3], usage: &Usage) {
        let kinds = [
            (&self.input, Some(usage.input_tokens)),
            (&self.output, Some(usage.output_tokens)),
            (&self.cache_read, usage.cache_read_tokens),
            (&self.cache_write, usage.cache_write_tokens),
            (&self.reasoning, usage.reasoning_tokens),
        ];
        for (family, tokens) in kinds {
            if let Some(tokens) = tokens {
                family.with(all, labels).increment(tokens);
            }
        }
    }
}
