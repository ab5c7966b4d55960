//! Providers behind TLS and behind a proxy.

use std::{
    io,
    net::SocketAddr,
    process::{Command, Output},
    sync::Arc,
};

use brigade_rehearsal::RunningSimulator;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::support::{BRIGADE, config, provider};

/// Self-signed, for `localhost`, valid for a hundred years.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serve/tls/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serve/tls/key.pem");

/// A TLS endpoint or proxy in front of a provider. Its tasks end when it is dropped.
struct Between {
    port: u16,
    /// The first bytes of each connection.
    seen: mpsc::UnboundedReceiver<String>,
    task: AbortHandle,
}

impl Between {
    async fn start(provider: &RunningSimulator, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider: SocketAddr = provider.base_url().trim_start_matches("http://").parse().unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, seen) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "aborted on drop")]
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let first = match &tls {
                    // A failed handshake is recorded too.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => pass_on(stream, provider).await,
                        Err(error) => Ok(format!("no handshake: {error}")),
                    },
                    None => pass_on(stream, provider).await,
                };
                told.send(first.unwrap()).unwrap();
            }
        });
        Self { port, seen, task: task.abort_handle() }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards one connection until its end, and returns its first bytes.
async fn pass_on(mut stream: impl AsyncRead + AsyncWrite + Unpin, provider: SocketAddr) -> io::Result<String> {
    let mut onward = TcpStream::connect(provider).await?;
    let mut first = vec![0; 1_024];
    let length = stream.read(&mut first).await?;
    first.truncate(length);
    onward.write_all(&first).await?;
    // Dropped connections are not part of this test.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
    Ok(String::from_utf8_lossy(&first).into_owned())
}

/// Runs `clerk` with a provider at `url`.
async fn run(provider: &RunningSimulator, url: &str, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("brigade.toml"), config(provider).replace(&provider.base_url(), url)).unwrap();
    let mut command = Command::new(BRIGADE);
    command.args(["run", "clerk", "Hello?"]).current_dir(folder.path());
    for name in
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
    {
        command.env_remove(name);
    }
    command.env_remove("SSL_CERT_DIR").envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || {
        let output = command.output().unwrap();
        drop(folder);
        output
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_tls_needs_a_certificate_for_its_name() {
    let provider = provider("Hello.").await;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let config = config.with_single_cert(vec![certificate], PrivateKeyDer::from_pem_file(KEY).unwrap()).unwrap();
    let mut between = Between::start(&provider, Some(TlsAcceptor::from(Arc::new(config)))).await;
    let url = |host: &str| format!("https://{host}:{}", between.port);

    let trusted = run(&provider, &url("localhost"), &[("SSL_CERT_FILE", CERTIFICATE)]).await;
    assert_eq!(String::from_utf8_lossy(&trusted.stdout).trim(), "Hello.", "{trusted:?}");
    assert!(between.seen.recv().await.unwrap().starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));

    let another = run(&provider, &url("127.0.0.1"), &[("SSL_CERT_FILE", CERTIFICATE)]).await;
    assert!(!another.status.success());
    assert!(String::from_utf8_lossy(&another.stderr).contains("not valid for name \"127.0.0.1\""), "{another:?}");
    assert!(between.seen.recv().await.unwrap().starts_with("no handshake: "));
    assert_eq!(provider.call_log().calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used() {
    let provider = provider("Hello.").await;
    let mut between = Between::start(&provider, None).await;
    let proxy = format!("http://127.0.0.1:{}", between.port);
    let output = run(&provider, "http://provider.example", &[("HTTP_PROXY", &proxy)]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Hello.", "{output:?}");
    let asked = between.seen.recv().await.unwrap();
    assert!(asked.starts_with("POST http://provider.example/v1/chat/completions HTTP/1.1\r\n"), "{asked}");
}
