//! A store that stops at one commit, as if its process ended there.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{RunId, StepRecord};
use tokio_util::sync::CancellationToken;

use crate::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Fence,
    NewApproval, NewSignal, QueuedRun, Renewed, RunQuery, RunStore, RunStoreError, Signal, Signalled, StoredRun,
    Submitted,
};

/// A store that stops at one commit: this commit and all later ones never return. A test that ends the process or drops the
/// worker then sees what a crash at this commit leaves.
#[derive(Debug)]
pub struct StoppingStore<S> {
    store: S,
    commits: AtomicUsize,
    approval_requests: AtomicUsize,
    stops_at: usize,
    moment: Moment,
    stopped: CancellationToken,
}

/// When a [`StoppingStore`] stops at its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The commit is not written.
    Before,
    /// The commit is being written while the test learns of the stop.
    During,
    /// The commit is written.
    After,
}

impl<S> StoppingStore<S> {
    /// Stops at this commit, counted from 1.
    pub fn new(store: S, stops_at: usize, moment: Moment) -> Self {
        let (commits, approval_requests) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { store, commits, approval_requests, stops_at, moment, stopped: CancellationToken::new() }
    }

    /// Cancelled when the store stops.
    pub const fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// The number of commits that were begun.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    /// How often an approval was requested.
    pub fn approval_requests(&self) -> usize {
        self.approval_requests.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl<S: RunStore> RunStore for StoppingStore<S> {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        self.store.submit(run).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        self.store.claim(request).await
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        self.store.renew(fences, lease).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if number < self.stops_at {
            return self.store.commit(commit).await;
        }
        if number == self.stops_at {
            if self.moment == Moment::After {
                self.store.commit(commit).await?;
            }
            self.stopped.cancel();
            if self.moment == Moment::During {
                self.store.commit(commit).await?;
            }
        }
        std::future::pending().await
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        self.store.signal(run, signal).await
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        self.store.signals(run).await
    }

    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError> {
        self.approval_requests.fetch_add(1, Ordering::Relaxed);
        self.store.request_approval(approval).await
    }

    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError> {
        self.store.answer_approval(id, answer).await
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError> {
        self.store.approvals(query).await
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        self.store.resume(run, removed).await
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        self.store.find(run).await
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        self.store.journal(run).await
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        self.store.list(filter).await
    }
}
