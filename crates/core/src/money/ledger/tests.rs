//! Accounting mistakes that other systems have made, and the tests that prevent them here.
//!
//! | mistake | tests |
//! |---|---|
//! | concurrent callers exceed a limit | here; scenario R36 |
//! | children of a run exceed its budget | here |
//! | a dropped future keeps its reservation | `model/metered` |
//! | a call is charged twice | here |
//! | worst-case estimates make a small budget unusable | here; `model/metered` |
//! | a model without a price is free | `model/metered` |
//! | the higher price of long prompts is not applied | observability: `prices` |
//! | cached tokens are billed twice | providers: usage of each API |
//! | usage next to the choices is ignored | providers: Chat Completions; scenario R19 |
//! | a cancelled stream is free | `model/metered`; scenario R39 |
//! | nested retries multiply | resilience; the number of requests of each scenario |
//! | one route bypasses the ledger | `agent/agent`, `agent/agent_loop` |
//! | the ledger learns of spending too late | `model/metered` |

use std::{
    cell::Cell,
    sync::{
        Barrier,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
};

use jiff::civil::{Date, date};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{Cap, ModelId, Quantity, Rate, Rates, Window, testing::fixtures::usd};

/// One dollar for a million tokens, so that a token costs 1,000 nano-dollars.
const DOLLAR: Rates = Rates::new(rate(1), rate(1));

const fn rate(usd: i64) -> Rate {
    Rate::per_million(Money::from_dollars(usd))
}

/// The tokens that count against a limit.
fn tokens(spending: &Spending) -> u64 {
    spending.usage.total_tokens() + spending.uncertain_tokens
}

fn no_set_aside() -> Budget {
    Budget::unlimited().wrap_up_percent(0)
}

/// Reserves for one agent and model.
fn reserve(ledger: &Ledger, estimate: Estimate, wrap_up: bool) -> Result<Hold, BudgetExceeded> {
    ledger.reserve(&"desk".into(), &ModelId::new("acme", "m"), estimate, wrap_up)
}

/// A call whose reservation cannot be reduced.
fn indivisible(input_tokens: u64, output_tokens: u64) -> Estimate {
    Estimate { input_tokens, output_tokens, least_output_tokens: output_tokens, rates: Some(DOLLAR) }
}

fn charged(input_tokens: u64, output_tokens: u64) -> Charge {
    let cost = Some(DOLLAR.cost(input_tokens, output_tokens));
    Charge { certainty: Certainty::Charged, usage: Usage::new(input_tokens, output_tokens), cost }
}

#[test]
fn concurrent_callers_do_not_exceed_a_limit() {
    // Each of eight threads asks for a third of the limit at the same moment.
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("0.30")));
    let (admitted, start) = (AtomicU64::new(0), Barrier::new(8));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                if let Ok(hold) = reserve(&ledger, indivisible(0, 100_000), false) {
                    admitted.fetch_add(1, Ordering::Relaxed);
                    hold.settle(&charged(0, 100_000));
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 3);
    assert_eq!(ledger.spending().charged, usd("0.30"));
}

#[test]
fn a_key_of_45_cents_admits_three_calls_of_15_cents() {
    let key = Ledger::root("process", Budget::unlimited()).child("key", Budget::unlimited().money(usd("0.45")));
    let runs: Vec<_> = (0..50).map(|_| key.child_for_run("the run", Budget::unlimited())).collect();
    let holds: Vec<_> = runs.iter().filter_map(|run| reserve(run, indivisible(50_000, 100_000), false).ok()).collect();
    assert_eq!(holds.len(), 3);
    assert_eq!(key.reserved(), usd("0.45"));
}

#[test]
fn fifty_children_of_a_run_stay_within_its_budget() {
    let run = Ledger::root("process", Budget::unlimited()).child_for_run("the run", no_set_aside().money(usd("0.10")));
    let children: Vec<_> = (0..50).map(|i| run.child(format!("worker {i}"), Budget::unlimited())).collect();
    let holds: Vec<_> = children.iter().filter_map(|child| reserve(child, indivisible(0, 9_000), false).ok()).collect();
    assert_eq!(holds.len(), 11);
    for hold in holds {
        hold.settle(&charged(0, 9_000));
    }
    assert_eq!(run.spending().charged, usd("0.099"), "the run counts each child once");
    assert!(reserve(&children[0], indivisible(0, 2_000), false).is_err());
}

#[test]
fn a_refusal_names_the_limit_and_reserves_nothing_below_it() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("0.01")));
    let run = key.child_for_run("the run", Budget::unlimited().money(usd("5")));
    let refusal = reserve(&run, indivisible(0, 20_000), false).unwrap_err();
    assert!(refusal.to_string().starts_with("the money budget of key does not cover the next call: $0.0200 needed"));
    assert_eq!((run.reserved(), run.outstanding()), (Money::ZERO, 0));
}

