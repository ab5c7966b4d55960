//! The provider simulator inside this process, for accounts of the kind "simulator".

use std::{net, sync::Arc};

use brigade_rehearsal::{RunningSimulator, Simulator};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::setup::error::{SetupContext as _, SetupError};

/// Starts a simulator on first use and stops it when the process ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedSimulator(Arc<Mutex<Option<RunningSimulator>>>);

impl SharedSimulator {
    pub(crate) fn base_url(&self) -> Result<String, SetupError> {
        let mut running = self.0.lock();
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
    // Recording every request would fill the memory of a server that runs for long.
    Simulator::builder().count_only().build().serve(TcpListener::from_std(listener)?)
}
