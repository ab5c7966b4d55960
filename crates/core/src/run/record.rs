//! Events as run logs and stores keep them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Event, Run, RunId, TraceId};

/// An event with its time and its run: a line of a run log, or a row of a store.
///
/// As JSON it is one flat object:
/// `{"at": "2026-11-22T14:03:01.123456Z", "trace": "…", "run": "…", "agent": "desk", "event": "run_started"}`. It contains
/// error messages and names written by the model unchanged, so mask credentials before you write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct EventRecord {
    /// When the record was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The trace of the request.
    pub trace: TraceId,
    /// The run that emitted the event: one agent's part of the request.
    pub run: RunId,
    /// The agent's path.
    pub agent: Arc<str>,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

impl EventRecord {
    /// A record of an event of `run`, made now. The event must be one that [is stored](Event::is_stored).
    pub fn new(run: &Run, event: Event) -> Self {
        Self::stored(Timestamp::now(), run.trace(), run.id(), Arc::clone(run.agent()), event)
    }

    /// A record that was made before, with the values of its fields.
    pub fn stored(at: Timestamp, trace: TraceId, run: RunId, agent: Arc<str>, event: Event) -> Self {
        Self { at, trace, run, agent, event }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{ModelErrorKind, testing::all_events};

    /// The JSON of an event; absent if it is not stored.
    fn json_of(event: &Event) -> Option<Value> {
        event.is_stored().then(|| serde_json::to_value(event).unwrap())
    }

    #[test]
    fn every_event_has_a_stable_json_form_or_is_not_stored() {
        let expected = json!([
            {"event": "run_started"},
            {"event": "resumed", "steps": 4, "saved": "0.01"},
            {"event": "turn_started", "turn": 1, "model": "openai/gpt-5-mini"},
            {"event": "rate_limit_waited", "model": "openai/gpt-5-mini", "waited_us": 1_000_000},
            {"event": "attempt_started", "model": "openai/gpt-5-mini"},
            null, // deltas are content
            {"event": "attempt_ended", "model": "openai/gpt-5-mini", "error": null, "charge": {
                "certainty": "charged",
                "usage": {
                    "input_tokens": 100,
                    "output_tokens": 10,
                    "cache_read_tokens": 60,
                    "cache_write_tokens": 20,
                    "reasoning_tokens": 5,
                },
                "cost": "1.500000001",
            }, "elapsed_us": 1_000_000},
            {"event": "retrying", "model": "openai/gpt-5-mini", "attempt": 2, "reason": "overloaded",
                "delay_us": 1_000_000},
            {"event": "reply_restarted"},
            {"event": "retry_suppressed", "model": "openai/gpt-5-mini", "reason": "overloaded"},
            {"event": "breaker_changed", "model": "openai/gpt-5-mini", "state": "open"},
            {"event": "fell_back", "from": "openai/gpt-5-mini", "to": "anthropic/claude-sonnet-4-5",
                "reason": "overloaded"},
            null, // rate limits come with every answer
            {"event": "wire_quirk", "provider": "openai", "kind": "unknown_event"},
            {"event": "turn_ended", "turn": 1, "model": "openai/gpt-5-mini",
                "served": "gpt-5-mini-2025-08-07", "usage": null, "cost": null,
                "stop": "tool_calls", "tool_calls": 2, "elapsed_us": 1_000_000},
            {"event": "tool_started", "tool": "lookup", "call_id": "1"},
            {"event": "tool_ended", "tool": "lookup", "call_id": "1", "outcome": "timeout",
                "reason": "no answer within 30s", "elapsed_us": 1_000_000},
            {"event": "unknown_tool", "name": "rm -rf"},
            {"event": "worker_failed", "worker": "critic", "policy": "fallback", "reason": "late"},
            {"event": "loop_noticed", "kind": "tool_call", "count": 3},
            {"event": "trimmed", "hidden": 2, "tokens_before": 9, "tokens_after": 3},
            {"event": "answer_rejected", "attempt": 1}, // the reason may quote the answer
            {"event": "handed_off", "to": "critic"},
            {"event": "degraded", "part": "session", "reason": "disk full"},
            {"event": "budget_warning", "scope": "process", "quantity": "turns", "limit": "9 of 10 turns"},
            {"event": "budget_refused", "scope": "process", "quantity": "turns", "limit": "10 of 10 turns"},
            {"event": "run_ended", "stop": "finished", "turns": 2,
                "usage": {"input_tokens": 100, "output_tokens": 10}, "cost": "1.500000001", "elapsed_us": 1_000_000},
            {"event": "run_failed", "error": "overloaded", "message": "no capacity", "elapsed_us": 1_000_000},
            {"event": "run_waiting", "reason": "`refund` waits for an approval (step `1/tool:1`)",
                "elapsed_us": 1_000_000},
        ]);
        assert_eq!(json!(all_events().iter().map(json_of).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_record_reads_back() {
        for event in all_events().into_iter().filter(Event::is_stored) {
            let record = EventRecord::new(&Run::new(), event);
            let line = serde_json::to_string(&record).unwrap();
            let read: EventRecord = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), line);
            assert_eq!((read.at, read.trace, read.run), (record.at, record.trace, record.run));
        }
        for kind in ModelErrorKind::ALL {
            assert_eq!(serde_json::from_value::<ModelErrorKind>(json!(kind.name())).unwrap(), kind);
        }
    }

    #[test]
    fn a_budget_event_of_an_old_version_reads_without_its_scope() {
        let line = json!({"event": "budget_refused", "limit": "the usd budget of the run is used up"});
        let event: Event = serde_json::from_value(line).unwrap();
        let limit = "the usd budget of the run is used up".into();
        assert_eq!(event, Event::BudgetRefused { scope: "".into(), quantity: None, limit });
    }
}