#[test]
fn a_refusal_says_whether_anything_is_left_and_what_to_do() {
    let advice = "; raise it, shorten the prompt, or lower `max_output_tokens`";
    for (quantity, remaining, expected) in [
        (Quantity::Usd, "$0.0100", format!("does not cover the next call: 9 needed, $0.0100 left of 9{advice}")),
        (Quantity::Tokens, "10", format!("does not cover the next call: 9 needed, 10 left of 9{advice}")),
        (Quantity::Usd, "$0.0000", "is used up: 9 needed, $0.0000 left of 9".to_owned()),
        (Quantity::Tokens, "0", "is used up: 9 needed, 0 left of 9".to_owned()),
        (Quantity::Turns, "0", "is used up: 9 needed, 0 left of 9".to_owned()),
    ] {
        let refusal = BudgetExceeded::new("key", quantity, "9", remaining, "9").to_string();
        assert_eq!(refusal, format!("the {quantity} budget of key {expected}"));
    }
}

#[test]
fn checking_a_call_reserves_nothing() {
    let key = Ledger::root("key", Budget::unlimited().tokens(10));
    let run = key.child_for_run("the run", Budget::unlimited());
    assert_eq!(run.check(indivisible(10, 0), false), Ok(()));
    assert_eq!((run.outstanding(), key.outstanding()), (0, 0));
    assert_eq!(&*run.check(indivisible(11, 0), false).unwrap_err().scope, "key");
}

#[test]
fn a_dropped_hold_charges_the_prompt_and_the_recorded_output_as_uncertain() {
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("1")));
    let mut hold = reserve(&ledger, indivisible(1_000, 50_000), false).unwrap();
    hold.record_output(70);
    drop(hold);
    assert_eq!(ledger.outstanding(), 0);
    assert_eq!(ledger.reserved(), Money::ZERO);
    assert_eq!(ledger.spending().uncertain, usd("0.00107"));
    assert_eq!((ledger.spending().usage, ledger.spending().uncertain_tokens), (Usage::default(), 1_070));
}

#[test]
fn a_dropped_hold_without_recorded_output_charges_all_that_was_reserved() {
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("1")));
    drop(reserve(&ledger, indivisible(1_000, 50_000), false).unwrap());
    assert_eq!(
        reserve(&ledger, indivisible(1_000, 50_000), false).unwrap().settle_uncertain().cost,
        Some(usd("0.051"))
    );
    assert_eq!((ledger.spending().uncertain, ledger.spending().uncertain_tokens), (usd("0.102"), 102_000));
}

#[test]
fn a_negative_cost_gives_no_money_back() {
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("1")));
    for certainty in [Certainty::Charged, Certainty::Estimated, Certainty::Uncertain] {
        let hold = reserve(&ledger, indivisible(1_000, 1_000), false).unwrap();
        hold.settle(&Charge::new(certainty, Usage::new(1_000, 10), Some(usd("-5"))));
    }
    assert_eq!((ledger.spending().total(), ledger.headroom(true).usd), (Money::ZERO, Some(usd("1"))));
}

#[test]
fn a_hold_is_settled_only_once() {
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("1")));
    let mut hold = reserve(&ledger, indivisible(1_000, 1_000), false).unwrap();
    hold.close(Some(&charged(500, 500)));
    hold.close(Some(&charged(500, 500)));
    drop(hold);
    assert_eq!(ledger.spending().total(), usd("0.001"));
    assert_eq!(ledger.spending().calls, 1);
}

#[test]
fn a_released_hold_costs_nothing() {
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("1")));
    reserve(&ledger, indivisible(1_000, 1_000), false).unwrap().release();
    assert_eq!(ledger.spending(), Spending::default());
    assert_eq!(ledger.headroom(false).usd, Some(usd("1")));
}

#[test]
fn a_large_estimate_is_reduced_to_a_small_budget() {
    let run = Ledger::root("p", Budget::unlimited()).child_for_run("the run", Budget::unlimited().money(usd("0.01")));
    let estimate = Estimate { least_output_tokens: 256, ..indivisible(1_000, 128_000) };
    let hold = reserve(&run, estimate, false).unwrap();
    // A tenth is set aside for the last answer; the prompt costs a tenth of a cent.
    assert_eq!(hold.output_tokens(), 8_000);
    assert!(reserve(&run, estimate, false).is_err(), "nothing is left for a prompt");
}

#[test]
fn workers_that_start_at_once_each_get_a_share() {
    let budget = no_set_aside().money(usd("0.064"));
    let run = Ledger::root("p", Budget::unlimited()).child_for_run("the run", budget);
    let estimate = Estimate { least_output_tokens: 256, ..indivisible(0, 128_000) };
    let workers: Vec<_> = (0..7).map(|_| run.child("worker", Budget::unlimited())).collect();
    let holds: Vec<_> = workers.iter().map(|worker| reserve(worker, estimate, false).unwrap()).collect();
    let cut: Vec<_> = holds.iter().map(Hold::output_tokens).collect();
    assert_eq!(cut, [32_000, 16_000, 8_000, 4_000, 2_000, 1_000, 500]);
}

#[test]
fn the_first_run_of_a_key_may_take_all_that_is_left() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("0.064")));
    let estimate = Estimate { least_output_tokens: 256, ..indivisible(0, 128_000) };
    let run = || key.child_for_run("the run", Budget::unlimited());
    let hold = reserve(&run(), estimate, false).unwrap();
    assert_eq!(hold.output_tokens(), 64_000);
    assert!(reserve(&run(), estimate, false).is_err());
}

