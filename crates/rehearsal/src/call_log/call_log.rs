//! What really happened: the simulator's own ledger, for tests to hold a client's ledger against.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::usage::BilledUsage;

/// The simulator's record of the calls it got. A cheap handle; clones share one ledger.
#[derive(Debug, Clone)]
pub struct CallLog {
    shared: Arc<Shared>,
}

/// One call, as the provider sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// The protocol spoken.
    pub dialect: WireDialect,
    /// The model asked for; empty if the request could not be read.
    pub model: String,
    /// Who asked, if it could be told.
    pub agent: Option<String>,
    /// The trace that the request says it belongs to, by `traceparent`
    /// (<https://www.w3.org/TR/trace-context/>).
    pub trace: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Assistant turns in the history that came with it.
    pub turn: usize,
    /// The HTTP status, or 0 if none was sent.
    pub status: u16,
    /// What a vendor would bill: nothing for an error status; else the whole input, and of the
    /// output as much as had been produced when the call ended.
    pub usage: BilledUsage,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub response_bytes: u64,
    /// The id of the fault that struck.
    pub fault: Option<String>,
    /// When the request had been read, from the simulator's start.
    pub arrived: Duration,
    /// How long the call took from then on.
    pub took: Duration,
    /// How it ended.
    pub state: CallState,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// It has not.
    InProgress,
    /// The whole answer was handed to the connection.
    Complete,
    /// A fault ended the connection.
    CutByFault,
    /// The client went away first (or the simulator was shut down).
    ClientDisconnected,
}

/// Sums over all calls that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// Calls that arrived, ended or not.
    pub arrived: u64,
    /// Calls that have ended.
    pub ended: u64,
    /// Calls answered with an error status.
    pub refused: u64,
    /// Calls that a fault cut off.
    pub cut: u64,
    /// Calls the client gave up.
    pub disconnected: u64,
    /// What a vendor would bill.
    pub usage: BilledUsage,
    /// Bytes of all requests' bodies.
    pub request_bytes: u64,
    /// Bytes of all answers' bodies.
    pub response_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    keeps_records: bool,
    ledger: Mutex<Ledger>,
    open: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ledger {
    totals: CallTotals,
    records: Vec<CallRecord>,
}

impl CallLog {
    pub(crate) fn new(keeps_records: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                keeps_records,
                ledger: Mutex::default(),
                open: watch::Sender::new(0),
            }),
        }
    }

    /// All calls in the order of their arrival; empty if the simulator only counts.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.ledger().records.clone()
    }

    /// The sums.
    pub fn totals(&self) -> CallTotals {
        self.ledger().totals
    }

    /// Waits until no call is open. A client may have read the end of an answer, or have hung up,
    /// a moment before the simulator notices.
    pub async fn wait_until_idle(&self) {
        let mut open = self.shared.open.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Opens the record of a call; dropping it unfinished says that the client hung up.
    pub(crate) fn open(&self, dialect: WireDialect, request_bytes: usize) -> OpenCall {
        let number = {
            let mut ledger = self.ledger();
            ledger.totals.arrived += 1;
            ledger.totals.arrived
        };
        self.shared.open.send_modify(|open| *open += 1);
        let mut call = OpenCall {
            call_log: self.clone(),
            started: Instant::now(),
            deltas: 0,
            all_deltas: 0,
            usage: BilledUsage::default(),
            record: CallRecord {
                number,
                dialect,
                model: String::new(),
                agent: None,
                trace: None,
                stream: false,
                turn: 0,
                status: 0,
                usage: BilledUsage::default(),
                request_bytes: request_bytes as u64,
                response_bytes: 0,
                fault: None,
                arrived: self.elapsed(),
                took: Duration::ZERO,
                state: CallState::InProgress,
            },
        };
        if self.shared.keeps_records {
            let mut ledger = self.ledger();
            let at = position(&ledger.records, number);
            ledger.records.insert(at, call.record.clone());
        }
        call.started = Instant::now();
        call
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, record: &CallRecord) {
        let mut ledger = self.ledger();
        let totals = &mut ledger.totals;
        totals.ended += 1;
        totals.refused += u64::from(record.status >= 400);
        totals.cut += u64::from(record.state == CallState::CutByFault);
        totals.disconnected += u64::from(record.state == CallState::ClientDisconnected);
        totals.request_bytes += record.request_bytes;
        totals.response_bytes += record.response_bytes;
        totals.usage.add(&record.usage);
        let at = position(&ledger.records, record.number);
        if let Some(kept) = ledger.records.get_mut(at) {
            kept.clone_from(record);
        }
        drop(ledger);
        self.shared.open.send_modify(|open| *open -= 1);
    }
}

fn position(records: &[CallRecord], number: u64) -> usize {
    records.partition_point(|record| record.number < number)
}

/// The record of a call that has not ended.
#[derive(Debug)]
pub(crate) struct OpenCall {
    call_log: CallLog,
    started: Instant,
    deltas: u64,
    all_deltas: u64,
    /// What the whole answer costs.
    usage: BilledUsage,
    record: CallRecord,
}

impl OpenCall {
    pub(crate) fn number(&self) -> u64 {
        self.record.number
    }

    pub(crate) fn identify(&mut self, request: &Request) {
        self.record.model.clone_from(&request.model);
        self.record.agent.clone_from(&request.agent);
        self.record.stream = request.stream;
        self.record.turn = request.turn;
    }

    pub(crate) fn trace(&mut self, traceparent: &str) {
        self.record.trace = traceparent.split('-').nth(1).map(str::to_owned);
    }

    pub(crate) fn struck_by(&mut self, fault: &str) {
        self.record.fault = Some(fault.to_owned());
    }

    /// The model has begun: from here on the input is billed, and the output as it comes.
    pub(crate) fn bill(&mut self, usage: BilledUsage, all_deltas: usize) {
        self.usage = usage;
        self.all_deltas = all_deltas as u64;
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.record.status = status;
    }

    pub(crate) fn sent(&mut self, bytes: usize, delta: bool) {
        self.record.response_bytes += bytes as u64;
        self.deltas += u64::from(delta);
    }

    /// The answer has been given in full.
    pub(crate) fn complete(&mut self) {
        self.record.state = CallState::Complete;
    }

    /// A fault ends it.
    pub(crate) fn cut(&mut self) {
        self.record.state = CallState::CutByFault;
    }

    /// The bill for the part of the answer that was produced.
    fn billed(&self) -> BilledUsage {
        let all = self.all_deltas.max(1);
        let part = |tokens: u64| tokens * self.deltas.min(all) / all;
        // An answer without deltas is produced as a whole.
        let whole = self.all_deltas == 0 || self.record.state == CallState::Complete;
        BilledUsage {
            output: if whole { self.usage.output } else { part(self.usage.output) },
            reasoning: if whole { self.usage.reasoning } else { part(self.usage.reasoning) },
            ..self.usage
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.record.state == CallState::InProgress {
            self.record.state = CallState::ClientDisconnected;
        }
        self.record.took = self.started.elapsed();
        self.record.usage = self.billed();
        self.call_log.close(&self.record);
    }
}
