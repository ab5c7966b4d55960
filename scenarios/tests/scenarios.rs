//! Every scenario in every dialect where it applies.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use brigade_scenarios::{Report, Row, judge, play, table};

static REPORT: Report = Report::new();

/// Performs all variants of a scenario in all their dialects, twice each, and prints a row for each.
fn hold(number: &str) {
    let mut broken = Vec::new();
    for scenario in table::numbered(number) {
        for &dialect in scenario.dialects {
            let seen = play(&scenario, dialect, 1).unwrap();
            let again = play(&scenario, dialect, 1).unwrap();
            let breaches = judge(&scenario, &seen, &again);
            let row = Row::new(&scenario, &seen, &breaches);
            println!("{row}");
            if !breaches.is_empty() {
                let breaches: Vec<String> = breaches.iter().map(ToString::to_string).collect();
                broken.push(format!("{row}\n{}\n{}", breaches.join("\n"), seen.story()));
            }
            if let Some(summary) = REPORT.add(row, performances()) {
                // Past the capture of test output: the table is there to be read.
                writeln!(io::stderr(), "{summary}").unwrap();
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn performances() -> usize {
    table::all().iter().map(|scenario| scenario.dialects.len()).sum()
}

#[test]
fn r01_nobody_there() {
    hold("R01");
}

#[test]
fn r02_accepts_and_never_answers() {
    hold("R02");
}

#[test]
fn r03_polite_429() {
    hold("R03");
}

#[test]
fn r04_hostile_retry_after() {
    hold("R04");
}

#[test]
fn r05_a_spend_cap() {
    hold("R05");
}

#[test]
fn r06_an_overloaded_minute() {
    hold("R06");
}

#[test]
fn r07_a_page_of_html() {
    hold("R07");
}

#[test]
fn r08_refused_for_good() {
    hold("R08");
}

#[test]
fn r09_nonsense_dressed_as_an_answer() {
    hold("R09");
}

#[test]
fn r10_a_body_that_is_cut() {
    hold("R10");
}

#[test]
fn r11_a_stream_that_ends_early() {
    hold("R11");
}

#[test]
fn r12_a_reset_inside_a_tool_call() {
    hold("R12");
}

#[test]
fn r13_an_error_inside_a_stream() {
    hold("R13");
}

#[test]
fn r14_silence() {
    hold("R14");
}

#[test]
fn r15_drips_and_pings() {
    hold("R15");
}

#[test]
fn r16_terminal_markers_that_disagree() {
    hold("R16");
}

#[test]
fn r17_frames_of_all_kinds() {
    hold("R17");
}

#[test]
fn r18_tool_calls_told_strangely() {
    hold("R18");
}

#[test]
fn r19_usage_that_lies() {
    hold("R19");
}

#[test]
fn r20_an_answer_of_nothing() {
    hold("R20");
}

#[test]
fn r21_all_spent_on_thinking() {
    hold("R21");
}

#[test]
fn r22_arguments_cut_off() {
    hold("R22");
}

#[test]
fn r23_arguments_cut_off_and_mislabelled() {
    hold("R23");
}

#[test]
fn r24_arguments_wrong_or_huge() {
    hold("R24");
}

#[test]
fn r25_invented_tools() {
    hold("R25");
}

#[test]
fn r26_twin_ids() {
    hold("R26");
}

#[test]
fn r27_refusals() {
    hold("R27");
}

#[test]
fn r28_a_tool_that_hangs() {
    hold("R28");
}

#[test]
fn r29_a_tool_that_crashes() {
    hold("R29");
}

#[test]
fn r30_results_out_of_order() {
    hold("R30");
}

#[test]
fn r31_poisonous_output() {
    hold("R31");
}

#[test]
fn r34_the_same_call_for_ever() {
    hold("R34");
}

#[test]
fn r35_ping_pong() {
    hold("R35");
}

#[test]
fn r36_a_race_for_the_budget() {
    hold("R36");
}

#[test]
fn r37_money_runs_out() {
    hold("R37");
}

#[test]
fn r38_one_worker_dead_and_one_slow() {
    hold("R38");
}

#[test]
fn r39_a_caller_who_hangs_up() {
    hold("R39");
}

#[test]
fn a_crowd_keeps_below_the_limits_uses_what_is_allowed_and_starves_nobody() {
    hold("limits");
}

#[test]
fn a_second_attempt_saves_time_and_both_are_paid_for() {
    hold("hedge");
}

#[test]
fn r00_the_judge_sees_each_invariant_that_is_broken_on_purpose() {
    for (rule, scenario) in table::canary::all() {
        let seen = play(&scenario, scenario.dialects[0], 1).unwrap();
        let again = play(&scenario, scenario.dialects[0], 1).unwrap();
        let breaches = judge(&scenario, &seen, &again);
        println!("{} {} breaks {rule}: {}", Row::new(&scenario, &seen, &breaches), scenario.id, breaches.len());
        assert!(breaches.iter().any(|breach| breach.rule == rule), "{}: {breaches:?}", scenario.id);
    }
    let rules: BTreeSet<&str> = table::canary::all().into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules.len(), 10, "{rules:?}");
}