#[test]
fn a_token_limit_reduces_the_estimate_like_a_money_limit() {
    let run = Ledger::root("p", Budget::unlimited()).child_for_run("r", no_set_aside().tokens(5_000));
    let estimate = Estimate { least_output_tokens: 256, rates: None, ..indivisible(1_000, 128_000) };
    let hold = reserve(&run, estimate, false).unwrap();
    assert_eq!(hold.output_tokens(), 4_000);
    let refusal = reserve(&run, estimate, false).unwrap_err();
    assert_eq!(
        (refusal.quantity, refusal.needed.as_str(), refusal.remaining.as_str()),
        (Quantity::Tokens, "1256", "0")
    );
}

#[test]
fn a_charge_counts_beyond_the_limit_and_blocks_the_next_reservation() {
    let ledger = Ledger::root("key", Budget::unlimited().money(usd("0.01")));
    reserve(&ledger, indivisible(1_000, 1_000), false).unwrap().settle(&charged(1_000, 50_000));
    assert_eq!(ledger.headroom(false).usd, Some(usd("-0.041")));
    let refusal = reserve(&ledger, indivisible(1, 0), false).unwrap_err();
    assert_eq!(refusal.remaining, "$0.0000");
    let free = Estimate { rates: Some(Rates::default()), ..indivisible(10, 10) };
    assert!(reserve(&ledger, free, false).is_ok(), "a free call fits any budget");
}

#[test]
fn only_the_run_may_use_its_share_for_a_last_answer() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("1")));
    let run = key.child_for_run("the run", Budget::unlimited().money(usd("0.10")));
    let worker = run.child("worker", Budget::unlimited());
    assert_eq!(key.headroom(false).usd, Some(usd("1")), "a key sets nothing aside");
    reserve(&run, indivisible(0, 90_000), false).unwrap().settle(&charged(0, 90_000));
    assert!(reserve(&run, indivisible(0, 1), false).is_err());
    assert!(reserve(&worker, indivisible(0, 1), true).is_err(), "the share of the run is not for a worker");
    assert!(reserve(&run, indivisible(0, 10_000), true).is_ok());
}

#[test]
fn turns_and_tool_calls_are_counted_at_all_accounts_or_at_none() {
    let key = Ledger::root("key", Budget::unlimited().turns(2).tool_calls(1));
    let (one, other) = (key.child("one", Budget::unlimited().turns(1)), key.child("other", Budget::unlimited()));
    one.take_turn(false).unwrap();
    assert_eq!(one.take_turn(false).unwrap_err().scope.as_ref(), "one");
    other.take_turn(false).unwrap();
    assert_eq!(other.take_turn(false).unwrap_err().scope.as_ref(), "key");
    other.take_tool_call(&"desk".into(), &"search".into()).unwrap();
    assert_eq!(one.take_tool_call(&"desk".into(), &"search".into()).unwrap_err().quantity, Quantity::ToolCalls);
}

#[test]
fn calls_in_flight_count_and_a_run_sets_its_last_call_aside() {
    let key = Ledger::root("key", Budget::unlimited());
    let run = key.child_for_run("the run", Budget::unlimited().model_calls(3));
    let worker = run.child("worker", Budget::unlimited());
    let ask = |ledger: &Ledger, last| reserve(ledger, indivisible(10, 10), last);
    let in_flight = ask(&worker, false).unwrap();
    ask(&run, false).unwrap().settle(&charged(10, 10));
    let refusal = ask(&worker, false).unwrap_err();
    assert_eq!((refusal.quantity, refusal.scope.as_ref()), (Quantity::ModelCalls, "the run"));
    assert!(ask(&worker, true).is_err(), "the last call is for the run");
    in_flight.release();
    ask(&worker, false).unwrap().settle(&charged(10, 10));
    ask(&run, true).unwrap().settle(&charged(10, 10));
    assert_eq!(
        ask(&run, true).unwrap_err().to_string(),
        "the model call budget of the run is used up: 1 needed, 0 left of 3"
    );
    ask(&key, false).unwrap().release();
}

#[test]
fn a_soft_limit_warns_once_per_crossing_and_refuses_nothing() {
    let soft = Budget { usd: Some(Cap::soft(usd("0.01"))), turns: Some(Cap::soft(1)), ..Budget::unlimited() };
    let key = Ledger::root("key", soft);
    let run = key.child_for_run("the run", Budget::unlimited());
    for _ in 0..3 {
        run.take_turn(false).unwrap();
        reserve(&run, indivisible(0, 8_000), false).unwrap().settle(&charged(0, 8_000));
    }
    let warnings: Vec<_> = run.take_warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "the turn budget of key is used up: 2 needed, 0 left of 1",
            "the money budget of key is used up: $0.0160 needed, $0.0000 left of $0.0100",
        ]
    );
    assert_eq!(run.take_warnings(), []);
    assert!(!run.limits_money());
}

thread_local! {
    static TODAY: Cell<Date> = const { Cell::new(Date::ZERO) };
}

fn at_dates(name: &str, budget: Budget) -> Ledger {
    let mut account = Account::new(name.into(), budget, AccountKind::Shared);
    account.today = || TODAY.get();
    Ledger::top(account)
}

