//! Enforced rate limits.

use std::time::Duration;

use brigade_rehearsal::{SimulatedRateLimits, Simulator, WireDialect};

use crate::support::{chat_request, post_in_memory};

#[tokio::test(start_paused = true)]
async fn a_rejected_call_learns_when_to_retry_and_then_succeeds() {
    let limits = SimulatedRateLimits::default().requests_per_minute(2);
    for dialect in [WireDialect::OpenaiChat, WireDialect::Anthropic] {
        let simulator = Simulator::builder().rate_limits(limits).build();
        let body = chat_request(dialect, "x");
        for _ in 0..2 {
            assert_eq!(post_in_memory(&simulator, dialect, &body).await.unwrap().status, 200);
        }
        let refused = post_in_memory(&simulator, dialect, &body).await.unwrap();
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("retry-after"), "30");
        let remaining = match dialect {
            WireDialect::Anthropic => "anthropic-ratelimit-requests-remaining",
            _ => "x-ratelimit-remaining-requests",
        };
        assert_eq!(refused.header(remaining), "0");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(post_in_memory(&simulator, dialect, &body).await.unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn openai_counts_requested_tokens_and_anthropic_only_the_input() {
    let limits = SimulatedRateLimits::default().tokens_per_minute(1500);
    let simulator = Simulator::builder().rate_limits(limits).build();
    let mut chat = chat_request(WireDialect::OpenaiChat, "x");
    chat["max_completion_tokens"] = serde_json::json!(1000);
    let messages = chat_request(WireDialect::Anthropic, "x");
    for (dialect, body, status) in [
        (WireDialect::OpenaiChat, &chat, 200),
        (WireDialect::OpenaiChat, &chat, 429),
        (WireDialect::Anthropic, &messages, 200),
        (WireDialect::Anthropic, &messages, 200),
    ] {
        let answer = post_in_memory(&simulator, dialect, body).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn an_openai_reset_is_a_go_duration() {
    let limits = SimulatedRateLimits::default().requests_per_minute(60);
    let simulator = Simulator::builder().rate_limits(limits).build();
    let answer =
        post_in_memory(&simulator, WireDialect::OpenaiChat, &chat_request(WireDialect::OpenaiChat, "x")).await.unwrap();
    assert_eq!(answer.header("x-ratelimit-reset-requests"), "1s");
    assert_eq!(answer.header("x-ratelimit-limit-requests"), "60");
}
