//! The files in `deploy/`. `cargo xtask ci --only deploy` lints them too.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{BRIGADE, Server, hash_of, json_of};

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

/// The address that the shipped configuration of Prometheus scrapes.
const SCRAPED: &str = "127.0.0.1:9464";

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Starts a server with the shipped configuration, at free ports.
fn start_shipped(metrics: &str, keys: &str) -> Server {
    let config = read("brigade.toml");
    assert!(config.contains(&format!("metrics_listen = \"{SCRAPED}\"")), "the address that is scraped");
    let config = config.replace(SCRAPED, metrics) + keys;
    Server::start_with(&config, &[("BRIGADE__SERVER__LISTEN", "127.0.0.1:0")])
}

#[tokio::test]
async fn the_shipped_server_can_be_scraped_as_the_shipped_prometheus_does_with_and_without_keys() {
    let prometheus = read("prometheus/prometheus.yml");
    assert!(prometheus.contains(&format!("targets: [\"{SCRAPED}\"]")) && prometheus.contains("metrics_path: /metrics"));
    let key = format!("\n[keys.app]\nhash = \"sha256:{}\"\n", hash_of("brg_app"));
    for keys in ["", &key] {
        let address = free_address();
        let server = start_shipped(&address, keys);
        server.until_ready().await;
        let response = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.text().await.unwrap().contains("brigade_price_table_age_seconds"));
    }
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_real_prometheus_with_the_shipped_configuration_scrapes_the_shipped_server() {
    let (address, own_address) = (free_address(), free_address());
    let server = start_shipped(&address, "");
    server.until_ready().await;
    let folder = tempfile::tempdir().unwrap();
    let config = read("prometheus/prometheus.yml")
        .replace(SCRAPED, &address)
        .replace("scrape_interval: 15s", "scrape_interval: 1s");
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    std::fs::write(folder.path().join("alerts.yml"), read("prometheus/alerts.yml")).unwrap();
    let started = Command::new("prometheus")
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={own_address}"))
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn();
    let Ok(prometheus) = started else {
        brigade_core::testing::skip_test("scrape by Prometheus", "prometheus is not installed");
        return;
    };
    let _prometheus = Process(prometheus);
    let query = format!("http://{own_address}/api/v1/query?query=up%7Bjob%3D%22brigade%22%7D");
    let is_up = async {
        loop {
            // Until it listens, requests fail.
            if let Ok(response) = reqwest::get(&query).await
                && response.text().await.is_ok_and(|text| text.contains(",\"1\"]"))
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), is_up).await.expect("the target is up");
    assert_eq!(json_of(server.get("/livez")).await.0, 200);
}
