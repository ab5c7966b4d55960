use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn asking(url: &str) -> (Transport, Request<Full<Bytes>>) {
    let url: Uri = url.parse().unwrap();
    (Transport::new(&url, false).unwrap(), Request::post(url).body(Full::from("{}")).unwrap())
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let (transport, request) = asking("http://127.0.0.1:1/");
    let error = transport.send(request).await.err().unwrap();
    assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Unreachable, false));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_may_have_been_billed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (transport, request) = asking(&format!("http://{}/", listener.local_addr().unwrap()));
    let hangs_up = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    };
    let (sent, ()) = tokio::join!(transport.send(request), hangs_up);
    let error = sent.err().unwrap();
    assert_eq!((error.kind(), error.details().sent), (ModelErrorKind::Transient, true));
}

#[tokio::test]
async fn https_is_spoken_and_a_server_that_does_not_is_not_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (transport, request) = asking(&format!("https://{}/", listener.local_addr().unwrap()));
    let answers_in_plain_text = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The type of a TLS handshake record (RFC 8446, section 5.1).
        assert_eq!(stream.read_u8().await.unwrap(), 22);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Open until the client has read that; what was not read would reset the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (sent, ()) = tokio::join!(transport.send(request), answers_in_plain_text);
    assert_eq!(sent.err().unwrap().kind(), ModelErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (transport, request) = asking(&format!("https://{}/", listener.local_addr().unwrap()));
    let started = tokio::time::Instant::now();
    let error = transport.send(request).await.err().unwrap();
    assert_eq!(error.kind(), ModelErrorKind::Timeout(TimeoutPhase::Connect));
    assert!(!error.details().sent && started.elapsed() < CONNECT_TIMEOUT + Duration::from_millis(100));
}
