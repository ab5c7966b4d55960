//! Virtual time that waits for loopback sockets.
//!
//! Tokio's paused clock advances to the next timer whenever the runtime is idle. Bytes on their way through a loopback
//! socket do not keep it busy: the runtime polls its sockets once and then advances, even if that poll found some of them
//! ready, so that a timeout of a minute ends a call that was about to be answered. Here the runtime has to be idle many
//! times in a row before the clock may advance.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::{runtime::Builder, task::JoinSet};

/// How often in a row the runtime must be idle before the clock may advance. In each round, bytes move one hop over
/// loopback. A request of some megabytes takes the most rounds. An answer may take any number, because each of its pieces
/// wakes the work and so resets the count.
const IDLE_ROUNDS: u32 = 24;

/// Counts how often in a row the runtime was idle.
#[derive(Debug, Default)]
struct IdleCounter {
    rounds: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

/// Runs `work` on a runtime of its own, on this thread, in virtual time: waiting takes no real time.
///
/// # Errors
/// If the runtime cannot be built.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let idle = Arc::new(IdleCounter::default());
    let parked = Arc::clone(&idle);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(move || parked.on_idle())
        .build()?;
    Ok(runtime.block_on(async {
        // A task that does nothing: waking it makes the runtime poll its sockets again instead of advancing the clock.
        let mut tasks = JoinSet::new();
        let counter = Arc::clone(&idle);
        tasks.spawn(poll_fn(move |context| counter.store_waker(context)));
        let mut work = pin!(work);
        poll_fn(|context| {
            idle.rounds.store(0, Ordering::Relaxed);
            Pin::new(&mut work).poll(context)
        })
        .await
    }))
}

impl IdleCounter {
    /// Called when the runtime has nothing to do. Wakes the task that does nothing until this has happened often enough.
    fn on_idle(&self) {
        if self.rounds.fetch_add(1, Ordering::Relaxed) >= IDLE_ROUNDS {
            self.rounds.store(0, Ordering::Relaxed);
        } else if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    fn store_waker(&self, context: &Context<'_>) -> Poll<()> {
        *self.waker.lock() = Some(context.waker().clone());
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
    fn the_clock_stands_still_while_bytes_are_in_transit_and_then_advances() {
        let took = in_virtual_time(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut tasks = JoinSet::new();
            tasks.spawn(echo(listener));
            // A timer that is always due soon.
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
