//! Starts the binary and a simulated provider.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Once,
    time::Duration,
};

use brigade_rehearsal::{FaultPlan, RunningSimulator, Script, Simulator};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) const BRIGADE: &str = env!("CARGO_BIN_EXE_brigade");

/// The timeout of all waits. Nothing takes a tenth of it.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A running `brigade serve`, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    process: Child,
    folder: TempDir,
}

/// A provider that answers every request with this text.
pub(crate) async fn provider(text: &str) -> RunningSimulator {
    scripted(&format!("[[rule]]\nanswer = {{ text = {text:?}, usage = {{ input = 120, output = 30 }} }}"), "").await
}

/// A provider with a script and faults.
pub(crate) async fn scripted(script: &str, faults: &str) -> RunningSimulator {
    let builder = Simulator::builder().script(Script::from_toml(script).unwrap());
    let builder = if faults.is_empty() { builder } else { builder.faults(FaultPlan::from_toml(faults).unwrap()) };
    builder.build().serve_locally().await.unwrap()
}

/// A provider that streams an answer of this many equal words to its one client, each in an event and a chunk of its own. It
/// writes as fast as it is read, so that even a long answer needs no memory. Returns its base URL.
pub(crate) async fn provider_of_words(word: &'static str, words: usize) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut client = loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // The body of a request for a stream ends so. A check of the provider's health is not answered.
            while client.read_buf(&mut request).await.unwrap() > 0
                && request.starts_with(b"POST")
                && !request.ends_with(b"}")
            {}
            if request.ends_with(b"}") {
                break client;
            }
        };
        let chunk = |data: &str| format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + "data: \n\n".len());
        let choice = |delta: &Value, finish: &Value| {
            let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
            json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini",
                "choices": [choice] })
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let each = chunk(&choice(&json!({ "content": word }), &Value::Null).to_string());
        let many = each.repeat(100);
        for _ in 0..words / 100 {
            client.write_all(many.as_bytes()).await.unwrap();
        }
        let usage = json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": words } });
        let last = choice(&json!({}), &json!("stop")).to_string();
        let end = chunk(&last) + &chunk(&usage.to_string()) + &chunk("[DONE]") + "0\r\n\r\n";
        client.write_all(end.as_bytes()).await.unwrap();
    });
    (url, task)
}

/// Stands between the server and a provider, and holds what the provider answers for as long as the test wants.
pub(crate) struct Gate {
    pub(crate) url: String,
    is_open: watch::Sender<bool>,
    _relaying: JoinSet<()>,
}

impl Gate {
    /// An open gate before a provider.
    pub(crate) async fn before(provider: &RunningSimulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (is_open, opened) = watch::channel(true);
        let address = provider.address();
        let relaying = JoinSet::from_iter([async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, address, opened.clone()));
            }
        }]);
        Self { url, is_open, _relaying: relaying }
    }

    pub(crate) fn hold(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.is_open.send_replace(true);
    }
}

async fn relay(client: TcpStream, provider: SocketAddr, mut opened: watch::Receiver<bool>) {
    let provider = TcpStream::connect(provider).await.unwrap();
    let ((mut requests, mut to_client), (mut answers, mut to_provider)) = (client.into_split(), provider.into_split());
    let asking = async { drop(tokio::io::copy(&mut requests, &mut to_provider).await) };
    let answering = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = answers.read(&mut buffer).await {
            if opened.wait_for(|is_open| *is_open).await.is_err()
                || to_client.write_all(&buffer[..count]).await.is_err()
            {
                break;
            }
        }
    };
    tokio::join!(asking, answering);
}

/// A provider that knows the user's name in the second turn of a conversation.
pub(crate) async fn acquaintance() -> RunningSimulator {
    let script = r#"
[[rule]]
when = { turn = 0 }
answer = { text = "Pleased to meet you." }
[[rule]]
answer = { text = "You are Ada." }
"#;
    scripted(script, "").await
}

/// A configuration with one agent, `clerk`, at a provider.
pub(crate) fn config(provider: &RunningSimulator) -> String {
    config_of(&provider.base_url())
}

