//! Paths as clients write them, web pages, connections, and routes below another path.

use axum::{Router, body::Body, http::Request};
use brigade_config::KeyHash;
use brigade_core::Agent;
use brigade_core::testing::{ScriptedModel, Turn};
use brigade_edge::{ConnectionLimits, serve_with_limits};
use brigade_server::{Api, ApiKey, ServedAgent};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{Server, client, config, eventually, json_of, provider, question};

#[tokio::test]
async fn superfluous_slashes_in_paths_are_ignored() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    for path in
        ["//v1/models", "/v1/models/", "/v1//models", "///v1/models//", "/v1/models/clerk/", "//livez", "/docs/"]
    {
        assert_eq!(json_of(server.get(path)).await.0, 200, "{path}");
    }
    assert_eq!(json_of(server.get("/v1/runs/?limit=1")).await.1["object"], "list", "the query stays");
    assert_eq!(json_of(server.post("//v1/chat/completions/", &question("Hello?"))).await.0, 200);
    let background = json!({ "agent": "clerk", "task": "Go.", "background": true });
    let started = server.post("//v1/runs/", &background).send().await.unwrap();
    assert!(started.headers()["location"].to_str().unwrap().starts_with("/v1/runs/"));
    for (path, code) in [("/v1/nothing/", "no_such_route"), ("//", "no_such_route"), ("/", "no_such_route")] {
        assert_eq!(json_of(server.get(path)).await.1["error"]["code"], code, "{path}");
    }
    assert_eq!(json_of(server.get("/v1/chat/completions/")).await.0, 405);
}

#[tokio::test]
async fn pages_of_configured_origins_may_send_requests() {
    let provider = provider("Hello.").await;
    let plain = config(&provider);
    let config = plain.replace("[server]", "[server]\ncors_origins = [\"https://app.example\"]");
    let server = Server::start(&config);
    let preflight = |path: &str, origin: &str| {
        let url = format!("{}{path}", server.url);
        let request = client().request(reqwest::Method::OPTIONS, url).header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-stainless-lang")
    };
    for path in ["/v1/chat/completions", "/v1/runs", "/v1/models", "/v1/runs/x/cancel"] {
        let allowed = preflight(path, "https://app.example").send().await.unwrap();
        assert_eq!(allowed.status(), 200, "{path}");
        let header = |name: &str| allowed.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("access-control-allow-origin").as_deref(), Some("https://app.example"));
        assert_eq!(
            header("access-control-allow-headers").as_deref(),
            Some("authorization,content-type,x-stainless-lang")
        );
        assert!(header("access-control-allow-methods").unwrap().contains("POST"));
        assert_eq!(header("access-control-allow-credentials"), None);
        let refused = preflight(path, "https://evil.example").send().await.unwrap();
        assert_eq!(refused.headers().get("access-control-allow-origin"), None, "{path}");
    }
    // Errors too, or the page could not read them.
    for (request, status) in [
        (server.post("/v1/chat/completions", &question("Hello?")), 200),
        (server.post("/v1/chat/completions", &json!({})), 400),
        (server.get("/v1/nothing"), 404),
    ] {
        let answer = request.header("origin", "https://app.example").send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
        assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("x-trace-id"));
    }
    server.write_config(&plain);
    server.signal("-HUP");
    eventually("it is read", || server.log().contains("reloaded brigade.toml").then_some(())).await;
    let later = preflight("/v1/runs", "https://app.example").send().await.unwrap();
    assert_eq!(later.headers().get("access-control-allow-origin"), None, "a reload applies");
}

