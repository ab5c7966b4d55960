//! The paths of responses.

use brigade_edge::ApiSchemas;
use brigade_openai::{InputItemList, InputItemParams, NumberedResponseEvent, ResponseBody, ResponseObject};
use serde_json::{Map, Value, json};

use super::{body, error, event_stream, id, json_content, path, response, server_sent_event};
use crate::api::responses::DeletedResponse;

pub(super) fn responses(schemas: &mut ApiSchemas) -> Map<String, Value> {
    let object = schemas.response::<ResponseObject>();
    let response_id = || id("The response's id.");
    let mut answer = json_content(&object);
    let data = schemas.response::<NumberedResponseEvent<'_>>();
    let name = json!({ "event": { "type": "string", "pattern": r"^response\." } });
    answer.extend(event_stream(&server_sent_event(&name, &data)));
    let mut parameters = schemas.query::<InputItemParams>();
    parameters.insert(0, response_id());
    Map::from_iter([
        path(
            "/v1/responses",
            json!({ "post": {
            "operationId": "createResponse",
            "summary": "Runs an agent, as OpenAI's clients of Responses do. If `stream` is true the response is streamed; the \
                        last event is `response.completed`, `response.incomplete` or `response.failed`.",
            "requestBody": body(&schemas.request::<ResponseBody>()),
            "responses": { "200": { "description": "The response.", "content": answer }, "default": error() }
        } }),
        ),
        path(
            "/v1/responses/{id}",
            json!({
                "get": {
                    "operationId": "getResponse",
                    "summary": "Shows a response.",
                    "parameters": [response_id()],
                    "responses": { "200": response("The response.", &object), "default": error() }
                },
                "delete": {
                    "operationId": "deleteResponse",
                    "summary": "Cancels a response, and deletes it with its part of the conversation.",
                    "parameters": [response_id()],
                    "responses": {
                        "200": response("It is deleted.", &schemas.response::<DeletedResponse>()), "default": error()
                    }
                }
            }),
        ),
        path(
            "/v1/responses/{id}/cancel",
            json!({ "post": {
            "operationId": "cancelResponse",
            "summary": "Cancels a response. One that has ended stays as it is.",
            "parameters": [response_id()],
            "responses": { "200": response("The response.", &object), "default": error() }
        } }),
        ),
        path(
            "/v1/responses/{id}/input_items",
            json!({ "get": {
            "operationId": "listInputItems",
            "summary": "Lists the items of the request, without the items of the responses that it continues.",
            "parameters": parameters,
            "responses": { "200": response("A page.", &schemas.response::<InputItemList>()), "default": error() }
        } }),
        ),
    ])
}
