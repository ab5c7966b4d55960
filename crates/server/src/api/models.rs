//! `GET /v1/models`: the agents, as models that clients can name.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{ApiError, Current, Site, path::PathId};
use crate::agents::team::Served;

/// All agents that clients may ask for.
pub(crate) async fn list(State(site): State<Arc<Site>>) -> Json<Value> {
    let current = site.current();
    let exposed = current.app.agents.iter().filter(|(_, served)| served.exposed);
    let data: Vec<_> = exposed.map(|(name, served)| described(name, served)).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// One of them.
pub(crate) async fn show(State(site): State<Arc<Site>>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let current = site.current();
    let served = find(&current, &id)?;
    Ok(Json(described(&id, &served)))
}

/// The agent that clients know by this name.
pub(crate) fn find(current: &Current, name: &str) -> Result<Arc<Served>, ApiError> {
    let agents = &current.app.agents;
    if let Some(served) = agents.get(name).filter(|served| served.exposed) {
        return Ok(Arc::clone(served));
    }
    let exposed = agents.iter().filter(|(_, served)| served.exposed).map(|(name, _)| name.as_str());
    let known: Vec<&str> = exposed.collect();
    let message = format!("there is no agent `{name}`; there are: {}", known.join(", "));
    Err(ApiError { param: Some("model".to_owned()), ..ApiError::not_found("model_not_found", message) })
}

fn described(name: &str, served: &Served) -> Value {
    json!({
        "id": name,
        "object": "model",
        // The field must be there; agents are as old as the configuration, which does not say.
        "created": 0,
        "owned_by": "brigade",
        "description": served.purpose,
    })
}
