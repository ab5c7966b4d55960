//! Warns of base URLs that look wrong.

use std::net::IpAddr;

use super::{Config, Lint, ProviderConfig, ProviderKind};

/// The ends of the endpoints of all protocols.
const ENDPOINTS: [&str; 6] = ["/chat/completions", "/responses", "/messages", "/completions", "/embeddings", "/models"];

pub(super) fn lint_base_urls(config: &Config) -> Vec<Lint> {
    let advice = |(name, provider): (&String, &ProviderConfig)| {
        let (kind, url) = (provider.kind(name).ok()?, provider.base_url.as_deref()?);
        let has_key = provider.api_key.is_some() || !provider.headers.is_empty();
        odd(kind, url, has_key).map(|advice| Lint::new(&format!("providers.{name}"), advice))
    };
    config.providers.iter().filter_map(advice).collect()
}

/// What is odd about an address, and what to write instead.
fn odd(kind: ProviderKind, url: &str, has_key: bool) -> Option<String> {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.trim_end_matches('/');
    let own = match kind {
        ProviderKind::Anthropic => "/messages",
        ProviderKind::OpenAiResponses => "/responses",
        ProviderKind::Server(_) | ProviderKind::Compatible | ProviderKind::Simulator => "/chat/completions",
    };
    // The client takes the address of its own endpoint, too.
    let path = path.strip_suffix(own).unwrap_or(path);
    if let Some(endpoint) = ENDPOINTS.into_iter().find(|endpoint| path.ends_with(endpoint)) {
        return Some(format!(
            "has a `base_url` that ends in `{endpoint}`, to which `{own}` is added: write it without, or use another `kind`"
        ));
    }
    if path.contains("//") || path.contains("/v1/v1") {
        return Some(format!("has a `base_url` with the path `{path}`, where a part is there twice"));
    }
    let has_version = path.split('/').any(|segment| {
        let version = segment.strip_prefix('v').unwrap_or_default();
        version.starts_with(|digit: char| digit.is_ascii_digit())
    });
    if kind != ProviderKind::Anthropic && !path.is_empty() && !has_version && !path.contains("/openai") {
        return Some(format!(
            "has a `base_url` with the path `{path}`, without a version: most servers want `{path}/v1`; `brigade doctor` \
             tells"
        ));
    }
    if has_key && scheme.eq_ignore_ascii_case("http") && !is_near(authority) {
        return Some(format!("sends its key to {authority} without encryption: use `https`"));
    }
    None
}

/// Whether a host is on this machine or in a private network, as far as its name says.
fn is_near(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        // Names of containers and services have no dot.
        Err(_) => {
            !host.contains('.') || [".local", ".internal", ".localhost", ".svc"].iter().any(|end| host.ends_with(end))
        }
    }
}
