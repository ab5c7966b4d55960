//! Signals of the operating system.

use std::future::pending;

/// Waits for Ctrl-C or SIGTERM. On other platforms than Unix, for Ctrl-C alone.
///
/// From the first call on, these signals no longer end the process, so a program must stop itself.
///
/// ```no_run
/// # async fn example(listener: tokio::net::TcpListener, app: axum::Router) {
/// use brigade_edge::{serve, stop_signal};
///
/// let (stop, stopped) = tokio::sync::watch::channel(false);
/// let stopping = async {
///     stop_signal().await;
///     stop.send_replace(true);
/// };
/// tokio::join!(serve(listener, app, stopped), stopping);
/// # }
/// ```
pub async fn stop_signal() {
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

/// Receives SIGHUP, by which operators ask a service to read its configuration again. From its creation on, the signal no
/// longer ends the process.
#[cfg(unix)]
#[derive(Debug)]
pub struct HangupSignal(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl HangupSignal {
    /// Begins to receive the signal. If that is not possible, [`Self::next`] waits forever.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn listen() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
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

/// This platform has no SIGHUP, so [`Self::next`] waits forever.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct HangupSignal;

#[cfg(not(unix))]
impl HangupSignal {
    /// Does nothing on this platform.
    pub fn listen() -> Self {
        Self
    }

    /// Waits forever.
    pub async fn next(&mut self) {
        pending().await
    }
}