#[test]
fn a_new_window_renews_the_budget_and_a_clock_set_back_does_not() {
    let month = at_dates("month", Budget::unlimited().money(usd("0.03")).per(Window::Month));
    let day = month.child("day", Budget::unlimited().money(usd("0.02")).per(Window::Day));
    let spend = || reserve(&day, indivisible(0, 20_000), false).map(|hold| hold.settle(&charged(0, 20_000)));
    TODAY.set(date(2026, 8, 31));
    spend().unwrap();
    assert_eq!(spend().unwrap_err().scope.as_ref(), "day");
    TODAY.set(date(2026, 8, 30));
    assert_eq!(spend().unwrap_err().scope.as_ref(), "day", "yesterday is over");
    TODAY.set(date(2026, 9, 1));
    spend().unwrap();
    TODAY.set(date(2026, 9, 2));
    assert_eq!(spend().unwrap_err().scope.as_ref(), "month");
    assert_eq!((day.spent_in_window(), month.spent_in_window()), (Money::ZERO, usd("0.02")));
    assert_eq!(month.spending().charged, usd("0.04"), "all spending is kept");
}

#[test]
fn calls_in_flight_count_under_a_new_budget() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("0.10")));
    let run = key.child_for_run("run", Budget::unlimited());
    let in_flight = reserve(&run, indivisible(0, 20_000), false).unwrap();
    key.set_budget(Budget::unlimited().money(usd("0.03")), Spending::default(), &Spending::default());
    assert_eq!(reserve(&key, indivisible(0, 20_000), false).unwrap_err().scope.as_ref(), "key");
    in_flight.settle(&charged(0, 20_000));
    assert_eq!(reserve(&run, indivisible(0, 20_000), false).unwrap_err().scope.as_ref(), "key");
    key.set_budget(Budget::unlimited().money(usd("0.10")), Spending::default(), &Spending::default());
    reserve(&run, indivisible(0, 20_000), false).unwrap().settle(&charged(0, 20_000));
    assert_eq!(key.spent_in_window(), usd("0.04"));
}

#[test]
fn a_new_window_counts_what_was_spent_in_it_before_and_since() {
    TODAY.set(date(2026, 8, 31));
    let key = at_dates("key", Budget::unlimited().money(usd("0.10")).per(Window::Day));
    let spend = || reserve(&key, indivisible(0, 20_000), false).map(|hold| hold.settle(&charged(0, 20_000)));
    spend().unwrap();
    let as_of = key.spending();
    // Settled after the earlier spending of the month was read.
    spend().unwrap();
    let mut of_month = as_of;
    of_month.charged = usd("0.05");
    key.set_budget(Budget::unlimited().money(usd("0.08")).per(Window::Month), of_month, &as_of);
    assert_eq!(key.spent_in_window(), usd("0.07"));
    assert!(spend().is_err());
    TODAY.set(date(2026, 9, 1));
    assert_eq!(key.spent_in_window(), Money::ZERO);
    // Without knowledge of earlier spending, all of this account counts.
    key.set_budget(Budget::unlimited().money(usd("0.10")), Spending::default(), &Spending::default());
    assert_eq!(key.spent_in_window(), usd("0.09"));
}

#[test]
fn uncertain_tokens_count_once_if_the_window_of_a_budget_changes() {
    TODAY.set(date(2026, 8, 31));
    let limit = || Budget::unlimited().tokens(10_000).wrap_up_percent(0);
    let key = at_dates("key", limit().per(Window::Day));
    drop(reserve(&key, indivisible(0, 4_000), false).unwrap());
    let as_of = key.spending();
    assert_eq!(as_of.uncertain_tokens, 4_000);
    key.set_budget(limit().per(Window::Month), as_of, &as_of);
    assert_eq!(key.headroom(false).tokens, Some(6_000));
}

#[test]
fn a_call_counts_in_the_window_in_which_it_is_settled() {
    TODAY.set(date(2026, 9, 1));
    let ledger = at_dates("key", Budget::unlimited().money(usd("0.02")).per(Window::Day));
    let hold = reserve(&ledger, indivisible(0, 20_000), false).unwrap();
    TODAY.set(date(2026, 9, 2));
    assert!(reserve(&ledger, indivisible(0, 1), false).is_err(), "a reservation outlives midnight");
    hold.settle(&charged(0, 5_000));
    assert_eq!(ledger.spent_in_window(), usd("0.005"));
}

#[test]
fn restored_spending_counts() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("1")));
    key.restore(Spending { calls: 3, charged: usd("0.6"), uncertain: usd("0.3"), ..Spending::default() });
    assert_eq!(key.headroom(false).usd, Some(usd("0.1")));
}

/// Spent and reserved money, read together.
fn committed(account: &Ledger) -> Money {
    let balance = account.0.account.balance();
    balance.spending.total() + balance.reserved_usd
}

