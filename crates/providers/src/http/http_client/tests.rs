use std::{process::Command, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version};
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
/// For `localhost`, self-signed, valid for a hundred years.
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/tls/certificate.pem");
const KEY: &[u8] = include_bytes!("../../../tests/tls/key.pem");

/// A server on this machine, and a client for it.
struct Host {
    listener: TcpListener,
    url: Url,
    client: HttpClient,
}

impl Host {
    async fn start(scheme: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://localhost:{}/v1/chat?x=1", listener.local_addr().unwrap().port());
        let url = Url::parse(&url).unwrap();
        let client = HttpClient::new(&url, false).unwrap();
        Self { listener, url, client }
    }

    /// Sends a request and reads the whole answer.
    async fn ask(&self) -> Result<Bytes, ModelError> {
        let response = self.send("{}").await?;
        let answer = response.bytes().await.unwrap();
        // The connection is put back into the pool by a task.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Ok(answer)
    }

    async fn send(&self, body: impl Into<reqwest::Body>) -> Result<Response, ModelError> {
        self.client.send(post(&self.url, body)).await
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

fn post(url: &Url, body: impl Into<reqwest::Body>) -> Request {
    let mut request = Request::new(Method::POST, url.clone());
    *request.body_mut() = Some(body.into());
    request
}

/// Reads one request and answers it.
async fn serve(stream: &mut TcpStream) -> String {
    let request = read_request(stream).await;
    stream.write_all(ANSWER).await.unwrap();
    request
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n{}") {
        request.push(stream.read_u8().await.unwrap().into());
    }
    request
}

/// Moves the clock. It is not paused while sockets are awaited, because a paused clock runs ahead of them.
async fn pass_time(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

async fn is_closed(mut stream: TcpStream) -> bool {
    // Unread bytes make it a reset.
    stream.read(&mut [0]).await.map_or(true, |read| read == 0)
}

#[tokio::test]
async fn nothing_was_sent_if_no_server_listens() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let error = HttpClient::new(&url, false).unwrap().send(post(&url, "{}")).await.unwrap_err();
    assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Unreachable, false));
    let message = error.to_string();
    assert!(message.starts_with("no connection to 127.0.0.1:1; check that a server runs there"), "{message}");
}

#[tokio::test]
async fn a_url_that_is_too_long_is_the_callers_mistake() {
    let host = Host::start("http").await;
    let url = host.url.join(&"x".repeat(70_000)).unwrap();
    let error = host.client.send(post(&url, "{}")).await.unwrap_err();
    assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Caller, false));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_may_have_been_billed() {
    let host = Host::start("http").await;
    let server = async { host.accept().await.read_u8().await.unwrap() };
    let (result, _) = tokio::join!(host.send("{}"), server);
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Transient, true));
    assert!(!error.details().stale_connection, "the connection was new");
}

