//! Steps: the things with an effect that a run does, and how a journal answers them.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, atomic::Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Budget, Effect, Event, JournalError, ModelId, RawJson, Run, StepRecord, StepState,
    run::digest,
    run::journal_scope::{Changes, JournalScope, StepInfo},
};

/// A step, which may be done according to the journal.
pub(crate) enum Step<T> {
    /// It is done, with this output.
    Recorded(T),
    /// It must be done, with this run.
    New(OpenStep),
}

/// A step that must be done.
pub(crate) struct OpenStep {
    /// The run that does the step.
    pub(crate) run: Run,
    /// Whether the step began before a crash.
    pub(crate) is_repeated: bool,
}

impl Run {
    /// Does `work` as a step with this name, which must be unique within the run or the tool call. If the run has a journal
    /// in which the step is done, its recorded output is returned in place of doing it again. `input` identifies the step:
    /// a recorded step with another input is an error.
    ///
    /// Tool calls and model turns are steps already. Use this for other code that has an effect, or that may return another
    /// result the next time.
    ///
    /// ```
    /// use brigade_core::{Effect, Run};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_core::JournalError> {
    /// let run = Run::new();
    /// let lucky: u32 = run.step("lucky number", Effect::Repeatable, &"ada", async |_run| 7).await?;
    /// assert_eq!(lucky, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The journal cannot be written, does not fit, or the step may have had its effect before a crash.
    pub async fn step<T, F>(
        &self,
        name: &str,
        effect: Effect,
        input: &impl Serialize,
        work: impl FnOnce(Self) -> F,
    ) -> Result<T, JournalError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = T>,
    {
        let input = || digest::of([name, &serde_json::to_string(input).unwrap_or_default()]);
        let step = self.open_step(format_args!("{name}"), name, effect, input)?;
        match step {
            Step::Recorded(output) => Ok(output),
            Step::New(step) => {
                step.run.note_began(None).await?;
                let output = work(step.run.clone()).await;
                step.done(&output).await?;
                Ok(output)
            }
        }
    }

    /// The same run, whose steps and child runs are recorded below this name. A group of agents gives each member a part of
    /// its own, named after the member's place in the group, so that steps of members in parallel have different paths.
    #[must_use]
    pub fn part(&self, name: impl fmt::Display) -> Self {
        let Some(scope) = &self.inner.journal else { return self.clone() };
        let scope = Arc::new(scope.below(&name.to_string()));
        self.derive(|inner| inner.journal = Some(scope))
    }

    /// The idempotency key of the tool call that got this run. It consists of the run's id and the path of the call, so it is
    /// the same when the call is repeated after a crash. Absent without a journal.
    pub fn idempotency_key(&self) -> Option<String> {
        let scope = self.inner.journal.as_ref()?;
        scope.step().map(|(_, _, path)| format!("{}/{path}", scope.shared.run))
    }

    /// Records in the step around this run that it changed a value that all runs of the request [share](Run::shared). When
    /// the run goes on after a crash, the steps that are done are not done again, and the value gets their changes from
    /// [`Run::take_recorded_changes`]. `kind` names the value. Without a journal, or outside of a step, nothing is recorded.
    pub fn record_change(&self, kind: &str, change: &RawJson) {
        if let Some(scope) = &self.inner.journal {
            scope.record_shared(kind, change);
        }
    }

    /// The recorded changes of the value with this name, in the order in which they were made. They are returned once.
    pub fn take_recorded_changes(&self, kind: &str) -> Vec<RawJson> {
        self.inner.journal.as_ref().map_or_else(Vec::new, |scope| scope.take_restored(kind))
    }

    /// Stops this branch of the run until the run goes on from its journal, for a tool that waits for something that may take
    /// days. `reason` says what for, as in "`refund` waits for an approval"; logs show it, so it must quote no content. The
    /// tool returns an error, whatever it says: the call gets no result, and is made again then. Other branches go on; when
    /// none is left, the run returns this error and emits [`Event::RunWaiting`].
    pub fn suspend(&self, reason: impl fmt::Display) -> JournalError {
        let Some((scope, _, path)) = self.inner.journal.as_ref().and_then(|scope| scope.step()) else {
            return JournalError::unavailable("a run without a journal cannot go on later");
        };
        scope.fail(JournalError::Waiting(format!("{reason} (step `{path}`)")))
    }

    /// Why this branch has stopped, if it has. Then the step around it gets no record.
    pub(crate) fn stopped(&self) -> Option<&JournalError> {
        self.inner.journal.as_ref()?.blocked()
    }

    /// The error for which the run cannot go on with its journal, if there is one.
    pub(crate) fn check_journal(&self) -> Result<(), JournalError> {
        let Some(scope) = &self.inner.journal else { return Ok(()) };
        let failure = scope.shared.failure.get().or_else(|| scope.blocked());
        failure.map_or(Ok(()), |failure| Err(scope.fail(failure.clone())))
    }

    /// The output of a step that is done.
    pub(crate) fn recorded<T: DeserializeOwned>(&self, name: fmt::Arguments<'_>) -> Option<T> {
        let scope = self.inner.journal.as_ref()?;
        let record = scope.shared.records.get(&format!("{}{name}", scope.prefix))?;
        let output = record.output.as_ref().filter(|_| record.state == StepState::Done)?;
        serde_json::from_str(output.get()).ok()
    }

    /// The digest of the steps since the last turn.
    pub(crate) fn digest_since_turn(&self) -> u64 {
        self.inner.journal.as_ref().map_or(0, |scope| scope.since_turn.swap(0, Ordering::Relaxed))
    }