#[test]
fn sums_are_exact_after_a_hundred_thousand_calls_on_eight_threads() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("40")));
    let most = AtomicI64::new(0);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (key, most) = (&key, &most);
            scope.spawn(move || {
                let run = key.child_for_run("run", Budget::unlimited());
                for call in 0..12_500 {
                    let Ok(hold) = reserve(&run, indivisible(100, 400), false) else { continue };
                    most.fetch_max(committed(key).nano(), Ordering::Relaxed);
                    match (call + thread) % 4 {
                        0 => hold.settle(&charged(100, 300)),
                        1 => hold.settle(&charged(100, 400)),
                        2 => hold.release(),
                        _ => drop(hold),
                    }
                }
            });
        }
    });
    let spent = key.spending();
    assert_eq!((key.outstanding(), key.reserved()), (0, Money::ZERO));
    assert!(most.into_inner() <= usd("40").nano());
    assert_eq!(spent.total(), DOLLAR.cost(tokens(&spent), 0));
    assert_eq!(spent.calls, 75_000, "the limit was never near");
}

/// An operation on the accounts of two runs with two agents each.
#[derive(Debug, Clone)]
enum Operation {
    Reserve { account: usize, input: u64, output: u64, least: u64, wrap_up: bool },
    Settle { hold: usize, input: u64, output: u64 },
    SettleUncertain { hold: usize, seen: u64 },
    Release { hold: usize },
    Drop { hold: usize },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let reserve = (0..6_usize, 0..3_000_u64, 0..9_000_u64, 0..500_u64, any::<bool>()).prop_map(
        |(account, input, output, least, wrap_up)| Operation::Reserve { account, input, output, least, wrap_up },
    );
    let operation = prop_oneof![
        4 => reserve,
        2 => (0..8_usize, 0..4_000_u64, 0..9_000_u64).prop_map(|(hold, input, output)| Operation::Settle { hold, input, output }),
        1 => (0..8_usize, 0..9_000_u64).prop_map(|(hold, seen)| Operation::SettleUncertain { hold, seen }),
        1 => (0..8_usize).prop_map(|hold| Operation::Release { hold }),
        1 => (0..8_usize).prop_map(|hold| Operation::Drop { hold }),
    ];
    vec(operation, 1..60)
}

/// A tree with limits at every level, listed from below: two agents in each of two runs, the runs, the key, the process.
fn tree() -> Vec<Ledger> {
    let capped = |text| Budget::unlimited().money(usd(text));
    let process = Ledger::root("process", capped("0.040").tokens(60_000));
    let key = process.child("key", capped("0.030"));
    let runs =
        [key.child_for_run("run 1", capped("0.020")), key.child_for_run("run 2", capped("0.015").tokens(20_000))];
    let agents = runs.iter().flat_map(|run| [run.child("a", capped("0.010")), run.child("b", Budget::unlimited())]);
    let mut accounts: Vec<_> = agents.collect();
    accounts.extend(runs);
    accounts.extend([key, process]);
    accounts
}

/// By how much charges exceeded their reservations, by account.
type Overruns = std::collections::BTreeMap<Arc<str>, (Money, u64)>;

fn add_overrun(overruns: &mut Overruns, hold: &Hold, charge: &Charge) {
    let money = (charge.cost.unwrap_or_default() - hold.estimate().cost().unwrap_or_default()).or_zero();
    let tokens = charge.usage.total_tokens().saturating_sub(hold.estimate().tokens());
    for account in hold.ledger.lineage() {
        // Both agents called "a" share an entry here, which only makes the check for them less strict.
        let sums = overruns.entry(Arc::clone(account.name())).or_default();
        *sums = (sums.0 + money, sums.1 + tokens);
    }
}

fn check_limits(accounts: &[Ledger], overruns: &Overruns) -> Result<(), TestCaseError> {
    for account in accounts {
        let (money, excess) = overruns.get(account.name()).copied().unwrap_or_default();
        if let Some(cap) = account.budget().usd {
            prop_assert!(committed(account) <= cap.limit + money, "{account:?}");
        }
        if let Some(cap) = account.budget().tokens {
            prop_assert!(tokens(&account.spending()) <= cap.limit + excess, "{account:?}");
        }
    }
    Ok(())
}

/// Applies one operation, or does nothing if it is not possible.
fn apply(accounts: &[Ledger], holds: &mut Vec<Hold>, overruns: &mut Overruns, operation: &Operation) {
    let take =
        |holds: &mut Vec<Hold>, index: usize| (!holds.is_empty()).then(|| holds.swap_remove(index % holds.len()));
    match *operation {
        Operation::Reserve { account, input, output, least, wrap_up } => {
            let estimate = Estimate { least_output_tokens: least.min(output), ..indivisible(input, output) };
            holds.extend(reserve(&accounts[account], estimate, wrap_up));
        }
        Operation::Settle { hold, input, output } => {
            if let Some(hold) = take(holds, hold) {
                add_overrun(overruns, &hold, &charged(input, output));
                hold.settle(&charged(input, output));
            }
        }
        Operation::SettleUncertain { hold, seen } => {
            if let Some(mut hold) = take(holds, hold) {
                hold.record_output(seen);
                hold.settle_uncertain();
            }
        }
        Operation::Release { hold } => drop(take(holds, hold).map(Hold::release)),
        Operation::Drop { hold } => drop(take(holds, hold)),
    }
}

