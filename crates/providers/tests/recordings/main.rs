//! Real exchanges with real providers: responses must decode, requests must encode to the same.
//!
//! `cargo test -p brigade-providers --test recordings` reads every recording below
//! `$BRIGADE_RECORDINGS`, by default the folder `shared/recordings` beside the workspace. The expected results are
//! computed here from the raw JSON, independently of the code under test.
#![cfg(test)]

mod anthropic;
mod chat;
mod chat_request;
mod expect;
mod recording;
mod responses;

use std::{
    collections::BTreeMap,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use recording::{Recording, Verdict};

/// The results for one provider.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

#[test]
fn every_recording_is_decoded_and_encoded() {
    let folder = folder();
    let files = recording::files(&folder);
    if files.is_empty() {
        let reason = format!("there are none at {}; set BRIGADE_RECORDINGS", folder.display());
        brigade_core::testing::skip_test("recordings", &reason);
        return;
    }
    let mut tallies = BTreeMap::<String, Tally>::new();
    let mut skips = BTreeMap::<String, usize>::new();
    let mut failures = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        let (provider, verdict) = check(file);
        let tally = tallies.entry(provider).or_default();
        match verdict {
            Verdict::Passed { request_unchecked } => {
                tally.passed += 1;
                if let Some(reason) = request_unchecked {
                    *skips.entry(format!("request only: {reason}")).or_default() += 1;
                }
            }
            Verdict::Skipped(reason) => {
                tally.skipped += 1;
                *skips.entry(reason).or_default() += 1;
            }
            Verdict::Failed(why) => {
                tally.failed += 1;
                failures.push(format!("{name}: {why}"));
            }
        }
    }
    report(&tallies, &skips, &failures);
    assert!(failures.is_empty(), "{} recordings failed", failures.len());
}

fn folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    std::env::var_os("BRIGADE_RECORDINGS").map_or_else(default, PathBuf::from)
}

/// Checks one recording. A panic fails this recording alone.
fn check(file: &Path) -> (String, Verdict) {
    let recording = match Recording::read(file) {
        Ok(recording) => recording,
        Err(why) => return ("unreadable".to_owned(), Verdict::Failed(why)),
    };
    let check = || match recording.endpoint() {
        "chat" => chat::check(&recording),
        "messages" => anthropic::check(&recording),
        "responses" => responses::check(&recording),
        _ => Verdict::Skipped("not a completion".to_owned()),
    };
    let verdict = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Verdict::Failed(message.unwrap_or("it panicked").to_owned())
    });
    (recording.provider, verdict)
}

fn report(tallies: &BTreeMap<String, Tally>, skips: &BTreeMap<String, usize>, failures: &[String]) {
    let mut text = "\n".to_owned();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for failure in failures {
        line(format!("FAILED {failure}"));
    }
    for (reason, count) in skips {
        line(format!("skipped {count:>4}  {reason}"));
    }
    for (provider, Tally { passed, failed, skipped }) in tallies {
        line(format!("{provider:<36} {passed:>4} passed {failed:>4} failed {skipped:>4} skipped"));
    }
    let sum = |count: fn(&Tally) -> usize| tallies.values().map(count).sum::<usize>();
    let (passed, failed, skipped) = (sum(|tally| tally.passed), sum(|tally| tally.failed), sum(|tally| tally.skipped));
    line(format!("recordings: {passed} passed, {failed} failed, {skipped} skipped"));
    // Directly, because the test harness hides the output of a test that succeeds.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
