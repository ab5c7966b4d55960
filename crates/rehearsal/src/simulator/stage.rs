//! From a request and a fault to what is done to the connection, step by step.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::exchange::reply::{Event, Kind, Reply, Style};
use crate::exchange::request::Request;
use crate::fault::action::FaultAction;
use crate::fault::kinds::{Framing, ResponseEnd, TerminalMarkers};
use crate::fault::plan::Fault;
use crate::injection::steps::{Step, Strike, cut_up, strike};
use crate::injection::{events, framing, reply, response};
use crate::limits::limits::{Exceeded, Standing};
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::protocol::usage::BilledUsage;
use crate::script::script::Latency;
use crate::simulator::{dialects, headers};

/// An answer, planned to the end.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What is done before the headers go out.
    pub(crate) before: Vec<Step>,
    pub(crate) body: Vec<Step>,
    pub(crate) bill: Option<Bill>,
}

/// What the whole answer costs, and in how many deltas it is told; none if it comes in one piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bill {
    pub(crate) usage: BilledUsage,
    pub(crate) deltas: usize,
}

impl Stage {
    pub(crate) fn whole(status: u16, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            before: Vec::new(),
            body: vec![Step::Write { bytes: body.into(), kind: Kind::Frame }],
            bill: None,
        }
    }

    /// An error answer.
    pub(crate) fn failure(dialect: WireDialect, failure: &Failure, id: &str, standing: &Standing) -> Self {
        let mut map = headers::standard(dialect, false, id, standing);
        headers::failure(&mut map, dialect, failure.status, None);
        Self::whole(failure.status, map, failure.body(dialect, id))
    }

    /// The refusal of a call that came too early.
    pub(crate) fn exceeded(request: &Request, exceeded: &Exceeded, id: &str) -> Self {
        let dialect = request.dialect;
        let failure = exceeded.failure(dialect, &request.model);
        let mut stage = Self::failure(dialect, &failure, id, &exceeded.standing);
        headers::failure(&mut stage.headers, dialect, failure.status, Some(exceeded.wait));
        stage
    }
}

/// One call that is to be answered.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) id: String,
    pub(crate) standing: Standing,
    pub(crate) latency: Latency,
    pub(crate) reasoning_content: bool,
}

