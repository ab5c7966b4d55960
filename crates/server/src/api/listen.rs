//! Connections: accepted, bounded in number and in patience, and ended when the server stops.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Four for each run that may go on by default; each takes a few KiB, and one file descriptor of usually 1,024 or more.
const MOST_CONNECTIONS: usize = 1_000;

/// How long a client may take for the head of a request, the pause before it included. Who sends a byte at a time to
/// keep connections busy is cut off; who pools connections opens a new one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that is held of a head, roughly: what comes in one piece is read whole. The exact limit is half of it, and
/// refused with a reason.
const HEAD_BYTES: usize = 64 << 10;

/// When no connection can be accepted because the process has no descriptors left, some must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens a socket.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener
        .with_context(|| format!("cannot listen on {address}; is another process using it? `--listen` takes another"))
}

/// Serves until it is told to stop, and then until open requests have been answered.
pub(crate) async fn serve(listener: TcpListener, router: Router, stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut stop = pin!(until(stopped.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        // Those that have ended take their memory with them.
        while connections.try_join_next().is_some() {}
        match accepted {
            // One too many is closed at once, which clients understand better than silence.
            Ok(_) if connections.len() >= MOST_CONNECTIONS => {}
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), stopped.clone()));
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection. One that breaks is its client's affair.
async fn connection(stream: TcpStream, router: Router, stopped: watch::Receiver<bool>) {
    // Pieces of an answer are small, and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        _ = serving.as_mut() => {}
        () = until(stopped) => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// Resolves when it is true, or when nobody can say so any more.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn pause_after(error: &io::Error) {
    let is_of_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !is_of_client {
        tracing::warn!("cannot accept connections: {error}");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
