//! Follows redirects without taking secrets to another server.

use brigade_core::ToolError;
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, LOCATION},
};

use crate::{EgressGuard, error::failed};

/// The request of an HTTP tool, before or after a redirect.
#[derive(Debug)]
pub(crate) struct ToolRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<String>,
}

const MAX_REDIRECTS: usize = 3;

impl ToolRequest {
    /// Sends the request, and again after each redirect that the guard allows.
    pub(crate) async fn send(mut self, client: &Client, egress: EgressGuard) -> Result<Response, ToolError> {
        for _ in 0..=MAX_REDIRECTS {
            egress.check(&self.url).map_err(|denied| failed(denied.to_string()))?;
            let mut request = client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
            if let Some(body) = &self.body {
                request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            }
            let response = request.send().await.map_err(|error| failed(crate::http::describe(&error)))?;
            let Some(location) = location(&response) else { return Ok(response) };
            self = self.redirected(response.status(), location)?;
        }
        Err(failed(format!("more than {MAX_REDIRECTS} redirects; use the URL of the last redirect")))
    }

    /// The request after a redirect. A server at another origin gets neither the headers, which may all be secrets, nor
    /// the body. So they are also missing if that server redirects back.
    fn redirected(self, status: StatusCode, location: &str) -> Result<Self, ToolError> {
        let url = self.url.join(location).map_err(|error| {
            failed(format!("the server redirects the request to an address that is not valid: {error}"))
        })?;
        let is_elsewhere = url.origin() != self.url.origin();
        // As browsers do: <https://fetch.spec.whatwg.org/#http-redirect-fetch>.
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        let method = if becomes_get { Method::GET } else { self.method };
        if is_elsewhere && !matches!(method, Method::GET | Method::HEAD) {
            let origin = url.origin().ascii_serialization();
            let why = "a body is not sent to another server";
            let error = format!("the server redirects the request to {origin}, but {why}; use the new address instead");
            return Err(failed(error));
        }
        let headers = if is_elsewhere { HeaderMap::new() } else { self.headers };
        let body = self.body.filter(|_| !is_elsewhere && !becomes_get);
        Ok(Self { method, url, headers, body })
    }
}

/// Where the response redirects the request to; `None` for every other response.
fn location(response: &Response) -> Option<&str> {
    match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => response.headers().get(LOCATION)?.to_str().ok(),
        _ => None,
    }
}
