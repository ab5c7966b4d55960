//! Embeddings from a real server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use brigade_core::{Embedder, ModelErrorKind, RetryAdvice, Run, Usage};
use brigade_providers::{OpenAi, OpenAiEmbeddings};
use brigade_rehearsal::{FaultPlan, RunningSimulator, Simulator};

async fn served(faults: &str) -> (RunningSimulator, OpenAiEmbeddings) {
    let faults = FaultPlan::from_toml(faults).unwrap();
    let provider = Simulator::builder().faults(faults).build().serve_locally().await.unwrap();
    let client =
        OpenAi::builder().base_url(format!("{}/v1", provider.base_url())).api_key("sk-secret").build().unwrap();
    (provider, client.embeddings("text-embedding-3-small").dimensions(64))
}

#[tokio::test]
async fn vectors_have_the_order_of_the_texts_and_usage_matches_the_providers() {
    let (provider, model) = served("").await;
    let found = model.embed(&["trains to Basel", "cats", "a train to Basel"], &Run::new()).await.unwrap();
    let closeness = |one: usize, other: usize| {
        found.vectors[one].iter().zip(&found.vectors[other]).map(|(one, other)| one * other).sum::<f32>()
    };
    assert!(closeness(0, 2) > closeness(0, 1) && closeness(0, 2) > 0.5);
    assert_eq!((found.vectors.len(), found.vectors[0].len()), (3, 64));
    provider.call_log().wait_until_idle().await;
    let call = &provider.call_log().calls()[0];
    assert_eq!((call.model.as_str(), call.usage.output), ("text-embedding-3-small", 0));
    assert_eq!(found.usage, Some(Usage::new(call.usage.input, 0)));
}

#[tokio::test]
async fn no_texts_need_no_request_and_too_many_are_refused() {
    let (provider, model) = served("").await;
    assert!(model.embed(&[], &Run::new()).await.unwrap().vectors.is_empty());
    let error = model.embed(&vec!["x"; 2_049], &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Caller);
    assert_eq!(provider.call_log().totals().arrived, 0);
}

#[tokio::test]
async fn failures_have_the_same_kinds_as_those_of_chat_models() {
    let fault = |what: &str| format!("[[fault]]\nid = \"x\"\nmatch = {{}}\n{what}");
    for (what, kind) in [
        ("do = { status = 429, headers = [[\"retry-after\", \"7\"]] }", ModelErrorKind::RateLimited),
        ("do = { status = 401 }", ModelErrorKind::Auth),
        ("do = { status = 503 }", ModelErrorKind::Overloaded),
        ("at = { before_headers = true }\ndo = { then = \"reset\" }", ModelErrorKind::Transient),
    ] {
        let (_provider, model) = served(&fault(what)).await;
        let error = model.embed(&["text"], &Run::new()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.details().model.as_ref(), Some(model.id()));
        assert!(error.details().sent);
        if kind == ModelErrorKind::RateLimited {
            assert_eq!(error.retry(), RetryAdvice::After(std::time::Duration::from_secs(7)));
        }
    }
    let (_provider, model) = served("").await;
    let error = model.embed(&[""], &Run::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.details().status), (ModelErrorKind::Caller, Some(400)));
}
