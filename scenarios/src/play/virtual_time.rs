//! Virtual time that does not run ahead of loopback sockets.
//!
//! A paused tokio clock jumps to the next timer whenever the runtime has nothing to do. Bytes on their way through a
//! loopback socket are nothing to do: the runtime polls its sockets once and then jumps, even if that poll found some
//! of them ready, so that a timeout of a minute ends a call that was about to be answered. Here the runtime has to find
//! its sockets quiet many times in a row before the clock may jump.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::{runtime::Builder, task::JoinSet};

/// How often sockets must be found quiet. Linux hands bytes over loopback on while they are written, so each round
/// moves them one hop; the longest way that the work itself does not see (it is polled for each piece of an answer) is
/// a request of some megabytes.
const QUIET_ROUNDS: u32 = 24;

/// Counts how long nothing has happened.
#[derive(Debug, Default)]
struct Quiet {
    rounds: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

/// Does `work` on a runtime of its own, on this thread, in virtual time: waiting takes no time at all.
///
/// # Errors
/// If the system has no sockets left.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let quiet = Arc::new(Quiet::default());
    let watch = Arc::clone(&quiet);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(move || watch.look_again())
        .build()?;
    Ok(runtime.block_on(async {
        let mut keeper = JoinSet::new();
        let kept = Arc::clone(&quiet);
        // Does nothing; that it can be woken keeps the runtime from falling asleep.
        keeper.spawn(poll_fn(move |context| kept.keep(context)));
        let mut work = pin!(work);
        poll_fn(|context| {
            quiet.rounds.store(0, Ordering::Relaxed);
            Pin::new(&mut work).poll(context)
        })
        .await
    }))
}

impl Quiet {
    /// The runtime is about to sleep. Until it was about to for long enough, something is given to do to it, and before
    /// it does that it looks after its sockets.
    fn look_again(&self) {
        if self.rounds.fetch_add(1, Ordering::Relaxed) >= QUIET_ROUNDS {
            self.rounds.store(0, Ordering::Relaxed);
        } else if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    fn keep(&self, context: &Context<'_>) -> Poll<()> {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::Instant,
    };

    use super::*;

    async fn echo(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await.unwrap();
        }
    }

    #[test]
    fn the_clock_stands_still_while_bytes_are_on_their_way_and_then_jumps() {
        let took = in_virtual_time(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut tasks = JoinSet::new();
            tasks.spawn(echo(listener));
            // A timer that is always near, as in a client that counts the time.
            tasks.spawn(async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let started = Instant::now();
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut byte = [0];
            for sent in 0..100 {
                stream.write_all(&[sent]).await.unwrap();
                stream.read_exact(&mut byte).await.unwrap();
            }
            let talked = started.elapsed();
            tokio::time::sleep(Duration::from_mins(10)).await;
            (talked, started.elapsed())
        });
        let (talked, waited) = took.unwrap();
        assert_eq!(talked, Duration::ZERO);
        assert_eq!(waited.as_secs(), 600);
    }
}
