use std::{collections::BTreeSet, fs, path::Path};

use axum::{
    body::{Body, to_bytes},
    http::{Request, Response, header::LOCATION},
};
use brigade_core::{Event, testing::all_events};
use tower_service::Service;

use super::*;

const LIMIT: usize = 150 << 10;

async fn send(router: &mut Router, path: &str, tag: Option<&str>) -> (StatusCode, HeaderMap, String) {
    let request = Request::get(path);
    let request = tag.into_iter().fold(request, |request, tag| request.header(IF_NONE_MATCH, tag));
    let response: Response<Body> = router.call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, LIMIT).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// The address of the first script in a page at this path, as a browser resolves it.
fn script(path: &str, page: &str) -> String {
    let relative = page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let folder = &path[..=path.rfind('/').unwrap()];
    format!("{folder}{relative}")
}

#[tokio::test]
async fn the_page_finds_its_assets_wherever_the_router_is_mounted() {
    for (base, mut router) in [("", router()), ("/ai", Router::new().nest("/ai", router::<()>()))] {
        for path in ["/console", "/console/"].map(|path| format!("{base}{path}")) {
            let (status, headers, page) = send(&mut router, &path, None).await;
            assert_eq!((status, &headers[CACHE_CONTROL]), (StatusCode::OK, &HeaderValue::from_static(REVALIDATE)));
            assert_eq!(headers.get(LOCATION), None);
            let (status, headers, body) = send(&mut router, &script(&path, &page), None).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert!(headers[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
            assert!(body.contains("import {"));
        }
    }
}

#[tokio::test]
async fn a_known_tag_gets_no_body_and_an_old_hash_no_file() {
    let mut router = router();
    for path in ["/console".to_owned(), format!("/console/{}/app.js", content_hash())] {
        let (_, headers, body) = send(&mut router, &path, None).await;
        assert!(!body.is_empty());
        let tag = headers[ETAG].to_str().unwrap().to_owned();
        let (status, headers, body) = send(&mut router, &path, Some(&tag)).await;
        assert_eq!(
            (status, body.as_str(), &headers[ETAG]),
            (StatusCode::NOT_MODIFIED, "", &HeaderValue::from_str(&tag).unwrap())
        );
        assert_eq!(send(&mut router, &path, Some("\"other\"")).await.0, StatusCode::OK);
    }
    for path in ["/console/0000000000000000/app.js".to_owned(), format!("/console/{}/../lib.rs", content_hash())] {
        assert_eq!(send(&mut router, &path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn every_response_forbids_inline_code_and_other_origins() {
    let mut router = router();
    for path in ["/console".to_owned(), format!("/console/{}/console.css", content_hash())] {
        let (_, headers, _) = send(&mut router, &path, None).await;
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

#[test]
fn the_page_has_no_inline_code_and_no_address_of_another_origin() {
    assert_eq!(PAGE.matches("<script").count(), PAGE.matches("<script type=\"module\" src=\"ASSETS/").count());
    for inline in ["<style", "style=", "onload", "onclick", "javascript:"] {
        assert!(!PAGE.contains(inline), "{inline}");
    }
    for asset in ASSETS.iter().filter(|asset| !asset.content_type().starts_with("text/plain")) {
        for address in
            asset.text.split("http").skip(1).filter(|rest| rest.starts_with("://") || rest.starts_with("s://"))
        {
            assert!(address.contains("://www.w3.org/"), "{}: {address:.60}", asset.name);
        }
        let is_ours = !asset.name.starts_with("vendor/");
        for html in ["innerHTML", "dangerouslySet", "insertAdjacent", "document.write", "eval(", "localStorage"] {
            assert!(!(is_ours && asset.text.contains(html)), "{}: {html}", asset.name);
        }
    }
}

#[test]
fn every_file_of_the_folder_is_an_asset_and_all_are_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let names = |folder: &Path, prefix: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files.map(|entry| format!("{prefix}{}", entry.file_name().into_string().unwrap())).collect()
    };
    let mut files: BTreeSet<_> =
        names(&folder, "").into_iter().chain(names(&folder.join("vendor"), "vendor/")).collect();
    assert!(files.remove("index.html"));
    let listed: BTreeSet<_> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
    assert_eq!(files, listed);
    let bytes = ASSETS.iter().map(|asset| asset.text.len()).sum::<usize>() + PAGE.len();
    assert!(bytes <= LIMIT, "{bytes} bytes");
}

#[test]
fn every_import_is_an_asset() {
    for asset in ASSETS.iter().filter(|asset| asset.content_type().starts_with("text/javascript")) {
        let folder = asset.name.rfind('/').map_or("", |slash| &asset.name[..=slash]);
        let imports = asset.text.split("from").skip(1).filter_map(|rest| rest.trim_start().strip_prefix("\"./"));
        for name in imports.filter_map(|rest| rest.split('"').next()) {
            let path = format!("{folder}{name}");
            assert!(ASSETS.iter().any(|asset| asset.name == path), "{}: {path}", asset.name);
        }
    }
}

#[test]
fn the_waterfall_knows_every_event() {
    let spans = ASSETS.iter().find(|asset| asset.name == "spans.js").unwrap().text;
    for event in all_events().iter().filter(|event| Event::is_stored(event)) {
        let event = serde_json::to_value(event).unwrap();
        let name = event["event"].as_str().unwrap();
        assert!(spans.contains(&format!("\n  {name}(")), "spans.js has no handler of {name}");
    }
}