/// The configuration for the provider at this address.
pub(crate) fn config_of(base_url: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"

[providers.sim]
kind = "compatible"
base_url = "{base_url}/v1"
agent_header = true

[models.mini]
provider = "sim"
model = "gpt-5-mini"

[agents.clerk]
model = "mini"
purpose = "Answers."
instructions = "You are a clerk."
"#
    )
}

impl Server {
    /// Starts a server with this configuration and waits until it listens.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Also sets environment variables.
    pub(crate) fn start_with(config: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BRIGADE);
        command.arg("serve").envs(variables.iter().copied());
        Self::started(config, command)
    }

    /// Limits the size of the server's files, in blocks of 512 bytes.
    pub(crate) fn start_limited(config: &str, blocks: u32) -> Self {
        let mut command = Command::new("sh");
        // A write beyond the limit fails instead of ending the process.
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec {BRIGADE} serve")]);
        Self::started(config, command)
    }

    /// Serves the demo's team at a free port.
    pub(crate) fn start_demo(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BRIGADE);
        command.args(["serve", "--demo", "--listen", "127.0.0.1:0"]).envs(variables.iter().copied());
        Self::started("", command)
    }

    /// Starts a server whose log is a pipe that the test never reads.
    pub(crate) fn start_with_stalled_log(config: &str) -> Self {
        let mut command = Command::new(BRIGADE);
        command.arg("serve").env("RUST_LOG", "trace");
        Self::started_with_log(config, command, |_| Stdio::piped())
    }

    fn started(config: &str, command: Command) -> Self {
        Self::started_with_log(config, command, |log| std::fs::File::create(log).unwrap().into())
    }

    fn started_with_log(config: &str, mut command: Command, log: impl FnOnce(&Path) -> Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
        let log = log(&folder.path().join("log"));
        command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let server = Self { url: address.trim().to_owned(), process, folder };
        assert!(server.url.starts_with("http://"), "it did not start:\n{}", server.log());
        server
    }

    /// The error of a server that refuses this configuration.
    pub(crate) fn refused(config: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
        // A server that starts nevertheless is ended, so that the test fails and does not wait for ever.
        let output =
            Command::new("timeout").args(["20", BRIGADE, "serve"]).current_dir(folder.path()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until the log contains this text, and returns the log. Lines are written shortly after they are logged.
    pub(crate) async fn log_with(&self, text: &str) -> String {
        eventually(text, || Some(self.log()).filter(|log| log.contains(text))).await
    }

    /// The most memory that the server has used so far, in MiB; absent where the kernel does not report it as Linux does.
    pub(crate) fn peak_memory_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
    }

    pub(crate) fn config_path(&self) -> String {
        self.folder.path().join("brigade.toml").display().to_string()
    }

    pub(crate) fn write_config(&self, config: &str) {
        std::fs::write(self.folder.path().join("brigade.toml"), config).unwrap();
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.post_raw(path, body.to_string()).header("content-type", "application/json")
    }

    pub(crate) fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        client().post(format!("{}{path}", self.url)).body(body)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        client().get(format!("{}{path}", self.url))
    }

    pub(crate) fn delete(&self, path: &str) -> reqwest::RequestBuilder {
        client().delete(format!("{}{path}", self.url))
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        eventually("the server ends", || self.process.try_wait().unwrap()).await
    }

    pub(crate) async fn until_ready(&self) {
        for _ in 0..2_000 {
            if self.get("/readyz").send().await.unwrap().status() == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is never ready: {}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The hash of a key, as in the configuration.
pub(crate) fn hash_of(key: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let [high, low] = [0, 16].map(|start| u128::from_be_bytes(digest[start..start + 16].try_into().unwrap()));
    format!("{high:032x}{low:032x}")
}

/// One question to `clerk`.
pub(crate) fn question(text: &str) -> Value {
    json!({ "model": "clerk", "messages": [{ "role": "user", "content": text }] })
}

/// Status and body of an answer.
pub(crate) async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Polls until there is a result.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A client for TLS and plain connections. `reqwest` has no crypto provider of its own here.
pub(crate) fn client() -> reqwest::Client {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().timeout(WAIT_TIMEOUT).no_proxy().build().unwrap()
}
