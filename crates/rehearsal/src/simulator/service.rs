//! Answers HTTP requests.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use crate::call_log::call_log::CallLog;
use crate::call_log::record::OpenCall;
use crate::exchange::reply::Reply;
use crate::exchange::request::Request;
use crate::fault::action::FaultAction;
use crate::injection::injector::FaultInjector;
use crate::injection::steps::Step;
use crate::limits::limiter::{LimitExceeded, LimitStatus, Limiter};
use crate::openai_chat::template;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;
use crate::protocol::parameters;
use crate::protocol::tokens::CountTokens;
use crate::script::answer::Latency;
use crate::script::script::Script;
use crate::simulator::connection::ConnectionControl;
use crate::simulator::embeddings::EmbeddingRequest;
use crate::simulator::issued_reasoning::IssuedReasoning;
use crate::simulator::response_plan::{Bill, Planner, ResponsePlan};
use crate::simulator::step_runner::{Body, StepRunner};
use crate::simulator::{dialects, embeddings, headers, models};

/// The header with the name of the calling agent.
pub const AGENT_HEADER: &str = "x-brigade-agent";

/// The largest request body: Anthropic's limit, which is the smaller one of the two vendors'.
const BODY_LIMIT_BYTES: usize = 32 << 20;

type Response = hyper::Response<Body>;

/// The HTTP service of a simulator.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) script: Script,
    pub(crate) faults: FaultInjector,
    pub(crate) latency: Latency,
    pub(crate) strict: bool,
    pub(crate) template: bool,
    pub(crate) reasoning_content: bool,
    /// Present if reasoning that was not issued here is refused.
    pub(crate) issued: Option<IssuedReasoning>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) models: Vec<String>,
    pub(crate) tokenizer: Option<CountTokens>,
    pub(crate) call_log: CallLog,
}

/// A request body with its dialect and its calling agent.
struct IncomingCall<'a> {
    dialect: WireDialect,
    agent: Option<&'a str>,
    body: Bytes,
}

impl Service {
    pub(crate) async fn respond(&self, request: hyper::Request<Incoming>, control: ConnectionControl) -> Response {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let is_embedding = path == embeddings::PATH;
        let dialect = if is_embedding { Some(WireDialect::OpenaiChat) } else { WireDialect::of_path(path) };
        let Some(dialect) = dialect else {
            return self.respond_to_other(&head.method, path, &head.headers);
        };
        if head.method != Method::POST {
            let message = format!(
                "Not allowed to {} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
                head.method
            );
            let failure = Failure::new(405, "invalid_request_error", message).code("method_not_supported");
            return unlogged(ResponsePlan::failure(dialect, &failure, "", &LimitStatus::UNLIMITED));
        }
        let body = Limited::new(body, BODY_LIMIT_BYTES).collect().await.map(http_body_util::Collected::to_bytes);
        let mut call = self.call_log.open(dialect, body.as_ref().map_or(0, Bytes::len));
        if let Some(traceparent) = header(&head.headers, "traceparent") {
            call.set_trace(traceparent);
        }
        let plan = if let Ok(body) = body {
            let incoming = IncomingCall { dialect, agent: header(&head.headers, AGENT_HEADER), body };
            let id = headers::request_id(dialect, call.record().number);
            if is_embedding { self.embed(&incoming, id, &mut call) } else { self.chat(&incoming, id, &mut call) }
        } else {
            let id = headers::request_id(dialect, call.record().number);
            let failure = Failure::with_status(dialect, 413, "");
            ResponsePlan::failure(dialect, &failure, &id, &LimitStatus::UNLIMITED)
        };
        run(plan, control, call).await
    }

    /// Plans the response to a chat request.
    fn chat(&self, incoming: &IncomingCall<'_>, id: String, call: &mut OpenCall) -> ResponsePlan {
        let dialect = incoming.dialect;
        let mut request = match self.read(incoming) {
            Ok(request) => request,
            Err(failure) => return ResponsePlan::failure(dialect, &failure, &id, &LimitStatus::UNLIMITED),
        };
        if let Some(tokenizer) = self.tokenizer {
            request.count_with(tokenizer, &incoming.body);
        }
        request.identify_agent(incoming.agent, &self.script.agents);
        call.set_request(&request);
        let limits = match self.admit(&request) {
            Ok(limits) => limits,
            Err(exceeded) => return ResponsePlan::limit_exceeded(&request, &exceeded, &id),
        };
        let answer = request.answer(&self.script);
        if answer.is_none() {
            call.set_echo();
        }
        let latency = answer.and_then(|answer| answer.latency).unwrap_or(self.latency);
        let planner = Planner { request: &request, id, limits, latency, reasoning_content: self.reasoning_content };
        let reply = answer.map_or_else(|| Reply::echo(&request), |answer| Reply::new(answer, &request));
        if let Some(issued) = &self.issued {
            issued.issue(&reply, &request);
        }
        match self.faults.select(&request, self.call_log.elapsed()) {
            None => planner.reply(&reply, &FaultAction::default()),
            Some(fault) => {
                call.set_fault(&fault.id);
                planner.faulty_reply(reply, fault)
            }
        }
    }

