//! A connection that faults can close or reset.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How a fault ends the connection.
#[derive(Debug, Clone, Copy)]
enum Abort {
    Close,
    Reset,
}

/// Ends a connection from a response. The connection ends once everything written before has been sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionControl(Arc<OnceLock<Abort>>);

impl ConnectionControl {
    pub(crate) fn close(&self) {
        let _ = self.0.set(Abort::Close);
    }

    pub(crate) fn reset(&self) {
        let _ = self.0.set(Abort::Reset);
    }
}

/// The stream that the HTTP library uses.
#[derive(Debug)]
pub(crate) struct Connection<Io> {
    io: Io,
    control: ConnectionControl,
    /// Prepares the stream so that dropping it resets the connection.
    prepare_reset: fn(&Io),
}

impl Connection<TcpStream> {
    pub(crate) fn tcp(io: TcpStream, control: ConnectionControl) -> Self {
        // With a linger time of zero, dropping the stream resets it. If it cannot be set, the peer sees a normal end.
        let prepare_reset = |io: &TcpStream| drop(io.set_zero_linger());
        Self { io, control, prepare_reset }
    }
}

impl<Io> Connection<Io> {
    /// A stream that has no reset, such as one in memory. It is closed instead.
    pub(crate) fn in_memory(io: Io, control: ConnectionControl) -> Self {
        Self { io, control, prepare_reset: |_| {} }
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
        match self.control.0.get() {
            None => return Poll::Ready(Ok(())),
            Some(Abort::Close) => {}
            Some(Abort::Reset) => (self.prepare_reset)(&self.io),
        }
        // An error makes the HTTP library drop the stream at once, without ending the body.
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
