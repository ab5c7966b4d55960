//! Rules for dependencies: between the members of the workspace, and on other crates.
//!
//! The rules are data at the top of this file. Manifests are checked for direct dependencies, and resolved trees for
//! indirect ones.

use anyhow::Result;
use xshell::Shell;

use crate::rules::finding::{Finding, report};
use crate::rules::manifest;
use crate::source::files;
use crate::source::workspace::{Package, Resolved, Workspace, normal_tree, whole_tree};

/// The members that each library may depend on. Tests may depend on any.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("brigade-values", &[]),
    ("brigade-tokens", &[]),
    ("brigade-core", &["brigade-tokens", "brigade-values"]),
    ("brigade-providers", &["brigade-core"]),
    ("brigade-resilience", &["brigade-core"]),
    ("brigade-observability", &["brigade-core"]),
    ("brigade-notes", &["brigade-core"]),
    ("brigade-durable", &["brigade-core"]),
    ("brigade-store", &["brigade-core", "brigade-durable", "brigade-notes"]),
    ("brigade-edge", &[]),
    ("brigade-console", &[]),
    ("brigade-openai", &["brigade-core", "brigade-edge"]),
    (
        "brigade-config",
        &[
            "brigade-core",
            "brigade-edge",
            "brigade-mcp",
            "brigade-observability",
            "brigade-providers",
            "brigade-resilience",
        ],
    ),
    ("brigade-rehearsal", &[]),
    ("brigade-tools", &["brigade-core"]),
    ("brigade-mcp", &["brigade-core"]),
    ("brigade-teams", &["brigade-core"]),
    ("brigade-terminal", &["brigade-core", "brigade-durable"]),
    (
        "brigade-commands",
        &[
            "brigade-config",
            "brigade-core",
            "brigade-durable",
            "brigade-mcp",
            "brigade-observability",
            "brigade-rehearsal",
            "brigade-store",
            "brigade-terminal",
        ],
    ),
    ("xtask", &[]),
];

/// Web servers and databases. A user of the libraries for agents should not have to compile them.
const SERVERS: [&str; 15] = [
    "actix-web",
    "axum",
    "axum-core",
    "diesel",
    "libsqlite3-sys",
    "mongodb",
    "mysql_async",
    "postgres",
    "redis",
    "rocket",
    "rusqlite",
    "sqlx-core",
    "tokio-postgres",
    "tonic",
    "warp",
];

/// Other crates for the network, which the core must not depend on.
const NETWORK: [&str; 16] = [
    "async-nats",
    "curl",
    "h2",
    "h3",
    "hyper",
    "hyper-util",
    "isahc",
    "mio",
    "native-tls",
    "quinn",
    "reqwest",
    "rustls",
    "socket2",
    "tower-http",
    "tungstenite",
    "ureq",
];

/// Other TLS stacks compile hundreds of C files or need a C library at run time. Brigade uses rustls with ring.
const NOWHERE: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

/// The features of tokio that do not need an I/O driver. `test-util` comes with the `testing` feature only.
const CORE_TOKIO: [&str; 7] = ["default", "macros", "rt", "sync", "test-util", "time", "tokio-macros"];

/// Members that must not depend on web servers and databases.
const LEAN: [&str; 9] = [
    "brigade-core",
    "brigade-providers",
    "brigade-resilience",
    "brigade-observability",
    "brigade-notes",
    "brigade-durable",
    "brigade-tools",
    "brigade-mcp",
    "brigade-teams",
];

/// The crates that only one file of the server may use together, and that file.
const COMPOSED: [&str; 3] = ["brigade_providers", "brigade_resilience", "brigade_observability"];
const COMPOSER: &str = "crates/server/src/app.rs";

/// Checks the whole workspace.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    let workspace = Workspace::load(shell)?;
    let mut findings = manifest::check(&workspace)?;
    let ours: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    findings.extend(workspace.packages.iter().flat_map(|package| wrong_directions(package, &ours)));
    findings.extend(workspace.libraries().filter_map(undirected));
    for package in LEAN {
        let tree = normal_tree(shell, package)?;
        findings.extend(unwelcome(package, &tree, &SERVERS));
        if package == "brigade-core" {
            findings.extend(unwelcome(package, &tree, &NETWORK));
            findings.extend(tokio_beyond_core(package, &tree));
        }
    }
    findings.extend(unwelcome("Cargo.lock", &whole_tree(shell)?, &NOWHERE));
    findings.extend(composers(&server_sources(shell)?));
    report(&findings)
}

fn allowed(package: &str) -> Option<&'static [&'static str]> {
    DIRECTIONS.iter().find(|(name, _)| *name == package).map(|(_, allowed)| *allowed)
}

/// A finding for a new library without a rule.
fn undirected(library: &str) -> Option<Finding> {
    let missing = allowed(library).is_none() && library != "brigade-server";
    missing.then(|| {
        Finding::new(
            library,
            "there is no rule for its dependencies",
            "add it to DIRECTIONS in xtask/src/rules/direction.rs",
        )
    })
}

fn wrong_directions(package: &Package, ours: &[&str]) -> Vec<Finding> {
    let Some(allowed) = allowed(&package.name) else {
        return Vec::new();
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .map(|dependency| dependency.name.as_str())
        .filter(|name| ours.contains(name) && !allowed.contains(name))
        .map(|name| {
            let what = format!("depends on {name}");
            Finding::new(
                package.name.clone(),
                what,
                "move what is shared into brigade-core, or compose the two in the server",
            )
        })
        .collect()
}

fn unwelcome(place: &str, tree: &[Resolved], banned: &[&str]) -> Vec<Finding> {
    tree.iter()
        .filter(|resolved| banned.contains(&resolved.name.as_str()))
        .map(|Resolved { name, .. }| {
            let remedy =
                format!("see what depends on it with `cargo tree --all-features --target all --invert {name}`");
            Finding::new(place, format!("compiles {name}"), remedy)
        })
        .collect()
}

fn tokio_beyond_core(place: &str, tree: &[Resolved]) -> Vec<Finding> {
    tree.iter()
        .filter(|resolved| resolved.name == "tokio")
        .flat_map(|tokio| &tokio.features)
        .filter(|feature| !CORE_TOKIO.contains(&feature.as_str()))
        .map(|feature| {
            let remedy = "the core has no I/O; ask for this feature in the crate that needs it";
            Finding::new(place, format!("switches on tokio's feature {feature}"), remedy)
        })
        .collect()
}

/// Source files of the server with their text, test-only files left out.
fn server_sources(shell: &Shell) -> Result<Vec<(String, String)>> {
    let mut paths = files::list(shell)?;
    paths.retain(|path| path.starts_with("crates/server/src/"));
    paths.retain(|path| files::is_rust(path) && !files::is_test_only(path));
    paths.into_iter().map(|path| Ok((path.clone(), shell.read_file(&path)?))).collect()
}

fn composers(sources: &[(String, String)]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|(path, text)| path != COMPOSER && COMPOSED.iter().all(|name| text.contains(name)))
        .map(|(path, _)| {
            let what = "uses providers, resilience and observability together";
            Finding::new(path.clone(), what, format!("compose them in {COMPOSER} and pass the result on"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
