//! The API as an `OpenAPI` 3.1 document, for client generators, tests and people.
//!
//! The schemas come from the types of requests and responses. Only the paths are written here.

use std::sync::Arc;

use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{
        Uri,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use brigade_core::EventRecord;
use brigade_edge::{ApiSchemas, Readiness, without_extra_slashes};
use brigade_openai::{ChatBody, ChatChunk, ChatCompletion};
use serde_json::{Map, Value, json};

mod decision_paths;
mod response_paths;

use super::{
    api::Api,
    budgets::BudgetList,
    error::ErrorBody,
    idempotent::IdempotencyKey,
    models::{self, AgentModel, ModelList},
    run_view::{RunList, RunView},
    runs::{RunBody, RunListParams},
    served_setup::Setup,
    usage::{UsageParams, UsageReport},
};
use crate::runs::event_log::{GapEvent, TextEvent};

/// The page has inline script and style, and sends requests to this server only.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

/// Where the document names an agent.
const AGENT_NAMES: [&str; 4] = [
    "/components/schemas/ChatBody/properties/model",
    "/components/schemas/ResponseBody/properties/model",
    "/components/schemas/RunBody/properties/agent",
    "/paths/~1v1~1models~1{id}/get/parameters/0/schema",
];

/// Where an example names an agent.
const EXAMPLE_AGENTS: [&str; 6] = [
    "/components/schemas/ChatBody/examples/0/model",
    "/components/schemas/ChatBody/examples/1/model",
    "/components/schemas/ResponseBody/examples/0/model",
    "/components/schemas/ResponseBody/examples/1/model",
    "/components/schemas/RunBody/examples/0/agent",
    "/components/schemas/RunBody/examples/1/agent",
];

/// The number of an event, or of a piece of text after it.
const EVENT_ID: &str = r"^[0-9]+(\.[0-9]+)?$";

/// `GET /openapi.json`
pub(crate) async fn document(State(api): State<Arc<Api>>, OriginalUri(uri): OriginalUri) -> Json<Value> {
    let mut document = describe();
    // The routes may be nested below another path.
    if let (Some(base), Value::Object(fields)) = (base_path(&uri), &mut document) {
        fields.insert("servers".to_owned(), json!([{ "url": base }]));
    }
    let setup = api.setup();
    // The names of agents are not public if requests need a key.
    if setup.access.is_open() {
        list_agents(&mut document, &setup);
    }
    Json(document)
}

/// `GET /docs`
pub(crate) async fn page() -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (headers, include_str!("openapi/page.html")).into_response()
}

/// The path that the routes are nested below.
fn base_path(uri: &Uri) -> Option<String> {
    let path = without_extra_slashes(uri.path());
    path.strip_suffix("/openapi.json").filter(|base| !base.is_empty()).map(str::to_owned)
}

/// Lists the agents wherever a request names one.
fn list_agents(document: &mut Value, setup: &Setup) {
    let names: Vec<_> = models::exposed(setup).map(|(name, _)| name).collect();
    for pointer in AGENT_NAMES {
        if let Some(Value::Object(schema)) = document.pointer_mut(pointer) {
            schema.insert("enum".to_owned(), names.clone().into());
        }
    }
    for pointer in EXAMPLE_AGENTS {
        if let (Some(example), Some(name)) = (document.pointer_mut(pointer), names.first()) {
            *example = (*name).into();
        }
    }
}

fn describe() -> Value {
    let mut schemas = ApiSchemas::new();
    let examples = serde_json::from_str(include_str!("openapi/examples.json")).unwrap_or_default();
    let mut paths = Map::new();
    paths.extend(chat_paths(&mut schemas));
    paths.extend(response_paths::responses(&mut schemas));
    paths.extend(run_paths(&mut schemas));
    paths.extend(decision_paths::approvals(&mut schemas));
    paths.extend(decision_paths::runs(&mut schemas));
    paths.extend(operations_paths(&mut schemas));
    let error = schemas.response::<ErrorBody>();
    let run = schemas.response::<RunView<'_>>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Brigade",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Agents over HTTP: OpenAI's chat completions and responses, with agents as models, and Brigade's own runs.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" }
        },
        "security": [{ "key": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": { "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of `brigade keys new`. Not needed if no keys are configured."
            } },
            "responses": { "Error": {
                "description": "The error, in the form of OpenAI's errors. `code` is a stable name.",
                "content": json_content(&json!({ "anyOf": [error, run] })),
                "headers": {
                    "retry-after": {
                        "description": "The number of seconds after which a retry may succeed.",
                        "schema": { "type": "integer" }
                    },
                    "x-should-retry": {
                        "description": "`false` if the server has retried already.",
                        "schema": { "type": "string" }
                    }
                }
            } },
            "schemas": schemas.definitions(examples)
        }
    })
}

