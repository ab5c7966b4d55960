//! The interface described as `OpenAPI` 3.1, for generators of clients and for tests.
//!
//! Paths and answers are in `openapi.json`; what requests may say is derived from the types that read them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value};

use super::{ApiError, Current, Site, chat::ChatBody, runs::RunBody};

/// The page brings its own script and style, and asks this server only.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

/// The schema of the agent's name in the path.
const MODEL_ID: &str = "/paths/~1v1~1models~1{id}/get/parameters/0/schema";

/// `GET /openapi.json`
pub(crate) async fn document(State(site): State<Arc<Site>>) -> Response {
    match describe() {
        Ok(mut document) => {
            let current = site.current();
            // Who needs a key is told no names without one.
            if current.doors.are_open() {
                name_agents(&mut document, &current);
            }
            (StatusCode::OK, Json(document)).into_response()
        }
        Err(error) => ApiError::internal(format!("the description cannot be read: {error}")).into_response(),
    }
}

/// `GET /docs`: the same for people.
pub(crate) async fn page() -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (headers, include_str!("openapi.html")).into_response()
}

fn describe() -> serde_json::Result<Value> {
    let mut document: Value = serde_json::from_str(include_str!("openapi.json"))?;
    let version = document.pointer_mut("/info/version");
    if let Some(version) = version {
        *version = env!("CARGO_PKG_VERSION").into();
    }
    if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
        schemas.extend(requests());
    }
    Ok(document)
}

/// Lists the agents wherever one is to be named.
fn name_agents(document: &mut Value, current: &Current) {
    let exposed = current.app.agents.iter().filter(|(_, served)| served.exposed);
    let names: Vec<_> = exposed.map(|(name, _)| name.as_str()).collect();
    for place in
        ["/components/schemas/ChatBody/properties/model", "/components/schemas/RunBody/properties/agent", MODEL_ID]
    {
        if let Some(Value::Object(schema)) = document.pointer_mut(place) {
            schema.insert("enum".to_owned(), names.clone().into());
        }
    }
}

/// What the bodies of requests may be.
fn requests() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(bound_integers));
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    generator.subschema_for::<ChatBody>();
    generator.subschema_for::<RunBody>();
    generator.take_definitions(true)
}

/// Says in numbers what the format of an integer means, for readers that do not know the format.
fn bound_integers(schema: &mut Schema) {
    let most: u64 = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => u32::MAX.into(),
        Some("int64") => i64::MAX.unsigned_abs(),
        Some("uint64") => u64::MAX,
        _ => return,
    };
    if schema.get("maximum").is_none() {
        schema.insert("maximum".to_owned(), most.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_description_leads_somewhere() {
        let document = describe().unwrap();
        let text = document.to_string();
        let references: Vec<_> = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
