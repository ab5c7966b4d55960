use super::*;
use crate::source::workspace::Dependency;

fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
    let dependencies = dependencies
        .iter()
        .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(Into::into) })
        .collect();
    Package {
        name: name.into(),
        version: "1.0.0".into(),
        manifest_path: "Cargo.toml".into(),
        dependencies,
        targets: vec![],
        publish: None,
    }
}

fn resolved(name: &str, features: &[&str]) -> Resolved {
    Resolved { name: name.into(), features: features.iter().map(|feature| (*feature).into()).collect() }
}

const OURS: [&str; 4] = ["brigade-core", "brigade-providers", "brigade-resilience", "brigade-server"];

#[test]
fn siblings_may_not_depend_on_each_other() {
    let providers =
        package("brigade-providers", &[("brigade-core", None), ("brigade-resilience", None), ("http", None)]);
    let findings = wrong_directions(&providers, &OURS);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].what, "depends on brigade-resilience");
}

#[test]
fn a_build_dependency_counts_and_a_dev_dependency_does_not() {
    let dev = package("brigade-resilience", &[("brigade-providers", Some("dev"))]);
    assert_eq!(wrong_directions(&dev, &OURS), []);
    let build = package("brigade-core", &[("brigade-providers", Some("build"))]);
    assert_eq!(wrong_directions(&build, &OURS).len(), 1);
}

#[test]
fn the_server_may_depend_on_all() {
    let server =
        package("brigade-server", &[("brigade-core", None), ("brigade-providers", None), ("brigade-resilience", None)]);
    assert_eq!(wrong_directions(&server, &OURS), []);
    assert_eq!(undirected("brigade-server"), None);
}

#[test]
fn a_new_library_needs_a_rule() {
    assert!(undirected("brigade-novelty").is_some());
    assert_eq!(undirected("brigade-core"), None);
}

#[test]
fn a_banned_crate_behind_others_is_found() {
    let tree = [resolved("serde", &[]), resolved("hyper", &["client"]), resolved("hyper-rustls", &[])];
    let findings = unwelcome("brigade-core", &tree, &NETWORK);
    assert_eq!(findings.len(), 1, "only whole names match: {findings:?}");
    assert_eq!(findings[0].what, "compiles hyper");
}

#[test]
fn tokio_with_a_driver_is_found_in_the_core() {
    let without_driver = [resolved("tokio", &["default", "macros", "rt", "sync", "time", "tokio-macros"])];
    assert_eq!(tokio_beyond_core("brigade-core", &without_driver), []);
    let with_driver = [resolved("tokio", &["rt", "net"])];
    assert_eq!(tokio_beyond_core("brigade-core", &with_driver)[0].what, "switches on tokio's feature net");
}

#[test]
fn only_one_file_composes_the_crates() {
    let all = "use brigade_providers as p; use brigade_resilience as r; use brigade_observability as o;";
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = [
        source("crates/server/src/app.rs", all),
        source("crates/server/src/http.rs", all),
        source("crates/server/src/config.rs", "use brigade_providers as p; use brigade_resilience as r;"),
    ];
    let findings = composers(&sources);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].place, "crates/server/src/http.rs");
}