#[tokio::test]
async fn https_speaks_tls_and_refuses_plain_text() {
    let host = Host::start("https").await;
    let server = async {
        let mut stream = host.accept().await;
        // The type of a TLS handshake record (RFC 8446, section 5.1).
        assert_eq!(stream.read_u8().await.unwrap(), 22);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Open until the client has read the response, because closing with unread bytes would reset the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (result, ()) = tokio::join!(host.send("{}"), server);
    assert_eq!(result.unwrap_err().kind(), ModelErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_tls_handshake_has_a_timeout() {
    let host = Host::start("https").await;
    let started = Instant::now();
    let error = host.send("{}").await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Timeout(TimeoutPhase::Connect));
    assert!(!error.details().sent && started.elapsed() < CONNECT_TIMEOUT + Duration::from_millis(100));
}

#[tokio::test]
async fn a_request_names_its_host_and_the_connection_serves_the_next_one() {
    let host = Host::start("http").await;
    let server = async {
        let mut stream = host.accept().await;
        let request = serve(&mut stream).await;
        let authority = host.url.authority();
        assert!(request.starts_with("POST /v1/chat?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: {authority}\r\n")), "{request}");
        assert!(request.contains("content-length: 2"), "{request}");
        serve(&mut stream).await
    };
    let client = async {
        assert_eq!(host.ask().await.unwrap(), "hi");
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(client, server).0, "hi");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let host = Host::start("http").await;
    let server = async {
        serve(&mut host.accept().await).await;
        serve(&mut host.accept().await).await;
    };
    let client = async {
        host.ask().await.unwrap();
        // Whether the client has noticed the close by now or not.
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(client, server).0, "hi");
}

#[tokio::test]
async fn a_connection_is_not_used_after_its_idle_timeout() {
    let host = Host::start("http").await;
    let server = async {
        let mut first = host.accept().await;
        serve(&mut first).await;
        let mut second = host.accept().await;
        serve(&mut second).await;
        is_closed(first).await
    };
    let client = async {
        host.ask().await.unwrap();
        pass_time(IDLE_TIMEOUT + Duration::from_secs(1)).await;
        host.ask().await.unwrap();
    };
    let ((), is_closed) = timeout(IDLE_TIMEOUT * 2, async { tokio::join!(client, server) }).await.unwrap();
    assert!(is_closed);
}

#[tokio::test]
async fn after_a_stale_connection_requests_use_new_connections_until_the_pool_is_empty() {
    let host = Host::start("http").await;
    let server = async {
        let (mut first, mut second) = (host.accept().await, host.accept().await);
        serve(&mut first).await;
        serve(&mut second).await;
        // One of the two breaks under the next request. The other is just as old.
        let (broken, other) = tokio::select! {
            _ = read_request(&mut first) => (first, second),
            _ = read_request(&mut second) => (second, first),
        };
        drop(broken);
        for _ in 0..2 {
            serve(&mut host.accept().await).await;
        }
        let mut pooled = host.accept().await;
        serve(&mut pooled).await;
        serve(&mut pooled).await;
        is_closed(other).await
    };
    let client = async {
        let (first, second) = tokio::join!(host.ask(), host.ask());
        assert!(first.is_ok() && second.is_ok());
        let error = host.ask().await.unwrap_err();
        assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Transient, true));
        assert!(error.details().stale_connection);
        for _ in 0..2 {
            assert_eq!(host.ask().await.unwrap(), "hi");
        }
        pass_time(IDLE_TIMEOUT + Duration::from_secs(1)).await;
        for _ in 0..2 {
            assert_eq!(host.ask().await.unwrap(), "hi");
        }
    };
    let ((), is_closed) = timeout(IDLE_TIMEOUT * 2, async { tokio::join!(client, server) }).await.unwrap();
    assert!(is_closed);
}

#[tokio::test]
async fn a_cancelled_request_closes_its_connection() {
    let host = Host::start("http").await;
    let server = async {
        let mut stream = host.accept().await;
        read_request(&mut stream).await;
        stream
    };
    let stream = tokio::select! {
        stream = server => stream,
        _ = host.send("{}") => panic!("the server did not answer"),
    };
    assert!(is_closed(stream).await);
}

#[tokio::test]
async fn a_dropped_response_closes_its_connection() {
    let host = Host::start("http").await;
    let server = async {
        let mut stream = host.accept().await;
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await.unwrap();
        assert!(is_closed(stream).await);
        serve(&mut host.accept().await).await;
    };
    let client = async {
        let mut response = host.send("{}").await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hi");
        drop(response);
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(client, server).0, "hi");
}

#[tokio::test]
async fn a_drained_response_leaves_its_connection_for_the_next_request() {
    let host = Host::start("http").await;
    let server = async {
        let mut stream = host.accept().await;
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await.unwrap();
        // The end of the body comes later than the answer.
        tokio::task::yield_now().await;
        stream.write_all(b"6\r\n: bye\n\r\n0\r\n\r\n").await.unwrap();
        serve(&mut stream).await
    };
    let client = async {
        let mut response = host.send("{}").await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hi");
        host.client.drain(response, ());
        let mut drains = std::mem::take(&mut *host.client.drains.lock());
        drains.join_next().await.unwrap().unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(client, server).0, "hi");
}

#[tokio::test(start_paused = true)]
async fn draining_ends_after_a_time_and_after_a_number_of_bytes() {
    let host = Host::start("http").await;
    for rest in [0, 2 * MAX_DRAINED_BYTES] {
        let server = async {
            let mut stream = host.accept().await;
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhi").await.unwrap();
            // The client may close before all of it is written.
            let _ = stream.write_all(&vec![b' '; rest]).await;
            is_closed(stream).await
        };
        let client = async {
            let started = Instant::now();
            host.client.drain(host.send("{}").await.unwrap(), ());
            started
        };
        let (started, is_closed) = tokio::join!(client, server);
        assert!(is_closed && started.elapsed() <= DRAIN_TIMEOUT + Duration::from_millis(100), "{rest}");
    }
}

