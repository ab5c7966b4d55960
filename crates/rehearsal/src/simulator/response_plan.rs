//! Plans the response to a call, step by step.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::exchange::event::{Event, EventKind};
use crate::exchange::reply::{Reply, Style};
use crate::exchange::request::Request;
use crate::fault::action::FaultAction;
use crate::fault::kinds::{Framing, TerminalMarkers, UsageFault};
use crate::fault::plan::Fault;
use crate::injection::steps::{Injection, Step, apply_framing};
use crate::injection::{events, framing, reply, response};
use crate::limits::limiter::{LimitExceeded, LimitStatus};
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::protocol::usage::BilledUsage;
use crate::script::answer::Latency;
use crate::simulator::{dialects, headers};

/// Some servers send the end of a body in a packet of its own.
const LATE_END: Duration = Duration::from_millis(5);

/// A planned response.
#[derive(Debug)]
pub(crate) struct ResponsePlan {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) before_headers: Vec<Step>,
    pub(crate) body: Vec<Step>,
    /// What is billed; `None` for an error.
    pub(crate) bill: Option<Bill>,
}

/// The usage of a whole reply and the number of deltas that carry it; 0 if it is not streamed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bill {
    pub(crate) usage: BilledUsage,
    pub(crate) deltas: usize,
}

impl ResponsePlan {
    /// A response whose body is written at once.
    pub(crate) fn whole(status: u16, headers: HeaderMap, body: Vec<u8>) -> Self {
        let body = vec![Step::Write { bytes: body.into(), kind: EventKind::Frame }];
        Self { status, headers, before_headers: Vec::new(), body, bill: None }
    }

    /// An error response.
    pub(crate) fn failure(dialect: WireDialect, failure: &Failure, id: &str, limits: &LimitStatus) -> Self {
        let mut map = headers::standard(dialect, false, id, limits);
        headers::add_retry_headers(&mut map, dialect, failure.status, None);
        Self::whole(failure.status, map, failure.body(dialect, id))
    }

    /// The response to a call that exceeds a rate limit.
    pub(crate) fn limit_exceeded(request: &Request, exceeded: &LimitExceeded, id: &str) -> Self {
        let dialect = request.dialect;
        let failure = exceeded.failure(dialect, &request.model);
        let mut plan = Self::failure(dialect, &failure, id, &exceeded.status);
        headers::add_retry_headers(&mut plan.headers, dialect, failure.status, Some(exceeded.wait));
        plan
    }

    /// Delays the headers.
    pub(crate) fn delay(&mut self, time: Duration) {
        if !time.is_zero() {
            self.before_headers.push(Step::Sleep(time));
        }
    }
}

/// Plans the response to one call.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    pub(crate) request: &'a Request,
    pub(crate) id: String,
    pub(crate) limits: LimitStatus,
    pub(crate) latency: Latency,
    pub(crate) reasoning_content: bool,
}

