//! The files in `deploy/`. `cargo xtask ci --only deploy` lints them too.

use std::{path::Path, process::Command};

use crate::support::BRIGADE;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)).unwrap()
}

/// Runs a linter; the result is whether it succeeded, and its output. `None` if it is not installed.
fn judged(program: &mut Command) -> Option<(bool, String)> {
    let output = program.output().ok()?;
    let told = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&told).into_owned()))
}

#[test]
fn the_configuration_in_the_kubernetes_manifest_passes_a_strict_check() {
    let manifest = read("kubernetes.yaml");
    let (_, config) = manifest.split_once("brigade.toml: |\n").unwrap();
    let (config, _) = config.split_once("\n---").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
    let mut check = Command::new(BRIGADE);
    check.args(["check", "--deny-warnings", "--no-secrets"]).current_dir(folder.path());
    let (is_right, told) = judged(&mut check).unwrap();
    assert!(is_right, "{told}");
}

#[test]
fn the_image_contains_only_the_program_and_runs_it_unprivileged() {
    let dockerfile = read("Dockerfile");
    let (_, image) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let mut lines = image.lines();
    assert_eq!(lines.next(), Some("scratch"));
    let instruction = |name: &str| -> Vec<&str> { image.lines().filter_map(|line| line.strip_prefix(name)).collect() };
    assert_eq!(instruction("USER "), ["65532:65532"]);
    assert_eq!(instruction("ENTRYPOINT "), [r#"["/brigade"]"#], "with no shell between, which would keep signals");
    assert!(dockerfile.contains("cargo build --locked"));
    let ignored = read("Dockerfile.dockerignore");
    assert!(ignored.lines().any(|line| line == "**/brigade.toml"), "a configuration of one's own stays at home");
}

#[test]
fn systemd_accepts_the_unit_and_its_sandbox() {
    // systemd checks that the program exists.
    let unit = read("brigade.service").replace("/usr/local/bin/brigade", BRIGADE);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("brigade.service");
    std::fs::write(&path, unit).unwrap();
    // In tenths, from 0 (fully confined) to 100.
    let cases: [&[&str]; 2] = [&["verify"], &["security", "--no-pager", "--offline=true", "--threshold=20"]];
    for arguments in cases {
        let Some((is_well, told)) = judged(Command::new("systemd-analyze").args(arguments).arg(&path)) else {
            brigade_core::testing::skip_test("systemd unit", "systemd-analyze is not installed");
            return;
        };
        assert!(is_well, "{arguments:?}: {told}");
    }
}
