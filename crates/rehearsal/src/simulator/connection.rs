//! A connection that can be ended in ways an HTTP library would not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const OPEN: u8 = 0;
const CLOSE: u8 = 1;
const RESET: u8 = 2;

/// How the connection is to end. Whoever answers a request says it here; the connection does it
/// once everything written before has gone out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lever(Arc<AtomicU8>);

impl Lever {
    pub(crate) fn close(&self) {
        self.0.store(CLOSE, Ordering::Release);
    }

    pub(crate) fn reset(&self) {
        self.0.store(RESET, Ordering::Release);
    }

    fn pulled(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }
}

/// The stream that the HTTP library writes to.
#[derive(Debug)]
pub(crate) struct Connection<Io> {
    io: Io,
    lever: Lever,
    /// Makes sure that dropping the stream resets the connection.
    abort: fn(&Io),
}

impl Connection<TcpStream> {
    pub(crate) fn tcp(io: TcpStream, lever: Lever) -> Self {
        // Without linger a drop resets. If it cannot be set the peer sees an orderly end instead.
        let abort = |io: &TcpStream| drop(io.set_zero_linger());
        Self { io, lever, abort }
    }
}

impl<Io> Connection<Io> {
    /// A stream that knows no reset, such as one in memory: it is closed instead.
    pub(crate) fn plain(io: Io, lever: Lever) -> Self {
        Self { io, lever, abort: |_| {} }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        match self.lever.pulled() {
            OPEN => return Poll::Ready(Ok(())),
            RESET => (self.abort)(&self.io),
            _ => {}
        }
        // An error makes the HTTP library drop the stream at once, without its own goodbye.
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
