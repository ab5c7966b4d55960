//! The console: a web page that shows runs as they work, what they cost, and what waits for a person.
//!
//! The page is a few ES modules and a style sheet, embedded into the binary. It uses the public HTTP API of the server that
//! serves it, with the key that its user enters, and no other origin. Nothing of it is secret, so its routes need no key.
//!
//! ```
//! use axum::{Router, routing::get};
//!
//! let app: Router = Router::new().route("/", get(|| async { "Hello." })).merge(brigade_console::router());
//! ```

mod assets;

use axum::{
    Router,
    extract::{OriginalUri, Path},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};

use self::assets::{ASSETS, PAGE, PLACE_OF_ASSETS, content_hash};

/// The path of the page.
pub const PATH: &str = "/console";

/// Scripts and styles from this server only, nothing inline, and no HTML from text. A page of another site cannot frame it
/// to trick its user into a click.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The path of an asset has the hash of its content, so it never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// The page names the current assets, so browsers ask each time whether it has changed.
const REVALIDATE: &str = "no-cache";

/// The page at [`PATH`], and the assets below it. The router may be nested below another path, beside the routes of the API.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page_in_folder = [PATH, "/"].concat();
    let asset_path = [PATH, "/{hash}/{*name}"].concat();
    Router::new().route(PATH, get(page)).route(&page_in_folder, get(page)).route(&asset_path, get(asset))
}

/// The addresses in the page are relative, because the routes may be nested below another path.
async fn page(OriginalUri(uri): OriginalUri, headers: HeaderMap) -> Response {
    let folder = if uri.path().ends_with('/') { "" } else { "console/" };
    let page = PAGE.replace(PLACE_OF_ASSETS, &[folder, content_hash()].concat());
    respond(&headers, "text/html; charset=utf-8", REVALIDATE, page)
}

async fn asset(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name && hash == content_hash()) {
        Some(asset) => respond(&headers, asset.content_type(), FOREVER, asset.text),
        None => {
            (StatusCode::NOT_FOUND, "this file is not part of the console any more; reload the page").into_response()
        }
    }
}

/// All of it changes together, so the hash of everything is the tag of each part.
fn respond(request: &HeaderMap, kind: &'static str, cache: &'static str, body: impl IntoResponse) -> Response {
    let tag = format!("\"{}\"", content_hash());
    let is_known = request.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
    response
}

#[cfg(test)]
mod tests;
