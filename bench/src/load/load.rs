//! `cargo xtask bench load`: the released server between clients and the simulated provider, without and with a store,
//! compared with the simulated provider alone and with the least that a server in between can do.
//!
//! The load generator, the servers and the simulator are separate processes that share the machine.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::clients::{Answers, Clients};
use super::overload::{self, Overloaded};
use super::pass_through::PassThrough;
use super::server::{Server, Setup};
use super::streams::{self, Streamed};
use crate::process::provider::{self, Provider};
use crate::statistics::quantile;

/// Clients that send requests without a pause.
const CROWD: usize = 200;

/// The requests per second at which the added latency is measured.
const RATE: u32 = 500;

/// Clients that share this rate. Each waits for its answer before its next request.
const PACED_CLIENTS: usize = 64;

/// The targets of the server without a store: its CPU time as a multiple of the pass-through's, the latency that it adds to
/// the median, and its memory when idle.
const CPU_RATIO: f64 = 3.0;
const ADDED_P50_MS: f64 = 0.5;
const IDLE_MIB: f64 = 20.0;

/// The target for the CPU time with a store, as a multiple of that without.
const STORE_RATIO: f64 = 2.0;

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    idle_mib: f64,
    /// The server's memory after each third of the time without pauses.
    crowd_mib: [f64; 3],
    crowd_seconds: u64,
    crowd: Each<Measured>,
    paced_seconds: u64,
    paced: Each<Measured>,
    overloaded: Overloaded,
    streamed: Streamed,
}

/// A value for each way to the provider.
#[derive(Debug, Default, Serialize)]
struct Each<T> {
    alone: T,
    pass_through: T,
    server: T,
    with_store: T,
}

#[derive(Debug, Serialize)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Responses with another status than 200.
    errors: u64,
    /// CPU time for each request in the process between, in microseconds.
    cpu_us: f64,
}

/// The processes between the clients and the provider.
struct Between {
    provider: Provider,
    pass_through: PassThrough,
    server: Server,
    with_store: Server,
}

/// Answers, and the CPU time that they took.
#[derive(Debug, Default)]
struct Sum {
    answers: Answers,
    cpu: Duration,
}

/// Measures for some seconds each: the crowd, the steady rate, more than there are places for, then streams.
pub(crate) fn measure(quick: bool) -> Result<Report> {
    let third = Duration::from_secs(if quick { 1 } else { 10 });
    let provider = Provider::start(provider::Options::counting())?;
    let between = Between {
        pass_through: PassThrough::start(provider.base_url())?,
        server: Server::start(provider.base_url(), Setup::Plain)?,
        with_store: Server::start(provider.base_url(), Setup::Sqlite)?,
        provider,
    };
    let idle_mib = between.server.memory_mib()?;
    let (mut crowd, mut crowd_mib) = (Each::default(), [0.0; 3]);
    let mut clients = between.clients(CROWD)?;
    for mib in &mut crowd_mib {
        between.round(&mut clients, &mut crowd, &mut |clients| clients.crowd(third / 4))?;
        *mib = between.server.memory_mib()?;
    }
    let mut paced = Each::default();
    let mut clients = between.clients(PACED_CLIENTS)?;
    for _ in 0..3 {
        between.round(&mut clients, &mut paced, &mut |clients| clients.paced(RATE, third / 2))?;
    }
    Ok(Report {
        idle_mib,
        crowd_mib,
        crowd_seconds: 3 * third.as_secs() / 4,
        crowd: crowd.measured(),
        paced_seconds: 3 * third.as_secs() / 2,
        paced: paced.measured(),
        overloaded: overload::measure(third)?,
        streamed: streams::measure(&between.server, if quick { 2 } else { 20 })?,
    })
}

impl Between {
    fn clients(&self, count: usize) -> Result<Each<Clients>> {
        let message = json!({ "role": "user", "content": "How was the spring?" });
        let connect = |url: &str, model: &str| {
            Clients::connect(url, "none", &json!({ "model": model, "messages": [message] }), count)
        };
        Ok(Each {
            alone: connect(&format!("{}/v1", self.provider.base_url()), "gpt-5-mini")?,
            pass_through: connect(self.pass_through.url(), "gpt-5-mini")?,
            server: connect(self.server.url(), "oracle")?,
            with_store: connect(self.with_store.url(), "oracle")?,
        })
    }

