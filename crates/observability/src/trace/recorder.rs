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

use brigade_core::{Event, Observer, Run};

use crate::Record;

/// An observer that writes the events of runs to a file, one JSON object a line, so that a run can be understood after
/// the fact; see [`Tree`](crate::Tree). The file holds no prompts, answers or arguments.
///
/// Writing is done by a thread of its own. A disk that does not keep up makes events go missing, which is counted, but
/// never makes a run wait. Dropping the recorder writes what is left.
#[derive(Debug)]
pub struct Recorder {
    queue: Option<SyncSender<Record>>,
    lost: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

/// Some seconds of a busy process, a few megabytes.
const QUEUE: usize = 8_192;

impl Recorder {
    /// Adds to the end of the file at `path`, which is made if it is missing.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Self::start(file)
    }

    fn start(file: File) -> io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let page = Page { file: BufWriter::new(file), lost: Arc::clone(&lost), broken: false };
        let writer = std::thread::Builder::new().name("brigade-recorder".to_owned()).spawn(|| page.fill(records))?;
        Ok(Self { queue: Some(queue), lost, writer: Some(writer) })
    }

    /// How many events are missing from the file, because it could not be written or not fast enough.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Observer for Recorder {
    fn on_event(&self, run: &Run, event: &Event) {
        let (Some(queue), Some(record)) = (&self.queue, Record::of(run, event)) else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(record)
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("the run log cannot keep up: events go missing from it");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Without a sender, the writer ends when it has written everything.
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the run log panicked");
        }
    }
}

/// The file, on the thread that writes it.
struct Page {
    file: BufWriter<File>,
    lost: Arc<AtomicU64>,
    broken: bool,
}

impl Page {
    #[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the queue")]
    fn fill(mut self, records: Receiver<Record>) {
        while let Ok(record) = records.recv() {
            self.write(&record);
            // Whatever came meanwhile goes with it, then a reader may see it.
            records.try_iter().take(QUEUE).for_each(|record| self.write(&record));
            let flushed = self.file.flush();
            self.check(flushed);
        }
    }

    fn write(&mut self, record: &Record) {
        let written = match serde_json::to_string(record) {
            Ok(line) => writeln!(self.file, "{line}"),
            Err(error) => Err(error.into()),
        };
        self.check(written);
    }

    /// A full disk must not fill the log with the news of it, nor stop the program.
    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.lost.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut self.broken, true) {
                tracing::error!(error = &error as &dyn std::error::Error, "the run log cannot be written");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, metrics::metrics::tests::all_events};

    fn records(path: &Path) -> Vec<Record> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_event_is_a_line_of_json_that_reads_back_without_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let recorder = Recorder::open(&path).unwrap();
        let (run, events) = (Run::new(), all_events());
        for event in &events {
            recorder.on_event(&run, event);
        }
        drop(recorder);
        let written = records(&path);
        let kept = events.iter().filter_map(|event| Record::of(&run, event).map(|record| record.entry));
        assert_eq!(written.iter().map(|record| record.entry.clone()).collect::<Vec<_>>(), kept.collect::<Vec<_>>());
        assert_eq!(written.len(), events.len() - 2, "all but the delta and the rate limits");
        assert!(written.iter().all(|record| record.trace == run.trace().to_string() && record.run == run.id()));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("secret words"));
    }

    #[test]
    fn a_file_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for _ in 0..2 {
            Recorder::open(&path).unwrap().on_event(&Run::new(), &Event::RunStarted);
        }
        assert_eq!(records(&path).len(), 2);
    }

    #[test]
    fn a_line_of_a_newer_version_is_read_as_unknown() {
        let mut record = Record::of(&Run::new(), &Event::RunStarted).unwrap();
        let line = serde_json::to_string(&record).unwrap().replace("run_started", "run_dreamt");
        record.entry = Entry::Unknown;
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_loses_events_and_nothing_else() {
        let recorder = Recorder::open("/dev/full").unwrap();
        let lost = Arc::clone(&recorder.lost);
        recorder.on_event(&Run::new(), &Event::RunStarted);
        drop(recorder);
        assert!(lost.load(Ordering::Relaxed) > 0);
    }
}
