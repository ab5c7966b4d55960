//! What requests are answered with, until a reload of the configuration.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::HeaderValue;
use brigade_edge::Origin;

use super::access::Access;
use crate::agents::served::ServedAgent;

/// What a reload replaces. A request uses one setup from start to end.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) agents: BTreeMap<String, Arc<ServedAgent>>,
    pub(crate) access: Access,
    /// The origins of web pages that may send requests.
    pub(crate) cors_origins: Vec<Origin>,
}

impl Setup {
    pub(crate) fn allows_origin(&self, origin: &HeaderValue) -> bool {
        self.cors_origins.iter().any(|allowed| allowed.matches(origin.as_bytes()))
    }
}
