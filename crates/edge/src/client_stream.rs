//! The stream of a client: its writes time out, and its end is reported late.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Fails a write that makes no progress for a while, so that a client that reads nothing does not occupy a connection for
/// ever.
///
/// A client may close its sending side after a request and still read, as `nc -N` and some probes do. The service
/// cannot distinguish it from a client that has disconnected, and must cancel the requests of such a client. The end is
/// therefore reported after [`END_DELAY`]: requests that take no longer are answered, and longer ones are cancelled.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    stream: S,
    limit: Duration,
    /// The time until the write fails. Set while a write waits for the client.
    waiting: Option<Pin<Box<Sleep>>>,
    /// The time until the end is reported. Set once the client has closed its sending side.
    ended: Option<Pin<Box<Sleep>>>,
}

/// Ten times the duration of a probe, and too short to be noticed when a request is cancelled.
const END_DELAY: Duration = Duration::from_millis(100);

impl<S> ClientStream<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting: None, ended: None }
    }

    /// Passes the result of a write on, or an error if the client has not read for too long.
    fn limited<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limited(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.limited(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.limited(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limited(result, context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            let (filled, room) = (buffer.filled().len(), buffer.remaining());
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if buffer.filled().len() > filled || room == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let ended = self.ended.get_or_insert_with(|| Box::pin(sleep(END_DELAY)));
        ended.as_mut().poll(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_if_the_client_reads_nothing_for_too_long() {
        let (ours, mut client) = duplex(8);
        let mut ours = ClientStream::new(ours, LIMIT);
        let began = tokio::time::Instant::now();
        let error = ours.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
        client.read_exact(&mut [0; 8]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_stream_is_reported_late_and_its_bytes_at_once() {
        let (ours, mut client) = duplex(8);
        let mut ours = ClientStream::new(ours, LIMIT);
        client.write_all(b"ask").await.unwrap();
        client.shutdown().await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!((ours.read(&mut [0; 8]).await.unwrap(), began.elapsed()), (3, Duration::ZERO));
        for _ in 0..2 {
            assert_eq!((ours.read(&mut [0; 8]).await.unwrap(), began.elapsed()), (0, END_DELAY));
        }
        ours.write_all(b"answer").await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_served() {
        let (ours, mut client) = duplex(8);
        let mut ours = ClientStream::new(ours, LIMIT);
        let reading = async {
            for _ in 0..8 {
                tokio::time::sleep(LIMIT * 9 / 10).await;
                client.read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 64]), reading);
        written.unwrap();
    }
}
