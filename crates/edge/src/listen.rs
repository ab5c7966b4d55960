//! Accepts connections, limits their number and how long they may take, and closes them at shutdown.

use std::{io, pin::pin, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    ConnectionLimits,
    client_stream::ClientStream,
    connections::{ConnectionGuard, Connections},
};

/// The approximate maximum size of a head, at which the connection is closed. Half of it is refused with a reason.
const HEAD_BYTES: usize = 64 << 10;

/// The pause after an error such as too few file descriptors, so that connections can end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections with the default [`ConnectionLimits`] until `shutdown` is true, then until all open requests are
/// answered.
///
/// Unlike `axum::serve`, it limits the number of connections and the time that a client may take to send the head of a
/// request and to read a response, so that it can face the internet. 1,000 connections may be open. Of these, 250 are for
/// clients that the service does not know yet; a new one closes the oldest of them. So they cannot keep known clients and
/// health checks out. [`Connection`](crate::Connection) has an example.
///
/// Requests that take long delay the end. A caller that cannot wait drops the future, which closes all connections.
///
/// **It also stops when the sender of `shutdown` is dropped**, because then nothing else could stop it. Keep the sender as
/// long as the service runs:
///
/// ```
/// use axum::Router;
/// use brigade_edge::serve;
/// use tokio::{net::TcpListener, sync::watch};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let (stop, stopped) = watch::channel(false);
/// drop(stop); // or `let (_, stopped) = …`
/// serve(TcpListener::bind("127.0.0.1:0").await?, Router::new(), stopped).await; // returns at once
/// # Ok(())
/// # }
/// ```
pub async fn serve(listener: TcpListener, router: Router, shutdown: watch::Receiver<bool>) {
    serve_with_limits(ConnectionLimits::default(), listener, router, shutdown).await;
}

/// Like [`serve`], with other limits.
pub async fn serve_with_limits(
    limits: ConnectionLimits,
    listener: TcpListener,
    router: Router,
    shutdown: watch::Receiver<bool>,
) {
    let all = Connections::new(limits);
    let mut tasks = JoinSet::new();
    let mut stop = pin!(wait_for(shutdown.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        // Frees the memory of connections that have ended.
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let serving = serve_connection(stream, limits, router.clone(), all.add(), shutdown.clone());
                tasks.spawn(serving);
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: TcpStream,
    limits: ConnectionLimits,
    router: Router,
    guard: ConnectionGuard,
    shutdown: watch::Receiver<bool>,
) {
    // Streamed chunks are small and must be sent at once.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(guard.connection.clone());
        service.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(HEAD_BYTES);
    let stream = TokioIo::new(ClientStream::new(stream, limits.write_timeout));
    let mut serving = pin!(http.serve_connection(stream, service));
    // An error of the connection concerns only its client.
    let ending = async {
        tokio::select! {
            _ = serving.as_mut() => {}
            () = wait_for(shutdown) => {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
    };
    tokio::select! {
        () = ending => {}
        () = guard.close.cancelled() => {}
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

#[cfg(test)]
mod tests;
