//! The address of a provider, in every form in which people write it.

use std::fmt;

use reqwest::Url;

use super::builder::AccountError;
use crate::http::account::shown;

/// A base URL and the query of every request.
#[derive(Debug)]
pub(super) struct Address {
    /// Ends in a slash, because endpoints are appended to its path.
    pub(super) base_url: Url,
    pub(super) query: Option<String>,
}

impl Address {
    /// Parses a base URL. Takes that of an endpoint too, and that of a host: `usual_path` is then added. `endpoint` is the
    /// path of the protocol's requests.
    pub(super) fn parse(text: &str, endpoint: &str, usual_path: &str) -> Result<Self, AccountError> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(mut url) = url else { return Err(AccountError::BaseUrl(Redacted(text).to_string())) };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AccountError::BaseUrlCredentials(shown(&url)));
        }
        if url.fragment().is_some() {
            return Err(AccountError::BaseUrlFragment(shown(&url)));
        }
        let query = url.query().filter(|query| !query.is_empty()).map(str::to_owned);
        url.set_query(None);
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix(endpoint).map_or(path, |path| path.trim_end_matches('/'));
        // The version is a part of the endpoint in some protocols.
        let version = endpoint.split_once('/').map(|(version, _)| version).filter(|version| *version == "v1");
        let path = version.and_then(|version| path.strip_suffix(version)?.strip_suffix('/')).unwrap_or(path);
        let path = if path.is_empty() { usual_path } else { path };
        url.set_path(&format!("{path}/"));
        Ok(Self { base_url: url, query })
    }
}

/// Text that should be a URL, without the parts that may hold a secret.
pub(super) struct Redacted<'a>(pub(super) &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.split(['?', '#']).next().unwrap_or_default();
        match text.rsplit_once('@') {
            Some((_, host)) => write!(f, "…@{host}"),
            None => f.write_str(text),
        }
    }
}
