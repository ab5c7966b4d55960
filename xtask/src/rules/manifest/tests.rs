use super::*;

fn table(text: &str) -> Table {
    text.parse().expect("the test's manifest is valid TOML")
}

fn whats(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.what.as_str()).collect()
}

#[test]
fn shared_versions_and_lints_pass() {
    let manifest = table(
        "lints.workspace = true\n[dependencies]\nserde.workspace = true\n\
         tokio = { workspace = true, features = ['net'] }",
    );
    assert_eq!(check_member("a/Cargo.toml", &manifest, true), []);
}

#[test]
fn a_version_of_its_own_is_found_in_every_table() {
    let manifest = table(
        "lints.workspace = true\n[dependencies]\na = '1'\n\
         [dev-dependencies]\nb = { version = '1' }\n\
         [build-dependencies]\nc = { path = '../c' }\n\
         [target.'cfg(unix)'.dependencies]\nd = { workspace = false }",
    );
    let findings = check_member("a/Cargo.toml", &manifest, true);
    let expected = ["a", "b", "c", "d"].map(|name| format!("{name} has a version of its own"));
    assert_eq!(whats(&findings), expected);
}

#[test]
fn lints_of_its_own_are_found() {
    let none = check_member("a/Cargo.toml", &table("[package]\nname = 'a'"), true);
    assert_eq!(whats(&none), ["does not share the lints"]);
    let own = check_member("a/Cargo.toml", &table("[lints.clippy]\npedantic = 'warn'"), true);
    assert_eq!(whats(&own), ["does not share the lints"]);
}

#[test]
fn an_unused_shared_version_is_found() {
    let root = table("[workspace.dependencies]\nserde = '1'\nrand = '0.9'");
    let findings = unused(&root, &BTreeSet::from(["serde".to_owned()]));
    assert_eq!(whats(&findings), ["no member uses rand"]);
}

#[test]
fn tests_of_libraries_use_the_other_crates_by_path() {
    let manifest = |entry: &str| table(&format!("lints.workspace = true\n[dev-dependencies]\nbrigade-a = {entry}"));
    assert_eq!(check_member("b/Cargo.toml", &manifest("{ path = '../a' }"), true), []);
    assert_eq!(check_member("b/Cargo.toml", &manifest("{ workspace = true }"), false), []);
    for published in ["{ workspace = true }", "{ path = '../a', version = '1' }"] {
        let findings = check_member("b/Cargo.toml", &manifest(published), true);
        assert_eq!(whats(&findings), ["brigade-a would be published as a dependency of tests"]);
    }
}
