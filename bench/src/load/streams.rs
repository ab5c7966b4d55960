//! What a streamed answer of many words costs the server.

use std::fmt::{self, Display, Formatter};
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::load::verdict;
use super::server::Server;
use crate::workload::STREAMED_WORDS;

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
}

/// Asks for some answers, one after the other.
pub(super) fn measure(server: &Server, answers: u32) -> Result<Streamed> {
    let mut bytes = stream(server)?;
    let before = server.cpu_time()?;
    for _ in 0..answers {
        bytes = stream(server)?;
    }
    let cpu = server.cpu_time()?.saturating_sub(before);
    let deltas = f64::from(answers) * f64::from(STREAMED_WORDS);
    Ok(Streamed { answers, delta_us: cpu.as_secs_f64() * 1e6 / deltas, bytes })
}

/// Reads a whole response, and returns its length.
fn stream(server: &Server) -> Result<u64> {
    let place = server.url().strip_prefix("http://").context("another protocol than HTTP")?;
    let (address, path) = place.split_once('/').context("an address without a path")?;
    let message = json!({ "role": "user", "content": "Tell it all." });
    let body = json!({ "model": "scribe", "messages": [message], "stream": true }).to_string();
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
        let Self { answers, delta_us, bytes } = self;
        writeln!(f, "{answers} streamed answers of {STREAMED_WORDS} words, {bytes} bytes each")?;
        writeln!(f, "  server CPU per word: {delta_us:.2} µs   {}", verdict(*delta_us, DELTA_US, "µs"))
    }
}
