//! A key sees nothing of another key, by any route, and each scope allows its own routes only.

use std::collections::BTreeSet;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Server, config, eventually, hash_of, json_of, scripted};

/// The clerk writes a note for "Remember", repeats the notes it was shown, and knows whether a conversation goes on.
const SCRIPT: &str = r#"
[[rule]]
when = { last_user_contains = "Refund", turn = 0, tools = true }
answer = { tool_calls = [{ name = "refund", arguments = '{"to":"canary-customer"}' }] }
[[rule]]
when = { last_user_contains = "Remember", turn = 0, tools = true }
answer = { tool_calls = [{ name = "remember", arguments = '{"text":"The vault code is canary-note."}' }] }
[[rule]]
when = { last_user_contains = "canary-note" }
answer = { text = "I was shown canary-note." }
[[rule]]
when = { turn = 0 }
answer = { text = "A new conversation." }
[[rule]]
answer = { text = "canary-session goes on." }
"#;

const STALL: &str = "[[fault]]\nid = \"x\"\nmatch = { last_user_contains = \"Wait.\" }\nat = { after_deltas = 1 }\ndo = { stall = \"10m\" }\n";

/// Each key has the scopes of its name. `team` and `other` are two clients with the same rights.
const KEYS: [(&str, &str); 7] = [
    ("team", r#""run", "read", "approve""#),
    ("other", r#""run", "read", "approve""#),
    ("approver", r#""approve""#),
    ("nothing", ""),
    ("reader", r#""read""#),
    ("runner", r#""run""#),
    ("chief", r#""admin""#),
];

/// What a route of the document needs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    /// Also without a key.
    Nothing,
    AnyKey,
    Read,
    ReadOrApprove,
    Run,
    Approve,
    Admin,
}

/// Every route of the document. A new one needs a line here, and its attacks in [`attacks`].
const ROUTES: [(&str, &str, Needs); 24] = [
    ("post", "/v1/chat/completions", Needs::Run),
    ("post", "/v1/responses", Needs::Run),
    ("get", "/v1/responses/{id}", Needs::Read),
    ("delete", "/v1/responses/{id}", Needs::Run),
    ("post", "/v1/responses/{id}/cancel", Needs::Run),
    ("get", "/v1/responses/{id}/input_items", Needs::Read),
    ("get", "/v1/models", Needs::AnyKey),
    ("get", "/v1/models/{id}", Needs::AnyKey),
    ("post", "/v1/runs", Needs::Run),
    ("get", "/v1/runs", Needs::Read),
    ("get", "/v1/runs/{id}", Needs::Read),
    ("get", "/v1/runs/{id}/events", Needs::Read),
    ("post", "/v1/runs/{id}/cancel", Needs::Run),
    ("post", "/v1/runs/{id}/resume", Needs::Run),
    ("post", "/v1/runs/{id}/decisions", Needs::Run),
    ("post", "/v1/runs/{id}/signals", Needs::Run),
    ("get", "/v1/approvals", Needs::ReadOrApprove),
    ("post", "/v1/approvals/{id}", Needs::Approve),
    ("get", "/v1/usage", Needs::Read),
    ("get", "/v1/budgets", Needs::Read),
    ("get", "/metrics", Needs::Admin),
    ("get", "/livez", Needs::Nothing),
    ("get", "/healthz", Needs::Nothing),
    ("get", "/readyz", Needs::Nothing),
];

/// What the key `team` has. All names contain `canary`, except ids.
struct Secrets {
    /// A session that the attacker has not used itself.
    session: &'static str,
    run: String,
    /// A response that continues "canary-session", and one that is in progress.
    response: String,
    item: String,
    working: String,
    waiting: String,
    approval: String,
    trace: String,
}

const SESSIONS: [&str; 2] = ["canary-talk", "canary-chat"];
const USER: &str = "canary-user";
const IDEMPOTENCY_KEY: &str = "canary-key";

fn task(text: &str, session: Option<&str>) -> Value {
    json!({ "agent": "clerk", "task": text, "session_id": session, "user": USER })
}

fn with_key(request: RequestBuilder, key: &str) -> RequestBuilder {
    request.bearer_auth(format!("brg_{key}"))
}

fn keys() -> String {
    let key = |(name, scopes)| {
        format!("[keys.{name}]\nhash = \"sha256:{}\"\nscopes = [{scopes}]\n", hash_of(&format!("brg_{name}")))
    };
    KEYS.map(key).concat()
}

/// The requests by which a key without rights to `secrets` might get at them through one route.
fn attacks(server: &Server, method: &str, path: &str, secrets: &Secrets) -> Vec<RequestBuilder> {
    let Secrets { session, run, response, item, working, waiting, approval, trace } = secrets;
    let ids =
        [run.as_str(), waiting, approval, trace, &trace[..8], &run.to_uppercase(), &run.replace('-', ""), session];
    let ids = ids.into_iter().chain([response.as_str(), working, item]).map(str::to_owned).collect::<Vec<_>>();
    let get_all =
        |queries: &[&str]| queries.iter().map(|query| server.get(&format!("{path}{query}"))).collect::<Vec<_>>();
    let traced = |request: RequestBuilder| request.header("traceparent", format!("00-{trace}-00000000000000ff-01"));
    match (method, path) {
        ("post", "/v1/chat/completions") => ["Which code?", "What did I say?"]
            .map(|text| {
                let messages = json!([{ "role": "user", "content": text }]);
                let metadata = json!({ "session_id": session });
                let body = json!({ "model": "clerk", "messages": messages, "user": USER, "metadata": metadata });
                traced(server.post(path, &body))
            })
            .into(),
        ("post", "/v1/responses") => responses(secrets, |body| traced(server.post(path, body))),
        ("post", "/v1/runs") => {
            let sessions = ["", "team/", "/", "../team/", "%2e%2e/team/"].map(|start| format!("{start}{session}"));
            let with_session = |session: &String| traced(server.post(path, &task("Which code?", Some(session))));
            let mut requests: Vec<_> = sessions.iter().map(with_session).collect();
            let same = server.post(path, &task("Do it.", None));
            requests.push(same.header("idempotency-key", IDEMPOTENCY_KEY));
            requests
        }
        ("get", "/v1/runs") => {
            let by_session = [format!("?session_id={session}"), format!("?session_id=team/{session}")];
            let by_trace = format!("?trace={}", &trace[..8]);
            let more = [
                "?stop=finished",
                "?min_cost_usd=0",
                "?since=2020-01-01T00:00:00Z",
                "?key=other",
                "?key=team",
                &by_trace,
            ];
            let queries = ["", "?limit=100", "?agent=clerk", "?status=running", &by_session[0], &by_session[1]];
            get_all(&[&queries[..], &more].concat())
        }
        ("get", "/v1/approvals") => {
            get_all(&["", "?limit=100", "?status=pending", &format!("?run={waiting}"), &format!("?run={run}")])
        }
        ("get", "/v1/usage") => get_all(&["", "?key=team", "?agent=clerk", "?model=sim/gpt-5-mini"]),
        (_, with_id) if with_id.contains("{id}") => {
            let requests = ids.iter().map(|id| {
                let path = path.replace("{id}", id);
                let decision = json!({ "step": "1/tool:1", "decision": "repeat" });
                let body = if path.ends_with("/decisions") { decision } else { json!({}) };
                let body = if path.ends_with("/signals") { json!({ "name": "paid" }) } else { body };
                let body = if path.contains("/approvals/") { json!({ "decision": "approve" }) } else { body };
                match method {
                    "get" => server.get(&path),
                    "delete" => server.delete(&path),
                    _ => server.post(&path, &body),
                }
            });
            requests.collect()
        }
        ("get", "/v1/budgets" | "/metrics" | "/v1/models" | "/livez" | "/healthz" | "/readyz") => {
            get_all(&["", "?verbose"])
        }
        _ => panic!("`attacks` knows no attack on {method} {path}"),
    }
}

/// Requests for responses that might show another key's response.
fn responses(secrets: &Secrets, send: impl Fn(&Value) -> RequestBuilder) -> Vec<RequestBuilder> {
    let Secrets { response, item, working, .. } = secrets;
    let reference = json!([{ "type": "item_reference", "id": item }, { "role": "user", "content": "So?" }]);
    let fields = [
        json!({}),
        json!({ "previous_response_id": response }),
        json!({ "previous_response_id": working }),
        json!({ "input": reference }),
    ];
    let request = |fields: &Value| {
        let mut body = json!({ "model": "clerk", "input": "Which code?", "user": USER });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        send(&body)
    };
    fields.iter().map(request).collect()
}

/// The routes that the document describes and `routes.rs` serves.
async fn documented(server: &Server) -> BTreeSet<(String, String)> {
    let (_, document) = json_of(server.get("/openapi.json")).await;
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        routes.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let source = concat!(include_str!("../../src/api/routes.rs"), include_str!("../../../edge/src/health.rs"));
    for path in source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        // The protocol of `/mcp` describes itself; `mcp.rs` tests what its callers may do.
        let is_documentation = ["/docs", "/openapi.json", "/mcp"].contains(&path);
        assert!(is_documentation || routes.iter().any(|(_, known)| known == path), "{path} is not in the document");
    }
    routes
}

/// Makes the runs, the sessions, the note and the idempotency key of `team`.
async fn prepare(server: &Server) -> Secrets {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ask = async |body: &Value| {
        let traced = server.post("/v1/runs", body).header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        let (status, run) = json_of(with_key(traced, "team").header("idempotency-key", IDEMPOTENCY_KEY)).await;
        assert_eq!((status / 100, &run["trace_id"]), (2, &json!(trace)), "{run}");
        run["id"].as_str().unwrap().to_owned()
    };
    for (text, session) in [("Remember this.", None), ("Hello.", Some(SESSIONS[0])), ("Hello.", Some(SESSIONS[1]))] {
        let asking = server.post("/v1/runs", &task(text, session));
        assert_eq!(json_of(with_key(asking, "team")).await.0, 200);
    }
    let run = ask(&task("Do it.", None)).await;
    let mut waiting = task("Wait.", None);
    waiting["background"] = json!(true);
    let (_, waiting) = json_of(with_key(server.post("/v1/runs", &waiting), "team")).await;
    let waiting = waiting["id"].as_str().unwrap().to_owned();
    assert_eq!(json_of(with_key(server.post("/v1/runs", &task("Refund it.", None)), "team")).await.0, 202);
    let approval = pending(server).await;
    let respond = async |body: Value| {
        let (status, response) = json_of(with_key(server.post("/v1/responses", &body), "team")).await;
        assert_eq!(status, 200, "{response}");
        response
    };
    let first = respond(json!({ "model": "clerk", "input": "Hello." })).await;
    let response = respond(json!({ "model": "clerk", "input": "So?", "previous_response_id": first["id"] })).await;
    assert_eq!(response["output"][0]["content"][0]["text"], "canary-session goes on.", "{response}");
    let working = respond(json!({ "model": "clerk", "input": "Wait.", "background": true })).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (item, response, working) = (text(&response["output"][0]["id"]), text(&response["id"]), text(&working["id"]));
    Secrets { response, item, working, session: SESSIONS[0], run, waiting, approval, trace: trace.to_owned() }
}

/// The id of the approval that `team` waits for.
async fn pending(server: &Server) -> String {
    let (_, list) = json_of(with_key(server.get("/v1/approvals?status=pending"), "team")).await;
    assert_eq!(list["data"][0]["arguments"], json!({ "to": "canary-customer" }), "{list}");
    list["data"][0]["id"].as_str().unwrap().to_owned()
}

/// Sends all attacks with the key `other`, and looks for secrets in all answers.
async fn attack_all(server: &Server, secrets: &Secrets) {
    for (method, path, _) in ROUTES {
        for (number, request) in attacks(server, method, path, secrets).into_iter().enumerate() {
            let response = with_key(request, "other").send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
            let answer = response.text().await.unwrap();
            let what = format!("attack {number} on {method} {path}: {status} {answer}");
            // A response or an item of another key does not exist.
            let is_refused = path == "/v1/responses" && number > 0 && [400, 404].contains(&status);
            assert!(
                status < 500 && (method == "get" || path.contains("{id}") || status == 200 || is_refused),
                "{what}"
            );
            // What the attacker sent itself comes back: the name of its own session, and the path that it asked for.
            let own = [SESSIONS[0], SESSIONS[1], IDEMPOTENCY_KEY, USER]
                .iter()
                .fold(answer.clone(), |text, own| text.replace(own, ""));
            for text in [own.as_str(), &headers] {
                assert!(!text.contains("canary") && !text.contains("\"team\""), "{what}");
            }
            if path.contains("{id}") {
                assert_eq!(status, 404, "{what}");
            } else {
                let ids = [&secrets.run, &secrets.waiting, &secrets.approval];
                assert!(!ids.iter().any(|id| answer.contains(id.as_str())), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn no_route_shows_a_key_the_data_of_another() {
    let (provider, folder) = (scripted(SCRIPT, STALL).await, tempfile::tempdir().unwrap());
    let store = format!("store = \"{}\"\n", folder.path().join("brigade.db").display());
    let config = config(&provider).replace("[agents.clerk]\n", "[agents.clerk]\ntools = [\"refund\"]\n");
    let refund = "[tools.refund]\ndescription = \"Pays money back.\"\napprove = \"always\"\n\
                  http = { url = \"https://payments.example/\" }\n";
    let config = format!("{store}{config}[agents.clerk.recall]\ncontext_tokens = 300\n{refund}{}", keys());
    let server = Server::start(&config);
    let listed: BTreeSet<_> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(documented(&server).await, listed, "each route of the document needs a line in ROUTES");

    let mut secrets = prepare(&server).await;
    attack_all(&server, &secrets).await;
    let path = format!("/v1/runs/{}", secrets.waiting);
    let (_, waiting) = json_of(with_key(server.get(&path), "team")).await;
    assert_eq!(waiting["status"], "running", "no other key cancelled it: {waiting}");
    for (id, status) in [(&secrets.response, "completed"), (&secrets.working, "in_progress")] {
        let (_, response) = json_of(with_key(server.get(&format!("/v1/responses/{id}")), "team")).await;
        assert_eq!(response["status"], status, "no other key cancelled or deleted it: {response}");
    }
    json_of(with_key(server.post(&format!("{path}/cancel"), &json!({})), "team")).await;
    for (text, session, expected) in
        [("Which code?", None, "I was shown canary-note."), ("So?", Some(SESSIONS[0]), "canary-session")]
    {
        let (_, own) = json_of(with_key(server.post("/v1/runs", &task(text, session)), "team")).await;
        assert!(own["result"]["text"].as_str().unwrap().contains(expected), "the secrets are there: {own}");
    }
    drop(server);

    let server = Server::start(&config);
    secrets.session = SESSIONS[1];
    attack_all(&server, &secrets).await;
    let (_, own) = json_of(with_key(server.get(&format!("/v1/runs/{}", secrets.run)), "team")).await;
    assert_eq!(own["id"], json!(secrets.run));
    assert_eq!(pending(&server).await, secrets.approval, "no other key answered it");
    let (_, all) = json_of(with_key(server.get("/v1/runs?limit=100"), "chief")).await;
    assert!(all.to_string().contains(&secrets.run), "an admin sees all runs: {all}");
}

#[tokio::test]
async fn a_run_that_is_only_in_the_store_shows_its_own_events() {
    let delegating = r#"
[[rule]]
when = { agent = "desk", turn = 0 }
answer = { tool_calls = [{ name = "clerk", arguments = '{"task":"Go."}' }] }
[[rule]]
answer = { text = "Done." }
"#;
    let (provider, folder) = (scripted(delegating, "").await, tempfile::tempdir().unwrap());
    let store = format!("store = \"{}\"\n", folder.path().join("brigade.db").display());
    let desk = "[agents.desk]\nmodel = \"mini\"\nworkers = [{ agent = \"clerk\" }]\n";
    let config = format!("{store}{}{desk}{}", config(&provider), keys());
    let (server, mut ids) = (Server::start(&config), Vec::new());
    for key in ["team", "other", "team"] {
        let body = json!({ "agent": "desk", "task": "Go." });
        let request = server.post("/v1/runs", &body);
        let request = request.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let (_, run) = json_of(with_key(request, key)).await;
        ids.push((key, run["id"].as_str().unwrap().to_owned()));
    }
    drop(server);
    let server = Server::start(&config);
    for (key, id) in &ids {
        for reader in [*key, "chief"] {
            let (_, events) = json_of(with_key(server.get(&format!("/v1/runs/{id}/events")), reader)).await;
            let events = events.as_str().unwrap();
            assert!(events.contains(id.as_str()), "{events}");
            assert_eq!(events.matches("\"run_started\"").count(), 2, "{key}: {events}");
            let others = ids.iter().filter(|(_, other)| other != id && events.contains(other.as_str()));
            assert_eq!(others.count(), 0, "{key}: {events}");
        }
    }
}

#[tokio::test]
async fn each_scope_allows_its_routes_only() {
    let provider = scripted(SCRIPT, "").await;
    let server = Server::start(&format!("{}{}", config(&provider), keys()));
    for (method, path, needs) in ROUTES {
        let send = |key: Option<&str>| {
            let path = path.replace("{id}", "00000000-0000-7000-8000-000000000000");
            let request = match method {
                "get" => server.get(&path),
                "delete" => server.delete(&path),
                _ => server.post(&path, &json!({})),
            };
            json_of(match key {
                Some(key) => with_key(request, key),
                None => request,
            })
        };
        let allowed: &[&str] = match needs {
            Needs::Nothing | Needs::AnyKey => &["team", "nothing", "reader", "runner", "approver", "chief"],
            Needs::Read => &["team", "reader", "chief"],
            Needs::ReadOrApprove => &["team", "reader", "approver", "chief"],
            Needs::Approve => &["team", "approver"],
            Needs::Run => &["team", "runner", "chief"],
            Needs::Admin => &["chief"],
        };
        for key in ["team", "nothing", "reader", "runner", "approver", "chief"] {
            let (status, answer) = send(Some(key)).await;
            assert_eq!(status != 403, allowed.contains(&key), "{key}: {method} {path}: {status} {answer}");
            assert!(status != 401, "{key}: {method} {path}");
        }
        for key in [None, Some("nonsense"), Some("")] {
            assert_eq!(send(key).await.0 == 401, needs != Needs::Nothing, "{key:?}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn names_of_keys_that_could_be_taken_for_another_key_are_refused() {
    let provider = scripted(SCRIPT, "").await;
    let hash = hash_of("brg_x");
    for (name, expected) in [
        ("team/x", "`team/x` is not a valid name of a key; rename `keys.\"team/x\"`"),
        ("", "is not a valid name of a key"),
        ("a b", "rename `keys.\"a b\"`"),
        ("ключ", "1 to 64 of A-Z, a-z, 0-9, _, - and ."),
        ("local", "rename `keys.local`"),
    ] {
        let refused = Server::refused(&format!("{}[keys.{name:?}]\nhash = \"sha256:{hash}\"\n", config(&provider)));
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test]
async fn two_names_for_one_key_are_refused() {
    let provider = scripted(SCRIPT, "").await;
    let hash = hash_of("brg_x");
    let keys = ["team", "other"].map(|name| format!("[keys.{name}]\nhash = \"sha256:{hash}\"\n")).concat();
    let refused = Server::refused(&format!("{}{keys}", config(&provider)));
    assert!(refused.contains("`keys.other` and `keys.team` have the same hash"), "{refused}");
}

#[tokio::test]
async fn a_reload_does_not_open_a_server_that_had_keys() {
    let provider = scripted(SCRIPT, "").await;
    let closed = format!("{}{}", config(&provider), keys());
    let server = Server::start(&closed);
    for (number, without) in [config(&provider), format!("{}[keys]\n", config(&provider))].iter().enumerate() {
        server.write_config(&without.replace("[agents.clerk]", "[agents.porter]"));
        server.signal("-HUP");
        let refused = || server.log().matches("has no keys any more").count();
        eventually("it is refused", || (refused() == number + 1).then_some(())).await;
        assert_eq!(json_of(server.get("/v1/models")).await.0, 401);
        let (_, models) = json_of(with_key(server.get("/v1/models"), "nothing")).await;
        assert_eq!(models["data"][0]["id"], "clerk", "the old configuration stays");
    }
}
