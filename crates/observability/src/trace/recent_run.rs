//! The runs in a file of events.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use brigade_core::{Event, EventRecord, Money, RunId, TraceId};
use jiff::Timestamp;

use super::tree::TraceError;

/// A run of an agent that no other agent called, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecentRun {
    /// Its id.
    pub run: RunId,
    /// Its trace id.
    pub trace: TraceId,
    /// The agent's name.
    pub agent: String,
    /// When it started.
    pub began: Timestamp,
    /// The name of its [`StopReason`](brigade_core::StopReason), `failed` or `waiting`; absent if its end is not in the file.
    pub outcome: Option<String>,
    /// Its cost, including workers; absent if nothing had a price.
    pub cost: Option<Money>,
    /// Its duration.
    pub elapsed: Option<Duration>,
}

impl RecentRun {
    /// Reads the last runs, at most `limit`, from a file that a [`RunLog`](crate::RunLog) wrote. The newest is first.
    /// Lines that cannot be read are skipped.
    pub fn read(path: impl AsRef<Path>, limit: usize) -> Result<Vec<Self>, TraceError> {
        let path = path.as_ref();
        let failed = |source| TraceError::Read { path: path.to_owned(), source };
        let (mut runs, mut open) = (Vec::new(), HashMap::new());
        for line in BufReader::new(File::open(path).map_err(failed)?).lines() {
            let line = line.map_err(failed)?;
            // Parsing takes most of the time, so it is left to lines that begin, end or resume a run.
            if !line.contains("\"run_") && !line.contains("\"resumed\"") {
                continue;
            }
            let Ok(record) = serde_json::from_str::<EventRecord>(&line) else { continue };
            if record.agent.contains('/') {
                continue;
            }
            let index = *open.entry(record.run).or_insert_with(|| {
                runs.push(Self::start(&record));
                runs.len() - 1
            });
            if let Some(run) = runs.get_mut(index) {
                run.add(&record.event);
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.began));
        runs.truncate(limit);
        Ok(runs)
    }

    fn start(record: &EventRecord) -> Self {
        let (run, trace, agent, began) = (record.run, record.trace, record.agent.to_string(), record.at);
        Self { run, trace, agent, began, outcome: None, cost: None, elapsed: None }
    }

    fn add(&mut self, event: &Event) {
        if let Event::RunEnded { stop, cost, elapsed, .. } = event {
            self.outcome = Some(stop.name().to_owned());
            self.cost = *cost;
            self.elapsed = Some(*elapsed);
        } else if let Event::RunFailed { elapsed, .. } = event {
            self.outcome = Some("failed".to_owned());
            self.elapsed = Some(*elapsed);
        } else if let Event::RunWaiting { elapsed, .. } = event {
            self.outcome = Some("waiting".to_owned());
            self.elapsed = Some(*elapsed);
        } else if let Event::Resumed { .. } = event {
            (self.outcome, self.elapsed) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::{Observer, Run, StopReason, Usage};

    use super::*;
    use crate::RunLog;

    #[test]
    fn the_last_runs_are_listed_without_those_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        assert!(matches!(RecentRun::read(&path, 9), Err(TraceError::Read { .. })));
        let log = RunLog::open(&path).unwrap();
        let ended = Event::RunEnded {
            stop: StopReason::Finished,
            turns: 1,
            usage: Usage::new(1, 1),
            cost: Some(Money::from_cents(1)),
            elapsed: Duration::from_secs(2),
        };
        let runs: Vec<Run> = (0..3).map(|_| Run::new()).collect();
        for run in &runs {
            log.on_event(run, &Event::RunStarted);
            log.on_event(&run.child("a/worker", brigade_core::Budget::unlimited()).unwrap(), &Event::RunStarted);
        }
        log.on_event(&runs[2], &ended);
        let waiting = || Event::RunWaiting { reason: "a person must answer".into(), elapsed: Duration::from_secs(1) };
        log.on_event(&runs[1], &waiting());
        log.on_event(&runs[0], &waiting());
        log.on_event(&runs[0], &Event::Resumed { steps: 1, saved: Money::ZERO });
        drop(log);
        assert_eq!(RecentRun::read(&path, 9).unwrap()[2].outcome, None, "it goes on");
        let listed = RecentRun::read(&path, 2).unwrap();
        assert_eq!(listed.iter().map(|run| run.trace).collect::<Vec<_>>(), [runs[2].trace(), runs[1].trace()]);
        let RecentRun { outcome, cost, elapsed, .. } = &listed[0];
        assert_eq!(
            (outcome.as_deref(), *cost, elapsed.is_some()),
            (Some("finished"), Some(Money::from_cents(1)), true)
        );
        assert_eq!(listed[1].outcome.as_deref(), Some("waiting"));
    }
}
