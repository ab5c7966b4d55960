//! The ledger under every interleaving of its threads that loom can find: `cargo xtask ci --only interleavings`.

#![cfg(brigade_loom)]

use brigade_core::{Budget, BudgetExceeded, Certainty, Charge, Estimate, Hold, Ledger, ModelId, Money, Rates, Usage};
use loom::thread;

/// A cent for each output token.
const CENT: Money = Money::from_cents(1);

fn reserve(account: &Ledger) -> Result<Hold, BudgetExceeded> {
    account.reserve(&"clerk".into(), &ModelId::new("acme", "m"), ten_cents(), true)
}

/// A call of ten cents that cannot be made smaller.
fn ten_cents() -> Estimate {
    Estimate::new(0, 0).rates(Rates::default().call(CENT.times(10)))
}

fn ten_cents_charged() -> Charge {
    Charge::new(Certainty::Charged, Usage::new(1, 1), Some(CENT.times(10)))
}

/// Reserves and settles a call. Returns whether it was admitted.
fn spend(account: &Ledger) -> bool {
    match reserve(account) {
        Ok(hold) => {
            assert!(account.reserved() >= CENT.times(10));
            hold.settle(&ten_cents_charged());
            true
        }
        Err(_) => false,
    }
}

#[test]
fn money_for_one_call_admits_one_of_two_runs() {
    loom::model(|| {
        let key = Ledger::root("key", Budget::unlimited().money(CENT.times(15)));
        let runs = [key.child_for_run("one", Budget::unlimited()), key.child_for_run("two", Budget::unlimited())];
        let threads = runs.map(|run| thread::spawn(move || spend(&run)));
        let admitted = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(admitted.filter(|admitted| *admitted).count(), 1);
        assert_eq!((key.spending().charged, key.outstanding()), (CENT.times(10), 0));
    });
}

#[test]
fn a_hold_dropped_while_another_is_reserved_leaves_nothing_reserved() {
    loom::model(|| {
        let key = Ledger::root("key", Budget::unlimited().money(CENT.times(25)));
        let run = key.child_for_run("run", Budget::unlimited());
        let other = run.child("worker", Budget::unlimited());
        let drops = thread::spawn(move || drop(reserve(&other)));
        assert!(spend(&run), "there is enough for both");
        drops.join().unwrap();
        assert_eq!((key.reserved(), key.outstanding()), (Money::ZERO, 0));
        assert_eq!(key.spending().total(), run.spending().total(), "what a run spent, its key has spent");
    });
}

#[test]
fn callers_at_different_accounts_do_not_deadlock() {
    loom::model(|| {
        let key = Ledger::root("key", Budget::unlimited().turns(3));
        let run = key.child_for_run("run", Budget::unlimited());
        let worker = run.child("worker", Budget::unlimited());
        let below = thread::spawn(move || (worker.take_turn(false).is_ok(), worker.reserved()));
        let above = (run.take_turn(false).is_ok(), run.reserved(), key.take_turn(false).is_ok());
        assert!(below.join().unwrap().0 && above.0 && above.2);
        assert!(key.take_turn(false).is_err());
    });
}
