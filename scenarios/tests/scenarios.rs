//! Every scenario in every dialect where it applies.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use brigade_scenarios::{Report, ReportRow, all_scenarios, broken_on_purpose, judge, play, scenarios_numbered};

static REPORT: Report = Report::new();

/// Plays all variants of a scenario in all their dialects, twice each, and prints a row for each.
fn check_scenario(number: &str) {
    let mut broken = Vec::new();
    for scenario in scenarios_numbered(number) {
        for &dialect in scenario.dialects {
            let observed = play(&scenario, dialect, 1).unwrap();
            let second = play(&scenario, dialect, 1).unwrap();
            let violations = judge(&scenario, &observed, &second);
            let row = ReportRow::new(&scenario, &observed, &violations);
            println!("{row}");
            if !violations.is_empty() {
                let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
                broken.push(format!("{row}\n{}\n{}", violations.join("\n"), observed.describe()));
            }
            if let Some(summary) = REPORT.add(row, number_of_rows()) {
                // Past the capture of test output, so that the table is always shown.
                writeln!(io::stderr(), "{summary}").unwrap();
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn number_of_rows() -> usize {
    all_scenarios().iter().map(|scenario| scenario.dialects.len()).sum()
}

#[test]
fn r01_provider_unreachable() {
    check_scenario("R01");
}

#[test]
fn r02_no_response() {
    check_scenario("R02");
}

#[test]
fn r03_rate_limit_with_a_short_wait() {
    check_scenario("R03");
}

#[test]
fn r04_invalid_or_long_retry_after() {
    check_scenario("R04");
}

#[test]
fn r05_spend_cap() {
    check_scenario("R05");
}

#[test]
fn r06_overload_for_a_minute() {
    check_scenario("R06");
}

#[test]
fn r07_html_instead_of_json() {
    check_scenario("R07");
}

#[test]
fn r08_permanent_client_errors() {
    check_scenario("R08");
}

#[test]
fn r09_invalid_body_with_status_200() {
    check_scenario("R09");
}

#[test]
fn r10_truncated_body() {
    check_scenario("R10");
}

#[test]
fn r11_stream_ends_early() {
    check_scenario("R11");
}

#[test]
fn r12_reset_within_a_tool_call() {
    check_scenario("R12");
}

#[test]
fn r13_error_event_within_a_stream() {
    check_scenario("R13");
}

#[test]
fn r14_stalled_stream() {
    check_scenario("R14");
}

#[test]
fn r15_slow_bytes_comments_and_pings() {
    check_scenario("R15");
}

#[test]
fn r16_missing_or_contradictory_end_markers() {
    check_scenario("R16");
}

#[test]
fn r17_unusual_and_invalid_framing() {
    check_scenario("R17");
}

#[test]
fn r18_unusual_tool_call_deltas() {
    check_scenario("R18");
}

#[test]
fn r19_missing_or_wrong_usage() {
    check_scenario("R19");
}

#[test]
fn r20_empty_answer() {
    check_scenario("R20");
}

#[test]
fn r21_all_tokens_spent_on_reasoning() {
    check_scenario("R21");
}

#[test]
fn r22_truncated_arguments() {
    check_scenario("R22");
}

#[test]
fn r23_truncated_arguments_with_a_wrong_stop_reason() {
    check_scenario("R23");
}

#[test]
fn r24_invalid_or_huge_arguments() {
    check_scenario("R24");
}

#[test]
fn r25_unknown_tools() {
    check_scenario("R25");
}

#[test]
fn r26_duplicate_call_ids() {
    check_scenario("R26");
}

#[test]
fn r27_refusals() {
    check_scenario("R27");
}

#[test]
fn r28_tool_hangs() {
    check_scenario("R28");
}

#[test]
fn r29_tool_panics_or_fails() {
    check_scenario("R29");
}

#[test]
fn r30_results_out_of_order() {
    check_scenario("R30");
}

#[test]
fn r31_huge_hostile_output() {
    check_scenario("R31");
}

#[test]
fn r34_same_call_in_every_turn() {
    check_scenario("R34");
}

#[test]
fn r35_delegation_cycle() {
    check_scenario("R35");
}

#[test]
fn r36_runs_compete_for_one_budget() {
    check_scenario("R36");
}

#[test]
fn r37_budget_is_spent() {
    check_scenario("R37");
}

#[test]
fn r38_one_worker_fails_and_one_is_slow() {
    check_scenario("R38");
}

#[test]
fn r39_caller_disconnects_or_cancels() {
    check_scenario("R39");
}

#[test]
fn r41_a_model_that_is_not_served() {
    check_scenario("R41");
}

#[test]
fn r42_reasoning_of_another_account() {
    check_scenario("R42");
}

#[test]
fn r43_strict_chat_templates() {
    check_scenario("R43");
}

#[test]
fn r44_settings_that_a_model_refuses() {
    check_scenario("R44");
}

#[test]
fn many_agents_share_a_rate_limit_fully_and_fairly() {
    check_scenario("limits");
}

#[test]
fn a_hedged_request_saves_time_and_both_attempts_are_paid_for() {
    check_scenario("hedge");
}

#[test]
fn r00_the_judge_reports_each_invariant_that_is_broken_on_purpose() {
    for (rule, scenario) in broken_on_purpose() {
        let observed = play(&scenario, scenario.dialects[0], 1).unwrap();
        let second = play(&scenario, scenario.dialects[0], 1).unwrap();
        let violations = judge(&scenario, &observed, &second);
        println!(
            "{} {} breaks {rule}: {}",
            ReportRow::new(&scenario, &observed, &violations),
            scenario.id,
            violations.len()
        );
        assert!(violations.iter().any(|violation| violation.rule == rule), "{}: {violations:?}", scenario.id);
    }
    let rules: BTreeSet<&str> = broken_on_purpose().into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules.len(), 10, "{rules:?}");
}
