//! Answers one HTTP request.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use crate::call_log::call_log::{CallLog, OpenCall};
use crate::exchange::reply::Reply;
use crate::exchange::request::Request;
use crate::fault::action::FaultAction;
use crate::injection::injector::Armed;
use crate::injection::steps::Step;
use crate::limits::limits::{Exceeded, Limiter, Standing, UNLIMITED};
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::script::script::{Latency, Script};
use crate::simulator::connection::Lever;
use crate::simulator::performance::{Body, Performance};
use crate::simulator::stage::{Bill, Call, Stage};
use crate::simulator::{dialects, embeddings, headers, models};

/// The header by which a client may say which agent asks.
pub const AGENT_HEADER: &str = "x-brigade-agent";

/// The largest body that is read: Anthropic's limit, the smaller one of the two vendors'.
const BODY_LIMIT_BYTES: usize = 32 << 20;

type Response = hyper::Response<Body>;

/// Everything a simulator is.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) script: Script,
    pub(crate) faults: Armed,
    pub(crate) latency: Latency,
    pub(crate) strict: bool,
    pub(crate) reasoning_content: bool,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) models: Vec<String>,
    pub(crate) call_log: CallLog,
}

impl Provider {
    pub(crate) async fn respond(&self, request: hyper::Request<Incoming>, lever: Lever) -> Response {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let is_embedding = path == embeddings::PATH;
        let dialect = if is_embedding { Some(WireDialect::OpenaiChat) } else { WireDialect::of_path(path) };
        let Some(dialect) = dialect else {
            return self.other(&head.method, path, &head.headers);
        };
        if head.method != Method::POST {
            let message = format!(
                "Not allowed to {} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
                head.method
            );
            let failure = Failure::new(405, "invalid_request_error", message);
            return plain(Stage::failure(dialect, &failure.code("method_not_supported"), "", &UNLIMITED));
        }
        let read = Limited::new(body, BODY_LIMIT_BYTES).collect().await;
        let body = read.map(http_body_util::Collected::to_bytes);
        let length = body.as_ref().map_or(0, Bytes::len);
        let mut call = self.call_log.open(dialect, length);
        if let Some(traceparent) = head.headers.get("traceparent").and_then(|value| value.to_str().ok()) {
            call.trace(traceparent);
        }
        let stage = if let Ok(body) = body {
            let agent = head.headers.get(AGENT_HEADER).and_then(|name| name.to_str().ok());
            let asked = Asked { dialect, agent, body };
            if is_embedding { self.embed(&asked, &mut call) } else { self.plan(&asked, &mut call) }
        } else {
            let id = headers::request_id(dialect, call.number());
            Stage::failure(dialect, &Failure::with_status(dialect, 413, ""), &id, &UNLIMITED)
        };
        perform(stage, lever, call).await
    }

    /// What is to be answered.
    fn plan(&self, asked: &Asked<'_>, record: &mut OpenCall) -> Stage {
        let dialect = asked.dialect;
        let id = headers::request_id(dialect, record.number());
        let mut request = match dialects::read(dialect, &asked.body, self.strict) {
            Ok(request) => request,
            Err(failure) => return Stage::failure(dialect, &failure, &id, &UNLIMITED),
        };
        request.recognise(asked.agent, &self.script.agents);
        record.identify(&request);
        let standing = match self.admit(&request) {
            Ok(standing) => standing,
            Err(exceeded) => return Stage::exceeded(&request, &exceeded, &id),
        };
        let answer = request.answer(&self.script);
        let call = Call {
            request: &request,
            id,
            standing,
            latency: answer.and_then(|answer| answer.latency).unwrap_or(self.latency),
            reasoning_content: self.reasoning_content,
        };
        let reply = answer.map_or_else(|| Reply::echo(&request), |answer| Reply::new(answer, &request));
        match self.faults.strike(&request, self.call_log.elapsed()) {
            None => call.answer(&reply, &FaultAction::default()),
            Some(fault) => {
                record.struck_by(&fault.id);
                call.struck(reply, fault)
            }
        }
    }

    /// What texts mean. Calls are counted and struck by faults like others; their dialect is that of the account.
    fn embed(&self, asked: &Asked<'_>, record: &mut OpenCall) -> Stage {
        let id = headers::request_id(asked.dialect, record.number());
        let wanted = match embeddings::Wanted::read(&asked.body) {
            Ok(wanted) => wanted,
            Err(failure) => return Stage::failure(asked.dialect, &failure, &id, &UNLIMITED),
        };
        let mut request = wanted.request(&asked.body);
        request.recognise(asked.agent, &self.script.agents);
        record.identify(&request);
        let standing = match self.admit(&request) {
            Ok(standing) => standing,
            Err(exceeded) => return Stage::exceeded(&request, &exceeded, &id),
        };
        let map = headers::standard(asked.dialect, false, &id, &standing);
        let mut stage = Stage::whole(200, map, wanted.document());
        stage.bill = Some(Bill { usage: wanted.usage(), deltas: 0 });
        stage.before.extend((!self.latency.first.is_zero()).then_some(Step::Sleep(self.latency.first)));
        let Some(fault) = self.faults.strike(&request, self.call_log.elapsed()) else { return stage };
        record.struck_by(&fault.id);
        let (latency, reasoning_content) = (self.latency, self.reasoning_content);
        let call = Call { request: &request, id, standing, latency, reasoning_content };
        let stage = call.replacement(&fault.action).unwrap_or(stage);
        call.disturbed(stage, &Reply::echo(&request), fault)
    }

    fn admit(&self, request: &Request) -> Result<Standing, Exceeded> {
        self.limiter.as_ref().map_or(Ok(UNLIMITED), |limiter| limiter.admit(request))
    }

    /// What is neither of the three protocols: the list of models, or a wrong address.
    fn other(&self, method: &Method, path: &str, map: &HeaderMap) -> Response {
        let anthropic = map.contains_key("anthropic-version") || map.contains_key("x-api-key");
        let dialect = if anthropic { WireDialect::Anthropic } else { WireDialect::OpenaiChat };
        if method == Method::GET && path == "/v1/models" {
            let map = headers::standard(dialect, false, "", &UNLIMITED);
            return plain(Stage::whole(200, map, models::list(dialect, &self.models)));
        }
        let failure = if anthropic {
            Failure::new(404, "not_found_error", "Not found")
        } else {
            Failure::new(404, "invalid_request_error", format!("Invalid URL ({method} {path})"))
        };
        plain(Stage::failure(dialect, &failure, "", &UNLIMITED))
    }
}

/// A request, read from the connection.
struct Asked<'a> {
    dialect: WireDialect,
    agent: Option<&'a str>,
    body: Bytes,
}

/// Carries a stage out, up to its body, which carries out the rest.
async fn perform(stage: Stage, lever: Lever, mut call: OpenCall) -> Response {
    if let Some(bill) = stage.bill {
        call.bill(bill.usage, bill.deltas);
    }
    let mut performance = Performance::new(lever, call);
    performance.before(stage.before).await;
    performance.status(stage.status);
    response(stage.status, stage.headers, performance.body(stage.body))
}

/// An answer that no record is kept of.
fn plain(stage: Stage) -> Response {
    let bytes: Vec<u8> = stage.body.iter().flat_map(Step::bytes).copied().collect();
    response(stage.status, stage.headers, Body::Left(Bytes::from(bytes).into()))
}

fn response(status: u16, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}
