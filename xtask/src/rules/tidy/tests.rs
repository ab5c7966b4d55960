use super::*;

/// Findings of a file in short: `line: what`.
fn check_rs(text: &str) -> Vec<String> {
    let findings = check_text("crates/a/src/b.rs", text);
    findings
        .iter()
        .map(|finding| format!("{}: {}", finding.place.replace("crates/a/src/b.rs:", ""), finding.what))
        .collect()
}

#[test]
fn a_tidy_file_passes() {
    assert_eq!(check_rs("//! What it is.\n\n/// One.\npub const ONE: u8 = 1;\n"), [""; 0]);
}

#[test]
fn a_finding_has_a_place_a_problem_and_a_remedy() {
    let findings = check_text("README.md", "Fine.\nNot fine. \n");
    assert_eq!(findings[0].to_string(), "README.md:2: white space at the end of the line: remove it");
}

#[test]
fn test_files_may_be_long_and_need_no_docs() {
    let long = "#[test]\n".repeat(500);
    assert_eq!(check_text("crates/a/src/b/tests.rs", &long), []);
    assert_eq!(check_text("crates/a/tests/b.rs", &long), []);
    assert_eq!(check_text("crates/a/src/b.rs", &long).len(), 2);
}

#[test]
fn a_module_begins_with_its_documentation() {
    let expected = ["1: the module has no documentation"];
    assert_eq!(check_rs("use a::b;\n//! Late.\n"), expected);
    assert_eq!(check_rs("/// Of the item.\nstruct A;\n"), expected);
    assert_eq!(check_rs(""), expected);
}

#[test]
fn marks_of_unfinished_work_are_found_as_whole_words() {
    for mark in UNFINISHED {
        assert_eq!(check_rs(&format!("//! Docs.\n// {mark}: later\n")), [format!("2: unfinished: `{mark}`")]);
    }
    assert_eq!(check_rs(concat!("//! Docs.\nfn a() { is_todo", "!(1) }\n")), [""; 0]);
}

#[test]
fn an_exception_from_a_lint_needs_a_reason() {
    let expected = ["2: an exception from a lint without a reason"];
    assert_eq!(check_rs("//! Docs.\n#[allow(dead_code)]\nfn a() {}\n"), expected);
    assert_eq!(check_rs("//! Docs.\n#![expect(dead_code)]\nfn a() {}\n"), expected);
    assert_eq!(check_rs("//! Docs.\n#[allow(dead_code)]\n#[doc(alias = \"reason = b\")]\nfn a() {}\n"), expected);
}

#[test]
fn a_reason_may_be_inside_the_attribute_or_above() {
    assert_eq!(check_rs("//! Docs.\n#[allow(dead_code, reason = \"kept\")]\nfn a() {}\n"), [""; 0]);
    assert_eq!(check_rs("//! Docs.\n#[expect(\n    dead_code,\n    reason = \"kept\"\n)]\nfn a() {}\n"), [""; 0]);
    assert_eq!(check_rs("//! Docs.\n// Kept because of that.\n#[allow(dead_code)]\nfn a() {}\n"), [""; 0]);
}

#[test]
fn paths_and_hosts_of_one_machine_are_found_in_any_text() {
    for local in LOCAL {
        let findings = check_text("docs/a.md", &format!("See {local}x.\n"));
        assert_eq!(findings.len(), 1, "{local}");
        assert_eq!(findings[0].place, "docs/a.md:1");
    }
    assert_eq!(check_text("docs/a.md", concat!("https://example.com/ho", "me/page\n")), []);
}

#[test]
fn white_space_and_the_last_new_line_are_checked() {
    assert_eq!(check_text("a.toml", "a = 1\t\nb = 2\r\nc = 3").len(), 3);
    assert_eq!(check_text("a.toml", ""), []);
}

#[test]
fn recorded_data_is_not_checked() {
    assert!(is_verbatim("crates/a/recordings/x.json"));
    assert!(is_verbatim("crates/a/src/snapshots/x.snap"));
    assert!(!is_verbatim("crates/a/src/recordings.rs"));
}