impl Planner<'_> {
    /// The response with this reply; of the action, only the faults in its events apply.
    pub(crate) fn reply(&self, reply: &Reply, action: &FaultAction) -> ResponsePlan {
        let request = self.request;
        let style = Style { reasoning_content: self.reasoning_content, deltas: action.tool_deltas };
        let map = headers::standard(request.dialect, request.stream, &self.id, &self.limits);
        let mut plan = if request.stream {
            let mut events = dialects::events(reply, request, style);
            if let Some(markers) = action.markers {
                events::change_markers(&mut events, markers);
            }
            match action.usage {
                Some(UsageFault::ZeroAtEnd) => events::end_with_zero_usage(&mut events),
                Some(UsageFault::OwnKeyCost) => {
                    for event in &mut events {
                        event.data = events::with_own_key_cost(&event.data);
                    }
                }
                _ => {}
            }
            let body = self.timed_writes(&events, &action.framing);
            ResponsePlan { body, ..ResponsePlan::whole(200, map, Vec::new()) }
        } else {
            let mut document = dialects::document(reply, request, style);
            if action.usage == Some(UsageFault::OwnKeyCost) {
                document = events::with_own_key_cost(&String::from_utf8_lossy(&document)).into();
            }
            let mut plan = ResponsePlan::whole(200, map, document);
            let pauses = u32::try_from(reply.delta_count().saturating_sub(1)).unwrap_or(u32::MAX);
            plan.delay(self.latency.first + self.latency.between.saturating_mul(pauses));
            plan
        };
        // Deltas after the end of the reply are not billed.
        let deltas = plan.body.iter().take_while(|step| !step.is_done()).filter(|step| step.is_delta()).count();
        plan.bill = Some(Bill { usage: reply.usage, deltas });
        match action.markers {
            Some(TerminalMarkers::HeldOpen | TerminalMarkers::NoDoneHeldOpen) => plan.body.push(Step::Hold),
            Some(TerminalMarkers::LateEnd) => plan.body.push(Step::Sleep(LATE_END)),
            _ => {}
        }
        plan
    }

    /// The response with this reply and a fault.
    pub(crate) fn faulty_reply(&self, mut reply: Reply, fault: &Fault) -> ResponsePlan {
        let action = &fault.action;
        if let Some(kind) = action.say {
            reply::apply(&mut reply, kind, self.request);
        }
        if let Some(kind) = action.usage {
            events::misreport_usage(&mut reply, kind, self.request);
        }
        let plan = self.replacement(action).unwrap_or_else(|| self.reply(&reply, action));
        self.inject(plan, &reply, fault)
    }

    /// The response that replaces any other, if the action has one.
    pub(crate) fn replacement(&self, action: &FaultAction) -> Option<ResponsePlan> {
        let request = self.request;
        let (status, body) = response::replacement(action, request, &self.id)?;
        let mut map = headers::standard(request.dialect, false, &self.id, &self.limits);
        if status >= 400 {
            headers::add_retry_headers(&mut map, request.dialect, status, None);
        }
        Some(ResponsePlan::whole(status, map, body))
    }

    /// The response with the faults in its headers, bytes and timing.
    pub(crate) fn inject(&self, mut plan: ResponsePlan, reply: &Reply, fault: &Fault) -> ResponsePlan {
        let action = &fault.action;
        response::headers(action, &mut plan.headers);
        plan.body = with_framing(plan.body, action);
        if fault.at.before_headers {
            plan.before_headers.splice(..0, self.injected_steps(reply, action, 0));
        } else {
            let injection = Injection { point: &fault.at, drip: action.drip, continues: continues(action) };
            plan.body = injection.apply(plan.body, |sent| self.injected_steps(reply, action, sent));
        }
        plan
    }

    /// The events as writes, with the pauses between them.
    fn timed_writes(&self, events: &[Event], framing: &[Framing]) -> Vec<Step> {
        let mut pause = self.latency.first;
        let mut steps = Vec::new();
        for (position, event) in events.iter().enumerate() {
            if event.kind.is_delta() {
                steps.extend((!pause.is_zero()).then_some(Step::Sleep(pause)));
                pause = self.latency.between;
            }
            steps.push(write(event, position, framing));
        }
        steps
    }

    /// The steps at the injection point, after this many events.
    fn injected_steps(&self, reply: &Reply, action: &FaultAction, sent: usize) -> Vec<Step> {
        let dialect = self.request.dialect;
        let mut steps = Vec::new();
        if let Some(name) = &action.sse_error {
            let failure = Failure::named(dialect, name, &self.request.model);
            let events = dialects::error_events(reply, self.request, &failure, sent);
            steps.extend(events.iter().map(|event| write(event, sent, &action.framing)));
        }
        let comment = Bytes::from_static(b": keep-alive\n\n");
        let repeat = |bytes| move |every: Duration| Step::Repeat { every, bytes };
        steps.extend(action.stall.map(Step::Sleep));
        steps.extend(action.comments.map(repeat(comment.clone())));
        steps.extend(action.pings.map(repeat(ping(dialect).unwrap_or(comment))));
        steps.extend(action.then.and_then(Step::end));
        steps
    }
}

fn write(event: &Event, position: usize, framing: &[Framing]) -> Step {
    Step::Write { bytes: framing::encode(event, position, framing).into(), kind: event.kind }
}

/// Whether the response continues after the injected steps.
fn continues(action: &FaultAction) -> bool {
    let is_endless = action.comments.is_some() || action.pings.is_some();
    action.then.is_none() && action.sse_error.is_none() && !is_endless
}

/// The keep-alive event of a dialect. Responses has none.
fn ping(dialect: WireDialect) -> Option<Bytes> {
    match dialect {
        WireDialect::Anthropic => Some(Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")),
        WireDialect::OpenaiChat => Some(Bytes::from_static(
            b"data: {\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]}\n\n",
        )),
        WireDialect::OpenaiResponses => None,
    }
}

/// Applies the faults that concern the bytes of the whole body.
fn with_framing(mut steps: Vec<Step>, action: &FaultAction) -> Vec<Step> {
    if action.framing.contains(&Framing::LeadingBlanks) {
        let bytes = Bytes::from_static(b"\n         \n\n         \n");
        steps.insert(0, Step::Write { bytes, kind: EventKind::Ping });
    }
    if action.gzip {
        let body: Vec<u8> = steps.iter().flat_map(Step::bytes).copied().collect();
        let bytes = response::gzip(&body).into();
        return vec![Step::Write { bytes, kind: EventKind::Frame }];
    }
    apply_framing(steps, &action.framing)
}
