//! Signals of the operating system.

use std::future::pending;

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn stop() {
    let ctrl_c = async {
        // If the handler cannot be installed, Ctrl-C ends the process by default.
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = ctrl_c => {}
        () = terminate() => {}
    }
}

#[cfg(unix)]
async fn terminate() {
    wait_for(tokio::signal::unix::SignalKind::terminate()).await;
}

/// Receives SIGHUP. From its creation on, the signal no longer ends the process.
#[cfg(unix)]
pub(super) struct HangupSignal(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl HangupSignal {
    pub(super) fn listen() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => pending().await,
        }
    }
}

#[cfg(unix)]
async fn wait_for(kind: tokio::signal::unix::SignalKind) {
    match tokio::signal::unix::signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    pending().await
}

/// This platform has no SIGHUP.
#[cfg(not(unix))]
pub(super) struct HangupSignal;

#[cfg(not(unix))]
impl HangupSignal {
    pub(super) fn listen() -> Self {
        Self
    }

    pub(super) async fn next(&mut self) {
        pending().await
    }
}
