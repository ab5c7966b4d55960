//! `GET /v1/models`: the agents, which clients use as models.

use std::sync::Arc;

use axum::{Json, extract::State};
use brigade_openai::ErrorCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{ApiError, api::Api, path::PathId, served_setup::Setup};
use crate::agents::served::ServedAgent;

/// An agent as a model of `OpenAI`'s API.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Model")]
pub(crate) struct AgentModel {
    /// The agent's name.
    id: String,
    #[schemars(extend("const" = "model"))]
    object: &'static str,
    /// Always 0, because the age of an agent is not known.
    created: u32,
    owned_by: &'static str,
    /// What the agent is for.
    description: String,
}

/// All agents that clients may call.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelList {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<AgentModel>,
}

pub(crate) async fn list(State(api): State<Arc<Api>>) -> Json<ModelList> {
    let setup = api.setup();
    let data = exposed(&setup).map(|(name, agent)| AgentModel::new(name, agent)).collect();
    Json(ModelList { object: "list", data })
}

pub(crate) async fn show(State(api): State<Arc<Api>>, PathId(id): PathId) -> Result<Json<AgentModel>, ApiError> {
    let agent = find(&api.setup(), &id)?;
    Ok(Json(AgentModel::new(&id, &agent)))
}

/// The agent that clients call by this name.
pub(crate) fn find(setup: &Setup, name: &str) -> Result<Arc<ServedAgent>, ApiError> {
    if let Some((_, agent)) = exposed(setup).find(|(known, _)| *known == name) {
        return Ok(Arc::clone(agent));
    }
    let known: Vec<&str> = exposed(setup).map(|(name, _)| name).collect();
    let message = format!("there is no agent `{name}`; the agents are: {}", known.join(", "));
    Err(ApiError { param: Some("model".to_owned()), ..ApiError::not_found(ErrorCode::ModelNotFound, message) })
}

/// The agents that clients may call, with their names.
pub(crate) fn exposed(setup: &Setup) -> impl Iterator<Item = (&str, &Arc<ServedAgent>)> {
    setup.agents.iter().filter(|(_, agent)| agent.exposed).map(|(name, agent)| (name.as_str(), agent))
}

impl AgentModel {
    fn new(name: &str, agent: &ServedAgent) -> Self {
        let description = agent.purpose.clone();
        Self { id: name.to_owned(), object: "model", created: 0, owned_by: "brigade", description }
    }
}
