//! Signals to the process.

use std::future::pending;

/// Waits for Ctrl-C, or for SIGTERM where there is such a thing.
pub(crate) async fn stop() {
    let ctrl_c = async {
        // Where no handler can be set up, the process ends without one, which is what was asked for.
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
    on(tokio::signal::unix::SignalKind::terminate()).await;
}

/// Waits for SIGHUP, where there is such a thing.
#[cfg(unix)]
pub(crate) async fn hangup() {
    on(tokio::signal::unix::SignalKind::hangup()).await;
}

#[cfg(unix)]
async fn on(kind: tokio::signal::unix::SignalKind) {
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

/// Waits for ever: there is no such signal here.
#[cfg(not(unix))]
pub(crate) async fn hangup() {
    pending().await
}
