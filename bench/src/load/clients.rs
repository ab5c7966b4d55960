//! Clients that need little CPU, because they share the machine with the measured processes: one thread, one prepared
//! request, and only the length of each response is parsed.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::time::{Instant, sleep_until};

/// Connected clients that all send the same request.
#[derive(Debug)]
pub(super) struct Clients {
    runtime: Runtime,
    request: Vec<u8>,
    connections: Vec<Connection>,
}

/// The responses of all clients.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The latency of each response with status 200.
    pub(super) millis: Vec<f64>,
    /// Responses with status 429.
    pub(super) refused: u64,
    /// Responses with another status.
    pub(super) errors: u64,
    pub(super) elapsed: Duration,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Longer than any response.
const BUFFER: usize = 64 << 10;

impl Clients {
    /// Opens the connections to the Chat Completions of `url`. The requests carry `key` as their API key.
    pub(super) fn connect(url: &str, key: &str, body: &Value, clients: usize) -> Result<Self> {
        let place = url.strip_prefix("http://").context("another protocol than HTTP")?;
        let (address, path) = place.split_once('/').context("an address without a path")?;
        let body = body.to_string();
        let request = format!(
            "POST /{path}/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..clients {
                connections.push(Connection::open(address).await?);
            }
            anyhow::Ok(connections)
        })?;
        Ok(Self { runtime, request: request.into_bytes(), connections })
    }

    /// Every client sends its next request as soon as it has its response.
    pub(super) fn crowd(&mut self, time: Duration) -> Result<Answers> {
        let begin = Instant::now();
        self.each(&async |connection, request| {
            let mut answers = Answers::default();
            while begin.elapsed() < time {
                connection.measure(request, &mut answers).await?;
            }
            Ok(answers)
        })
    }

    /// Sends this number of requests per second, whether or not earlier ones have their responses, as long as a client is
    /// free.
    pub(super) fn paced(&mut self, per_second: u32, time: Duration) -> Result<Answers> {
        let (begin, next) = (Instant::now(), Cell::new(0));
        let pause = Duration::from_secs(1) / per_second;
        self.each(&async |connection, request| {
            let mut answers = Answers::default();
            loop {
                let due = pause * next.replace(next.get() + 1);
                if due >= time {
                    return Ok(answers);
                }
                sleep_until(begin + due).await;
                connection.measure(request, &mut answers).await?;
            }
        })
    }

    fn each(&mut self, work: &impl AsyncFn(&mut Connection, &[u8]) -> Result<Answers>) -> Result<Answers> {
        let begin = Instant::now();
        let request = &self.request;
        let all = self.connections.iter_mut().map(|connection| work(connection, request));
        let parts = self.runtime.block_on(futures::future::try_join_all(all))?;
        let mut answers = Answers::default();
        for part in parts {
            answers.add(part);
        }
        Ok(Answers { elapsed: begin.elapsed(), ..answers })
    }
}

impl Connection {
    async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER] })
    }

    async fn measure(&mut self, request: &[u8], answers: &mut Answers) -> Result<()> {
        let begin = Instant::now();
        match self.ask(request).await? {
            200 => answers.millis.push(begin.elapsed().as_secs_f64() * 1e3),
            429 => answers.refused += 1,
            _ => answers.errors += 1,
        }
        Ok(())
    }

    /// Reads the response to its end, and returns its status.
    async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        let (mut filled, mut whole) = (0, None);
        loop {
            let free = self.buffer.get_mut(filled..).unwrap_or_default();
            let read = self.stream.read(free).await?;
            ensure!(read > 0, "the connection was closed, or an answer is longer than {BUFFER} bytes");
            filled += read;
            let answer = self.buffer.get(..filled).unwrap_or_default();
            if whole.is_none() {
                whole = length(answer)?;
            }
            if whole.is_some_and(|whole| filled >= whole) {
                let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|answer| answer.get(..3));
                return Ok(std::str::from_utf8(status.context("a response has no status")?)?.parse()?);
            }
        }
    }
}

impl Answers {
    /// The number of responses with status 200.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(super) fn count(&self) -> f64 {
        self.millis.len() as f64
    }

    /// The part of all responses that had status 429, in percent.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(super) fn refused_percent(&self) -> f64 {
        let all = self.millis.len() as f64 + (self.refused + self.errors) as f64;
        self.refused as f64 / all * 100.0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.millis.extend(other.millis);
        self.refused += other.refused;
        self.errors += other.errors;
        self.elapsed += other.elapsed;
    }
}

/// The length of a response, head and body, once its head is complete.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let lines = answer.get(..head).unwrap_or_default().split(|byte| *byte == b'\n');
    for line in lines {
        if let Some(value) = line.strip_prefix(b"content-length:") {
            let body: usize = std::str::from_utf8(value)?.trim().parse()?;
            return Ok(Some(head + 4 + body));
        }
    }
    bail!("a response has no content length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_response_is_read_from_its_head() {
        assert_eq!(length(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
        assert_eq!(length(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap(), Some(40));
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
