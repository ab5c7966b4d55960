//! What a reload of the configuration replaces.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::HeaderValue;
use brigade_edge::Origin;

use super::{access::Access, api::Api};
use crate::agents::served::ServedAgent;

/// What a reload replaces. A request uses one setup from start to end.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) agents: BTreeMap<String, Arc<ServedAgent>>,
    pub(crate) access: Access,
    /// The origins of web pages that may send requests.
    pub(crate) cors_origins: Vec<Origin>,
    /// Whether the key that started a run may not approve its calls.
    pub(crate) four_eyes: bool,
}

impl Setup {
    pub(crate) fn allows_origin(&self, origin: &HeaderValue) -> bool {
        self.cors_origins.iter().any(|allowed| allowed.matches(origin.as_bytes()))
    }
}

impl Api {
    /// The token that an answer to an approval needs as `authorization: Bearer …` if there are no keys. It is a new one at each
    /// start. Absent if there are keys.
    pub fn approval_token(&self) -> Option<String> {
        self.setup().access.approval_token().map(str::to_owned)
    }
}
