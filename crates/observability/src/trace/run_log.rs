//! Writes the events of runs to a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use brigade_core::{Event, EventRecord, Observer, Run};

use crate::mask_event;

/// An observer that writes the events of runs to a file, one JSON object a line, so that a run can be inspected later;
/// see [`RunTree`](crate::RunTree). The file holds no prompts, answers or arguments, and credentials are masked.
///
/// A thread of its own writes the file. If the disk cannot keep up, events are lost and counted, but runs never wait.
/// Dropping it writes the remaining events.
///
/// ```
/// use std::sync::Arc;
///
/// use brigade_core::{Agent, testing::{ScriptedModel, Turn}};
/// use brigade_observability::RunLog;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("events.jsonl");
/// let log = Arc::new(RunLog::open(&path)?);
/// let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Hello.")])).observer(log);
/// agent.run("Say hello.").await?;
///
/// drop(agent);
/// assert!(std::fs::read_to_string(&path)?.contains(r#""event":"run_ended""#));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RunLog {
    queue: Option<SyncSender<EventRecord>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Some seconds of a busy process, a few megabytes.
const QUEUE_LENGTH: usize = 8_192;

impl RunLog {
    /// Appends to the file at `path`, and creates it if it is missing.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (queue, records) = sync_channel(QUEUE_LENGTH);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { file: BufWriter::new(file), lost: Arc::clone(&lost), is_broken: false };
        let thread = std::thread::Builder::new().name("brigade-run-log".to_owned()).spawn(|| writer.run(records))?;
        Ok(Self { queue: Some(queue), lost, thread: Some(thread) })
    }

    /// The number of events that are missing from the file because the disk was full or too slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Observer for RunLog {
    fn on_event(&self, run: &Run, event: &Event) {
        let Some(queue) = self.queue.as_ref().filter(|_| event.is_stored()) else { return };
        let record = EventRecord::new(run, mask_event(event));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(record)
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("the run log cannot keep up: events are missing from it");
        }
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        // Without a sender, the thread ends when it has written everything.
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the run log panicked");
        }
    }
}

/// The file, on the thread that writes it.
struct Writer {
    file: BufWriter<File>,
    lost: Arc<AtomicU64>,
    is_broken: bool,
}

impl Writer {
    #[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the queue")]
    fn run(mut self, records: Receiver<EventRecord>) {
        while let Ok(record) = records.recv() {
            self.write(&record);
            // Flushes once for all records that are queued.
            records.try_iter().take(QUEUE_LENGTH).for_each(|record| self.write(&record));
            let flushed = self.file.flush();
            self.check(flushed);
        }
    }

    fn write(&mut self, record: &EventRecord) {
        let written = match serde_json::to_string(record) {
            Ok(line) => writeln!(self.file, "{line}"),
            Err(error) => Err(error.into()),
        };
        self.check(written);
    }

    /// Logs the first failure only, so that a full disk does not flood the log.
    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.lost.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut self.is_broken, true) {
                tracing::error!(error = &error as &dyn std::error::Error, "the run log cannot be written");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::testing::all_events;

    use super::*;

    fn records(path: &Path) -> Vec<EventRecord> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_stored_event_is_one_line_without_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let log = RunLog::open(&path).unwrap();
        let (run, events) = (Run::new(), all_events());
        for event in &events {
            log.on_event(&run, event);
        }
        drop(log);
        let written = records(&path);
        let stored = events.iter().filter(|event| event.is_stored()).map(|event| serde_json::to_value(event).unwrap());
        let read = written.iter().map(|record| serde_json::to_value(&record.event).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), stored.collect::<Vec<_>>());
        assert!(written.iter().all(|record| record.trace == run.trace() && record.run == run.id()));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("private text"));
    }

    #[test]
    fn an_existing_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for _ in 0..2 {
            RunLog::open(&path).unwrap().on_event(&Run::new(), &Event::RunStarted);
        }
        assert_eq!(records(&path).len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_loses_events_and_nothing_else() {
        let log = RunLog::open("/dev/full").unwrap();
        let lost = Arc::clone(&log.lost);
        log.on_event(&Run::new(), &Event::RunStarted);
        drop(log);
        assert!(lost.load(Ordering::Relaxed) > 0);
    }
}
