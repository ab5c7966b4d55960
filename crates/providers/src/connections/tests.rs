use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

struct Host {
    listener: TcpListener,
    connections: Arc<Connections>,
}

impl Host {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user@{}/v1", listener.local_addr().unwrap()).parse().unwrap();
        Self { listener, connections: Arc::new(Connections::new(&url).unwrap()) }
    }

    /// Sends a request and reads the whole answer.
    async fn ask(&self) -> Result<Vec<u8>, Failure> {
        let mut response = self.send().await?;
        let mut read = Vec::new();
        while let Some(chunk) = response.body_mut().chunk().await.map_err(Failure::Broke)? {
            read.extend_from_slice(&chunk);
        }
        Ok(read)
    }

    async fn send(&self) -> Result<Response<Body>, Failure> {
        self.send_body("{}".into()).await
    }

    async fn send_body(&self, body: Bytes) -> Result<Response<Body>, Failure> {
        let request = Request::post("http://elsewhere/v1/chat?x=1").body(Full::from(body)).unwrap();
        Arc::clone(&self.connections).send(request).await
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    fn idle(&self) -> usize {
        self.connections.idle().len()
    }
}

/// Reads one request and answers it.
async fn serve(stream: &mut TcpStream) -> String {
    let asked = head(stream).await;
    stream.write_all(ANSWER).await.unwrap();
    asked
}

async fn head(stream: &mut TcpStream) -> String {
    let mut asked = String::new();
    while !asked.ends_with("\r\n\r\n{}") {
        asked.push(stream.read_u8().await.unwrap().into());
    }
    asked
}

async fn is_closed(mut stream: TcpStream) -> bool {
    // Bytes that were not read make it a reset.
    stream.read(&mut [0]).await.map_or(true, |read| read == 0)
}

#[tokio::test]
async fn a_request_says_where_it_goes_and_a_connection_serves_the_next_one_too() {
    let host = Host::start().await;
    let serving = async {
        let mut stream = host.accept().await;
        let asked = serve(&mut stream).await;
        let address = host.listener.local_addr().unwrap();
        assert!(asked.starts_with("POST /v1/chat?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("\r\nhost: {address}\r\n")) && asked.contains("content-length: 2"), "{asked}");
        serve(&mut stream).await
    };
    let asking = async {
        assert_eq!(host.ask().await.unwrap(), b"hi");
        assert_eq!(host.idle(), 1);
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(asking, serving).0, b"hi");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let host = Host::start().await;
    let serving = async {
        serve(&mut host.accept().await).await;
        serve(&mut host.accept().await).await;
    };
    let asking = async {
        host.ask().await.unwrap();
        // Whether the other side's end has been noticed by now or not.
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(asking, serving).0, b"hi");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_after_its_time() {
    let host = Host::start().await;
    let serving = async {
        let mut first = host.accept().await;
        serve(&mut first).await;
        let mut second = host.accept().await;
        serve(&mut second).await;
        (is_closed(first).await, second)
    };
    let asking = async {
        host.ask().await.unwrap();
        tokio::time::advance(IDLE_TIMEOUT + Duration::from_secs(1)).await;
        host.ask().await.unwrap();
    };
    let done = tokio::time::timeout(IDLE_TIMEOUT * 3, async { tokio::join!(asking, serving) }).await;
    let ((), (is_closed, _second)) = done.unwrap();
    assert!(is_closed);
    assert_eq!(host.idle(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let host = Host::start().await;
    let waiting = async {
        let mut stream = host.accept().await;
        head(&mut stream).await;
        stream
    };
    let stream = tokio::select! {
        stream = waiting => stream,
        _ = host.send() => panic!("nobody answered"),
    };
    assert!(is_closed(stream).await);
    assert_eq!(host.idle(), 0);
}

#[tokio::test]
async fn an_answer_that_is_dropped_closes_its_connection() {
    let host = Host::start().await;
    let serving = async {
        let mut stream = host.accept().await;
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await.unwrap();
        assert!(is_closed(stream).await);
        serve(&mut host.accept().await).await;
    };
    let asking = async {
        let mut response = host.send().await.unwrap();
        assert_eq!(response.body_mut().chunk().await.unwrap().unwrap(), "hi");
        drop(response);
        host.ask().await.unwrap()
    };
    assert_eq!(tokio::join!(asking, serving).0, b"hi");
}

#[tokio::test]
async fn a_host_that_answers_and_does_not_read_on_is_not_waited_for() {
    let host = Host::start().await;
    let serving = async {
        let mut first = host.accept().await;
        first.read_u8().await.unwrap();
        first.write_all(ANSWER).await.unwrap();
        serve(&mut host.accept().await).await;
        first
    };
    let asking = async {
        // More than the sockets hold, so that it is still being written when the answer is there.
        let mut response = host.send_body(vec![b' '; 32 << 20].into()).await.unwrap();
        while response.body_mut().chunk().await.unwrap().is_some() {}
        drop(response);
        host.ask().await.unwrap()
    };
    let done = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(asking, serving).0 }).await;
    assert_eq!(done.unwrap(), b"hi");
}
