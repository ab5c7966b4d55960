use std::{net::SocketAddr, sync::Arc};

use axum::{
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{Connection, Health};

/// Cancelled when the request to `/endless` is.
static LEFT: std::sync::LazyLock<tokio_util::sync::CancellationToken> = std::sync::LazyLock::new(Default::default);

/// How long an answer may take. None takes a hundredth of it.
const MAX_WAIT: Duration = Duration::from_secs(10);

fn limits() -> ConnectionLimits {
    let write_timeout = Duration::from_millis(200);
    ConnectionLimits { trusted: 8, per_client: 4, untrusted: 4, write_timeout, ..ConnectionLimits::default() }
}

/// Long enough to fill the buffers of a connection soon, short enough to be read at once.
async fn page() -> String {
    "x".repeat(4 << 10)
}

/// The names of two clients are their keys.
async fn authenticate(request: axum::extract::Request, next: Next) -> Result<Response, (StatusCode, String)> {
    let key = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(client) = ["team", "other"].into_iter().find(|client| key == *client) else {
        return Err((StatusCode::UNAUTHORIZED, page().await));
    };
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.trust(&Arc::from(client));
    }
    Ok(next.run(request).await)
}

fn app() -> Router {
    let with_key = Router::new().route("/items", get(page)).route_layer(from_fn(authenticate));
    let endless = get(|| async {
        let _guard = LEFT.drop_guard_ref();
        std::future::pending::<()>().await;
    });
    with_key
        .route("/page", get(page).post(async |body: String| body))
        .route("/endless", endless)
        .merge(Health::new().router())
}

struct TestServer {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
    _stop: watch::Sender<bool>,
}

async fn start() -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving = serve_with_limits(limits(), listener, app(), stopped);
    let serving = AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(serving));
    TestServer { address, _serving: serving, _stop: stop }
}

fn request(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {key}\r\n\r\n")
}

impl TestServer {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A trusted connection.
    async fn client(&self, key: &str) -> TcpStream {
        let mut stream = self.connect().await;
        assert_eq!(ask(&mut stream, &request("/items", key)).await.as_deref(), Some("200"));
        stream
    }
}

/// Sends a request and returns the status, or `None` if the connection is closed.
async fn ask(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = vec![0; 16 << 10];
    let read = tokio::time::timeout(MAX_WAIT, stream.read(&mut answer)).await.expect("there is an answer");
    let text = String::from_utf8_lossy(answer.get(..read.ok()?)?).into_owned();
    text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).map(str::to_owned)
}

#[tokio::test]
async fn idle_connections_without_a_key_keep_no_client_and_no_probe_out() {
    let server = start().await;
    let mut clients = [server.client("team").await, server.client("other").await];
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(server.connect().await);
    }
    // With a wrong key too.
    for _ in 0..20 {
        let mut wrong = server.connect().await;
        assert_eq!(ask(&mut wrong, &request("/items", "wrong")).await.as_deref(), Some("401"));
        idle.push(wrong);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(&mut server.connect().await, &request(path, "none")).await.as_deref(), Some("200"));
    }
    server.client("team").await;
    for client in &mut clients {
        assert_eq!(ask(client, &request("/items", "team")).await.as_deref(), Some("200"), "it was not closed");
    }
    let mut closed = 0;
    for stream in &mut idle {
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 116, "{closed} of 120 are closed");
}

#[tokio::test]
async fn a_key_with_many_connections_keeps_no_other_key_out() {
    let server = start().await;
    let mut many = Vec::new();
    for _ in 0..40 {
        many.push(server.client("team").await);
    }
    let mut other = server.client("other").await;
    for _ in 0..40 {
        many.push(server.client("team").await);
    }
    assert_eq!(ask(&mut other, &request("/items", "other")).await.as_deref(), Some("200"), "it was not closed");
    assert_eq!(ask(&mut server.connect().await, &request("/livez", "none")).await.as_deref(), Some("200"));
}

#[tokio::test]
async fn a_client_that_pipelines_and_reads_nothing_is_disconnected() {
    let server = start().await;
    for (path, key) in [("/page", "none"), ("/items", "team"), ("/items", "wrong")] {
        let mut stream = server.connect().await;
        let requests = request(path, key).repeat(100);
        let flooding = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
        tokio::time::timeout(MAX_WAIT, flooding).await.expect("the server closes the connection");
    }
    assert_eq!(ask(&mut server.connect().await, &request("/livez", "none")).await.as_deref(), Some("200"));
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered_and_its_long_requests_are_cancelled() {
    let server = start().await;
    let exchange = async |request: &str| {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(MAX_WAIT, read).await.expect("the connection is closed").unwrap();
        answer
    };
    for path in ["/livez", "/readyz", "/page"] {
        let answer = exchange(&request(path, "none")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer:?}");
    }
    let posted = "POST /page HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello";
    assert!(exchange(posted).await.ends_with("\r\n\r\nhello"));
    assert_eq!(exchange(&request("/endless", "none")).await, "", "it may have gone");
    assert!(LEFT.is_cancelled());
}
