//! The simulator inside of this program, for configurations that name it in place of a provider.

use std::{
    net,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use brigade_rehearsal::{RunningSimulator, Simulator};
use tokio::net::TcpListener;

/// A simulator that echoes: started when an account first needs it, ended with the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Simulated(Arc<Mutex<Option<RunningSimulator>>>);

impl Simulated {
    /// Where it listens.
    pub(crate) fn base_url(&self) -> anyhow::Result<String> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(running.base_url());
        }
        let started = start().context("the simulator cannot listen on 127.0.0.1")?;
        Ok(running.insert(started).base_url())
    }
}

fn start() -> std::io::Result<RunningSimulator> {
    let listener = net::TcpListener::bind((net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    // Nobody asks what it was asked, and it may run for long.
    Simulator::builder().count_only().build().serve(TcpListener::from_std(listener)?)
}
