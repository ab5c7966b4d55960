//! Sets up provider accounts.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use brigade_core::Settings;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use super::{
    address::{Address, Redacted},
    client::Client,
};
use crate::{
    http::{account::Account, http_client::HttpClient, in_flight::InFlight},
    protocol::{parameters, protocol::Protocol},
};

/// Configures a [`Client`]. Created by [`OpenAi::builder`](crate::OpenAi::builder) and the like.
pub struct ClientBuilder<P> {
    pub(crate) protocol: P,
    pub(crate) auth: Auth,
    name: Cow<'static, str>,
    base_url: Cow<'static, str>,
    /// The path of the base URL at a host that is given without one.
    pub(crate) usual_path: &'static str,
    query: Option<String>,
    api_key: Option<SecretString>,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    secret_headers: Vec<(String, SecretString)>,
    http2: bool,
    max_in_flight: Option<usize>,
    propagate_trace: bool,
    agent_header: bool,
}

/// The header that carries the API key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Auth {
    /// `Authorization: Bearer …`
    Bearer,
    /// A header of the provider's own.
    Header(&'static str),
}

/// Why an account cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The environment variable with the API key is not set.
    #[error("the environment variable `{0}` is not set; export the provider's API key in it")]
    KeyMissing(&'static str),
    /// The base URL is not a valid HTTP URL.
    #[error("`{0}` is not a base URL; write it like `https://api.openai.com/v1`")]
    BaseUrl(String),
    /// The base URL contains a user name or password.
    #[error("the base URL of {0} contains a user name or password; use `api_key`, or a header")]
    BaseUrlCredentials(String),
    /// The base URL has a fragment.
    #[error("the base URL {0} has a fragment, which is never sent; remove what follows `#`")]
    BaseUrlFragment(String),
    /// A header is not valid. Its value is not shown, because it may be a key.
    #[error("the header `{0}` is not valid; names are ASCII tokens, and values have no line breaks")]
    Header(String),
    /// The HTTP client cannot be built, for example because the system has no root certificates.
    #[error("the HTTP client cannot be set up")]
    Http(#[source] Box<dyn Error + Send + Sync>),
}

impl<P: Protocol> ClientBuilder<P> {
    pub(crate) fn new(protocol: P, name: &'static str, base_url: &'static str) -> Self {
        Self {
            protocol,
            auth: Auth::Bearer,
            name: name.into(),
            base_url: base_url.into(),
            usual_path: base_url
                .splitn(4, '/')
                .nth(3)
                .map_or("", |path| base_url.split_at(base_url.len() - path.len() - 1).1),
            query: None,
            api_key: None,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            http2: false,
            max_in_flight: None,
            propagate_trace: false,
            agent_header: false,
        }
    }

    /// Sets the account's name in model ids, limits, logs and metrics.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: name.into().into(), ..self }
    }

    /// Sets the base URL of the provider's endpoints, such as `https://api.openai.com/v1`. The URL of an endpoint is taken
    /// too, and that of a host without a path, to which the provider's usual path is added. A query is sent with every
    /// request.
    #[must_use]
    pub fn base_url(self, url: impl Into<String>) -> Self {
        Self { base_url: url.into().into(), ..self }
    }

    /// Adds a query to every URL, such as `api-version=2024-10-21`.
    #[must_use]
    pub fn query(self, query: impl Into<String>) -> Self {
        Self { query: Some(query.into()), ..self }
    }

    /// Sets the API key. Servers on the same machine often need none.
    #[must_use]
    pub fn api_key(self, key: impl Into<SecretString>) -> Self {
        Self { api_key: Some(key.into()), ..self }
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header with a secret, such as the key of a gateway, to every request. It is removed from error messages in
    /// which the provider quotes it.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.secret_headers.push((name.into(), value.into()));
        self
    }

    /// The names of those of the settings that `model` refuses. Its requests leave them out.
    pub fn refused(&self, model: &str, settings: &Settings) -> Vec<&'static str> {
        let mut refused = self.protocol.refused(model, settings);
        let mut settings = settings.clone();
        refused.retain(|name| parameters::leave_out(&mut settings, name));
        refused
    }

    /// The names of those of the settings that are larger than the server takes. Its requests have the largest value.
    pub fn reduced(&self, settings: &Settings) -> Vec<&'static str> {
        self.protocol.limits().reduce(&mut settings.clone())
    }

    /// Allows HTTP/2 where the server offers it over TLS. Off by default: with HTTP/2 all requests share one
    /// connection, one stalled connection stalls them all, and requests beyond the server's limit of concurrent streams
    /// (often 100) wait in a queue that no metric shows.
    #[must_use]
    pub fn http2(self, allowed: bool) -> Self {
        Self { http2: allowed, ..self }
    }

    /// Limits the requests that are in flight at once. Further ones wait in the order in which they came, until their run or
    /// its timeout ends. By default a quarter of the limit of open files (`ulimit -n`) at the start, because each request
    /// needs a connection: 256 with the usual limit of 1,024.
    #[must_use]
    pub fn max_in_flight(self, requests: usize) -> Self {
        Self { max_in_flight: Some(requests), ..self }
    }

    /// Sends the trace id as W3C `traceparent`. Off by default, because it shows a third party which calls belong
    /// together.
    #[must_use]
    pub fn propagate_trace(self, propagate: bool) -> Self {
        Self { propagate_trace: propagate, ..self }
    }

    /// Sends the agent's name as `x-brigade-agent`, for gateways and simulators. Off by default.
    #[must_use]
    pub fn agent_header(self, send: bool) -> Self {
        Self { agent_header: send, ..self }
    }

    /// Builds the client with the key, and the base URL if there is one, from these environment variables.
    pub(crate) fn build_from_env(self, key: &'static str, base_url: &str) -> Result<Client<P>, AccountError> {
        let filled = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let builder = self.api_key(filled(key).ok_or(AccountError::KeyMissing(key))?);
        match filled(base_url) {
            Some(url) => builder.base_url(url).build(),
            None => builder.build(),
        }
    }

    /// Builds the client. Opens no connection.
    pub fn build(self) -> Result<Client<P>, AccountError> {
        let Address { base_url, query } = Address::parse(&self.base_url, &self.protocol.path(""), self.usual_path)?;
        let queries: Vec<String> = [query, self.query.clone()].into_iter().flatten().collect();
        let headers = self.fixed_headers()?;
        let account = Account {
            name: self.name.into(),
            http: HttpClient::new(&base_url, self.http2).map_err(|error| AccountError::Http(error.into()))?,
            in_flight: InFlight::new(self.max_in_flight),
            headers,
            secrets: self.api_key.into_iter().chain(self.secret_headers.into_iter().map(|(_, value)| value)).collect(),
            base_url,
            query: Some(queries.join("&")).filter(|query| !query.is_empty()),
            propagate_trace: self.propagate_trace,
            agent_header: self.agent_header,
        };
        Ok(Client { account: Arc::new(account), protocol: self.protocol })
    }

    fn fixed_headers(&self) -> Result<HeaderMap, AccountError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("brigade/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.headers {
            let bad = || AccountError::Header(name.to_string());
            let parsed: HeaderName = name.parse().map_err(|_| bad())?;
            headers.insert(parsed, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        for (name, value) in &self.secret_headers {
            let bad = || AccountError::Header(name.clone());
            let parsed: HeaderName = name.parse().map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.expose_secret().trim()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        if let Some(key) = &self.api_key {
            let (name, value) = match self.auth {
                Auth::Bearer => ("authorization", format!("Bearer {}", key.expose_secret().trim())),
                Auth::Header(name) => (name, key.expose_secret().trim().to_owned()),
            };
            let mut value = HeaderValue::from_str(&value).map_err(|_| AccountError::Header(name.to_owned()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

impl<P: Protocol> fmt::Debug for ClientBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientBuilder { name, base_url, protocol, .. } = self;
        let mut builder = f.debug_struct("ClientBuilder");
        let base_url = Redacted(base_url).to_string();
        builder.field("name", name).field("base_url", &base_url).field("protocol", protocol).finish_non_exhaustive()
    }
}