    /// One after the other, because the machine may be busy with other things.
    fn round(
        &self,
        clients: &mut Each<Clients>,
        sums: &mut Each<Sum>,
        work: &mut dyn FnMut(&mut Clients) -> Result<Answers>,
    ) -> Result<()> {
        sums.alone.add(&mut clients.alone, work, &|| Ok(Duration::ZERO))?;
        sums.pass_through.add(&mut clients.pass_through, work, &|| self.pass_through.cpu_time())?;
        sums.server.add(&mut clients.server, work, &|| self.server.cpu_time())?;
        sums.with_store.add(&mut clients.with_store, work, &|| self.with_store.cpu_time())
    }
}

impl Sum {
    fn add(
        &mut self,
        clients: &mut Clients,
        work: &mut dyn FnMut(&mut Clients) -> Result<Answers>,
        cpu_time: &dyn Fn() -> Result<Duration>,
    ) -> Result<()> {
        let before = cpu_time()?;
        self.answers.add(work(clients)?);
        self.cpu += cpu_time()?.saturating_sub(before);
        Ok(())
    }

    fn measured(&self) -> Measured {
        let Self { answers, cpu } = self;
        Measured {
            per_second: answers.count() / answers.elapsed.as_secs_f64(),
            p50_ms: quantile(&answers.millis, 0.5),
            p99_ms: quantile(&answers.millis, 0.99),
            errors: answers.errors + answers.refused,
            cpu_us: cpu.as_secs_f64() * 1e6 / answers.count(),
        }
    }
}

impl Each<Sum> {
    fn measured(&self) -> Each<Measured> {
        Each {
            alone: self.alone.measured(),
            pass_through: self.pass_through.measured(),
            server: self.server.measured(),
            with_store: self.with_store.measured(),
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
        let Self { idle_mib, crowd_mib: [one, two, three], crowd_seconds, crowd, .. } = self;
        let Self { paced_seconds, paced, overloaded, streamed, .. } = self;
        writeln!(f, "the server, idle: {idle_mib:.1} MiB   {}", verdict(*idle_mib, IDLE_MIB, "MiB"))?;
        writeln!(f, "\n{CROWD} clients without pauses, {crowd_seconds} s each\n{crowd}")?;
        writeln!(
            f,
            "  memory after each third: {one:.1}, {two:.1}, {three:.1} MiB; {:+.1} % since the first",
            self.growth_percent()
        )?;
        writeln!(f, "\n{RATE} requests per second, {paced_seconds} s each\n{paced}")?;
        let Each { alone, pass_through, server, with_store } = paced;
        let targets = [
            ("CPU of the server, of the pass-through's", server.cpu_us / pass_through.cpu_us, CPU_RATIO, "×"),
            ("CPU with a store, of that without", with_store.cpu_us / server.cpu_us, STORE_RATIO, "×"),
            ("added to p50", server.p50_ms - alone.p50_ms, ADDED_P50_MS, "ms"),
        ];
        for (name, measured) in [("pass-through", pass_through), ("server", server), ("with a store", with_store)] {
            let (p50, p99) = (measured.p50_ms - alone.p50_ms, measured.p99_ms - alone.p99_ms);
            writeln!(f, "  {name}: added to p50 {p50:.3} ms, to p99 {p99:.3} ms")?;
        }
        for (name, value, most, unit) in targets {
            writeln!(f, "  {name}: {value:.2} {unit}   {}", verdict(value, most, unit))?;
        }
        write!(f, "\n{overloaded}\n{streamed}")
    }
}

/// Whether a value meets its target.
pub(super) fn verdict(value: f64, most: f64, unit: &str) -> String {
    format!("≤ {most} {unit}  {}", if value <= most { "met" } else { "MISSED" })
}

impl Display for Each<Measured> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let columns = ["simulator alone", "pass-through", "server", "with a store"];
        write!(f, "  {:<24}", "")?;
        columns.iter().try_for_each(|name| write!(f, "{name:>18}"))?;
        let mut line = |name, value: fn(&Measured) -> f64, digits: usize| {
            write!(f, "\n  {name:<24}")?;
            let Self { alone, pass_through, server, with_store } = self;
            [alone, pass_through, server, with_store]
                .map(value)
                .iter()
                .try_for_each(|value| write!(f, "{value:>18.digits$}"))
        };
        line("latency p50, ms", |measured| measured.p50_ms, 3)?;
        line("latency p99, ms", |measured| measured.p99_ms, 3)?;
        line("requests per second", |measured| measured.per_second, 0)?;
        line("CPU per request, µs", |measured| measured.cpu_us, 0)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        line("errors", |measured| measured.errors as f64, 0)
    }
}
