//! A server for the browser.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Once,
};

use reqwest::Client;
use tempfile::TempDir;

const BRIGADE: &str = env!("CARGO_BIN_EXE_brigade");

/// A client for plain connections. `reqwest` has no crypto provider of its own here.
pub(crate) fn client() -> Client {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().build().unwrap()
}

/// A running server, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    process: Child,
    _folder: TempDir,
}

impl Server {
    /// `brigade demo --serve` at a free port.
    pub(crate) fn demo() -> Self {
        Self::start("", &["demo", "--serve", "--listen", "127.0.0.1:0"])
    }

    /// `brigade serve` with this configuration.
    pub(crate) fn configured(config: &str) -> Self {
        Self::start(config, &["serve"])
    }

    fn start(config: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(BRIGADE);
        command.args(arguments).env("XDG_STATE_HOME", folder.path()).current_dir(folder.path());
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log"));
        assert!(address.starts_with("http://"), "it did not start: {:?}", log());
        Self { url: address.trim().to_owned(), process, _folder: folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
