//! The paths by which people decide about calls and about runs that do not go on by themselves.

use brigade_durable::ApprovalView;
use brigade_edge::ApiSchemas;
use serde_json::{Map, Value, json};

use super::{body, error, id, path, response};
use crate::api::{
    approvals::{AnswerBody, ApprovalList, ApprovalListParams},
    idempotent::IdempotencyKey,
    resume::{DecisionBody, ResumeBody, SignalBody},
    run_view::RunView,
};

pub(super) fn approvals(schemas: &mut ApiSchemas) -> Map<String, Value> {
    let approval = schemas.response::<ApprovalView>();
    Map::from_iter([
        path(
            "/v1/approvals",
            json!({ "get": {
            "operationId": "listApprovals",
            "summary": "Lists the calls that wait until a person allows them, and calls that were answered, the newest first. \
                        Needs the scope `approve` or `read`.",
            "parameters": schemas.query::<ApprovalListParams>(),
            "responses": { "200": response("The approvals.", &schemas.response::<ApprovalList>()), "default": error() }
        } }),
        ),
        path(
            "/v1/approvals/{id}",
            json!({ "post": {
            "operationId": "answerApproval",
            "summary": "Answers an approval. The same answer again changes nothing; another one is refused. Needs the scope \
                        `approve`, or without keys the token that the server prints when it starts.",
            "parameters": [id("The approval's id.")],
            "requestBody": body(&schemas.request::<AnswerBody>()),
            "responses": { "200": response("The approval.", &approval), "default": error() }
        } }),
        ),
    ])
}

pub(super) fn runs(schemas: &mut ApiSchemas) -> Map<String, Value> {
    let run = schemas.response::<RunView<'_>>();
    let run_id = || id("The id of the run.");
    Map::from_iter([
        path(
            "/v1/runs/{id}/resume",
            json!({ "post": {
            "operationId": "resumeRun",
            "summary": "Resumes a durable run that failed, was set aside or waits. Completed steps are not done again.",
            "parameters": [run_id()],
            "requestBody": body(&schemas.request::<ResumeBody>()),
            "responses": { "202": response("The run.", &run), "default": error() }
        } }),
        ),
        path(
            "/v1/runs/{id}/decisions",
            json!({ "post": {
            "operationId": "decideStep",
            "summary": "Decides whether a step that may have had its effect before a crash is done again.",
            "parameters": [run_id()],
            "requestBody": body(&schemas.request::<DecisionBody>()),
            "responses": { "202": response("The run.", &run), "default": error() }
        } }),
        ),
        path(
            "/v1/runs/{id}/signals",
            json!({ "post": {
            "operationId": "signalRun",
            "summary": "Sends a named signal to a durable run. A step that waits for this name receives the payload, and the run \
                        goes on.",
            "parameters": [run_id(), IdempotencyKey::parameter_of("Signals with the same key, name and payload are one signal.")],
            "requestBody": body(&schemas.request::<SignalBody>()),
            "responses": { "202": response("The run.", &run), "default": error() }
        } }),
        ),
    ])
}