#[tokio::test]
async fn a_connection_with_an_unfinished_request_is_not_used_again() {
    let host = Host::start("http").await;
    let server = async {
        let mut first = host.accept().await;
        first.read_u8().await.unwrap();
        first.write_all(ANSWER).await.unwrap();
        serve(&mut host.accept().await).await;
        first
    };
    let client = async {
        // More than the sockets hold, so that it is still being written when the answer has arrived.
        let response = host.send(vec![b' '; 32 << 20]).await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hi");
        host.ask().await.unwrap()
    };
    let answer = timeout(Duration::from_secs(10), async { tokio::join!(client, server).0 }).await;
    assert_eq!(answer.unwrap(), "hi");
}

#[tokio::test]
async fn a_response_may_have_hundreds_of_headers() {
    let host = Host::start("http").await;
    let server = async {
        let mut stream = host.accept().await;
        read_request(&mut stream).await;
        let headers = "x-gateway: 1\r\n".repeat(130);
        let response = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nhi");
        stream.write_all(response.as_bytes()).await.unwrap();
    };
    let (response, ()) = tokio::join!(host.send("{}"), server);
    assert_eq!(response.unwrap().headers().len(), 131);
}

#[tokio::test]
async fn http_2_is_used_only_if_it_is_allowed() {
    let host = Host::start("https").await;
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));
    let answer = |request: http::Request<hyper::body::Incoming>| async move {
        let mut response = http::Response::new(Full::new(Bytes::from("hi")));
        let host = HeaderValue::from_str(&request.uri().to_string()).unwrap();
        response.headers_mut().insert(HeaderName::from_static("x-uri"), host);
        Ok::<_, std::convert::Infallible>(response)
    };
    for allowed in [true, false] {
        let server = async {
            let mut stream = tls.accept(host.accept().await).await.unwrap();
            if allowed {
                let connection = http2::Builder::new(TokioExecutor::new());
                connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await.unwrap();
            } else {
                stream.read_u8().await.unwrap();
                stream.write_all(ANSWER).await.unwrap();
            }
        };
        let client = async {
            let trusted = || reqwest::Certificate::from_pem(CERTIFICATE).unwrap();
            let client = HttpClient::build(|| builder(&host.url, allowed).tls_certs_only([trusted()])).unwrap();
            // Both over one connection; with HTTP/1.1 the test's server answers once.
            for _ in 0..if allowed { 2 } else { 1 } {
                let response = client.send(post(&host.url, "{}")).await.unwrap();
                assert_eq!(response.version(), if allowed { Version::HTTP_2 } else { Version::HTTP_11 });
                if allowed {
                    assert_eq!(response.headers()["x-uri"], host.url.as_str());
                }
                assert_eq!(response.bytes().await.unwrap(), "hi");
            }
        };
        tokio::join!(client, server);
    }
}

#[tokio::test]
async fn the_systems_proxy_is_used_for_other_machines() {
    const CHILD: &str = "BRIGADE_TEST_BEHIND_PROXY";
    if std::env::var_os(CHILD).is_some() {
        // The environment of a running process cannot be changed safely, so the test starts itself with another one.
        let url = Url::parse("http://provider.test/v1/chat").unwrap();
        let response = HttpClient::new(&url, false).unwrap().send(post(&url, "{}")).await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "hi");
        let here = Url::parse("http://127.0.0.1:1/").unwrap();
        let error = HttpClient::new(&here, false).unwrap().send(post(&here, "{}")).await.unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::Unreachable);
        return;
    }
    let proxy = Host::start("http").await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "http::http_client::tests::the_systems_proxy_is_used_for_other_machines"])
        .env(CHILD, "1")
        .env("http_proxy", format!("http://{}", proxy.url.authority()))
        .env_remove("HTTP_PROXY")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .spawn()
        .unwrap();
    let request = timeout(Duration::from_secs(30), async { serve(&mut proxy.accept().await).await }).await.unwrap();
    assert!(request.starts_with("POST http://provider.test/v1/chat HTTP/1.1\r\n"), "{request}");
    assert!(child.wait().unwrap().success());
}
