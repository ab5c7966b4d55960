//! Runs that survive a crash, wait without holding anything, and go on in another process.
//!
//! | to do this | use |
//! |---|---|
//! | run agents durably | [`Durable`]: submit runs, spawn a worker, wait for their ends |
//! | let the client run tools | [`ClientTool`]; [`Durable::open_calls`], [`Durable::answer_calls`] |
//! | wait for a time or another program | [`sleep`], [`sleep_until`], [`wait_for_signal`] |
//! | let a person allow calls | [`ApprovedTool`]; [`Durable::answer_approval`], or an [`Approver`] within the process |
//! | keep runs in this process, for tests | [`MemoryRunStore`] |
//! | keep runs elsewhere | an implementation of [`RunStore`]; `testing::run_store_contract` checks it |
//!
//! A run is stored when it is submitted. A worker *claims* it, which gives it a lease, and runs its agent with a
//! [`Journal`](brigade_core::Journal) that commits every step. If the worker dies, the lease runs out, and another worker
//! runs the agent again: completed steps are answered from the journal. They are recorded exactly once; a call that was in
//! flight is made at least once, unless its tool says that it may have its effect only once.
//!
//! A program depends on `brigade-core` and on `tokio` 1 too, with the features `macros` and `rt-multi-thread`.

mod approval;
mod journal;
mod memory;
mod store;
mod waiting;
mod worker;

pub use approval::approved_tool::{ApprovalRule, ApprovedTool};
pub use approval::approver::{ApprovalRequest, Approver, Decide};
pub use memory::memory_run_store::MemoryRunStore;
pub use store::approval::{Answered, Approval, ApprovalAnswer, ApprovalQuery, ApprovalStatus, NewApproval};
pub use store::approval_view::ApprovalView;
pub use store::client_call::{ClientCall, ClientResult};
pub use store::commit::{Commit, CommitError, Committed, Fence, NextState, cost_of};
pub use store::run_store::{Renewed, RunStore, RunStoreError};
pub use store::signal::{NewSignal, Signal, SignalKind, Signalled};
pub use store::stored_run::{
    Claim, ClaimRequest, QueuedRun, RunQuery, RunState, StoredRun, Submitted, WaitReason, Waiting,
};
pub use tokio_util::sync::CancellationToken;
pub use waiting::client_tool::ClientTool;
pub use waiting::named_signal::wait_for_signal;
pub use waiting::timer::{sleep, sleep_until};
pub use worker::claimed_run::{ApprovalHold, ClaimedRun, WorkEnd};
pub use worker::client_calls::ClientCallError;
pub use worker::durable::{Durable, DurableError};
pub use worker::in_doubt::InDoubt;
pub use worker::settings::WorkerSettings;
pub use worker::starter::RunStarter;
pub use worker::submission::{Submission, SubmittedTask};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
