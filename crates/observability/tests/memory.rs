//! The memory of metrics does not grow with the number of samples. The test has a process of its own, so that nothing
//! else allocates.

use std::time::Duration;

use brigade_core::{Event, ModelId, Observer, Run};
use brigade_observability::{Metrics, MetricsConfig};

/// The resident memory of this process, on systems that report it.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4_096)
}

#[tokio::test(start_paused = true)]
async fn a_million_samples_leave_memory_flat() {
    if resident_bytes().is_none() {
        brigade_core::testing::skip_test("memory of metrics", "there is no /proc/self/statm");
        return;
    }
    let model = ModelId::new("openai", "gpt-5-mini");
    let handle = Metrics::local(&MetricsConfig::default().model(model.clone())).unwrap();
    let (observer, run) = (handle.observer(), Run::new());
    let event = Event::AttemptEnded { model, error: None, charge: None, elapsed: Duration::from_secs(1) };
    let mut after_warm_up = 0;
    for round in 0..100 {
        for _ in 0..10_000 {
            observer.on_event(&run, &event);
        }
        // Time is paused, so the upkeep runs now.
        tokio::time::sleep(Duration::from_secs(6)).await;
        if round == 20 {
            after_warm_up = resident_bytes().unwrap();
        }
    }
    let grown = resident_bytes().unwrap().saturating_sub(after_warm_up);
    // Unfolded, eighty rounds would be 800,000 samples of 16 bytes.
    assert!(grown < 2_000_000, "{grown} bytes");
    assert!(handle.render().contains("gen_ai_client_inference_duration_seconds_count"));
}
