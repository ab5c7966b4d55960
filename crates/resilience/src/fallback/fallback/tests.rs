use brigade_core::{ModelErrorKind as Kind, TimeoutPhase};

use super::*;
use crate::testing::{Fake, emit_text, error, event_lines, observed_run, question, reply};

async fn falls_back(kind: Kind) -> bool {
    let second = Fake::healthy("b");
    let model = Fallback::new(Fake::broken("a", kind), second.clone());
    let result = model.chat(&question(), &Run::new()).await;
    assert_eq!(result.is_ok(), second.calls() == 1);
    second.calls() == 1
}

#[tokio::test]
async fn another_model_is_asked_only_after_failures_of_the_provider() {
    for kind in [
        Kind::NoSuchModel,
        Kind::Auth,
        Kind::Quota,
        Kind::RateLimited,
        Kind::Overloaded,
        Kind::Unreachable,
        Kind::Transient,
        Kind::Timeout(TimeoutPhase::Idle),
        Kind::Broken,
        Kind::CircuitOpen,
    ] {
        assert!(falls_back(kind).await, "{kind:?}");
    }
    for kind in [Kind::Caller, Kind::Budget, Kind::Cancelled, Kind::ContextLength, Kind::Refused] {
        assert!(!falls_back(kind).await, "{kind:?}");
    }
}

#[tokio::test]
async fn the_outcome_lists_each_replaced_model_once() {
    let (run, recorder) = observed_run();
    let a = Fake::broken("a", Kind::Overloaded);
    let model = Fallback::new(a, Fake::broken("b", Kind::Auth)).fallback(Fake::healthy("c"));
    for _ in 0..2 {
        assert!(model.chat(&question(), &run).await.is_ok());
    }
    assert_eq!(event_lines(&recorder)[..2], ["a/a -> a/b: overloaded", "a/b -> a/c: auth"]);
    let degraded: Vec<_> = run.degraded().into_iter().map(|part| (part.part, part.reason)).collect();
    let because = |reason: &str| reason.to_owned();
    assert_eq!(
        degraded,
        [
            ("model:a".to_owned(), because("scripted failure (overloaded); a/b was asked instead")),
            ("model:b".to_owned(), because("scripted failure (auth); a/c was asked instead")),
        ]
    );
}

#[tokio::test]
async fn a_model_in_the_middle_of_a_chain_that_does_not_exist_is_skipped() {
    let (run, recorder) = observed_run();
    let chain = Fallback::new(Fake::broken("a", Kind::Transient), Fake::broken("b", Kind::NoSuchModel));
    let reply = chain.fallback(Fake::healthy("c")).chat(&question(), &run).await;
    assert!(reply.is_ok());
    assert_eq!(event_lines(&recorder)[..2], ["a/a -> a/b: transient", "a/b -> a/c: no_such_model"]);
    assert_eq!(run.degraded().len(), 2);
}

#[tokio::test]
async fn a_reply_names_the_model_of_the_chain_that_answered() {
    let rules = FallbackRules { on_refused: true, ..FallbackRules::default() };
    let declining = Fake::new("c", |_, _| async {
        let mut reply = reply("no");
        reply.finish_reason = FinishReason::Refusal;
        Ok(reply)
    });
    let down = |name| Fake::broken(name, Kind::Overloaded);
    let within = Fallback::new(down("b"), Fake::healthy("c"));
    for (chain, answered_by) in [
        (Fallback::new(Fake::healthy("a"), Fake::healthy("b")), None),
        (Fallback::new(down("a"), Fake::healthy("b")), Some("b")),
        (Fallback::new(Fake::broken("a", Kind::NoSuchModel), down("b")).fallback(Fake::healthy("c")), Some("c")),
        (Fallback::new(down("a"), within), Some("c")),
        // The refusal of an earlier model is the answer if the models after it fail.
        (Fallback::new(down("a"), declining).fallback(down("d")).rules(rules), Some("c")),
    ] {
        let reply = chain.chat(&question(), &Run::new()).await.unwrap();
        assert_eq!(reply.answered_by, answered_by.map(|name| ModelId::new("a", name)));
    }
    let hedged = crate::Hedge::new(
        Fallback::new(down("a"), Fake::healthy("b")),
        std::time::Duration::from_secs(1),
        crate::RetrySettings::default(),
    );
    let reply = hedged.chat(&question(), &Run::new()).await.unwrap();
    assert_eq!(reply.answered_by, Some(ModelId::new("a", "b")));
}

