//! `cargo xtask bench load`: the released server between many clients and the simulated provider, compared with the
//! simulated provider alone.
//!
//! The load generator, the server and the simulator are separate processes that share the machine.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::clients::{Answers, Clients};
use super::server::Server;
use crate::process::provider::{self, Provider};
use crate::statistics::quantile;

/// Clients that send requests without a pause.
const CROWD: usize = 200;

/// The requests per second at which the added latency is measured.
const RATE: u32 = 1_000;

/// Clients that share this rate. Each waits for its answer before its next request.
const PACED_CLIENTS: usize = 64;

/// The target for the latency that the server adds to the 99th percentile, in milliseconds.
const ADDED_P99_MS: f64 = 0.5;

/// The target for the memory of an idle server, in MiB.
const IDLE_MIB: f64 = 20.0;

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    idle_mib: f64,
    /// The server's memory after each third of the time without pauses.
    crowd_mib: [f64; 3],
    crowd: Compared,
    paced: Compared,
}

/// The same requests through the server and without it.
#[derive(Debug, Serialize)]
struct Compared {
    clients: usize,
    seconds: u64,
    through: Measured,
    alone: Measured,
    /// CPU time of the server for each request, in microseconds.
    server_cpu_us: f64,
}

#[derive(Debug, Serialize)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
}

/// Measures for some seconds each: the crowd, then the steady rate.
pub(crate) fn measure(quick: bool) -> Result<Report> {
    let third = Duration::from_secs(if quick { 1 } else { 10 });
    let provider = Provider::start(provider::Options::counting())?;
    let server = Server::start(provider.base_url())?;
    let body =
        |model: &str| json!({ "model": model, "messages": [{ "role": "user", "content": "How was the spring?" }] });
    let through = |clients| Clients::connect(server.url(), &body("oracle"), clients);
    let alone = |clients| Clients::connect(&format!("{}/v1", provider.base_url()), &body("gpt-5-mini"), clients);
    let idle_mib = server.memory_mib()?;
    let (mut answers, mut crowd_mib, before) = (Answers::default(), [0.0; 3], server.cpu_time()?);
    let mut clients = through(CROWD)?;
    for mib in &mut crowd_mib {
        answers.add(clients.crowd(third)?);
        *mib = server.memory_mib()?;
    }
    drop(clients);
    let crowd = Compared {
        clients: CROWD,
        seconds: 3 * third.as_secs(),
        server_cpu_us: micros_each(server.cpu_time()?.saturating_sub(before), &answers),
        through: Measured::of(&answers),
        alone: Measured::of(&alone(CROWD)?.crowd(third)?),
    };
    // Interleaved, because the machine may be busy with other things.
    let (mut with, mut without, mut cpu) = (Answers::default(), Answers::default(), Duration::ZERO);
    let (mut one, mut other) = (through(PACED_CLIENTS)?, alone(PACED_CLIENTS)?);
    for _ in 0..3 {
        let before = server.cpu_time()?;
        with.add(one.paced(RATE, third / 2)?);
        cpu += server.cpu_time()?.saturating_sub(before);
        without.add(other.paced(RATE, third / 2)?);
    }
    let paced = Compared {
        clients: PACED_CLIENTS,
        seconds: 3 * third.as_secs() / 2,
        server_cpu_us: micros_each(cpu, &with),
        through: Measured::of(&with),
        alone: Measured::of(&without),
    };
    Ok(Report { idle_mib, crowd_mib, crowd, paced })
}

fn micros_each(time: Duration, answers: &Answers) -> f64 {
    time.as_secs_f64() * 1e6 / answers.count()
}

impl Measured {
    fn of(answers: &Answers) -> Self {
        Self {
            per_second: answers.count() / answers.elapsed.as_secs_f64(),
            p50_ms: quantile(&answers.millis, 0.5),
            p99_ms: quantile(&answers.millis, 0.99),
            errors: answers.errors,
        }
    }
}

impl Report {
    /// The growth of the server's memory from the first third to the end.
    fn growth_percent(&self) -> f64 {
        let [first, _, last] = self.crowd_mib;
        (last / first - 1.0) * 100.0
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = |is_met| if is_met { "met" } else { "MISSED" };
        let Self { idle_mib, crowd_mib: [one, two, three], crowd, paced } = self;
        writeln!(f, "the server, idle: {idle_mib:.1} MiB   ≤ {IDLE_MIB:.0} MiB  {}", verdict(*idle_mib <= IDLE_MIB))?;
        writeln!(f, "\n{} clients without pauses, {} s\n{crowd}", crowd.clients, crowd.seconds)?;
        writeln!(
            f,
            "  memory after each third: {one:.1}, {two:.1}, {three:.1} MiB; {:+.1} % since the first",
            self.growth_percent()
        )?;
        writeln!(f, "\n{RATE} requests per second, {} s\n{paced}", paced.seconds)?;
        let added = paced.through.p99_ms - paced.alone.p99_ms;
        let ratio = added / ADDED_P99_MS;
        writeln!(f, "  added to p99: {added:.3} ms, {ratio:.2}× of {ADDED_P99_MS} ms  {}", verdict(ratio <= 1.0))
    }
}

impl Display for Compared {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { through, alone, server_cpu_us, .. } = self;
        writeln!(f, "  {:<24}{:>12}{:>18}{:>10}", "", "server", "simulator alone", "added")?;
        let mut line = |name, with: f64, without: f64| {
            writeln!(f, "  {name:<24}{with:>12.3}{without:>18.3}{:>10.3}", with - without)
        };
        line("latency p50, ms", through.p50_ms, alone.p50_ms)?;
        line("latency p99, ms", through.p99_ms, alone.p99_ms)?;
        writeln!(f, "  {:<24}{:>12.0}{:>18.0}", "requests per second", through.per_second, alone.per_second)?;
        writeln!(f, "  {:<24}{:>12}{:>18}", "errors", through.errors, alone.errors)?;
        write!(f, "  {:<24}{server_cpu_us:>12.0}", "server CPU per request, µs")
    }
}
