//! Writes log lines on a thread of its own, so that a reader that stalls stops nothing but the log.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::format::LogFormat;
use crate::unpoisoned;

/// The most bytes that wait to be written, about 20,000 lines. Further lines are dropped and counted.
const CAPACITY: usize = 4 << 20;

/// The buffer that the thread keeps between two batches. A larger one is given back after a burst.
const KEPT_BUFFER: usize = 64 << 10;

/// A bounded queue of lines, and the thread that writes them in batches. The thread ends with the last clone, after it has
/// written all waiting lines.
#[derive(Debug, Clone)]
pub(crate) struct LineQueue(Arc<Producers>);

/// Closes the queue when it is dropped.
#[derive(Debug)]
struct Producers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// All lines that were dropped.
    dropped: u64,
    /// The dropped lines that the thread has reported in the log.
    reported: u64,
    is_writing: bool,
    is_closed: bool,
}

impl LineQueue {
    /// Starts the thread that writes to `output`. `format` is the format of the line that reports dropped lines.
    pub(crate) fn start(output: impl Write + Send + 'static, format: LogFormat) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let queue = Self(Arc::new(Producers(Arc::clone(&shared))));
        std::thread::Builder::new().name("brigade-log".into()).spawn(move || shared.write_to(output, format))?;
        Ok(queue)
    }

    /// How many lines were dropped because the log was not read fast enough.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.0.0.lock().dropped
    }

    /// Waits until all lines are written, at most for `within`: the reader of the log may have stalled.
    pub(crate) fn flush(&self, within: Duration) {
        let shared = &self.0.0;
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(shared.changed.wait_timeout_while(shared.lock(), within, is_busy));
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        // A thread that is writing looks for more lines afterwards.
        if !state.is_writing {
            self.changed.notify_all();
        }
    }

    fn write_to(&self, mut output: impl Write, format: LogFormat) {
        let mut batch = Vec::new();
        while let Some(dropped) = self.next_batch(&mut batch) {
            if dropped > 0 {
                let message = format!("{dropped} log lines were dropped, because the log was not read fast enough");
                batch.extend_from_slice(format.warning(module_path!(), &message).as_bytes());
            }
            // There is no other place to report that the log cannot be written.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            batch.shrink_to(KEPT_BUFFER);
        }
    }

    /// Waits for lines and swaps them with the empty `batch`. Returns how many were dropped, or `None` at the end.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let mut state = self.lock();
        state.is_writing = false;
        self.changed.notify_all();
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let mut state = unpoisoned(self.changed.wait_while(state, is_idle));
        if state.waiting.is_empty() {
            return None;
        }
        std::mem::swap(batch, &mut state.waiting);
        state.is_writing = true;
        let unreported = state.dropped - state.reported;
        state.reported = state.dropped;
        Some(unreported)
    }
}

/// Takes whole lines: the format layer writes each line at once.
impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that reports the start of each write, and blocks until it is allowed to go on.
    struct Stalling {
        started: Sender<String>,
        go_on: Receiver<()>,
    }

    impl Write for Stalling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.started.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            // When the test ends, the other side is gone.
            let _ = self.go_on.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalling() -> (LineQueue, Receiver<String>, Sender<()>) {
        let ((started, starts), (go, go_on)) = (channel(), channel());
        (LineQueue::start(Stalling { started, go_on }, LogFormat::Text).unwrap(), starts, go)
    }

    #[test]
    fn a_reader_that_stalls_blocks_nobody_and_dropped_lines_are_counted_and_reported() {
        let (queue, starts, go) = stalling();
        writeln!(&queue, "first").unwrap();
        assert_eq!(starts.recv().unwrap(), "first\n");
        // The output blocks now. Callers go on at once, up to the capacity and beyond.
        let line = [b'x'; 1024];
        for _ in 0..CAPACITY / line.len() + 3 {
            (&queue).write_all(&line).unwrap();
        }
        queue.flush(Duration::from_millis(1));
        assert_eq!(queue.dropped_lines(), 3);
        go.send(()).unwrap();
        let batch = starts.recv().unwrap();
        assert!(batch.ends_with("3 log lines were dropped, because the log was not read fast enough\n"));
        assert_eq!(batch.matches('x').count(), CAPACITY);
    }

    #[test]
    fn lines_that_wait_are_written_in_one_batch() {
        let (queue, starts, go) = stalling();
        writeln!(&queue, "first").unwrap();
        assert_eq!(starts.recv().unwrap(), "first\n");
        for line in ["second\n", "third\n"] {
            (&queue).write_all(line.as_bytes()).unwrap();
        }
        go.send(()).unwrap();
        assert_eq!(starts.recv().unwrap(), "second\nthird\n");
    }

    #[test]
    fn what_waits_is_written_after_the_last_producer_is_gone() {
        let (queue, starts, go) = stalling();
        for _ in 0..2 {
            writeln!(&queue, "line").unwrap();
        }
        drop(queue);
        drop(go);
        let written: String = starts.iter().collect();
        assert_eq!(written, "line\nline\n");
    }
}