impl Call<'_> {
    /// The model's answer, told as the action says.
    pub(crate) fn answer(&self, reply: &Reply, action: &FaultAction) -> Stage {
        let request = self.request;
        let style = Style { reasoning_content: self.reasoning_content, deltas: action.tool_deltas };
        let map = headers::standard(request.dialect, request.stream, &self.id, &self.standing);
        let mut stage = if request.stream {
            let mut events = dialects::events(reply, request, style);
            if let Some(markers) = action.markers {
                events::end(&mut events, markers);
            }
            let body = self.timed(&events, &action.framing);
            Stage { body, ..Stage::whole(200, map, Vec::new()) }
        } else {
            let mut stage = Stage::whole(200, map, dialects::document(reply, request, style));
            let pauses = u32::try_from(reply.words().saturating_sub(1)).unwrap_or(u32::MAX);
            let time = self.latency.first + self.latency.between.saturating_mul(pauses);
            stage.before.extend((!time.is_zero()).then_some(Step::Sleep(time)));
            stage
        };
        // What comes after the end of an answer is no part of it, and costs nothing.
        let answer = stage.body.iter().take_while(|step| !step.ends());
        let deltas = answer.filter(|step| step.is_delta()).count();
        stage.bill = Some(Bill { usage: reply.usage, deltas });
        if action.markers == Some(TerminalMarkers::HeldOpen) {
            stage.body.push(Step::Hold);
        }
        stage
    }

    /// The answer that a fault makes of it.
    pub(crate) fn struck(&self, mut reply: Reply, fault: &Fault) -> Stage {
        let (request, action) = (self.request, &fault.action);
        if let Some(said) = action.say {
            reply::apply(&mut reply, said, request);
        }
        if let Some(lie) = action.usage {
            events::misreport(&mut reply, lie, request);
        }
        let stage = self.replacement(action).unwrap_or_else(|| self.answer(&reply, action));
        self.disturbed(stage, &reply, fault)
    }

    /// The answer that takes the place of any other, if the action has one.
    pub(crate) fn replacement(&self, action: &FaultAction) -> Option<Stage> {
        let request = self.request;
        let (status, body) = response::replacement(action, request, &self.id)?;
        let mut map = headers::standard(request.dialect, false, &self.id, &self.standing);
        if status >= 400 {
            headers::failure(&mut map, request.dialect, status, None);
        }
        Some(Stage::whole(status, map, body))
    }

    /// The answer with all that the fault does to its bytes and their times.
    pub(crate) fn disturbed(&self, mut stage: Stage, reply: &Reply, fault: &Fault) -> Stage {
        let action = &fault.action;
        response::headers(action, &mut stage.headers);
        stage.body = rewritten(stage.body, action);
        if fault.at.before_headers {
            stage.before.splice(..0, self.effects(reply, action, 0));
        } else {
            let place = Strike { at: &fault.at, drip: action.drip, goes_on: goes_on(action) };
            stage.body = strike(stage.body, &place, |sent| self.effects(reply, action, sent));
        }
        stage
    }

    /// The events as writes, with the pauses between them.
    fn timed(&self, events: &[Event], framing: &[Framing]) -> Vec<Step> {
        let mut pause = self.latency.first;
        let mut steps = Vec::with_capacity(events.len() * 2);
        for (at, event) in events.iter().enumerate() {
            if event.kind.is_delta() {
                steps.extend((!pause.is_zero()).then_some(Step::Sleep(pause)));
                pause = self.latency.between;
            }
            let bytes = framing::encode(event, at, framing).into();
            steps.push(Step::Write { bytes, kind: event.kind });
        }
        steps
    }

    /// What happens at the place of the fault, after this many events.
    fn effects(&self, reply: &Reply, action: &FaultAction, sent: usize) -> Vec<Step> {
        let dialect = self.request.dialect;
        let mut steps = Vec::new();
        if let Some(name) = &action.sse_error {
            let failure = Failure::named(dialect, name, &self.request.model);
            for event in dialects::error_events(reply, self.request, &failure, sent) {
                let bytes = framing::encode(&event, sent, &action.framing).into();
                steps.push(Step::Write { bytes, kind: event.kind });
            }
        }
        let comment = Bytes::from_static(b": keep-alive\n\n");
        let repeat = |bytes| move |every: Duration| Step::Repeat { every, bytes };
        steps.extend(action.stall.map(Step::Sleep));
        steps.extend(action.comments.map(repeat(comment.clone())));
        steps.extend(action.pings.map(repeat(ping(dialect).unwrap_or(comment))));
        steps.extend(action.then.and_then(ResponseEnd::step));
        steps
    }
}

fn goes_on(action: &FaultAction) -> bool {
    let endless = action.comments.is_some() || action.pings.is_some();
    action.then.is_none() && action.sse_error.is_none() && !endless
}

/// What a dialect sends to keep a connection alive; Responses has nothing of its own.
fn ping(dialect: WireDialect) -> Option<Bytes> {
    match dialect {
        WireDialect::Anthropic => Some(Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")),
        WireDialect::OpenaiChat => Some(Bytes::from_static(
            b"data: {\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]}\n\n",
        )),
        WireDialect::OpenaiResponses => None,
    }
}

/// Applies what concerns the bytes of the body as a whole.
fn rewritten(steps: Vec<Step>, action: &FaultAction) -> Vec<Step> {
    let steps = if action.framing.contains(&Framing::LeadingBlanks) {
        let blanks = Bytes::from_static(b"\n         \n\n         \n");
        std::iter::once(Step::Write { bytes: blanks, kind: Kind::Ping }).chain(steps).collect()
    } else {
        steps
    };
    if action.gzip {
        let written: Vec<u8> = steps.iter().flat_map(Step::bytes).copied().collect();
        let bytes = response::gzip(&written).into();
        return vec![Step::Write { bytes, kind: Kind::Frame }];
    }
    cut_up(steps, &action.framing)
}
