//! Events without credentials.

use std::sync::Arc;

use brigade_core::Event;

use super::mask::mask;

/// Enough of a message to know what went wrong; what a provider or a model wrote may be long.
const MAX_TEXT_CHARS: usize = 500;

/// A copy of an event for storage: texts from providers, tools and models are [masked](mask()) and cut after 500
/// characters. The run log does this; give it to a store that keeps events, too.
///
/// ```
/// use brigade_core::Event;
/// use brigade_observability::mask_event;
///
/// let event = Event::UnknownTool { name: "sk-proj-abcdefghijklmnop".into() };
/// assert_eq!(mask_event(&event), Event::UnknownTool { name: "sk-[masked]".into() });
/// ```
pub fn mask_event(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::RunFailed { message, .. } => clean([message]),
        Event::ToolEnded { tool, call_id, reason: Some(reason), .. } => clean([tool, call_id, reason]),
        Event::ToolStarted { tool, call_id } | Event::ToolEnded { tool, call_id, reason: None, .. } => {
            clean([tool, call_id]);
        }
        Event::TurnEnded { served: Some(name), .. } | Event::UnknownTool { name } => clean([name]),
        Event::AnswerRejected { reason, .. } | Event::Degraded { reason, .. } | Event::RunWaiting { reason, .. } => {
            clean([reason]);
        }
        Event::BudgetRefused { limit, .. } | Event::BudgetWarning { limit, .. } => clean([limit]),
        Event::HandedOff { to } => clean([to]),
        Event::WorkerFailed { worker, reason, .. } => clean([worker, reason]),
        Event::WireQuirk { provider, .. } => clean([provider]),
        // These hold configured names and numbers only. Deltas are not stored.
        Event::RunStarted
        | Event::Resumed { .. }
        | Event::RunEnded { .. }
        | Event::TurnStarted { .. }
        | Event::TurnEnded { served: None, .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptEnded { .. }
        | Event::Delta(_)
        | Event::ReplyRestarted
        | Event::RateLimitWaited { .. }
        | Event::RateLimitsReported { .. }
        | Event::Retrying { .. }
        | Event::RetrySuppressed { .. }
        | Event::FellBack { .. }
        | Event::BreakerChanged { .. }
        | Event::Trimmed { .. }
        | Event::LoopNoticed { .. } => {}
    }
    event
}

fn clean<const N: usize>(texts: [&mut Arc<str>; N]) {
    for text in texts {
        let masked = mask(text);
        let cut = masked.char_indices().nth(MAX_TEXT_CHARS).map(|(end, _)| format!("{}…", masked.split_at(end).0));
        *text = cut.unwrap_or_else(|| masked.into_owned()).into();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brigade_core::{FinishReason, ModelId, ToolStatus};

    use super::*;

    #[test]
    fn credentials_are_masked_in_every_text() {
        const KEY: &str = "sk-proj-abcdefghijklmnop";
        let key = || Arc::from(KEY);
        for event in [
            Event::RunFailed { kind: None, message: key(), elapsed: Duration::ZERO },
            Event::RunWaiting { reason: key(), elapsed: Duration::ZERO },
            Event::ToolStarted { tool: key(), call_id: key() },
            Event::ToolEnded {
                tool: key(),
                call_id: key(),
                outcome: ToolStatus::Error,
                reason: Some(key()),
                elapsed: Duration::ZERO,
            },
            Event::TurnEnded {
                turn: 1,
                model: ModelId::new("openai", "gpt-5-mini"),
                served: Some(key()),
                usage: None,
                cost: None,
                stop: FinishReason::EndTurn,
                tool_calls: 0,
                elapsed: Duration::ZERO,
            },
            Event::UnknownTool { name: key() },
            Event::AnswerRejected { reason: key(), attempt: 1 },
            Event::Degraded { part: "session".into(), reason: key() },
            Event::BudgetRefused { scope: "process".into(), quantity: None, limit: key() },
            Event::BudgetWarning { scope: "process".into(), quantity: None, limit: key() },
            Event::HandedOff { to: key() },
            Event::WorkerFailed { worker: key(), policy: "isolate".into(), reason: key() },
            Event::WireQuirk { provider: key(), kind: "unknown_event".into() },
        ] {
            assert!(!format!("{:?}", mask_event(&event)).contains(KEY), "{event:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let event = |text: String| Event::UnknownTool { name: text.into() };
        assert_eq!(mask_event(&event("ä".repeat(501))), event("ä".repeat(500) + "…"));
        assert_eq!(mask_event(&event("ä".repeat(500))), event("ä".repeat(500)));
    }
}