proptest! {
    #[test]
    fn limits_hold_after_any_sequence_of_operations_and_nothing_stays_reserved(operations in operations()) {
        let accounts = tree();
        let (mut holds, mut overruns) = (Vec::new(), Overruns::new());
        for operation in &operations {
            apply(&accounts, &mut holds, &mut overruns, operation);
            check_limits(&accounts, &overruns)?;
        }
        drop(holds);
        for account in &accounts {
            prop_assert_eq!((account.outstanding(), account.reserved()), (0, Money::ZERO));
        }
        let [runs @ .., key, process] = &accounts[4..] else { unreachable!() };
        let sum = runs.iter().fold(Spending::default(), |mut sum, run| { sum += run.spending(); sum });
        prop_assert_eq!(key.spending(), sum);
        prop_assert_eq!(process.spending(), sum);
    }
}

#[test]
fn under_an_extra_limit_the_share_for_a_last_answer_stays_usable() {
    let run = Ledger::root("process", Budget::unlimited())
        .child_for_run("the run", Budget::unlimited().money(usd("0.10")).turns(3));
    let agent = run.with_extra_limit("desk", Budget::unlimited().money(usd("0.20")).turns(9));
    let below = agent.child("desk/critic", Budget::unlimited());
    reserve(&agent, indivisible(0, 90_000), false).unwrap().settle(&charged(0, 90_000));
    assert_eq!(agent.headroom(false).usd, Some(Money::ZERO));
    reserve(&below, indivisible(0, 10_000), true).unwrap_err();
    reserve(&agent, indivisible(0, 10_000), true).unwrap().release();
    assert_eq!(agent.summary().by_agent.len(), 1, "it keeps its own summary");

    agent.take_turn(false).unwrap();
    below.take_turn(false).unwrap();
    assert_eq!(below.take_turn(true).unwrap_err().scope.as_ref(), "the run", "the last turn is for the run");
    assert_eq!(agent.take_turn(false).unwrap_err().scope.as_ref(), "the run");
    agent.take_turn(true).unwrap();
    agent.take_turn(true).unwrap_err();
}

#[test]
fn reservations_are_counted_until_they_are_closed() {
    let key = Ledger::root("key", Budget::unlimited());
    let run = key.child_for_run("run", Budget::unlimited());
    let mut holds: Vec<_> = (0..3).map(|_| reserve(&run, indivisible(0, 1_000), false).unwrap()).collect();
    assert_eq!((run.outstanding(), key.outstanding(), key.reserved()), (3, 3, usd("0.003")));
    holds.pop().unwrap().release();
    assert_eq!((run.outstanding(), key.outstanding(), key.reserved()), (2, 2, usd("0.002")));
    drop(holds);
    assert_eq!((run.outstanding(), key.outstanding(), key.reserved()), (0, 0, Money::ZERO));
}

#[test]
fn a_new_window_counts_calls_and_tokens_from_the_moment_that_earlier_spending_was_read() {
    TODAY.set(date(2026, 8, 31));
    let key = at_dates("key", Budget::unlimited().per(Window::Day));
    let spend = |certainty| {
        let hold = reserve(&key, indivisible(100, 100), false).unwrap();
        hold.settle(&Charge::new(certainty, Usage::new(100, 20), None));
    };
    spend(Certainty::Charged);
    spend(Certainty::Uncertain);
    let as_of = key.spending();
    spend(Certainty::Charged);
    let of_month = Spending { calls: 10, usage: Usage::new(1_000, 0), uncertain_tokens: 500, ..Spending::default() };
    key.set_budget(Budget::unlimited().tokens(1_700).per(Window::Month), of_month, &as_of);
    assert_eq!(key.headroom(false).tokens, Some(1_700 - 1_000 - 500 - 120));
    // Ten calls of the month, and the one that was settled since.
    key.set_budget(Budget::unlimited().model_calls(12).per(Window::Month), Spending::default(), &as_of);
    reserve(&key, indivisible(0, 0), false).unwrap().settle(&charged(0, 0));
    assert_eq!(reserve(&key, indivisible(0, 0), false).unwrap_err().quantity, Quantity::ModelCalls);
}

#[test]
fn turns_and_calls_count_anew_in_each_window() {
    TODAY.set(date(2026, 8, 30));
    let key = at_dates("key", Budget::unlimited().turns(2).tool_calls(2).model_calls(2).tokens(20).per(Window::Day));
    let one_of_each = || {
        key.take_turn(false)?;
        key.take_tool_call(&"desk".into(), &"search".into())?;
        reserve(&key, indivisible(5, 5), false).map(|hold| hold.settle(&charged(5, 5)))
    };
    for day in [date(2026, 8, 30), date(2026, 8, 31), date(2026, 9, 1)] {
        TODAY.set(day);
        assert_eq!((one_of_each(), one_of_each()), (Ok(()), Ok(())), "{day}");
        assert_eq!(one_of_each().unwrap_err().quantity, Quantity::Turns, "{day}");
        let tool_call = key.take_tool_call(&"desk".into(), &"search".into());
        assert_eq!(tool_call.unwrap_err().quantity, Quantity::ToolCalls, "{day}");
        assert_eq!(reserve(&key, indivisible(0, 0), false).unwrap_err().quantity, Quantity::ModelCalls, "{day}");
        assert_eq!(key.headroom(false).tokens, Some(0), "{day}");
    }
}

