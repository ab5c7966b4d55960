use tokio::time::advance;

use super::*;
use crate::testing::seconds;

fn circuit() -> Circuit {
    Circuit::new(BreakerSettings::default(), Arc::new(Jitter::seeded(1)))
}

fn call(circuit: &Circuit, result: CallResult) -> Option<BreakerState> {
    circuit.request().unwrap().record(result, None)
}

const FAILURE: CallResult = CallResult::Failure { retry_after: None };

/// Opens it with seven failures.
fn opened() -> Circuit {
    let circuit = circuit();
    for _ in 0..6 {
        assert_eq!(call(&circuit, FAILURE), None);
    }
    assert_eq!(call(&circuit, FAILURE), Some(BreakerState::Open));
    circuit
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_seven_failures_in_a_row() {
    assert_eq!(opened().state(), BreakerState::Open);
    let circuit = circuit();
    for _ in 0..6 {
        call(&circuit, FAILURE);
    }
    call(&circuit, CallResult::Success);
    advance(seconds(30)).await;
    for _ in 0..6 {
        assert_eq!(call(&circuit, FAILURE), None, "the success reset the count");
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_when_half_of_ten_calls_in_thirty_seconds_failed() {
    let circuit = circuit();
    for _ in 0..4 {
        call(&circuit, CallResult::Success);
        assert_eq!(call(&circuit, FAILURE), None);
    }
    call(&circuit, CallResult::Success);
    assert_eq!(call(&circuit, FAILURE), Some(BreakerState::Open));

    let circuit = self::circuit();
    for _ in 0..4 {
        call(&circuit, FAILURE);
    }
    advance(seconds(31)).await;
    for _ in 0..6 {
        call(&circuit, CallResult::Success);
        call(&circuit, CallResult::Success);
        assert_eq!(call(&circuit, FAILURE), None, "the old failures do not count");
    }
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_twice_as_long_after_each_failed_probe_up_to_a_minute() {
    let circuit = opened();
    for rest in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        advance(Duration::from_millis(rest - 1)).await;
        assert!(circuit.request().is_err(), "not before {rest} ms");
        advance(Duration::from_millis(rest / 5 + 1)).await;
        assert_eq!(call(&circuit, FAILURE), Some(BreakerState::Open), "a fifth later at the most");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successful_probe_resets_the_open_time() {
    let circuit = opened();
    advance(seconds(2)).await;
    assert_eq!(call(&circuit, CallResult::Success), Some(BreakerState::Closed));
    for _ in 0..6 {
        assert_eq!(call(&circuit, FAILURE), None);
    }
    assert_eq!(call(&circuit, FAILURE), Some(BreakerState::Open));
    advance(Duration::from_millis(1_200)).await;
    assert!(circuit.request().is_ok(), "the first open time is short again");
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_exactly_one_probe() {
    let circuit = opened();
    advance(seconds(2)).await;
    let probe = circuit.request().unwrap();
    assert_eq!(probe.state_change, Some(BreakerState::HalfOpen));
    for _ in 0..100 {
        assert_eq!(circuit.request().unwrap_err(), CircuitOpen { retry_after: Some(seconds(1)) });
    }
    drop(probe);
    let probe = circuit.request().unwrap();
    assert_eq!(probe.state_change, None, "a dropped probe lets another call probe");
    assert!(circuit.request().is_err());
}

#[tokio::test(start_paused = true)]
async fn calls_that_began_before_a_state_change_are_ignored() {
    let circuit = circuit();
    let slow = circuit.request().unwrap();
    let slower = circuit.request().unwrap();
    let slowest: Vec<_> = (0..7).map(|_| circuit.request().unwrap()).collect();
    for _ in 0..7 {
        call(&circuit, FAILURE);
    }
    assert_eq!(slow.record(CallResult::Success, None), None);
    assert_eq!(circuit.state(), BreakerState::Open);
    advance(seconds(2)).await;
    let probe = circuit.request().unwrap();
    drop(slower);
    assert!(circuit.request().is_err(), "the probe has not ended");
    assert_eq!(probe.record(CallResult::Success, None), Some(BreakerState::Closed));
    for permit in slowest {
        assert_eq!(permit.record(FAILURE, None), None);
    }
    assert_eq!(circuit.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn retry_after_extends_the_open_time_up_to_a_maximum() {
    let circuit = circuit();
    for _ in 0..7 {
        call(&circuit, CallResult::Failure { retry_after: Some(seconds(40)) });
    }
    advance(seconds(39)).await;
    assert_eq!(circuit.request().unwrap_err(), CircuitOpen { retry_after: Some(seconds(1)) });
    advance(seconds(1)).await;
    call(&circuit, CallResult::Failure { retry_after: Some(Duration::MAX) });
    advance(Duration::from_mins(15)).await;
    assert!(circuit.request().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_manually_opened_circuit_stays_open_until_it_is_closed() {
    let circuit = circuit();
    circuit.open();
    advance(Duration::from_hours(100)).await;
    assert_eq!(circuit.request().unwrap_err(), CircuitOpen { retry_after: None });
    circuit.close();
    assert!(circuit.request().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_has_elapsed_is_half_open_without_a_call() {
    let circuit = opened();
    let Err(CircuitOpen { retry_after: Some(left) }) = circuit.request() else { panic!("it is open") };
    advance(left.saturating_sub(Duration::from_millis(1))).await;
    assert_eq!(circuit.state(), BreakerState::Open);
    advance(Duration::from_millis(1)).await;
    assert_eq!(circuit.state(), BreakerState::HalfOpen);
    // The next call is the probe, and reports the change.
    let permit = circuit.request().unwrap();
    assert_eq!(permit.state_change, Some(BreakerState::HalfOpen));
    assert_eq!(permit.record(CallResult::Success, None), Some(BreakerState::Closed));
    circuit.open();
    advance(seconds(1_000_000)).await;
    assert_eq!(circuit.state(), BreakerState::Open, "opened manually");
}

#[tokio::test(start_paused = true)]
async fn an_opening_lasts_as_long_as_requested_up_to_the_longer_of_two_bounds() {
    let minutes = |minutes: u64| seconds(60 * minutes);
    for (credential_open, requested, lasts) in [(1, 10, 10), (1, 60, 15), (60, 40, 40), (60, 90, 60)] {
        let settings = BreakerSettings::default().failures_in_row(1).credential_open(minutes(credential_open));
        for result in [
            CallResult::Failure { retry_after: Some(minutes(requested)) },
            CallResult::Block { duration: minutes(requested) },
        ] {
            let circuit = Circuit::new(settings, Arc::new(Jitter::seeded(1)));
            assert_eq!(call(&circuit, result), Some(BreakerState::Open));
            let open = circuit.request().unwrap_err();
            assert_eq!(open.retry_after, Some(minutes(lasts)), "{credential_open} {requested} {result:?}");
        }
    }
}
