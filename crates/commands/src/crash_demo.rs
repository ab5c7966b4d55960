//! `brigade demo --crash`: a process is killed in the middle of a run, and another one carries the run on.

use std::{
    path::Path,
    pin::pin,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use async_trait::async_trait;
use brigade_core::{
    Agent, Budget, Effect, Event, Money, Observer, Outcome, RawJson, Run, RunBuilder, StepRecord, StepState, Task,
    TraceId,
};
use brigade_durable::{CancellationToken, ClaimedRun, Durable, RunStarter, Submission, WorkEnd};
use brigade_rehearsal::demo as script;
use brigade_store::{Database, SqliteRunStore};
use brigade_terminal::ProgressDisplay;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::mpsc,
};

use crate::{exit::Exit, kept_runs::kept_runs_recorder, note, output::print_line};

/// The process is killed after this many workers have answered.
const ANSWERS: usize = 2;

/// The process prints this when it waits to be killed.
const READY_TO_CRASH: &str = "ready to crash";

/// How often the process looks at its journal. A turn of the demo takes 100 times as long.
const POLL: Duration = Duration::from_millis(5);

/// A run of the demo whose process was killed, at its end.
#[derive(Debug)]
pub struct ResumedDemo {
    pub outcome: Outcome,
    /// Where the run went on, and what was not paid again.
    pub summary: String,
}

/// The team of the demo, and what one run may spend.
#[derive(Debug)]
pub struct CrashDemo {
    pub agent: Agent,
    pub budget: Budget,
}

/// Takes over the runs that the worker claims.
struct Claims(mpsc::Sender<ClaimedRun>);

/// Observes that a run goes on from its journal: the number of its recorded steps, and what they cost.
#[derive(Debug, Default)]
struct Resumption(OnceLock<(u64, Money)>);

/// Starts the demo in a process that is killed, and carries its run on in this one.
pub async fn crash_and_resume(team: &CrashDemo, simulator: &str, question: &str) -> anyhow::Result<ResumedDemo> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder for the store")?;
    let program = std::env::current_exe().context("cannot find the brigade program to start it")?;
    let mut command = Command::new(program);
    command.args(["demo", "--simulator", simulator, "--until-crash"]).arg(folder.path()).args(["--", question]);
    let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("cannot start the demo")?;
    let stdout = process.stdout.take().context("the demo has no standard output")?;
    let line = BufReader::new(stdout).lines().next_line().await.context("cannot read from the demo")?;
    ensure!(line.as_deref() == Some(READY_TO_CRASH), "the demo ended before it was killed; try `brigade demo`");
    let pid = process.id().unwrap_or_default();
    process.kill().await.context("cannot kill the demo")?;
    note!("\nProcess {pid} was killed after {ANSWERS} workers had answered. Another one carries the run on.\n");
    carry_on(team, folder.path()).await
}

/// The process that is killed.
pub async fn run_until_crash(team: &CrashDemo, folder: &Path, question: &str) -> anyhow::Result<Exit> {
    let durable = open(folder).await?;
    let trace = TraceId::random();
    let submission = Submission::new(script::SUPERVISOR, question).extra(RawJson::of(&trace)?);
    let claimed = durable.start(submission).await?.context("the run of the demo is claimed elsewhere")?;
    let (id, display) = (claimed.run().id, ProgressDisplay::new());
    let run = builder(&claimed, team, trace).observer(Arc::clone(&display) as _).build();
    let crash = async {
        loop {
            let journal = durable.store().journal(id).await?;
            let is_answer = |step: &&StepRecord| step.effect == Effect::Composite && step.state == StepState::Done;
            if journal.iter().filter(is_answer).count() >= ANSWERS {
                return Ok::<_, anyhow::Error>(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let stop = CancellationToken::new();
    let working = claimed.carry_on(team.agent.run_in(&run, question), &stop);
    // Pinned outside of the selection, because dropping it would cancel the run before the process is killed.
    let mut working = pin!(display.show_while(working));
    tokio::select! {
        // First, so that the run does nothing more after the answers.
        biased;
        crash = crash => crash?,
        _ = &mut working => bail!("the run ended before {ANSWERS} workers had answered"),
    }
    print_line(format_args!("{READY_TO_CRASH}"))?;
    std::future::pending().await
}

/// Carries on the run that a killed process left in this folder.
async fn carry_on(team: &CrashDemo, folder: &Path) -> anyhow::Result<ResumedDemo> {
    let durable = open(folder).await?;
    let (sender, mut claims) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let working = durable.work_with(Arc::new(Claims(sender)), stop.clone());
    let carrying_on = async {
        let claimed = claims.recv().await.context("the worker has ended")?;
        let task = claimed.task().context("the run of the demo cannot be read")?;
        let trace = task.extra.as_ref().context("the run of the demo has no trace")?;
        let trace: TraceId = serde_json::from_str(trace.get())?;
        let (display, resumption) = (ProgressDisplay::new(), Arc::new(Resumption::default()));
        let run = builder(&claimed, team, trace).observer(Arc::clone(&display) as _);
        let run = run.observer(Arc::clone(&resumption) as _).build();
        let working = claimed.carry_on(team.agent.run_in(&run, Task::from(task)), &stop);
        let outcome = match display.show_while(working).await {
            WorkEnd::Ended(result) => result.map_err(|error| anyhow!(error.chain()))?,
            end => bail!("the run did not end: {end:?}"),
        };
        let (steps, saved) = resumption.0.get().copied().unwrap_or_default();
        let (trace, next) = (trace.to_string(), steps + 1);
        let summary = format!(
            "resumed {trace:.8} at step {next}: {steps} steps answered from the journal, {saved} not paid again"
        );
        Ok(ResumedDemo { outcome, summary })
    };
    tokio::select! {
        () = working => bail!("the worker has ended"),
        resumed = carrying_on => resumed,
    }
}

async fn open(folder: &Path) -> anyhow::Result<Durable> {
    let path = folder.join("demo.db");
    let database = tokio::task::spawn_blocking(move || Database::open(path)).await??;
    Ok(Durable::new(SqliteRunStore::new(database)))
}

fn builder(claimed: &ClaimedRun, team: &CrashDemo, trace: TraceId) -> RunBuilder {
    let run = claimed.prepare(Run::builder()).trace(trace).budget(team.budget.clone());
    kept_runs_recorder().into_iter().fold(run, RunBuilder::observer)
}

#[async_trait]
impl RunStarter for Claims {
    fn queues(&self) -> Vec<Arc<str>> {
        vec![script::SUPERVISOR.into()]
    }

    fn room(&self) -> usize {
        1
    }

    async fn start(&self, claimed: ClaimedRun) {
        // If nothing receives it, the demo is over.
        let _ = self.0.send(claimed).await;
    }
}

impl Observer for Resumption {
    fn on_event(&self, _: &Run, event: &Event) {
        if let Event::Resumed { steps, saved } = event {
            self.0.get_or_init(|| (*steps, *saved));
        }
    }
}
