//! The console's page, and what the API has for it.

use serde_json::{Value, json};

use crate::support::{Server, config, hash_of, json_of, provider};

#[tokio::test]
async fn the_console_is_served_without_a_key_unless_it_is_switched_off() {
    let provider = provider("Hello.").await;
    let key = format!("[keys.web]\nhash = \"sha256:{}\"\n", hash_of("brg_web"));
    let server = Server::start(&format!("{}{key}", config(&provider)));
    let page = server.get("/console").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = page.text().await.unwrap();
    let script = page.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(server.get(&format!("/{script}")).send().await.unwrap().status(), 200);
    assert!(!page.contains("clerk"), "the page has no data in it");
    server.log_with("/console").await;
    assert_eq!(json_of(server.post("/console", &json!({}))).await.0, 405);

    let off = config(&provider).replace("[server]", "[server]\nconsole = false");
    let server = Server::start(&off);
    assert_eq!(json_of(server.get("/console")).await.0, 404);
    assert!(!server.log().contains("/console"));
}

/// The ids of the runs that a query lists.
async fn listed(server: &Server, query: &str) -> Vec<Value> {
    let (status, list) = json_of(server.get(&format!("/v1/runs?{query}"))).await;
    assert_eq!(status, 200, "{query}: {list}");
    list["data"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect()
}

#[tokio::test]
async fn runs_are_filtered_by_reason_key_trace_time_and_cost_in_memory_and_in_the_store() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let store = format!("store = \"{}\"\n", folder.path().join("brigade.db").display());
    let config = format!("{store}{}", config(&provider));
    let mut server = Server::start(&config);
    let (_, finished) = json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Hi." }))).await;
    let poor = json!({ "agent": "clerk", "task": "Hi.", "budget": { "usd": "0.000001" } });
    let (_, refused) = json_of(server.post("/v1/runs", &poor)).await;
    assert_eq!((&finished["calls"], &finished["tokens"], &finished["retries"]), (&json!(1), &json!(150), &json!(0)));
    assert_eq!((&refused["limit_usd"], &refused["result"]["stop"]), (&json!("0.000001"), &json!("budget")));
    let (first, second) = (finished["id"].clone(), refused["id"].clone());
    let trace = &finished["trace_id"].as_str().unwrap()[..8];
    for place in ["memory", "store"] {
        for (query, expected) in [
            ("stop=finished", vec![&first]),
            ("stop=budget", vec![&second]),
            ("stop=deadline", vec![]),
            ("key=local", vec![&second, &first]),
            ("key=other", vec![]),
            (&format!("trace={trace}"), vec![&first]),
            ("since=2020-01-01T00:00:00Z", vec![&second, &first]),
            ("since=2999-01-01T00:00:00Z", vec![]),
            ("min_cost_usd=0.00001", vec![&first]),
            ("min_cost_usd=5", vec![]),
        ] {
            assert_eq!(listed(&server, query).await.iter().collect::<Vec<_>>(), expected, "{place}: {query}");
        }
        for query in ["stop=tired", "trace=123", "trace=ABCDEF01", "since=yesterday", "min_cost_usd=much"] {
            assert_eq!(json_of(server.get(&format!("/v1/runs?{query}"))).await.0, 400, "{query}");
        }
        drop(server);
        server = Server::start(&config);
    }
}

#[tokio::test]
async fn budgets_show_limits_and_spending_to_those_who_may_see_them() {
    let provider = provider("Hello.").await;
    let key = |name: &str, scopes: &str| {
        let hash = hash_of(&format!("brg_{name}"));
        format!(
            "[keys.{name}]\nhash = \"sha256:{hash}\"\nscopes = [{scopes}]\nbudget = {{ usd = \"2.00\", per = \"day\" }}\n"
        )
    };
    let keys = [key("web", "\"run\", \"read\""), key("crm", "\"run\", \"read\""), key("chief", "\"admin\"")].concat();
    let server = Server::start(&format!("budget = {{ usd = \"9.00\" }}\n{}{keys}", config(&provider)));
    let run = server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Hi." })).bearer_auth("brg_web");
    let (_, run) = json_of(run).await;
    let budgets = async |key: &str| {
        let (_, list) = json_of(server.get("/v1/budgets").bearer_auth(format!("brg_{key}"))).await;
        list["data"].as_array().unwrap().clone()
    };
    let web = budgets("web").await;
    let expected = json!([{
        "name": "web", "kind": "key", "window": "day", "limit_usd": "2", "soft": false,
        "spent_usd": run["cost_usd"], "reserved_usd": "0",
    }]);
    assert_eq!(json!(web), expected);
    let names: Vec<_> = budgets("chief").await.iter().map(|budget| budget["name"].clone()).collect();
    assert_eq!(names[0], "all runs");
    assert_eq!(names.len(), 4, "{names:?}");
}
