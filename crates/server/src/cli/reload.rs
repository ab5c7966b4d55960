//! Reloads the configuration of a running server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use anyhow::bail;
use brigade_edge::HangupSignal;
use brigade_observability::LoggingHandle;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::serve::{ServeCommand, print_token};
use crate::configured::ConfiguredApi;

/// Reloads the configuration at each SIGHUP.
///
/// Each reload has a thread of its own: a file that cannot be read now, such as a pipe without a writer, blocks it, and
/// nothing else. A later reload takes its place.
pub(super) struct Reloads {
    command: ServeCommand,
    configured: ConfiguredApi,
    logging: LoggingHandle,
    /// The number of the last reload that was asked for.
    newest: AtomicU64,
    applying: Mutex<()>,
    /// Whether the token that answers approvals was printed.
    has_token: AtomicBool,
}

/// Each one that does not end keeps a thread.
const MOST_RELOADS: usize = 8;

impl Reloads {
    pub(super) fn new(
        command: ServeCommand,
        configured: ConfiguredApi,
        logging: LoggingHandle,
        has_token: bool,
    ) -> Arc<Self> {
        let (newest, applying) = (AtomicU64::new(0), Mutex::new(()));
        Arc::new(Self { command, configured, logging, newest, applying, has_token: has_token.into() })
    }

    /// Waits for signals forever.
    pub(super) async fn watch(self: Arc<Self>, mut hangups: HangupSignal) {
        loop {
            hangups.next().await;
            if self.command.is_demo() {
                tracing::info!("the demo has no configuration to reload");
            } else if let Err(error) = self.start() {
                tracing::error!("cannot reload the configuration, which stays as it was: {error:#}");
            }
        }
    }

    fn start(self: &Arc<Self>) -> anyhow::Result<()> {
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let going_on = Arc::strong_count(self).saturating_sub(1);
        if going_on >= MOST_RELOADS {
            bail!("{going_on} earlier reloads still read their files; make these readable, or restart the server");
        }
        if going_on > 0 {
            tracing::warn!("an earlier reload still reads its files, which may be a pipe without a writer");
        }
        let (reloads, runtime) = (Arc::clone(self), Handle::current());
        thread::Builder::new().name("brigade-reload".into()).spawn(move || {
            runtime.block_on(async {
                match reloads.reload(number).await {
                    Ok(true) => tracing::info!("reloaded {}", reloads.command.path().display()),
                    Ok(false) => tracing::info!("a later reload of the configuration took the place of one"),
                    Err(error) => {
                        tracing::error!("cannot reload the configuration, which stays as it was: {error:#}");
                    }
                }
            });
        })?;
        Ok(())
    }

    /// Returns whether the configuration was applied. It is not if a later reload was asked for meanwhile.
    async fn reload(&self, number: u64) -> anyhow::Result<bool> {
        let loaded = self.command.load()?;
        let (level, asks_for_approvals) = (loaded.config.log.level.clone(), loaded.config.asks_for_approvals());
        let prepared = self.configured.prepare(loaded).await?;
        let _applying = self.applying.lock();
        if self.newest.load(Ordering::Relaxed) != number {
            return Ok(false);
        }
        if let Some(level) = level {
            self.logging.set_level(&level)?;
        }
        self.configured.apply(prepared);
        if asks_for_approvals && !self.has_token.swap(true, Ordering::Relaxed) {
            print_token(self.configured.api(), asks_for_approvals);
        }
        Ok(true)
    }
}
