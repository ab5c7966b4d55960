//! The ledger under every interleaving of its threads that loom can find: `cargo xtask ci --only interleavings`.

#![cfg(brigade_loom)]

use brigade_core::{Budget, Certainty, Charge, Estimate, Ledger, ModelId, Money, Rates, Spender, Usage};
use loom::thread;

/// A cent for each output token.
const CENT: Money = Money::from_nano(10_000_000);

fn spender() -> Spender {
    Spender { agent: "clerk".into(), model: ModelId::new("acme", "m") }
}

/// A call of ten cents that cannot be made smaller.
fn ten_cents() -> Estimate {
    let rates = Rates { call: CENT.times(10), ..Rates::default() };
    Estimate { rates: Some(rates), ..Estimate::default() }
}

fn ten_cents_charged() -> Charge {
    Charge { certainty: Certainty::Charged, usage: Usage::new(1, 1), cost: Some(CENT.times(10)) }
}

/// Reserves and settles, or is refused. Answers whether it was admitted.
fn spend(account: &Ledger) -> bool {
    match account.reserve(spender(), ten_cents(), true) {
        Ok(hold) => {
            assert!(account.reserved() >= CENT.times(10));
            hold.settle(&ten_cents_charged());
            true
        }
        Err(_) => false,
    }
}

#[test]
fn two_runs_never_share_what_is_enough_for_one() {
    loom::model(|| {
        let key = Ledger::root("key", Budget::unlimited().money(CENT.times(15)));
        let runs = [key.itemised_child("one", Budget::unlimited()), key.itemised_child("two", Budget::unlimited())];
        let threads = runs.map(|run| thread::spawn(move || spend(&run)));
        let admitted = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(admitted.filter(|admitted| *admitted).count(), 1);
        assert_eq!((key.spending().charged, key.outstanding()), (CENT.times(10), 0));
    });
}

#[test]
fn a_reservation_that_is_dropped_while_another_is_made_leaves_nothing_reserved() {
    loom::model(|| {
        let key = Ledger::root("key", Budget::unlimited().money(CENT.times(25)));
        let run = key.itemised_child("run", Budget::unlimited());
        let other = run.child("worker", Budget::unlimited());
        let drops = thread::spawn(move || drop(other.reserve(spender(), ten_cents(), true)));
        assert!(spend(&run), "there is enough for both");
        drops.join().unwrap();
        assert_eq!((key.reserved(), key.outstanding()), (Money::ZERO, 0));
        assert_eq!(key.spending().total(), run.spending().total(), "what a run spent, its key has spent");
    });
}

#[test]
fn nobody_waits_for_somebody_who_waits_for_him() {
    loom::model(|| {
        let key = Ledger::root("key", Budget::unlimited().turns(3));
        let run = key.itemised_child("run", Budget::unlimited());
        let worker = run.child("worker", Budget::unlimited());
        let below = thread::spawn(move || (worker.take_turn().is_ok(), worker.headroom(false)));
        let above = (run.take_turn().is_ok(), run.headroom(false), key.take_turn().is_ok());
        assert!(below.join().unwrap().0 && above.0 && above.2);
        assert!(key.take_turn().is_err());
    });
}