#[tokio::test]
async fn the_routes_can_be_nested_below_another_path() {
    let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")]));
    let api = Api::builder().agent(ServedAgent::new(agent)).build().await.unwrap();
    let app: Router = Router::new().nest("/ai", api.router());
    let send = async |request: Request<Body>| {
        let response = TowerToHyperService::new(app.clone()).call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, String::from_utf8(axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap())
    };
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let run = json!({ "agent": "clerk", "task": "Go.", "background": true }).to_string();
    let post = Request::post("/ai/v1/runs").header("content-type", "application/json").body(Body::from(run)).unwrap();
    let (started, _) = send(post).await;
    let location = started.headers["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("/ai/v1/runs/"), "{location}");
    assert_eq!(send(get(&location)).await.0.status, 200);
    for path in ["/ai/v1/models", "/ai/v1/models/", "/ai//v1/models", "/ai/livez", "/ai/metrics"] {
        assert_eq!(send(get(path)).await.0.status, 200, "{path}");
    }
    let (_, document) = send(get("/ai/openapi.json")).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["servers"], json!([{ "url": "/ai" }]));
    let (_, page) = send(get("/ai/docs")).await;
    assert!(!page.contains("\"/openapi.json\">") && !page.contains("fetch(\"/"), "the page finds its document: {page}");
    assert_eq!(send(get("/ai/nothing")).await.0.status, 404);
}

/// The status of `GET /v1/models` on this connection, or `None` if it was closed.
async fn models_status(client: &mut TcpStream, key: &str) -> Option<String> {
    let request = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n");
    client.write_all(request.as_bytes()).await.ok()?;
    let mut answer = vec![0; 16 << 10];
    let read = client.read(&mut answer).await.ok()?;
    String::from_utf8_lossy(&answer[..read]).strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].to_owned())
}

#[tokio::test]
async fn a_request_with_a_key_protects_its_connection_and_without_keys_each_request_does() {
    for (configured, sent, status) in [(true, "brg_team", "200"), (true, "brg_wrong", "401"), (false, "none", "200")] {
        let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")]));
        let api = Api::builder().agent(ServedAgent::new(agent));
        let api = if configured { api.key(ApiKey::new("team", KeyHash::of("brg_team"))) } else { api };
        let api = api.build().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let mut limits = ConnectionLimits::default();
        limits.untrusted = 2;
        let flood = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            let first = models_status(&mut client, sent).await;
            let mut idle = Vec::new();
            for _ in 0..20 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                // Answered, so the server has accepted it.
                assert_eq!(
                    models_status(&mut stream, "brg_wrong").await.as_deref(),
                    Some(if configured { "401" } else { "200" })
                );
                idle.push(stream);
            }
            (first, models_status(&mut client, sent).await)
        };
        let (first, later) = tokio::select! {
            () = serve_with_limits(limits, listener, api.router(), stopped) => panic!("nothing stops it"),
            statuses = flood => statuses,
        };
        assert_eq!(first.as_deref(), Some(status));
        assert_eq!(later.as_deref(), (status == "200").then_some("200"), "{configured} {sent}");
    }
}

#[tokio::test]
async fn requests_that_would_be_misread_are_refused_by_name() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    let run = json!({ "agent": "clerk", "task": "Add." });
    let twice = server.post("/v1/runs", &run).header("idempotency-key", "a").header("idempotency-key", "b");
    let (status, body) = json_of(twice).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("idempotency-key")), "{body}");
    let same = server.post("/v1/runs", &run).header("idempotency-key", "a").header("idempotency-key", "a");
    assert_eq!(json_of(same).await.0, 200);
    let compressed = server.post("/v1/runs", &run).header("content-encoding", "gzip");
    let (status, body) = json_of(compressed).await;
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(status == 415 && message.contains("must not be compressed"), "{body}");
    assert_eq!(json_of(server.post("/v1/runs", &run).header("content-encoding", "identity")).await.0, 200);
    let negative = json!({ "agent": "clerk", "task": "Add.", "budget": { "usd": "-1" } });
    let (status, body) = json_of(server.post("/v1/runs", &negative)).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("budget.usd")), "{body}");
    for (path, expected) in [
        ("/v1/usage?from=yesterday", "`from`: expected a day in UTC, such as 2026-11-30"),
        ("/v1/usage?to=2026-13-01", "`to`: expected a day in UTC, such as 2026-11-30"),
        ("/v1/usage?to=2026-02-30", "`to`: expected a day in UTC, such as 2026-11-30"),
        ("/v1/usage?to=", "`to`: expected a day in UTC, such as 2026-11-30"),
        ("/v1/runs?before=last", "`before`: expected the id of a run, as the API returns it"),
    ] {
        let (status, body) = json_of(server.get(path)).await;
        assert_eq!((status, body["error"]["message"].as_str()), (400, Some(expected)), "{path}");
    }
}