#[tokio::test]
async fn if_all_models_fail_the_last_error_is_returned() {
    let model = Fallback::new(Fake::broken("a", Kind::Overloaded), Fake::broken("b", Kind::Quota));
    assert_eq!(model.chat(&question(), &Run::new()).await.unwrap_err().kind(), Kind::Quota);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_goes_only_to_a_model_with_a_larger_context() {
    let (small, large) = (Fake::healthy("small"), Fake::healthy("large"));
    let model = Fallback::new(Fake::broken("a", Kind::ContextLength), small.clone())
        .fallback(FallbackModel::new(large.clone()).with_larger_context());
    assert!(model.chat(&question(), &Run::new()).await.is_ok());
    assert_eq!((small.calls(), large.calls()), (0, 1));

    let rules = FallbackRules { on_context_length: true, ..FallbackRules::default() };
    assert!(model.rules(rules).chat(&question(), &Run::new()).await.is_ok());
    assert_eq!((small.calls(), large.calls()), (1, 1));
}

#[tokio::test]
async fn a_refusal_goes_to_another_model_only_if_configured() {
    let declining = || {
        Fake::new("a", |_, _| async {
            let mut reply = reply("no");
            reply.finish_reason = FinishReason::Refusal;
            Ok(reply)
        })
    };
    let ask =
        async |model: Fallback<Fake>| model.chat(&question(), &Run::new()).await.unwrap().message.text().into_owned();
    let rules = FallbackRules { on_refused: true, ..FallbackRules::default() };
    assert_eq!(ask(Fallback::new(declining(), Fake::healthy("b"))).await, "no");
    assert_eq!(ask(Fallback::new(declining(), Fake::healthy("b")).rules(rules)).await, "ok");
    let failing = Fake::broken("b", Kind::Transient);
    assert_eq!(ask(Fallback::new(declining(), failing).rules(rules)).await, "no", "an answer is better than an error");
}

#[tokio::test]
async fn a_reply_restarts_at_most_once() {
    let breaking = |name| {
        Fake::new(name, |_, run| async move {
            emit_text(&run, "Hel");
            Err(error(Kind::Broken))
        })
    };
    let (run, recorder) = observed_run();
    let last = Fake::healthy("c");
    let model = Fallback::new(breaking("a"), breaking("b")).fallback(last.clone());
    assert_eq!(model.chat(&question(), &run).await.unwrap_err().kind(), Kind::Broken);
    assert_eq!(event_lines(&recorder), ["restarted", "a/a -> a/b: broken"]);
    assert_eq!(last.calls(), 0);
}

#[tokio::test]
async fn no_other_model_is_asked_after_a_cancellation() {
    let second = Fake::healthy("b");
    let first = Fake::new("a", |_, run| async move {
        run.cancel();
        Err(error(Kind::Transient))
    });
    assert!(Fallback::new(first, second.clone()).chat(&question(), &Run::new()).await.is_err());
    assert_eq!(second.calls(), 0);
}

#[tokio::test]
async fn a_failure_after_a_refusal_is_named_as_what_it_is() {
    let declining = Fake::new("a", |_, _| async {
        let mut reply = reply("no");
        reply.finish_reason = FinishReason::Refusal;
        Ok(reply)
    });
    let rules = FallbackRules { on_refused: true, ..FallbackRules::default() };
    let ask = async |second: Kind, third: Fake| {
        let (run, recorder) = observed_run();
        let chain = Fallback::new(declining.clone(), Fake::broken("b", second)).fallback(third).rules(rules);
        let text = chain.chat(&question(), &run).await.unwrap().message.text().into_owned();
        let reasons: Vec<_> = run.degraded().into_iter().map(|part| part.reason).collect();
        (text, event_lines(&recorder), reasons)
    };
    let (text, events, reasons) = ask(Kind::Overloaded, Fake::healthy("c")).await;
    assert_eq!(text, "ok");
    assert_eq!(events, ["a/a -> a/b: refused", "a/b -> a/c: overloaded"]);
    let declined = "the model declined; a/b was asked instead";
    assert_eq!(reasons, [declined, "scripted failure (overloaded); a/c was asked instead"]);
    // The refusal is still the best answer, whatever failed after it.
    let (text, events, _) = ask(Kind::Auth, Fake::broken("c", Kind::Quota)).await;
    assert_eq!((text.as_str(), events[1].as_str()), ("no", "a/b -> a/c: auth"));
    let (text, events, _) = ask(Kind::Budget, Fake::healthy("c")).await;
    assert_eq!((text.as_str(), events.len()), ("no", 1), "a model is not asked after a failure that it would share");
}