fn chat_paths(schemas: &mut ApiSchemas) -> Map<String, Value> {
    let mut answer = json_content(&schemas.response::<ChatCompletion<'_>>());
    let data = json!({ "anyOf": [schemas.response::<ChatChunk<'_>>(), schemas.response::<ErrorBody>()] });
    let done = json!({ "type": "object", "required": ["data"], "properties": { "data": { "const": "[DONE]" } } });
    answer.extend(event_stream(&json!({ "anyOf": [server_sent_event(&json!({}), &data), done] })));
    Map::from_iter([
        path(
            "/v1/chat/completions",
            json!({ "post": {
            "operationId": "createChatCompletion",
            "summary": "Runs an agent, as OpenAI's clients do. If `stream` is true the answer is streamed; an error within \
                        the stream is a frame with `error`, and no `[DONE]` follows.",
            "parameters": [IdempotencyKey::parameter()],
            "requestBody": body(&schemas.request::<ChatBody>()),
            "responses": { "200": { "description": "The answer.", "content": answer }, "default": error() }
        } }),
        ),
        path(
            "/v1/models",
            json!({ "get": {
            "operationId": "listModels",
            "summary": "Lists the agents, which clients use as models.",
            "responses": { "200": response("All agents that clients may call.", &schemas.response::<ModelList>()), "default": error() }
        } }),
        ),
        path(
            "/v1/models/{id}",
            json!({ "get": {
            "operationId": "getModel",
            "summary": "Shows one agent.",
            "parameters": [id("The agent's name.")],
            "responses": { "200": response("The agent.", &schemas.response::<AgentModel>()), "default": error() }
        } }),
        ),
    ])
}

fn run_paths(schemas: &mut ApiSchemas) -> Map<String, Value> {
    let run = schemas.response::<RunView<'_>>();
    let run_id = || id("The run's id.");
    let started = json!({
        "description": "The run, which continues.",
        "content": json_content(&run),
        "headers": { "location": { "description": "The URL of the run.", "schema": { "type": "string" } } }
    });
    let events = event_stream(&run_events(schemas, &run));
    Map::from_iter([
        path(
            "/v1/runs",
            json!({
                "post": {
                    "operationId": "createRun",
                    "summary": "Starts a run, and waits for its end unless `background` is true. A run that fails returns \
                                the status of its error, and the run.",
                    "parameters": [IdempotencyKey::parameter()],
                    "requestBody": body(&schemas.request::<RunBody>()),
                    "responses": { "200": response("The run, which has ended.", &run), "202": started, "default": error() }
                },
                "get": {
                    "operationId": "listRuns",
                    "summary": "Lists the runs of the key, the newest first.",
                    "parameters": schemas.query::<RunListParams>(),
                    "responses": { "200": response("A page.", &schemas.response::<RunList<'_>>()), "default": error() }
                }
            }),
        ),
        path(
            "/v1/runs/{id}",
            json!({ "get": {
            "operationId": "getRun",
            "summary": "Shows one run.",
            "parameters": [run_id()],
            "responses": { "200": response("The run.", &run), "default": error() }
        } }),
        ),
        path(
            "/v1/runs/{id}/events",
            json!({ "get": {
            "operationId": "followRun",
            "summary": "Sends the events of a run until its end. `gap` reports events that are not kept any more; the last event is `ended`.",
            "parameters": [run_id(), {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "Sends only events after this one. Empty or absent: all.",
                "schema": { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?)?$" }
            }],
            "responses": { "200": { "description": "The events.", "content": events }, "default": error() }
        } }),
        ),
        path(
            "/v1/runs/{id}/cancel",
            json!({ "post": {
            "operationId": "cancelRun",
            "summary": "Cancels a run. Its result has the answer so far.",
            "parameters": [run_id()],
            "responses": { "202": response("The run.", &run), "default": error() }
        } }),
        ),
    ])
}

/// The server-sent events of a run.
fn run_events(schemas: &mut ApiSchemas, run: &Value) -> Value {
    let data = json!({ "anyOf": [schemas.response::<EventRecord>(), schemas.response::<TextEvent<'_>>()] });
    let id = json!({ "type": "string", "pattern": EVENT_ID });
    let event = server_sent_event(&json!({ "id": id }), &data);
    let gap = server_sent_event(&json!({ "event": { "const": "gap" } }), &schemas.response::<GapEvent>());
    json!({ "anyOf": [event, gap, server_sent_event(&json!({ "id": id, "event": { "const": "ended" } }), run)] })
}

fn operations_paths(schemas: &mut ApiSchemas) -> Map<String, Value> {
    let live = |id: &str, summary: &str| {
        json!({ "get": {
            "operationId": id,
            "summary": summary,
            "responses": { "200": { "description": "It does.", "content": text_content() } },
            "security": []
        } })
    };
    let mut readiness = json_content(&schemas.response::<Readiness>());
    readiness.extend(text_content());
    Map::from_iter([
        path(
            "/v1/usage",
            json!({ "get": {
            "operationId": "getUsage",
            "summary": "Shows what runs have cost, by day, key, agent and model.",
            "parameters": schemas.query::<UsageParams>(),
            "responses": { "200": response("The sums.", &schemas.response::<UsageReport>()), "default": error() }
        } }),
        ),
        path(
            "/v1/budgets",
            json!({ "get": {
            "operationId": "listBudgets",
            "summary": "Lists the budget of the key, or with the scope `admin` all budgets, and how much of them is used.",
            "responses": { "200": response("The budgets.", &schemas.response::<BudgetList>()), "default": error() }
        } }),
        ),
        path(
            "/metrics",
            json!({ "get": {
            "operationId": "metrics",
            "summary": "Metrics for Prometheus. If there are keys, this needs the scope `admin`.",
            "responses": { "200": { "description": "The metrics.", "content": text_content() }, "default": error() }
        } }),
        ),
        path("/livez", live("live", "Reports that the process answers.")),
        path("/healthz", live("health", "The same as `/livez`.")),
        path(
            "/readyz",
            json!({ "get": {
            "operationId": "ready",
            "summary": "Reports whether the server should get requests.",
            "parameters": [{
                "name": "verbose",
                "in": "query",
                "description": "Lists the checks.",
                "schema": { "type": "string" }
            }],
            "responses": {
                "200": { "description": "It should.", "content": readiness },
                "503": { "description": "It should not.", "content": readiness }
            },
            "security": []
        } }),
        ),
    ])
}

fn path(path: &str, operations: Value) -> (String, Value) {
    (path.to_owned(), operations)
}

fn id(description: &str) -> Value {
    json!({
        "name": "id", "in": "path", "required": true, "description": description, "schema": { "type": "string" }
    })
}

fn body(schema: &Value) -> Value {
    json!({ "required": true, "content": json_content(schema) })
}

fn response(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": json_content(schema) })
}

fn error() -> Value {
    json!({ "$ref": "#/components/responses/Error" })
}

fn json_content(schema: &Value) -> Map<String, Value> {
    Map::from_iter([("application/json".to_owned(), json!({ "schema": schema }))])
}

/// As before `OpenAPI` 3.2, the schema is that of each event.
fn event_stream(schema: &Value) -> Map<String, Value> {
    Map::from_iter([("text/event-stream".to_owned(), json!({ "schema": schema }))])
}

/// A server-sent event with these fields and JSON as its data, in the form of
/// <https://spec.openapis.org/oas/v3.2.0.html#server-sent-event-streams>.
fn server_sent_event(fields: &Value, data: &Value) -> Value {
    let mut properties = fields.as_object().cloned().unwrap_or_default();
    let data = json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": data });
    properties.insert("data".to_owned(), data);
    let required: Vec<_> = properties.keys().cloned().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn text_content() -> Map<String, Value> {
    Map::from_iter([("text/plain".to_owned(), json!({ "schema": { "type": "string" } }))])
}

#[cfg(test)]
mod tests;
