use proptest::prelude::*;

use super::*;
use crate::testing::seconds;

const MINUTE: Duration = seconds(60);

#[test]
fn the_bucket_refills_continuously() {
    let start = Instant::now();
    let mut bucket = Bucket::full(60, 60, MINUTE, start);
    bucket.take(60, start);
    assert_eq!(bucket.ready_in(1, start), seconds(1));
    assert_eq!(bucket.remaining(start + seconds(30)), 30);
    assert_eq!(bucket.remaining(start + seconds(1_000)), 60);
}

#[test]
fn debt_is_paid_off_first() {
    let start = Instant::now();
    let mut bucket = Bucket::full(60, 60, MINUTE, start);
    bucket.take(90, start);
    assert_eq!((bucket.remaining(start), bucket.ready_in(1, start)), (0, seconds(31)));
}

#[test]
fn an_amount_above_the_capacity_can_be_taken_from_a_full_bucket() {
    let start = Instant::now();
    let mut bucket = Bucket::full(60, 30, MINUTE, start);
    assert_eq!(bucket.ready_in(1_000, start), Duration::ZERO);
    bucket.take(1, start);
    assert_eq!(bucket.ready_in(1_000, start), seconds(1));
}

#[test]
fn a_reported_remainder_never_raises_the_level() {
    let start = Instant::now();
    let mut bucket = Bucket::full(60, 60, MINUTE, start);
    bucket.lower_to(10, start, start);
    assert_eq!(bucket.remaining(start), 10);
    bucket.lower_to(50, start, start);
    assert_eq!(bucket.remaining(start), 10);
    // Seen at some time in the last twenty seconds, in which twenty have come in.
    let later = start + seconds(20);
    bucket.lower_to(3, start, later);
    assert_eq!(bucket.remaining(later), 23);
}

#[test]
fn a_lower_limit_cuts_the_level_and_a_higher_one_raises_nothing_by_itself() {
    let start = Instant::now();
    let mut bucket = Bucket::full(60, 60, MINUTE, start);
    bucket.set_limit(30, 30, start);
    assert_eq!(bucket.remaining(start), 30);
    bucket.set_limit(100, 100, start);
    assert_eq!(bucket.remaining(start), 30);
    bucket.raise_to(80, start);
    bucket.raise_to(40, start);
    assert_eq!(bucket.remaining(start), 80);
    bucket.raise_to(1_000, start);
    assert_eq!(bucket.remaining(start), 100);
}

#[test]
fn extreme_amounts_do_not_overflow() {
    let start = Instant::now();
    let mut bucket = Bucket::full(u64::MAX, u64::MAX, seconds(u64::MAX / 2_000_000_000), start);
    for _ in 0..4 {
        bucket.take(u64::MAX, start);
    }
    assert!(bucket.ready_in(u64::MAX, start + seconds(1)) > Duration::ZERO);
    bucket.give_back(u64::MAX, start);
}

proptest! {
    #[test]
    fn no_time_span_admits_more_than_the_burst_and_the_refill(
        limit in 1_u64..5_000,
        burst in 1_u64..5_000,
        steps in prop::collection::vec((0_u64..20_000_000_000, 1_u64..400), 1..60),
    ) {
        let mut now = Instant::now();
        let mut bucket = Bucket::full(limit, burst, MINUTE, now);
        let mut admitted: Vec<(Instant, u64)> = Vec::new();
        for (pause, amount) in steps {
            let amount = amount.min(burst);
            now += Duration::from_nanos(pause);
            if bucket.ready_in(amount, now).is_zero() {
                bucket.take(amount, now);
                admitted.push((now, amount));
            }
        }
        let unit = MINUTE.as_nanos();
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (to, amount) in &admitted[first..] {
                sum += u128::from(*amount);
                let allowed = u128::from(burst) * unit + (*to - *from).as_nanos() * u128::from(limit);
                prop_assert!(sum * unit <= allowed);
            }
        }
    }

    #[test]
    fn giving_back_undoes_taking(
        limit in 1_u64..5_000,
        steps in prop::collection::vec((0_u64..5_000_000_000, 0_u64..9_000, 0_u64..900), 1..60),
    ) {
        let mut now = Instant::now();
        let mut bucket = Bucket::full(limit, limit, MINUTE, now);
        let mut plain = bucket.clone();
        for (pause, lent, used) in steps {
            now += Duration::from_nanos(pause);
            bucket.take(lent + used, now);
            bucket.give_back(lent, now);
            plain.take(used, now);
            prop_assert_eq!(bucket.level, plain.level);
        }
    }

    #[test]
    fn the_time_until_an_amount_is_ready_is_exact(limit in 1_u64..5_000, taken in 1_u64..20_000, amount in 1_u64..5_000) {
        let start = Instant::now();
        let mut bucket = Bucket::full(limit, limit, MINUTE, start);
        bucket.take(taken, start);
        let wait = bucket.ready_in(amount, start);
        prop_assert!(bucket.clone().ready_in(amount, start + wait).is_zero());
        if !wait.is_zero() {
            prop_assert!(!bucket.ready_in(amount, start + wait.saturating_sub(Duration::from_nanos(1))).is_zero());
        }
    }
}

#[test]
fn the_time_until_an_amount_has_refilled_is_exact_to_the_nanosecond() {
    let start = Instant::now();
    for (limit, amount, nanos) in [
        (3, 1, 333_333_334),
        (3, 2, 666_666_667),
        (3, 3, 1_000_000_000),
        (3, 4, 1_333_333_334),
        (7, 1, 142_857_143),
        (7, 7, 1_000_000_000),
        (1, 5, 5_000_000_000),
    ] {
        let mut bucket = Bucket::full(limit, 100, seconds(1), start);
        bucket.take(100, start);
        let wait = bucket.ready_in(amount, start);
        assert_eq!(wait, Duration::from_nanos(nanos), "{amount} at {limit} per second");
        assert_eq!(bucket.clone().remaining(start + wait), amount);
        assert_eq!(bucket.remaining(start + wait.saturating_sub(Duration::from_nanos(1))), amount - 1);
    }
}
