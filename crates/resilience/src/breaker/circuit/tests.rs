use tokio::time::advance;

use super::*;
use crate::testing::seconds;

fn circuit() -> Circuit {
    Circuit::new(BreakerSettings::default(), Arc::new(Jitter::seeded(1)))
}

fn call(circuit: &Circuit, verdict: Verdict) -> Option<BreakerState> {
    let (pass, _) = circuit.enter().unwrap();
    pass.judge(verdict, None)
}

const FAILS: Verdict = Verdict::Fails(None);

/// Opens it with seven failures.
fn opened() -> Circuit {
    let circuit = circuit();
    for _ in 0..6 {
        assert_eq!(call(&circuit, FAILS), None);
    }
    assert_eq!(call(&circuit, FAILS), Some(BreakerState::Open));
    circuit
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_seven_failures_in_a_row() {
    assert_eq!(opened().state(), BreakerState::Open);
    let circuit = circuit();
    for _ in 0..6 {
        call(&circuit, FAILS);
    }
    call(&circuit, Verdict::Works);
    advance(seconds(30)).await;
    for _ in 0..6 {
        assert_eq!(call(&circuit, FAILS), None, "the row was broken");
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_when_half_of_ten_calls_in_thirty_seconds_failed() {
    let circuit = circuit();
    for _ in 0..4 {
        call(&circuit, Verdict::Works);
        assert_eq!(call(&circuit, FAILS), None);
    }
    call(&circuit, Verdict::Works);
    assert_eq!(call(&circuit, FAILS), Some(BreakerState::Open));

    let circuit = self::circuit();
    for _ in 0..4 {
        call(&circuit, FAILS);
    }
    advance(seconds(31)).await;
    for _ in 0..6 {
        call(&circuit, Verdict::Works);
        call(&circuit, Verdict::Works);
        assert_eq!(call(&circuit, FAILS), None, "the old failures do not count");
    }
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_twice_as_long_after_each_failed_probe_up_to_a_minute() {
    let circuit = opened();
    for rest in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        advance(Duration::from_millis(rest - 1)).await;
        assert!(circuit.enter().is_err(), "not before {rest} ms");
        advance(Duration::from_millis(rest / 5 + 1)).await;
        assert_eq!(call(&circuit, FAILS), Some(BreakerState::Open), "a fifth later at the most");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_probe_that_worked_it_starts_afresh() {
    let circuit = opened();
    advance(seconds(2)).await;
    assert_eq!(call(&circuit, Verdict::Works), Some(BreakerState::Closed));
    for _ in 0..6 {
        assert_eq!(call(&circuit, FAILS), None);
    }
    assert_eq!(call(&circuit, FAILS), Some(BreakerState::Open));
    advance(Duration::from_millis(1_200)).await;
    assert!(circuit.enter().is_ok(), "the first rest is short again");
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_exactly_one_probe() {
    let circuit = opened();
    advance(seconds(2)).await;
    let (probe, changed) = circuit.enter().unwrap();
    assert_eq!(changed, Some(BreakerState::HalfOpen));
    for _ in 0..100 {
        assert_eq!(circuit.enter().unwrap_err(), Some(seconds(1)));
    }
    drop(probe);
    let (_probe, changed) = circuit.enter().unwrap();
    assert_eq!(changed, None, "an abandoned probe leaves its place to another");
    assert!(circuit.enter().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_began_before_a_change_has_no_say_after_it() {
    let circuit = circuit();
    let (slow, _) = circuit.enter().unwrap();
    let (slower, _) = circuit.enter().unwrap();
    let slowest: Vec<_> = (0..7).map(|_| circuit.enter().unwrap().0).collect();
    for _ in 0..7 {
        call(&circuit, FAILS);
    }
    assert_eq!(slow.judge(Verdict::Works, None), None);
    assert_eq!(circuit.state(), BreakerState::Open);
    advance(seconds(2)).await;
    let (probe, _) = circuit.enter().unwrap();
    drop(slower);
    assert!(circuit.enter().is_err(), "the probe still runs");
    assert_eq!(probe.judge(Verdict::Works, None), Some(BreakerState::Closed));
    for pass in slowest {
        assert_eq!(pass.judge(FAILS, None), None);
    }
    assert_eq!(circuit.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_providers_word_keeps_it_open_longer_but_not_for_good() {
    let circuit = circuit();
    for _ in 0..7 {
        call(&circuit, Verdict::Fails(Some(seconds(40))));
    }
    advance(seconds(39)).await;
    assert_eq!(circuit.enter().unwrap_err(), Some(seconds(1)));
    advance(seconds(1)).await;
    call(&circuit, Verdict::Fails(Some(Duration::MAX)));
    advance(Duration::from_mins(15)).await;
    assert!(circuit.enter().is_ok());
}

#[tokio::test(start_paused = true)]
async fn opened_by_hand_it_waits_for_a_hand() {
    let circuit = circuit();
    circuit.open();
    advance(Duration::from_hours(100)).await;
    assert_eq!(circuit.enter().unwrap_err(), None);
    circuit.close();
    assert!(circuit.enter().is_ok());
}