#[test]
fn a_limit_of_one_turn_or_call_sets_none_aside_and_a_limit_of_two_sets_one_aside() {
    let process = Ledger::root("process", Budget::unlimited());
    let run = |limit| process.child_for_run("run", Budget::unlimited().turns(limit).model_calls(limit));
    for (limit, before_the_last) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        let run = run(limit);
        let taken = (0..9).take_while(|_| run.take_turn(false).is_ok()).count();
        let holds: Vec<_> = (0..9).map_while(|_| reserve(&run, indivisible(0, 1), false).ok()).collect();
        assert_eq!((taken, holds.len()), (before_the_last, before_the_last), "{limit}");
    }
    let key = process.child("key", Budget::unlimited().turns(2).model_calls(2));
    assert_eq!((0..9).take_while(|_| key.take_turn(false).is_ok()).count(), 2, "a key sets nothing aside");
    assert_eq!((0..9).map_while(|_| reserve(&key, indivisible(0, 1), false).ok()).count(), 2);
    let open_handed = process.child_for_run("run", no_set_aside().turns(2));
    assert_eq!((0..9).take_while(|_| open_handed.take_turn(false).is_ok()).count(), 2);
}

#[test]
fn a_call_that_needs_exactly_what_is_left_is_not_reduced() {
    let process = Ledger::root("process", Budget::unlimited());
    let divisible = Estimate { least_output_tokens: 1, ..indivisible(0, 10_000) };
    for budget in [no_set_aside().money(usd("0.01")), no_set_aside().tokens(10_000)] {
        let run = process.child_for_run("run", budget.clone());
        let worker = run.child("worker", Budget::unlimited());
        assert_eq!(reserve(&worker, divisible, false).unwrap().output_tokens(), 10_000, "{budget:?}");
        // It was charged as uncertain, so nothing is left, not even for the least output.
        assert!(reserve(&worker, divisible, false).is_err(), "{budget:?}");
        let other = process.child_for_run("run", budget.clone()).child("worker", Budget::unlimited());
        let larger = Estimate { output_tokens: 10_001, ..divisible };
        assert_eq!(reserve(&other, larger, false).unwrap().output_tokens(), 5_000, "{budget:?}");
    }
}

#[test]
fn the_least_output_may_take_all_that_is_left() {
    let process = Ledger::root("process", Budget::unlimited());
    for budget in [no_set_aside().money(usd("0.01")), no_set_aside().tokens(10_000)] {
        let worker = |least_output_tokens| {
            let run = process.child_for_run("run", budget.clone());
            let estimate = Estimate { least_output_tokens, ..indivisible(0, 90_000) };
            reserve(&run.child("worker", Budget::unlimited()), estimate, false).map(|hold| hold.output_tokens())
        };
        assert_eq!(worker(10_000), Ok(10_000), "{budget:?}");
        assert!(worker(10_001).is_err(), "{budget:?}");
    }
}

#[test]
fn a_soft_limit_warns_when_it_is_crossed_and_not_when_it_is_met() {
    let soft = Budget {
        usd: Some(Cap::soft(usd("0.02"))),
        tokens: Some(Cap::soft(20_000)),
        turns: Some(Cap::soft(2)),
        model_calls: Some(Cap::soft(2)),
        tool_calls: Some(Cap::soft(2)),
        ..Budget::unlimited()
    };
    let key = Ledger::root("key", soft);
    let warned = || {
        key.take_turn(false).unwrap();
        key.take_tool_call(&"desk".into(), &"search".into()).unwrap();
        reserve(&key, indivisible(0, 10_000), false).unwrap().settle(&charged(0, 10_000));
        key.take_warnings().iter().map(|warning| warning.quantity).collect::<Vec<_>>()
    };
    assert_eq!((warned(), warned()), (vec![], vec![]));
    let all = [Quantity::Turns, Quantity::ToolCalls, Quantity::Usd, Quantity::Tokens, Quantity::ModelCalls];
    assert_eq!(warned(), all);
    assert_eq!(warned(), []);
}

#[test]
fn a_hard_limit_emits_no_warning() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("0.01")).tokens(10_000));
    reserve(&key, indivisible(0, 10_000), false).unwrap().settle(&charged(0, 90_000));
    assert_eq!(key.take_warnings(), []);
}

#[test]
fn only_hard_limits_limit_spending() {
    let soft = || Budget { usd: Some(Cap::soft(usd("1"))), tokens: Some(Cap::soft(9)), ..Budget::unlimited() };
    for (budget, money, spending) in [
        (Budget::unlimited().turns(1), false, false),
        (soft(), false, false),
        (soft().tokens(9), false, true),
        (soft().money(usd("1")), true, true),
    ] {
        let run = Ledger::root("key", budget.clone()).child_for_run("run", soft());
        assert_eq!((run.limits_money(), run.limits_spending()), (money, spending), "{budget:?}");
        assert_eq!(run.headroom(true).tokens.is_some(), budget.tokens.is_some_and(|cap| !cap.soft), "{budget:?}");
    }
}

