//! Accepts connections, limits their number and how long they may take, and closes them at shutdown.

use std::{io, pin::pin, time::Duration};

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

/// Four per run of the default limit. Each takes a few KiB and one file descriptor, and many processes may open only 1,024.
const MAX_CONNECTIONS: usize = 1_000;

/// How long a client may take to send the head of a request, including the time since the last response. Protects against
/// clients that send one byte at a time; a client with a connection pool opens a new connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The approximate maximum size of a head, at which the connection is closed. Half of it is refused with a reason.
const HEAD_BYTES: usize = 64 << 10;

/// The pause after an error such as too few file descriptors, so that connections can end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown` is true, then until all open requests are answered.
///
/// Unlike `axum::serve`, it limits the number of connections and the time that a client may take for the head of a
/// request, so that it can face the internet.
pub async fn serve(listener: TcpListener, router: Router, shutdown: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut stop = pin!(wait_for(shutdown.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        // Frees the memory of connections that have ended.
        while connections.try_join_next().is_some() {}
        match accepted {
            // Closed at once: clients handle that better than waiting.
            Ok(_) if connections.len() >= MAX_CONNECTIONS => {}
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, router.clone(), shutdown.clone()));
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: watch::Receiver<bool>) {
    // Streamed chunks are small and must be sent at once.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    // An error of the connection concerns only its client.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = wait_for(shutdown) => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// Waits until the value is true or the sender is dropped.
async fn wait_for(mut shutdown: watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|shutdown| *shutdown).await;
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
