//! The log of all calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::call_log::record::{CallRecord, CallState, OpenCall};
use crate::protocol::dialect::WireDialect;
use crate::protocol::usage::BilledUsage;

/// The simulator's log of the calls that it received. Tests compare a client's own accounts with it. Cloning is cheap;
/// clones share one log.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let running = brigade_rehearsal::Simulator::builder().build().serve_locally().await?;
/// // Let a client call `running.base_url()`, and then:
/// running.call_log().wait_until_idle().await;
/// assert_eq!(running.call_log().totals().arrived, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CallLog {
    shared: Arc<Shared>,
}

/// The sums over all calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallTotals {
    /// Calls that arrived, whether they have ended or not.
    pub arrived: u64,
    /// Calls that have ended.
    pub ended: u64,
    /// Ended calls with an error status.
    pub refused: u64,
    /// Calls that a fault cut off.
    pub cut: u64,
    /// Ended calls that no rule of the script matched, so that their answer is the last user message.
    pub echoed: u64,
    /// Calls whose client disconnected.
    pub disconnected: u64,
    /// What a vendor would bill for the ended calls.
    pub usage: BilledUsage,
    /// The bytes of their request bodies.
    pub request_bytes: u64,
    /// The bytes of their response bodies.
    pub response_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    keeps_records: bool,
    entries: Mutex<Entries>,
    open_calls: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    totals: CallTotals,
    /// In the order of arrival.
    records: Vec<CallRecord>,
}

impl CallLog {
    pub(crate) fn new(keeps_records: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                keeps_records,
                entries: Mutex::default(),
                open_calls: watch::Sender::new(0),
            }),
        }
    }

    /// All calls in the order of arrival; empty if the simulator keeps only totals.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.lock().records.clone()
    }

    /// The sums over all calls.
    pub fn totals(&self) -> CallTotals {
        self.lock().totals
    }

    /// Waits until no call is in progress. A client may read the end of a reply, or disconnect, a moment before the
    /// simulator notices it.
    pub async fn wait_until_idle(&self) {
        let mut open_calls = self.shared.open_calls.subscribe();
        // `self` keeps the sender alive, so this cannot fail.
        let _ = open_calls.wait_for(|open| *open == 0).await;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Starts the record of a call.
    pub(crate) fn open(&self, dialect: WireDialect, request_bytes: usize) -> OpenCall {
        let mut entries = self.lock();
        entries.totals.arrived += 1;
        let call = OpenCall::new(self.clone(), entries.totals.arrived, dialect, request_bytes);
        if self.shared.keeps_records {
            entries.records.push(call.record().clone());
        }
        drop(entries);
        self.shared.open_calls.send_modify(|open| *open += 1);
        call
    }

    /// Ends the record of a call.
    pub(crate) fn close(&self, record: &CallRecord) {
        let mut entries = self.lock();
        let totals = &mut entries.totals;
        totals.ended += 1;
        totals.refused += u64::from(record.status >= 400);
        totals.cut += u64::from(record.state == CallState::CutByFault);
        totals.echoed += u64::from(record.is_echo && record.status < 400);
        totals.disconnected += u64::from(record.state == CallState::ClientDisconnected);
        totals.request_bytes += record.request_bytes;
        totals.response_bytes += record.response_bytes;
        totals.usage.add(&record.usage);
        if let Ok(index) = entries.records.binary_search_by_key(&record.number, |record| record.number)
            && let Some(kept) = entries.records.get_mut(index)
        {
            kept.clone_from(record);
        }
        drop(entries);
        self.shared.open_calls.send_modify(|open| *open -= 1);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
