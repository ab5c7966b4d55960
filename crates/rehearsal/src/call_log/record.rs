//! The record of one call.

use std::time::Duration;

use tokio::time::Instant;

use crate::call_log::call_log::CallLog;
use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::usage::BilledUsage;

/// One call, as the provider sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRecord {
    /// The number of the call in the order of arrival, from 1.
    pub number: u64,
    /// The protocol.
    pub dialect: WireDialect,
    /// The requested model; empty if the request was unreadable.
    pub model: String,
    /// The calling agent, if known.
    pub agent: Option<String>,
    /// The trace id of the request's `traceparent` header (<https://www.w3.org/TR/trace-context/>).
    pub trace: Option<String>,
    /// Whether no rule of the script matched, so that the answer is the last user message.
    pub is_echo: bool,
    /// Whether the reply is streamed.
    pub stream: bool,
    /// The number of assistant turns in the request's history.
    pub turn: usize,
    /// The HTTP status, or 0 if none was sent.
    pub status: u16,
    /// What a vendor would bill: nothing for an error status; otherwise the whole input, and the output that was produced
    /// before the call ended.
    pub usage: BilledUsage,
    /// The bytes of the request body.
    pub request_bytes: u64,
    /// The bytes of the response body that were passed to the connection.
    pub response_bytes: u64,
    /// The id of the fault that was injected.
    pub fault: Option<String>,
    /// When the request was read, since the simulator was built.
    pub arrived: Duration,
    /// The time from then until the call ended.
    pub took: Duration,
    /// Whether and how the call ended.
    pub state: CallState,
}

/// Whether and how a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// It has not ended.
    InProgress,
    /// The whole reply was passed to the connection.
    Complete,
    /// A fault ended the connection.
    CutByFault,
    /// The client disconnected first, or the simulator was shut down.
    ClientDisconnected,
}

/// A call that has not ended. Dropping it ends the call; unless it was completed or cut, the client has disconnected.
#[derive(Debug)]
pub(crate) struct OpenCall {
    log: CallLog,
    started: Instant,
    sent_deltas: u64,
    all_deltas: u64,
    /// The usage of the whole reply.
    usage: BilledUsage,
    record: CallRecord,
}

impl OpenCall {
    pub(crate) fn new(log: CallLog, number: u64, dialect: WireDialect, request_bytes: usize) -> Self {
        let record = CallRecord {
            number,
            dialect,
            model: String::new(),
            agent: None,
            trace: None,
            is_echo: false,
            stream: false,
            turn: 0,
            status: 0,
            usage: BilledUsage::default(),
            request_bytes: request_bytes as u64,
            response_bytes: 0,
            fault: None,
            arrived: log.elapsed(),
            took: Duration::ZERO,
            state: CallState::InProgress,
        };
        let (sent_deltas, all_deltas, usage) = (0, 0, BilledUsage::default());
        Self { log, started: Instant::now(), sent_deltas, all_deltas, usage, record }
    }

    pub(crate) fn record(&self) -> &CallRecord {
        &self.record
    }

    pub(crate) fn set_request(&mut self, request: &Request) {
        self.record.model.clone_from(&request.model);
        self.record.agent.clone_from(&request.agent);
        self.record.stream = request.stream;
        self.record.turn = request.turn;
    }

    pub(crate) fn set_echo(&mut self) {
        self.record.is_echo = true;
    }

    pub(crate) fn set_trace(&mut self, traceparent: &str) {
        self.record.trace = traceparent.split('-').nth(1).map(str::to_owned);
    }

    pub(crate) fn set_fault(&mut self, id: &str) {
        self.record.fault = Some(id.to_owned());
    }

    /// Starts billing: the input at once, the output as its deltas are sent.
    pub(crate) fn bill(&mut self, usage: BilledUsage, all_deltas: usize) {
        self.usage = usage;
        self.all_deltas = all_deltas as u64;
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.record.status = status;
    }

    pub(crate) fn sent(&mut self, bytes: usize, is_delta: bool) {
        self.record.response_bytes += bytes as u64;
        self.sent_deltas += u64::from(is_delta);
    }

    pub(crate) fn complete(&mut self) {
        self.record.state = CallState::Complete;
    }

    pub(crate) fn cut(&mut self) {
        self.record.state = CallState::CutByFault;
    }

    /// The usage of the part of the reply that was produced.
    fn billed(&self) -> BilledUsage {
        // A reply without deltas is produced as a whole.
        if self.all_deltas == 0 || self.record.state == CallState::Complete {
            return self.usage;
        }
        let produced = |tokens: u64| tokens * self.sent_deltas.min(self.all_deltas) / self.all_deltas;
        BilledUsage { output: produced(self.usage.output), reasoning: produced(self.usage.reasoning), ..self.usage }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.record.state == CallState::InProgress {
            self.record.state = CallState::ClientDisconnected;
        }
        self.record.took = self.started.elapsed();
        self.record.usage = self.billed();
        self.log.close(&self.record);
    }
}