#[test]
fn the_smallest_headroom_of_all_accounts_is_left() {
    let key = Ledger::root("key", Budget::unlimited().money(usd("1")).tokens(5_000));
    let run = key.child_for_run("run", Budget::unlimited().money(usd("2")).tokens(2_000));
    assert_eq!(run.headroom(true), Headroom { usd: Some(usd("1")), tokens: Some(2_000) });
    // A tenth of the run's own limits is set aside.
    assert_eq!(run.left(), Budget::unlimited().money(usd("1")).tokens(1_800));
    let _hold = reserve(&run, indivisible(100, 200), false).unwrap();
    assert_eq!(run.left(), Budget::unlimited().money(usd("0.9997")).tokens(1_500));
    key.charge(&"desk".into(), &ModelId::new("acme", "m"), &charged(0, 2_000_000));
    assert_eq!(run.left().usd, Some(Cap::hard(Money::ZERO)), "never less than nothing");
    assert_eq!(Ledger::root("key", Budget::unlimited()).left(), Budget::unlimited());
}

#[test]
fn a_scope_is_within_an_account_only_by_identity() {
    let key = Ledger::root("a", Budget::unlimited());
    let run = key.child_for_run("a", Budget::unlimited());
    assert!(run.is_within(run.name()) && run.is_within(key.name()));
    assert!(!key.is_within(run.name()) && !run.is_within(&"a".into()));
}

#[test]
fn a_summary_has_each_spender_and_each_tool_of_the_run() {
    let key = Ledger::root("key", Budget::unlimited());
    let run = key.child_for_run("run", Budget::unlimited());
    let agent = run.child("desk", Budget::unlimited());
    for _ in 0..3 {
        agent.charge(&"desk".into(), &ModelId::new("acme", "m"), &charged(10, 20));
        agent.take_tool_call(&"desk".into(), &"search".into()).unwrap();
    }
    let summary = run.summary();
    assert_eq!(summary.total, run.spending());
    assert_eq!((summary.by_agent["desk"].calls, summary.by_agent["desk"].usage), (3, Usage::new(30, 60)));
    assert_eq!(summary.by_model["acme/m"], summary.total);
    assert_eq!(summary.by_tool["search"].calls, 3);
    for other in [key, agent] {
        let summary = other.summary();
        assert_eq!((summary.total, summary.by_agent.len(), summary.by_tool.len()), (run.spending(), 0, 0));
    }
}

#[test]
fn items_of_a_run_add_up_again_when_they_are_replayed() {
    let process = Ledger::root("process", Budget::unlimited());
    let run = process.child_for_run("run", Budget::unlimited());
    let model = ModelId::new("acme", "m");
    for _ in 0..3 {
        run.charge(&"desk".into(), &model, &charged(10, 20));
        run.take_turn(false).unwrap();
        run.take_tool_call(&"desk".into(), &"search".into()).unwrap();
    }
    let items = run.items(Some(&model));
    assert_eq!((items.total(), items.turns, items.tool_calls.len()), (run.spending(), 3, 1));

    let key = process.child("key", Budget::unlimited());
    let again = key.child_for_run("run", Budget::unlimited().turns(8).tool_calls(7));
    let agent = again.child("desk", Budget::unlimited());
    agent.replay(&items);
    agent.replay(&items);
    assert_eq!((agent.spending().calls, again.spending().calls), (6, 6));
    assert_eq!(again.spending().usage, Usage::new(60, 120));
    assert_eq!(again.summary().by_agent["desk"].calls, 6);
    assert_eq!(again.summary().by_tool["search"].calls, 6);
    assert_eq!(
        (agent.summary().by_agent.len(), agent.summary().by_tool.len()),
        (0, 0),
        "an agent keeps only the total"
    );
    assert_eq!(key.spending(), Spending::default(), "accounts above the run were charged before");
    agent.replay_turn();
    assert!(again.take_turn(false).is_err(), "seven of eight turns were made, and the last is set aside");
    again.take_tool_call(&"desk".into(), &"search".into()).unwrap();
    assert!(again.take_tool_call(&"desk".into(), &"search".into()).is_err());

    let spending = again.items(None).spending();
    assert_eq!((spending.total(), spending.turns, spending.tool_calls.len()), (again.spending(), 0, 0));
}

#[test]
fn what_is_reserved_counts_as_the_uncertain_cost_of_the_model_in_flight() {
    let run = Ledger::root_for_run("run", Budget::unlimited());
    let model = ModelId::new("acme", "m");
    assert_eq!(run.items(Some(&model)).total(), Spending::default());
    let hold = reserve(&run, indivisible(1_000, 2_000), false).unwrap();
    let other = reserve(&run, indivisible(0, 500), false).unwrap();
    let priced = Spending { calls: 2, uncertain: usd("0.0035"), uncertain_tokens: 3_500, ..Spending::default() };
    assert_eq!(run.items(Some(&model)).total(), priced);
    assert_eq!(run.items(None).total(), Spending::default());
    hold.release();
    other.release();
    let _unpriced = reserve(&run, Estimate::new(10, 20), false).unwrap();
    let unpriced = Spending { calls: 1, unpriced_calls: 1, uncertain_tokens: 30, ..Spending::default() };
    assert_eq!(run.items(Some(&model)).total(), unpriced);
}

#[test]
fn an_account_shows_its_name_and_its_amounts() {
    let key = Ledger::root("key", Budget::unlimited());
    let _hold = reserve(&key, indivisible(0, 1_000), false).unwrap();
    let shown = format!("{key:?}");
    assert!(
        shown.starts_with(r#"Ledger { name: "key", spending: Spending {"#) && shown.contains("reserved: "),
        "{shown}"
    );
}
