use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use brigade_config::Retention;
use brigade_core::{
    Agent, Event, ModelError, ModelErrorKind, ModelExt as _, Observer as _, Run, TimeoutPhase,
    testing::{ScriptedModel, Turn, all_events},
};
use brigade_openai::ErrorCode;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::{
    ServedAgent, Store,
    api::{ApiError, api::ApiBuilder},
    runs::event_log::{EventLog, EventPosition},
};

#[test]
fn every_reference_in_the_document_resolves() {
    let document = describe();
    let text = document.to_string();
    let references: Vec<_> = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn the_document_describes_answers_runs_and_their_cost() {
    let document = describe();
    for pointer in [
        "/components/schemas/ChatCompletion/properties/brigade",
        "/components/schemas/Run/properties/result",
        "/components/schemas/CostSummary/properties/by_agent",
        "/components/schemas/Spending/properties/charged",
        "/components/schemas/Money/pattern",
        "/components/schemas/StopReason",
        "/components/schemas/ModelErrorKind/enum/17",
        "/paths/~1v1~1runs/get/parameters/5/schema/type",
    ] {
        assert!(document.pointer(pointer).is_some(), "{pointer}: {document}");
    }
}

/// A validator of what the document says at `pointer`. It refuses fields that the document does not list.
fn validator(pointer: &str) -> jsonschema::Validator {
    let mut document = describe();
    check_content(&mut document);
    for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        if schema.get("properties").is_some() {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    let described = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
    let schema = json!({ "allOf": [described], "components": document["components"] });
    jsonschema::validator_for(&schema).unwrap()
}

/// Replaces the schema of a text that contains JSON by the schema of that JSON.
fn check_content(value: &mut Value) {
    if let Some(content) = value.get_mut("contentSchema").map(Value::take) {
        *value = content;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(check_content),
        Value::Array(items) => items.iter_mut().for_each(check_content),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn assert_valid(validator: &jsonschema::Validator, value: &Value) {
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{value}: {errors:#?}");
}

/// The events of a response, with their data as JSON if it is JSON.
fn frames(body: &str) -> Vec<Value> {
    let frame = |text: &str| {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| match name {
            "data" => (name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())),
            _ => (name.to_owned(), Value::from(value)),
        });
        Value::Object(fields.collect())
    };
    body.split("\n\n").filter(|text| !text.is_empty()).map(frame).collect()
}

async fn api(turns: impl IntoIterator<Item = Turn>) -> Arc<Api> {
    let agent = Agent::new("desk", ScriptedModel::new(turns));
    Api::builder().agent(ServedAgent::new(agent)).build().await.unwrap()
}

/// An API whose agent runs this script, with a store in the folder.
async fn stored_api(folder: &tempfile::TempDir, turns: impl IntoIterator<Item = Turn>) -> Arc<Api> {
    let agent = Agent::new("desk", ScriptedModel::new(turns));
    let store = Store::open(&folder.path().join("brigade.db"), Retention::default()).await.unwrap();
    Api::builder().agent(ServedAgent::new(agent)).store(Some(store)).build().await.unwrap()
}

async fn send(api: &Arc<Api>, request: Request<Body>) -> (StatusCode, String) {
    let response = TowerToHyperService::new(api.router()).call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str, body: &Value) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.to_string().into()).unwrap()
}

const EVENTS: &str = "/paths/~1v1~1runs~1{id}~1events/get/responses/200/content/text~1event-stream/schema";
const CHUNKS: &str = "/paths/~1v1~1chat~1completions/post/responses/200/content/text~1event-stream/schema";
const ERROR: &str = "/components/responses/Error/content/application~1json/schema";

#[test]
fn every_event_that_is_sent_fits_the_document() {
    let (validator, log) = (validator(EVENTS), EventLog::new());
    let events = all_events();
    for event in &events {
        log.on_event(&Run::new(), event);
    }
    let sent = log.after(EventPosition::default());
    assert_eq!(sent.len(), events.iter().filter(|event| event.is_stored() || matches!(event, Event::Delta(_))).count());
    for event in sent {
        let data: Value = serde_json::from_str(&event.json).unwrap();
        assert_valid(&validator, &json!({ "id": event.position.to_string(), "data": data }));
    }
}

#[test]
fn events_that_are_never_sent_do_not_fit_the_document() {
    let validator = validator(EVENTS);
    let mut record = serde_json::to_value(EventRecord::new(&Run::new(), Event::RunStarted)).unwrap();
    for (field, value) in [("event", json!("run_stopped")), ("agent", json!(1)), ("surprise", json!(true))] {
        let before = record[field].clone();
        record[field] = value;
        assert!(!validator.is_valid(&json!({ "id": "1", "data": record })), "{record}");
        record[field] = before;
        record.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert!(validator.is_valid(&json!({ "id": "1", "data": record })), "{record}");
    }
}

#[tokio::test]
async fn the_events_of_a_run_and_its_end_fit_the_document() {
    let validator = validator(EVENTS);
    for turn in [Turn::text("Stay on SQS."), Turn::fails(ModelErrorKind::Overloaded)] {
        let api = api([turn]).await;
        let run = json!({ "agent": "desk", "task": "Should we move?", "background": true, "stream": true });
        let (status, body) = send(&api, post("/v1/runs", &run)).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let run: Value = serde_json::from_str(&body).unwrap();
        let path = format!("/v1/runs/{}/events", run["id"].as_str().unwrap());
        let (_, body) = send(&api, get(&path)).await;
        let frames = frames(&body);
        assert_eq!(frames.last().unwrap()["event"], "ended");
        assert!(frames.len() > 3, "{frames:#?}");
        for frame in &frames {
            assert_valid(&validator, frame);
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_too_late_gets_the_events_from_the_store_or_learns_of_the_gap() {
    let (validator, folder) = (validator(EVENTS), tempfile::tempdir().unwrap());
    // One turn with more calls than the log of a test keeps events.
    let calls = (1..60).fold(Turn::call("c0", "look", json!({"at": 0})), |turn, number| {
        turn.and_call(&format!("c{number}"), "look", &json!({ "at": number }).to_string())
    });
    let look = brigade_core::tool_fn("look", "Looks.", |_: Value, _| async {
        Ok::<_, brigade_core::ToolError>("Nothing.".into())
    });
    for (has_store, streams) in [(false, false), (false, true), (true, false), (true, true)] {
        let text = "word ".repeat(200);
        let agent = Agent::new("desk", ScriptedModel::new([calls.clone(), Turn::text(&text)])).tool(look.clone());
        let builder = Api::builder().agent(ServedAgent::new(agent));
        let store = Store::open(&folder.path().join("brigade.db"), Retention::default()).await.unwrap();
        let api = builder.store(has_store.then(|| store.clone())).build().await.unwrap();
        let run = json!({ "agent": "desk", "task": "Go on.", "background": true, "stream": streams });
        let (_, body) = send(&api, post("/v1/runs", &run)).await;
        let run: Value = serde_json::from_str(&body).unwrap();
        let handle = api.runs().find(run["id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap().into()).unwrap();
        handle.wait().await;
        let (_, body) = send(&api, get(&format!("/v1/runs/{}/events", handle.id()))).await;
        let frames = frames(&body);
        for frame in &frames {
            assert_valid(&validator, frame);
        }
        let gaps: Vec<_> = frames.iter().filter(|frame| frame["event"] == "gap").collect();
        let ids: Vec<_> = frames.iter().filter_map(|frame| frame["id"].as_str()?.parse::<u64>().ok()).collect();
        if has_store {
            assert!(ids.iter().copied().eq(1..=ids.len() as u64), "all events are there: {ids:?}");
            assert_eq!(gaps.len(), usize::from(streams), "only pieces of text are missing");
        } else {
            assert_eq!((gaps.len(), &gaps[0]["data"]["after"]), (1, &json!("0")), "{frames:#?}");
            assert_eq!(frames[0]["event"], "gap", "before the events that follow it");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn usage_is_shown_in_pages_with_the_sum_of_all() {
    let page = validator("/components/schemas/UsageReport");
    for has_store in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("brigade.db"), Retention::default()).await.unwrap();
        let agents =
            ["a", "b", "c"].map(|name| Agent::new(name, ScriptedModel::new([Turn::text("Done.")]).metered(&Free)));
        let builder = agents.map(ServedAgent::new).into_iter().fold(Api::builder(), ApiBuilder::agent);
        let api = builder.store(has_store.then_some(store)).build().await.unwrap();
        for name in ["a", "b", "c"] {
            send(&api, post("/v1/runs", &json!({ "agent": name, "task": "Go on." }))).await;
        }
        let usage = async |query: &str| {
            let (status, body) = send(&api, get(&format!("/v1/usage{query}"))).await;
            let report: Value = serde_json::from_str(&body).unwrap();
            if status != StatusCode::OK {
                return (status.as_u16(), report["error"]["param"].clone(), false, Vec::new());
            }
            assert_valid(&page, &report);
            let agents = report["data"].as_array().unwrap().iter().map(|sum| sum["agent"].as_str().unwrap().to_owned());
            (200, report["total"]["calls"].clone(), report["has_more"] == true, agents.collect::<Vec<_>>())
        };
        let expected = |has_more, agents: &[&str]| {
            (200, json!(3), has_more, agents.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(usage("").await, expected(false, &["a", "b", "c"]), "store: {has_store}");
        assert_eq!(usage("?limit=2").await, expected(true, &["a", "b"]));
        assert_eq!(usage("?limit=2&offset=2").await, expected(false, &["c"]));
        assert_eq!(usage("?offset=9").await, expected(false, &[]));
        for limit in ["0", "1001"] {
            assert_eq!(usage(&format!("?limit={limit}")).await, (400, json!("limit"), false, vec![]));
        }
        assert_eq!(usage("?offset=18446744073709551615").await, expected(false, &[]));
    }
}

/// A price table in which every call is free.
#[derive(Debug, Clone)]
struct Free;

impl brigade_core::Pricing for Free {
    fn ceiling(
        &self,
        _: &brigade_core::ModelId,
        _: &brigade_core::Settings,
        _: u64,
    ) -> Option<brigade_core::PriceCeiling> {
        Some(brigade_core::PriceCeiling::new(brigade_core::Rates::default()))
    }
    fn cost(&self, _: &brigade_core::ServedCall<'_>, _: &brigade_core::Usage) -> Option<brigade_core::Money> {
        Some(brigade_core::Money::default())
    }
}

#[tokio::test]
async fn a_run_of_an_earlier_process_fits_the_document_and_keeps_its_error() {
    let (events, run_view) = (validator(EVENTS), validator("/components/schemas/Run"));
    let folder = tempfile::tempdir().unwrap();
    let task = json!({ "agent": "desk", "task": "Should we move?" });
    for turn in [Turn::text("Stay on SQS."), Turn::fails(ModelErrorKind::Overloaded)] {
        let first = stored_api(&folder, [turn]).await;
        let (_, body) = send(&first, post("/v1/runs", &task)).await;
        let before: Value = serde_json::from_str(&body).unwrap();
        first.close().await.unwrap();
        drop(first);
        let second = stored_api(&folder, []).await;
        let path = format!("/v1/runs/{}", before["id"].as_str().unwrap());
        let (_, body) = send(&second, get(&path)).await;
        let after: Value = serde_json::from_str(&body).unwrap();
        for view in [&before, &after] {
            assert_valid(&run_view, view);
        }
        assert_eq!((&before["status"], &before["result"]["stop"]), (&after["status"], &after["result"]["stop"]));
        for field in ["code", "type"] {
            assert_eq!(before["error"][field], after["error"][field]);
        }
        let (_, body) = send(&second, get(&format!("{path}/events"))).await;
        let frames = frames(&body);
        assert!(frames.len() > 3, "{frames:#?}");
        for frame in &frames {
            assert_valid(&events, frame);
        }
        second.close().await.unwrap();
    }
}

#[tokio::test]
async fn every_chunk_of_a_streamed_answer_fits_the_document() {
    let validator = validator(CHUNKS);
    for include_usage in [false, true] {
        let api = api([Turn::text("Stay on SQS.")]).await;
        let question = json!({
            "model": "desk", "messages": [{ "role": "user", "content": "Should we move?" }],
            "stream": true, "stream_options": { "include_usage": include_usage }
        });
        let (_, body) = send(&api, post("/v1/chat/completions", &question)).await;
        let frames = frames(&body);
        assert_eq!(frames.last().unwrap()["data"], "[DONE]");
        assert!(frames.len() > 3, "{frames:#?}");
        for frame in &frames {
            assert_valid(&validator, frame);
        }
    }
    let error = ApiError::from(&ModelError::new(ModelErrorKind::Broken, "cut off")).body();
    assert_valid(&validator, &json!({ "data": error }));
    assert!(!validator.is_valid(&json!({ "data": { "error": { "code": "unheard_of" } } })));
}

const RESPONSE: &str = "/paths/~1v1~1responses/post/responses/200/content/application~1json/schema";
const RESPONSE_EVENTS: &str = "/paths/~1v1~1responses/post/responses/200/content/text~1event-stream/schema";

#[tokio::test]
async fn every_response_and_its_events_fit_the_document() {
    let (object, events) = (validator(RESPONSE), validator(RESPONSE_EVENTS));
    let look = json!({ "type": "function", "name": "look", "parameters": { "type": "object" } });
    for turn in [Turn::text("Stay on SQS."), Turn::call("c1", "look", json!({ "at": 1 }))] {
        for stream in [false, true] {
            let api = api([turn.clone()]).await;
            let body = json!({ "model": "desk", "input": "Should we move?", "stream": stream, "tools": [look],
                "text": { "format": { "type": "text" } }, "reasoning": { "effort": "low" } });
            let (status, text) = send(&api, post("/v1/responses", &body)).await;
            assert_eq!(status, StatusCode::OK, "{text}");
            if !stream {
                assert_valid(&object, &serde_json::from_str(&text).unwrap());
                continue;
            }
            let frames = frames(&text);
            assert_eq!(frames.last().unwrap()["event"], "response.completed");
            assert!(frames.len() > 6, "{frames:#?}");
            for frame in &frames {
                assert_valid(&events, frame);
            }
        }
    }
    assert!(!object.is_valid(&json!({ "id": "resp_1" })));
}

#[tokio::test]
async fn every_error_body_fits_the_document() {
    let validator = validator(ERROR);
    for code in ErrorCode::ALL {
        for status in [400, 401, 402, 403, 404, 429, 500, 503] {
            let error = ApiError::new(StatusCode::from_u16(status).unwrap(), *code, "it failed").body();
            let error = serde_json::to_value(error).unwrap();
            assert_eq!(error["error"]["code"], code.name());
            assert_valid(&validator, &error);
        }
    }
    let api = api([Turn::fails(ModelErrorKind::Timeout(TimeoutPhase::Idle)), Turn::fails(ModelErrorKind::Auth)]).await;
    let run = json!({ "agent": "desk", "task": "Should we move?" });
    let question = json!({ "model": "desk", "messages": [{ "role": "user", "content": "Should we move?" }] });
    for (request, status) in [
        (get("/v1/nothing"), 404),
        (get("/v1/chat/completions"), 405),
        (get("/v1/runs/1"), 404),
        (get("/v1/runs?limit=0"), 400),
        (post("/v1/runs", &json!({})), 400),
        (post("/v1/runs", &json!({ "agent": "clerk", "task": "Go." })), 404),
        (Request::post("/v1/runs").body(Body::from("{}")).unwrap(), 415),
        (post("/v1/runs", &run), 504),
        (post("/v1/chat/completions", &question), 503),
    ] {
        let path = request.uri().clone();
        let (actual, body) = send(&api, request).await;
        assert_eq!(actual, status, "{path}: {body}");
        assert_valid(&validator, &serde_json::from_str(&body).unwrap());
    }
}

#[tokio::test]
async fn every_example_fits_its_schema_and_names_an_agent() {
    let (_, body) = send(&api([]).await, get("/openapi.json")).await;
    let document: Value = serde_json::from_str(&body).unwrap();
    let mut found = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for example in schema["examples"].as_array().into_iter().flatten() {
            assert_valid(&validator(&format!("/components/schemas/{name}")), example);
            found += 1;
        }
    }
    let listed: Map<String, Value> = serde_json::from_str(include_str!("examples.json")).unwrap();
    assert_eq!(found, listed.values().map(|examples| examples.as_array().unwrap().len()).sum::<usize>());
    for pointer in EXAMPLE_AGENTS {
        assert_eq!(document.pointer(pointer), Some(&json!("desk")), "{pointer}");
    }
}

#[test]
fn descriptions_have_no_links_to_the_code() {
    let document = describe();
    let text = document.to_string();
    assert!(!text.contains("[`") && !text.contains("]("), "{text}");
}