    /// Adds the input of the run to the digest of the next turn.
    pub(crate) fn add_to_digest(&self, input: &impl Serialize) {
        if let Some(scope) = &self.inner.journal {
            scope.add_to_digest("task", &serde_json::to_string(input).unwrap_or_default());
        }
    }

    /// The event of a run that goes on from its journal; absent for a new run.
    pub(crate) fn resumed(&self) -> Option<Event> {
        self.inner.journal.as_ref()?.resumed()
    }

    /// Ends the replay: later events are new and are emitted.
    pub(crate) fn end_replay(&self) {
        if let Some(scope) = &self.inner.journal {
            scope.reach_frontier();
        }
    }

    /// Records that the step around this run begins now. If `in_flight` names a model, reservations of calls in flight count
    /// as its uncertain cost. A delegation needs no such record: the steps inside it have theirs.
    pub(crate) async fn note_began(&self, in_flight: Option<&ModelId>) -> Result<(), JournalError> {
        match &self.inner.journal {
            Some(scope) if scope.step().is_some_and(|(_, step, _)| step.effect != Effect::Composite) => {
                scope.write(StepState::Began, None, in_flight).await
            }
            _ => Ok(()),
        }
    }

    /// Opens a step. If it is done, its output is returned and no event is emitted. Its changes are restored, and its cost is
    /// charged to the accounts of this run but not to the accounts above it.
    pub(crate) fn open_step<T: DeserializeOwned>(
        &self,
        step: fmt::Arguments<'_>,
        name: &str,
        effect: Effect,
        digest: impl FnOnce() -> u64,
    ) -> Result<Step<T>, JournalError> {
        let Some(scope) = &self.inner.journal else {
            return Ok(Step::New(OpenStep { run: self.clone(), is_repeated: false }));
        };
        if let Some(failure) = scope.shared.failure.get() {
            return Err(scope.fail(failure.clone()));
        }
        let mut inside = scope.below(&step.to_string());
        let path = inside.prefix.trim_end_matches('/');
        let digest = digest();
        let record = scope.shared.records.get(path);
        if let Some(record) = record {
            if record.digest != digest {
                return Err(
                    scope.fail(JournalError::diverged(path, format!("its input is not that of `{}`", record.name)))
                );
            }
            if let (StepState::Done, Some(output)) = (record.state, &record.output) {
                let output = self.restore(scope, record, output)?;
                return Ok(Step::Recorded(output));
            }
            if record.state == StepState::Began && record.effect == Effect::Once {
                let (path, name) = (record.path.clone(), record.name.clone());
                return Err(scope.fail(JournalError::NeedsDecision { path, name }));
            }
        }
        let may_repeat = matches!(effect, Effect::Composite | Effect::Repeatable);
        if record.is_none() && inside.is_replaying() && !may_repeat {
            let reason =
                "there are records of steps inside it, so it needed an approval or was a delegation when it began";
            return Err(scope.fail(JournalError::diverged(path, reason)));
        }
        let account = self.inner.ledger.with_extra_limit(Arc::clone(&self.inner.agent), Budget::unlimited());
        if let Some(record) = record {
            account.replay(&Changes::of(record).map_err(|error| scope.fail(error))?.items.spending());
        }
        inside.step = Some(StepInfo {
            name: name.to_owned(),
            effect,
            digest,
            account: account.clone(),
            changes: Mutex::default(),
        });
        // Inside a delegation, the steps of the worker may be old ones.
        if effect != Effect::Composite || !inside.is_replaying() {
            inside.reach_frontier();
        }
        let run = self.derive(|inner| {
            inner.journal = Some(Arc::new(inside));
            inner.ledger = account;
        });
        Ok(Step::New(OpenStep { run, is_repeated: record.is_some() }))
    }

    /// Restores the changes of a step, and returns its output.
    fn restore<T: DeserializeOwned>(
        &self,
        scope: &JournalScope,
        record: &StepRecord,
        output: &RawJson,
    ) -> Result<T, JournalError> {
        let unreadable =
            |error| scope.fail(JournalError::diverged(&record.path, format!("its record cannot be read: {error}")));
        let value = serde_json::from_str(output.get()).map_err(unreadable)?;
        let Changes { items, counts, degraded, shared } = Changes::of(record).map_err(|error| scope.fail(error))?;
        scope.record_change(|changes| changes.shared.extend(shared.iter().cloned()));
        self.inner.ledger.replay(&items);
        for digest in counts {
            self.restore_count(digest);
        }
        for degradation in degraded {
            self.degrade(degradation);
        }
        scope.add_to_digest(&record.path, output.get());
        Ok(value)
    }
}

impl OpenStep {
    /// Records the output of the step.
    pub(crate) async fn done(&self, output: &impl Serialize) -> Result<(), JournalError> {
        let Some(scope) = &self.run.inner.journal else { return Ok(()) };
        let output = RawJson::of(output).map_err(|error| scope.fail(JournalError::unavailable(error)))?;
        scope.write(StepState::Done, Some(output.clone()), None).await?;
        if let Some(around) = &scope.parent {
            around.add_to_digest(scope.prefix.trim_end_matches('/'), output.get());
        }
        Ok(())
    }

    /// Records that the step ended without an output, so that its cost is not lost.
    pub(crate) async fn failed(&self) -> Result<(), JournalError> {
        match &self.run.inner.journal {
            Some(scope) => scope.write(StepState::Failed, None, None).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