    /// Parses a chat request, and rejects what the vendor, or the chat template of a server, rejects.
    fn read(&self, incoming: &IncomingCall<'_>) -> Result<Request, Failure> {
        let IncomingCall { dialect, body, .. } = incoming;
        let mut request = dialects::read(*dialect, body, self.strict)?;
        if self.strict {
            parameters::check(*dialect, &request.model, body)?;
        }
        if self.template && *dialect == WireDialect::OpenaiChat {
            template::check(body)?;
        }
        request.body = body.clone();
        if let Some(issued) = &self.issued {
            issued.check(&request, self.reasoning_content)?;
        }
        Ok(request)
    }

    /// Plans the response to an embeddings request. Rate limits and faults apply as to chat requests.
    fn embed(&self, incoming: &IncomingCall<'_>, id: String, call: &mut OpenCall) -> ResponsePlan {
        let dialect = incoming.dialect;
        let embedding = match EmbeddingRequest::read(&incoming.body) {
            Ok(embedding) => embedding,
            Err(failure) => return ResponsePlan::failure(dialect, &failure, &id, &LimitStatus::UNLIMITED),
        };
        let mut request = embedding.request(&incoming.body);
        request.identify_agent(incoming.agent, &self.script.agents);
        call.set_request(&request);
        let limits = match self.admit(&request) {
            Ok(limits) => limits,
            Err(exceeded) => return ResponsePlan::limit_exceeded(&request, &exceeded, &id),
        };
        let map = headers::standard(dialect, false, &id, &limits);
        let mut plan = ResponsePlan::whole(200, map, embedding.document());
        plan.bill = Some(Bill { usage: embedding.usage(), deltas: 0 });
        plan.delay(self.latency.first);
        let Some(fault) = self.faults.select(&request, self.call_log.elapsed()) else { return plan };
        call.set_fault(&fault.id);
        let (latency, reasoning_content) = (self.latency, self.reasoning_content);
        let planner = Planner { request: &request, id, limits, latency, reasoning_content };
        let plan = planner.replacement(&fault.action).unwrap_or(plan);
        planner.inject(plan, &Reply::echo(&request), fault)
    }

    fn admit(&self, request: &Request) -> Result<LimitStatus, LimitExceeded> {
        self.limiter.as_ref().map_or(Ok(LimitStatus::UNLIMITED), |limiter| limiter.admit(request))
    }

    /// Responds to requests outside the three protocols: the list of models, or a 404.
    fn respond_to_other(&self, method: &Method, path: &str, map: &HeaderMap) -> Response {
        let is_anthropic = map.contains_key("anthropic-version") || map.contains_key("x-api-key");
        let dialect = if is_anthropic { WireDialect::Anthropic } else { WireDialect::OpenaiChat };
        if method == Method::GET && path == "/v1/models" {
            let map = headers::standard(dialect, false, "", &LimitStatus::UNLIMITED);
            return unlogged(ResponsePlan::whole(200, map, models::list(dialect, &self.models)));
        }
        let failure = if is_anthropic {
            Failure::new(404, "not_found_error", "Not found")
        } else {
            Failure::new(404, "invalid_request_error", format!("Invalid URL ({method} {path})"))
        };
        unlogged(ResponsePlan::failure(dialect, &failure, "", &LimitStatus::UNLIMITED))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Carries out the plan up to its body. The body carries out the rest.
async fn run(plan: ResponsePlan, control: ConnectionControl, mut call: OpenCall) -> Response {
    if let Some(bill) = plan.bill {
        call.bill(bill.usage, bill.deltas);
    }
    let mut runner = StepRunner::new(control, call);
    runner.run_before_headers(plan.before_headers).await;
    runner.set_status(plan.status);
    response(plan.status, plan.headers, runner.into_body(plan.body))
}

/// A response to a call that is not logged.
fn unlogged(plan: ResponsePlan) -> Response {
    let bytes: Vec<u8> = plan.body.iter().flat_map(Step::bytes).copied().collect();
    response(plan.status, plan.headers, Body::Left(Bytes::from(bytes).into()))
}

fn response(status: u16, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}
