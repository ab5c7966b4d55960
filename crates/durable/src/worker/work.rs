//! The loop of a worker: claims runs, renews their leases, and hands them over at its end.

use std::sync::Arc;

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    claimed_run::ClaimedRun,
    durable::Durable,
    held_runs::HeldRun,
    starter::{AgentStarter, RunStarter},
};
use crate::{ClaimRequest, Renewed, RunStoreError, SignalKind};

impl Durable {
    /// Carries on runs until `stop` is cancelled. Then it drops the runs in progress and releases them, so that another
    /// worker claims them at once.
    pub async fn work(&self, stop: CancellationToken) {
        self.work_with(Arc::new(AgentStarter { durable: self.clone(), stop: stop.clone() }), stop).await;
    }

    /// Like [`Durable::work`], for runs that `starter` starts. While runs that it started go on, their leases are renewed.
    pub async fn work_with(&self, starter: Arc<impl RunStarter>, stop: CancellationToken) {
        let mut runs = JoinSet::new();
        let mut renew = tokio::time::interval(self.settings.lease / 3);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            let mut ready = std::pin::pin!(self.shared.ready.notified());
            ready.as_mut().enable();
            if let Err(error) = self.claim(&mut runs, &starter).await {
                tracing::warn!("no runs could be claimed: {error}");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = ready => {}
                () = tokio::time::sleep(self.settings.poll) => {}
                _ = renew.tick() => self.renew().await,
                Some(_) = runs.join_next(), if !runs.is_empty() => {}
            }
        }
        while runs.join_next().await.is_some() {}
    }

    async fn claim(&self, runs: &mut JoinSet<()>, starter: &Arc<impl RunStarter>) -> Result<(), RunStoreError> {
        while runs.try_join_next().is_some() {}
        let room = starter.room().saturating_sub(runs.len());
        if room == 0 {
            return Ok(());
        }
        let request = ClaimRequest::new(Arc::clone(&self.settings.name), starter.queues(), room, self.settings.lease);
        let _claiming = self.shared.claiming.lock().await;
        let claimed = Instant::now();
        for claim in self.store.claim(&request).await? {
            let (durable, starter) = (self.clone(), Arc::clone(starter));
            runs.spawn(async move {
                let run = claim.run.id;
                match ClaimedRun::open(&durable, claim, claimed).await {
                    Ok(Some(claimed)) => starter.start(claimed).await,
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%run, "this worker stops its work on the run: {error}"),
                }
            });
        }
        Ok(())
    }

    /// Renews the leases of all runs. Drops runs that another worker has, and cancels runs that got a signal to cancel.
    async fn renew(&self) {
        let held = self.shared.held.all();
        if held.is_empty() {
            return;
        }
        let sent = Instant::now();
        let fences: Vec<_> = held.iter().map(|run| run.fence.clone()).collect();
        let renewed = match self.store.renew(&fences, self.settings.lease).await {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::warn!("leases could not be renewed: {error}");
                return;
            }
        };
        for (run, renewed) in held.iter().zip(renewed) {
            match renewed {
                Renewed::Lost => run.drop.cancel(),
                Renewed::Held(signal_number) => {
                    run.lease.renewed(sent);
                    if signal_number > run.signal_number {
                        self.handle_signals(run, signal_number).await;
                    }
                }
            }
        }
    }

    async fn handle_signals(&self, run: &HeldRun, number: u64) {
        let Ok(signals) = self.store.signals(run.fence.run).await else { return };
        if signals.iter().any(|signal| signal.kind == SignalKind::Cancel) {
            run.cancel.cancel();
        }
        self.shared.woken.notify_waiters();
        self.shared.held.signalled(run.fence.run, number);
    }
}
