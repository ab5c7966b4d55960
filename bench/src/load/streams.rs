//! What a streamed answer of many words costs the server.

use std::fmt::{self, Display, Formatter};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::load::verdict;
use super::server::Server;
use crate::workload::{LONG_WORDS, STREAMED_WORDS};

/// The target for the CPU time of one delta, in microseconds.
const DELTA_US: f64 = 6.0;

/// The cost of streamed answers.
#[derive(Debug, Serialize)]
pub(super) struct Streamed {
    answers: u32,
    /// CPU time of the server for each word of an answer, in microseconds.
    delta_us: f64,
    /// Bytes of a response.
    bytes: u64,
    /// How long an answer of `LONG_WORDS` takes, and the server's CPU time for each of its words.
    long: Duration,
    long_delta_us: f64,
}

/// Asks for some answers, one after the other, and for a long one.
pub(super) fn measure(server: &Server, answers: u32) -> Result<Streamed> {
    let mut bytes = stream(server, "scribe")?;
    let before = server.cpu_time()?;
    for _ in 0..answers {
        bytes = stream(server, "scribe")?;
    }
    let (after, started) = (server.cpu_time()?, Instant::now());
    stream(server, "novelist")?;
    let long = started.elapsed();
    let per_word = |time: Duration, words: f64| time.as_secs_f64() * 1e6 / words;
    Ok(Streamed {
        answers,
        delta_us: per_word(after.saturating_sub(before), f64::from(answers) * f64::from(STREAMED_WORDS)),
        bytes,
        long,
        long_delta_us: per_word(server.cpu_time()?.saturating_sub(after), f64::from(LONG_WORDS)),
    })
}

/// Reads a whole response of this agent, and returns its length.
fn stream(server: &Server, agent: &str) -> Result<u64> {
    let place = server.url().strip_prefix("http://").context("another protocol than HTTP")?;
    let (address, path) = place.split_once('/').context("an address without a path")?;
    let message = json!({ "role": "user", "content": "Tell it all." });
    let body = json!({ "model": agent, "messages": [message], "stream": true }).to_string();
    let mut connection = TcpStream::connect(address)?;
    write!(
        connection,
        "POST /{path}/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let (mut buffer, mut length, mut end) = (vec![0; 64 << 10], 0, Vec::new());
    loop {
        let read = connection.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        end.extend_from_slice(buffer.get(..read).unwrap_or_default());
        end.drain(..end.len().saturating_sub(64));
    }
    let is_whole = end.windows(6).any(|window| window == b"[DONE]");
    ensure!(is_whole, "the stream of the server ended early: …{}", String::from_utf8_lossy(&end));
    Ok(length)
}

impl Display for Streamed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { answers, delta_us, bytes, long, long_delta_us } = self;
        writeln!(f, "{answers} streamed answers of {STREAMED_WORDS} words, {bytes} bytes each")?;
        writeln!(f, "  server CPU per word: {delta_us:.2} µs   {}", verdict(*delta_us, DELTA_US, "µs"))?;
        writeln!(f, "one streamed answer of {LONG_WORDS} words: {:.1} s", long.as_secs_f64())?;
        writeln!(f, "  server CPU per word: {long_delta_us:.2} µs   {}", verdict(*long_delta_us, DELTA_US, "µs"))
    }
}
