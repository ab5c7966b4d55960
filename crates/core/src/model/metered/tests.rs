use std::{sync::Mutex, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    Budget, BudgetExceeded, Cap, Delta, Ledger, Money, Settings,
    money::budget::Quantity,
    sync::unpoisoned,
    testing::fixtures::{FlatPrices, usd},
    testing::{Recorder, ScriptedModel, Turn},
};

const RATES: Rates = FlatPrices::RATES;

fn run_with(budget: Budget) -> Run {
    Run::builder().budget(budget).build()
}

fn cents(text: &str) -> Run {
    run_with(Budget::unlimited().money(usd(text)).wrap_up_percent(0))
}

/// A question of 1,000 tokens, both by the estimate and by the bound.
fn question() -> ChatRequest {
    ChatRequest::new(["word ".repeat(648), "if ".repeat(244)].concat())
}

fn estimate<M: ChatModel>(model: &Metered<M>, request: &ChatRequest) -> Estimate {
    model.estimate(request, &Run::new()).unwrap()
}

fn answers(usage: Option<Usage>) -> ScriptedModel {
    ScriptedModel::new(vec![Turn::text(&"word".repeat(50)).usage(usage); 100])
}

async fn ask(model: &impl ChatModel, run: &Run) -> Result<Charge, ModelError> {
    model.chat(&question(), run).await.map(|reply| reply.charge.unwrap())
}

/// A model that says some words, then fails or never ends.
#[derive(Debug)]
struct Breaks {
    id: ModelId,
    error: Mutex<Option<ModelError>>,
}

impl Breaks {
    fn new(error: Option<ModelError>) -> Metered<Self> {
        Self { id: ModelId::new("acme", "m"), error: Mutex::new(error) }.metered(&FlatPrices)
    }
}

#[async_trait]
impl ChatModel for Breaks {
    fn id(&self) -> &ModelId {
        &self.id
    }

    fn settings(&self) -> &Settings {
        Settings::none()
    }

    async fn chat(&self, _: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        run.emit_delta(|| Delta::Thinking("hmm, ".repeat(8)));
        run.emit_delta(|| Delta::Text("word".repeat(30)));
        let error = unpoisoned(&self.error).take();
        match error {
            Some(error) => Err(error),
            None => std::future::pending().await,
        }
    }
}

fn broken() -> ModelError {
    ModelError::new(ModelErrorKind::Broken, "cut").with(|failure| {
        failure.sent = true;
        failure.status = Some(200);
    })
}

#[tokio::test]
async fn reported_usage_is_charged_and_the_rest_of_the_reservation_released() {
    let run = cents("0.05");
    let charge = ask(&answers(Some(Usage::new(900, 200))).metered(&FlatPrices), &run).await.unwrap();
    assert_eq!((charge.certainty, charge.cost), (Certainty::Charged, Some(usd("0.0029"))));
    assert_eq!(run.ledger().spending().charged, usd("0.0029"));
    assert_eq!(run.ledger().headroom(false).usd, Some(usd("0.0471")));
}

#[tokio::test]
async fn without_reported_usage_the_longest_count_of_the_answer_is_charged() {
    let run = cents("0.05");
    let charge = ask(&answers(None).metered(&FlatPrices), &run).await.unwrap();
    assert_eq!((charge.certainty, charge.usage), (Certainty::Estimated, Usage::new(1_000, 208)));
    assert_eq!(run.ledger().spending().estimated, usd("0.00308"));
}

#[tokio::test]
async fn an_answer_is_limited_to_the_remaining_budget() {
    let (run, model) = (cents("0.05"), answers(Some(Usage::new(1_000, 10))));
    ask(&model.clone().metered(&FlatPrices), &run).await.unwrap();
    assert_eq!(model.requests()[0].settings.max_output_tokens, Some(4_900));
}

#[tokio::test]
async fn a_request_within_the_budget_is_passed_on_unchanged() {
    let (run, model) = (cents("0.50"), answers(Some(Usage::new(1_000, 10))));
    ask(&model.clone().metered(&FlatPrices), &run).await.unwrap();
    assert_eq!(model.requests()[0].settings.max_output_tokens, None);
}

#[tokio::test]
async fn a_call_is_refused_if_the_budget_does_not_cover_a_useful_answer() {
    // The prompt and 256 tokens of answer cost 0.00356.
    let (recorder, model) = (Recorder::new(), answers(None));
    let run = cents("0.00355").observed_by(Arc::new(recorder.clone()));
    let error = ask(&model.clone().metered(&FlatPrices), &run).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Budget);
    let source = error.details().source.as_ref().unwrap().downcast_ref::<BudgetExceeded>().unwrap();
    assert_eq!(
        source.to_string(),
        "the money budget of the run does not cover the next call: $0.0036 needed, $0.0036 left of $0.0036; raise it, \
         shorten the prompt, or lower `max_output_tokens`"
    );
    assert!(model.requests().is_empty());
    assert_eq!(
        recorder.count(|event| matches!(event, Event::BudgetRefused { limit, .. } if **limit == source.to_string())),
        1
    );
    assert_eq!(recorder.count(|event| matches!(event, Event::AttemptStarted { .. })), 0);
    assert!(ask(&model.metered(&FlatPrices).least_output_tokens(255), &run).await.is_ok());
}

#[tokio::test]
async fn the_output_is_not_limited_below_the_reasoning_budget() {
    let (run, model) = (cents("0.02"), answers(None));
    let mut request = question();
    request.settings.reasoning = Some(Reasoning::Budget(1_700));
    let error = model.clone().metered(&FlatPrices).chat(&request, &run).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Budget);
    request.settings.reasoning = Some(Reasoning::Budget(1_600));
    model.clone().metered(&FlatPrices).chat(&request, &run).await.unwrap();
    assert_eq!(model.requests()[0].settings.max_output_tokens, Some(1_900));
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_only_under_a_limit_of_money() {
    let secret = || ScriptedModel::named("secret", vec![Turn::text("psst"); 3]);
    let error = ask(&secret().metered(&FlatPrices), &cents("5")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "scripted/secret: not asked, because it has no price and money is limited; add its price to the file \
         that `prices` names, or set `unpriced = \"warn\"` in its `[models.…]` section (in Rust: `Metered::unpriced`) (budget)"
    );
    let free = Run::new();
    let charge = ask(&secret().metered(&FlatPrices), &free).await.unwrap();
    assert_eq!((charge.cost, charge.usage), (None, Usage::new(100, 10)));
    assert_eq!(free.ledger().spending().cost(), None, "absent, not zero");
    let assumed =
        ask(&secret().metered(&FlatPrices).unpriced(UnpricedPolicy::Assume(RATES)), &cents("5")).await.unwrap();
    assert_eq!((assumed.cost, assumed.certainty), (Some(usd("0.0002")), Certainty::Estimated));
    let warned = ask(&secret().metered(&FlatPrices).unpriced(UnpricedPolicy::Warn), &cents("5")).await.unwrap();
    assert_eq!(warned.cost, None);
}

#[tokio::test]
async fn an_answer_without_a_limit_gets_one_under_a_budget() {
    let model = ScriptedModel::named("secret", vec![Turn::text("psst"); 2]);
    let metered = model.clone().metered(&FlatPrices);
    ask(&metered, &Run::new()).await.unwrap();
    ask(&metered, &run_with(Budget::unlimited().tokens(100_000))).await.unwrap();
    let sent: Vec<_> = model.requests().iter().map(|request| request.settings.max_output_tokens).collect();
    assert_eq!(sent, [None, Some(32_768)]);
}

#[tokio::test]
async fn an_unknown_model_that_answered_is_charged_at_the_estimated_price() {
    #[derive(Debug)]
    struct Other(ScriptedModel);
    #[async_trait]
    impl ChatModel for Other {
        fn id(&self) -> &ModelId {
            self.0.id()
        }

        fn settings(&self) -> &Settings {
            self.0.settings()
        }
        async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
            self.0.chat(request, run).await.map(|reply| ChatReply { model: "secret".into(), ..reply })
        }
    }
    let charge = ask(&Other(answers(Some(Usage::new(900, 200)))).metered(&FlatPrices), &cents("1")).await.unwrap();
    assert_eq!((charge.certainty, charge.cost), (Certainty::Estimated, Some(usd("0.0029"))));
}

#[tokio::test]
async fn implausible_usage_is_corrected() {
    let reported = [
        (Usage::new(1_000, 20_001), Usage::new(1_000, 10_000)),
        (Usage::new(1_000, 0), Usage::new(1_000, 208)),
        (Usage::new(0, 0), Usage::new(1_000, 208)),
        (Usage::new(u64::MAX, 270), Usage::new(1_000, 270)),
    ];
    for (lie, counted) in reported {
        let recorder = Recorder::new();
        let run = cents("1").observed_by(Arc::new(recorder.clone()));
        let charge = ask(&answers(Some(lie)).metered(&FlatPrices), &run).await.unwrap();
        assert_eq!((charge.certainty, charge.usage), (Certainty::Estimated, counted), "{lie:?}");
        assert_eq!(
            recorder.count(|event| matches!(event, Event::WireQuirk { kind, .. } if kind == "usage_suspect")),
            1
        );
    }
    let most = ask(&answers(Some(Usage::new(1_000, 20_000))).metered(&FlatPrices), &cents("1")).await.unwrap();
    assert_eq!(most.certainty, Certainty::Charged);
}

#[tokio::test]
async fn a_broken_stream_is_charged_for_the_prompt_and_the_received_output() {
    let run = cents("1").with_deltas(true);
    ask(&Breaks::new(Some(broken())), &run).await.unwrap_err();
    // 160 bytes of deltas are at most 160 tokens.
    assert_eq!(run.ledger().spending().uncertain, usd("0.0026"));
    assert_eq!(run.ledger().outstanding(), 0);
}

#[tokio::test]
async fn a_dropped_call_is_settled_and_emits_its_end() {
    let recorder = Recorder::new();
    let run = cents("1").with_deltas(true).observed_by(Arc::new(recorder.clone()));
    let model = Breaks::new(None);
    let call = tokio::time::timeout(Duration::ZERO, ask(&model, &run));
    assert!(call.await.is_err());
    assert_eq!(run.ledger().outstanding(), 0);
    assert_eq!(run.ledger().spending().uncertain, usd("0.0026"));
    let told = |event: &Event| {
        matches!(event, Event::AttemptEnded { error: Some(ModelErrorKind::Cancelled), charge: Some(charge), .. }
            if charge.cost == Some(usd("0.0026")))
    };
    assert_eq!(recorder.count(told), 1);
}

#[tokio::test]
async fn a_failed_call_is_charged_only_if_the_provider_may_bill_it() {
    let failure = |fill: fn(&mut crate::ModelErrorDetails)| ModelError::new(ModelErrorKind::Transient, "no").with(fill);
    let cases = [
        (failure(|_| ()), "0"),
        (failure(|it| it.sent = true), "0.101"),
        (failure(|it| (it.sent, it.status) = (true, Some(503))), "0"),
        (failure(|it| (it.sent, it.status) = (true, Some(200))), "0.101"),
    ];
    for (error, cost) in cases {
        let (run, what) = (cents("1"), format!("{:?}", error.details()));
        ask(&Breaks::new(Some(error)), &run).await.unwrap_err();
        assert_eq!(run.ledger().spending().uncertain, usd(cost), "{what}");
    }
    let run = cents("1");
    let reported = failure(|it| it.usage = Some(Usage::new(2_000, 100)));
    ask(&Breaks::new(Some(reported)), &run).await.unwrap_err();
    assert_eq!(run.ledger().spending().uncertain, usd("0.003"));
}

#[tokio::test]
async fn a_broken_stream_with_usage_is_charged_at_least_for_the_received_output() {
    let run = cents("1").with_deltas(true).observed_by(Arc::new(Recorder::new()));
    let cut = ModelError::new(ModelErrorKind::Broken, "cut").with(|it| it.usage = Some(Usage::new(2_000, 1)));
    ask(&Breaks::new(Some(cut)), &run).await.unwrap_err();
    let spending = run.ledger().spending();
    assert_eq!((spending.usage, spending.uncertain_tokens), (Usage::default(), 2_160));
    assert_eq!((spending.charged, spending.total()), (usd("0"), spending.uncertain));
}

/// States a cost for each call, and has a price for all models but those called `secret`.
async fn charged_if_stated(model: &str, policy: UnpricedPolicy, stated: &str) -> (Certainty, Option<Money>) {
    let usage = Usage::new(1_000, 100).stated_cost(Some(usd(stated)));
    let model = ScriptedModel::named(model, [Turn::text("word").usage(Some(usage))]).metered(&FlatPrices);
    let charge = ask(&model.unpriced(policy), &Run::new()).await.unwrap();
    (charge.certainty, charge.cost)
}

#[tokio::test]
async fn a_stated_cost_is_believed_only_where_it_can_be_true() {
    let assumed = UnpricedPolicy::Assume(RATES);
    let cases = [
        ("m", UnpricedPolicy::Deny, "-1", Certainty::Charged, Some("0.002")),
        ("secret", assumed, "-1", Certainty::Estimated, Some("0.002")),
        ("secret", assumed, "0", Certainty::Estimated, Some("0.002")),
        ("secret", assumed, "0.5", Certainty::Charged, Some("0.5")),
        ("secret", UnpricedPolicy::Warn, "-1", Certainty::Charged, None),
        ("secret", UnpricedPolicy::Warn, "0", Certainty::Charged, Some("0")),
        ("secret", UnpricedPolicy::Warn, "0.5", Certainty::Charged, Some("0.5")),
    ];
    for (model, policy, stated, certainty, cost) in cases {
        let expected = (certainty, cost.map(usd));
        assert_eq!(charged_if_stated(model, policy, stated).await, expected, "{model} {policy:?} {stated}");
    }
}

#[tokio::test]
async fn a_prompt_that_nothing_bounds_is_refused_only_if_spending_is_limited() {
    /// A provider that keeps the conversation of an unknown model.
    #[derive(Debug, Clone)]
    struct Unbounded;
    impl Pricing for Unbounded {
        fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
            Some(PriceCeiling { unseen_tokens: None, ..PriceCeiling::new(RATES) })
        }

        fn cost(&self, _: &ServedCall<'_>, _: &Usage) -> Option<Money> {
            Some(Money::ZERO)
        }
    }
    let model = answers(None).metered(&Unbounded);
    for limited in [cents("5"), run_with(Budget::unlimited().tokens(1_000_000))] {
        let error = ask(&model, &limited).await.unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::Budget);
        assert!(error.to_string().contains("nothing limits the size of its prompt"), "{error}");
    }
    ask(&model, &Run::new()).await.unwrap();
}

#[tokio::test]
async fn images_and_unseen_tokens_are_reserved_at_the_price_of_the_whole_prompt() {
    /// Prompts of more than 10,000 tokens cost twice as much.
    #[derive(Debug, Clone)]
    struct Tiers;
    impl Pricing for Tiers {
        fn ceiling(&self, _: &ModelId, _: &Settings, input_tokens: u64) -> Option<PriceCeiling> {
            let dollars = if input_tokens > 10_000 { 2 } else { 1 };
            let rate = crate::Rate::per_million(Money::from_dollars(dollars));
            let ceiling = PriceCeiling::new(Rates::new(rate, rate));
            Some(PriceCeiling { image_tokens: 6_000, unseen_tokens: Some(500), ..ceiling })
        }

        fn cost(&self, _: &ServedCall<'_>, _: &Usage) -> Option<Money> {
            None
        }
    }
    let image = || crate::Part::Image(crate::Image::Url("https://example.com/a.png".into()));
    let mut request = ChatRequest::default();
    let message = crate::Message::new(crate::Role::User, vec![image(), image()]);
    request.transcript.push_task(message).unwrap();
    let model = answers(None).metered(&Tiers);
    let estimate = model.estimate(&request, &cents("5")).unwrap();
    let visible = TokenBound::of_request(&request, Settings::none());
    assert_eq!((visible.images, estimate.input_tokens), (2, visible.tokens + 12_500));
    assert_eq!(estimate.rates.unwrap().input.of(1_000_000), usd("2"));
}

#[tokio::test]
async fn the_bound_learns_from_prompts_that_exceeded_it() {
    let model = answers(Some(Usage::new(1_700, 10))).metered(&FlatPrices);
    let most = |model: &Metered<ScriptedModel>| model.estimate(&question(), &cents("5")).unwrap().input_tokens;
    assert_eq!(most(&model), 1_000);
    ask(&model, &cents("5")).await.unwrap();
    assert_eq!(most(&model), 1_700);
    ask(&model, &cents("5")).await.unwrap();
    assert_eq!(most(&model), 1_700, "it is a bound now");
    let cheaper = Metered { model: answers(Some(Usage::new(100, 10))), ..model.clone() };
    ask(&cheaper, &cents("5")).await.unwrap();
    assert_eq!(most(&model), 1_700, "it never falls");
    let odd = Metered { model: answers(Some(Usage::new(1_000_000, 10))), ..model.clone() };
    tokio::join!(async { ask(&odd, &cents("5")).await.unwrap() }, async { ask(&odd, &cents("5")).await.unwrap() });
    assert_eq!(most(&model), 1_000 + 8_192, "within limits");
}

#[tokio::test]
async fn a_failed_attempt_is_not_in_the_usage_of_the_outcome() {
    /// Fails once after the request was sent, and then answers.
    #[derive(Debug)]
    struct Stale(ScriptedModel, Metered<Breaks>);
    #[async_trait]
    impl ChatModel for Stale {
        fn id(&self) -> &ModelId {
            self.0.id()
        }

        fn settings(&self) -> &Settings {
            self.0.settings()
        }
        async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
            self.1.chat(request, run).await.unwrap_err();
            self.0.clone().metered(&FlatPrices).chat(request, run).await
        }
    }
    let model = Stale(answers(Some(Usage::new(900, 200))), Breaks::new(Some(broken())));
    let outcome = crate::Agent::new("desk", model).run("Hello?").await.unwrap();
    assert_eq!(outcome.usage, Usage::new(900, 200));
    let total = outcome.cost.total;
    assert!(total.calls == 2 && total.uncertain_tokens > 10_000 && total.uncertain > usd("0.1"), "{total:?}");
}

#[tokio::test]
async fn an_abandoned_attempt_ends_with_the_reason_for_dropping_it() {
    let recorder = Recorder::new();
    for (reason, told) in [(None, ModelErrorKind::Cancelled), (Some(ModelErrorKind::Broken), ModelErrorKind::Broken)] {
        let run = cents("1").observed_by(Arc::new(recorder.clone())).for_call();
        let model = ScriptedModel::new([Turn::text("late").after(Duration::from_secs(9))]).metered(&FlatPrices);
        let mut asked = Box::pin(ask(&model, &run));
        assert!(futures::poll!(&mut asked).is_pending());
        if let Some(reason) = reason {
            run.set_drop_reason(reason);
        }
        drop(asked);
        let ended = |event: &Event| matches!(event, Event::AttemptEnded { error, .. } if *error == Some(told));
        assert_eq!(recorder.count(ended), 1, "{told:?}");
    }
}

#[tokio::test]
async fn the_cost_of_a_call_counts_for_the_next_one_without_observers() {
    let model = answers(Some(Usage::new(1_000, 900))).metered(&FlatPrices);
    let run = cents("0.0125");
    ask(&model, &run).await.unwrap();
    assert_eq!(ask(&model, &run).await.unwrap_err().kind(), ModelErrorKind::Budget);
    assert_eq!(model.model.requests().len(), 1);
}

#[tokio::test]
async fn a_soft_limit_warns_once_and_refuses_nothing() {
    let recorder = Recorder::new();
    let soft = Budget { usd: Some(Cap::soft(usd("0.002"))), ..Budget::unlimited() };
    let run = run_with(soft).observed_by(Arc::new(recorder.clone()));
    let model = answers(Some(Usage::new(1_000, 10))).metered(&FlatPrices);
    for _ in 0..4 {
        ask(&model, &run).await.unwrap();
    }
    let warned = |event: &Event| matches!(event, Event::BudgetWarning { quantity: Some(Quantity::Usd), .. });
    assert_eq!(recorder.count(warned), 1);
}

#[tokio::test]
async fn the_clients_own_limit_is_reserved_if_the_request_has_none() {
    /// A client whose provider insists on a limit.
    #[derive(Debug)]
    struct Roomy(ScriptedModel, Settings);
    #[async_trait]
    impl ChatModel for Roomy {
        fn id(&self) -> &ModelId {
            self.0.id()
        }

        fn settings(&self) -> &Settings {
            &self.1
        }
        async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
            self.0.chat(request, run).await
        }
    }
    let settings = Settings { answer_tokens: Some(800), ..Settings::default() };
    let model = Roomy(answers(Some(Usage::new(1_000, 50))), settings).metered(&FlatPrices);
    assert_eq!(estimate(&model, &question()).output_tokens, 800);
    let mut thinking = question();
    thinking.settings.reasoning = Some(Reasoning::Budget(2_000));
    assert_eq!(estimate(&model, &thinking).output_tokens, 2_800);
    // A cent is enough for the prompt and 800 tokens, and for nothing like the model's longest answer.
    ask(&model, &cents("0.01")).await.unwrap();
    assert_eq!(model.model.0.requests()[0].settings.max_output_tokens, None, "nothing was cut");
}

#[tokio::test(start_paused = true)]
async fn fifty_concurrent_runs_do_not_exceed_a_shared_limit() {
    // Each call may cost 0.001 + 0.1 and is worth nothing if it is cut.
    let key = Ledger::root("key", Budget::unlimited().money(usd("0.45")));
    let turn = Turn::text("word").usage(Some(Usage::new(1_000, 10_000))).after(Duration::from_secs(2));
    let model = ScriptedModel::new(vec![turn; 50]).metered(&FlatPrices);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (model, run) = (model.clone(), Run::builder().account(key.clone()).build());
        calls.spawn(async move { ask(&model.least_output_tokens(10_000), &run).await.is_ok() });
    }
    let admitted = calls.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(admitted, 4);
    assert_eq!((key.spending().charged, key.outstanding()), (usd("0.404"), 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn calls_dropped_at_any_moment_leave_nothing_reserved_and_keep_to_the_budget(
        calls in vec((0..50_u64, 0..50_u64, any::<bool>()), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let run = cents("0.06").with_deltas(true).observed_by(Arc::new(Recorder::new()));
        let usage = |reported: bool| reported.then(|| Usage::new(1_000, 50));
        runtime.block_on(async {
            let calls = calls.into_iter().map(|(takes, max_wait, reports)| {
                let turn = Turn::text(&"word".repeat(50)).usage(usage(reports)).after(Duration::from_millis(takes));
                let (model, run) = (ScriptedModel::new([turn]).metered(&FlatPrices), run.clone());
                async move { tokio::time::timeout(Duration::from_millis(max_wait), ask(&model, &run)).await.is_ok() }
            });
            futures::future::join_all(calls).await;
        });
        prop_assert_eq!((run.ledger().outstanding(), run.ledger().reserved()), (0, Money::ZERO));
        prop_assert!(run.ledger().spending().total() <= usd("0.06"));
    }
}

/// A model with settings of its own, as a configured client has.
#[derive(Debug)]
struct Configured(ScriptedModel, Settings);

#[async_trait]
impl ChatModel for Configured {
    fn id(&self) -> &ModelId {
        self.0.id()
    }

    fn settings(&self) -> &Settings {
        &self.1
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        assert!(run.ledger().reserved() < usd("0.01"), "reserved: {}", run.ledger().reserved());
        self.0.chat(request, run).await
    }
}

#[tokio::test]
async fn the_models_configured_limit_is_reserved() {
    let settings = Settings { max_output_tokens: Some(300), ..Settings::default() };
    let model = Configured(answers(Some(Usage::new(900, 200))), settings);
    let asked = model.0.clone();
    let model = model.metered(&FlatPrices);
    assert_eq!(ChatModel::settings(&model).max_output_tokens, Some(300));
    ask(&model, &cents("0.05")).await.unwrap();
    assert_eq!(asked.requests()[0].settings.max_output_tokens, None, "the model's own limit is not written over");
}

/// Reports ten tokens for each text.
#[derive(Debug)]
struct TenTokens(ModelId);

#[async_trait]
impl Embedder for TenTokens {
    fn id(&self) -> &ModelId {
        &self.0
    }

    async fn embed(&self, texts: &[&str], _: &Run) -> Result<Embeddings, ModelError> {
        if texts.contains(&"broken") {
            return Err(ModelError::new(ModelErrorKind::Broken, "cut").with(|details| details.sent = true));
        }
        let mut embeddings = Embeddings::new(vec![vec![1.0]; texts.len()]);
        embeddings.usage = Some(Usage::new(10 * texts.len() as u64, 0));
        Ok(embeddings)
    }
}

fn embedder(model: &str) -> Metered<TenTokens> {
    Metered::new(TenTokens(ModelId::new("test", model)), Arc::new(FlatPrices))
}

#[tokio::test]
async fn embeddings_are_charged_to_the_run() {
    let run = cents("1");
    embedder("m").embed(&["one", "two"], &run).await.unwrap();
    let spent = run.ledger().spending();
    assert_eq!((spent.calls, spent.charged, spent.usage), (1, usd("0.00002"), Usage::new(20, 0)));
    embedder("m").embed(&["broken"], &run).await.unwrap_err();
    assert_eq!(run.ledger().spending().uncertain, usd("0.000008"), "it may be billed");
    assert_eq!(run.ledger().outstanding(), 0);
}

#[tokio::test]
async fn embeddings_that_the_budget_does_not_cover_are_refused() {
    let error = embedder("m").embed(&["one"], &cents("0.000001")).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Budget);
    let error = embedder("secret").embed(&["one"], &cents("1")).await.unwrap_err();
    assert!(error.to_string().contains("no price"), "{error}");
    embedder("secret").embed(&["one"], &Run::new()).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_failed_before_its_first_delta_is_charged_as_if_nothing_is_known() {
    /// Fails without a word.
    #[derive(Debug)]
    struct Silent(ModelId, u16);
    #[async_trait]
    impl ChatModel for Silent {
        fn id(&self) -> &ModelId {
            &self.0
        }

        fn settings(&self) -> &Settings {
            Settings::none()
        }
        async fn chat(&self, _: &ChatRequest, _: &Run) -> Result<ChatReply, ModelError> {
            Err(broken().with(|failure| failure.status = Some(self.1)))
        }
    }
    // All of the reservation, since any output may have been generated; or nothing, since the provider refused.
    for (status, uncertain) in [(200, "0.101"), (503, "0")] {
        let run = cents("1").with_deltas(true).observed_by(Arc::new(Recorder::new()));
        let model = Silent(ModelId::new("acme", "m"), status).metered(&FlatPrices);
        ask(&model, &run).await.unwrap_err();
        assert_eq!((run.ledger().spending().uncertain, run.ledger().outstanding()), (usd(uncertain), 0), "{status}");
    }
}

#[tokio::test]
async fn output_that_arrived_before_a_refusal_is_charged() {
    let refused = broken().with(|failure| failure.status = Some(503));
    let (run, unsent) = (cents("1").with_deltas(true), cents("1").with_deltas(true));
    ask(&Breaks::new(Some(refused)), &run).await.unwrap_err();
    assert_eq!(run.ledger().spending().uncertain, usd("0.0026"));
    ask(&Breaks::new(Some(ModelError::new(ModelErrorKind::Broken, "cut"))), &unsent).await.unwrap_err();
    assert_eq!(unsent.ledger().spending().uncertain, Money::ZERO, "the request was not sent");
}

#[tokio::test]
async fn the_deltas_of_an_unlimited_run_count_as_a_token_for_four_bytes() {
    let run = Run::new().with_deltas(true).observed_by(Arc::new(Recorder::new()));
    ask(&Breaks::new(Some(broken())), &run).await.unwrap_err();
    let prompt = question().estimated_input_tokens();
    assert_eq!(run.ledger().spending().uncertain_tokens, prompt + 40);
}

#[tokio::test]
async fn answers_without_usage_count_at_the_rate_of_the_last_reported_answer() {
    let counted = async |before: Vec<Option<Usage>>| {
        let model = answers(None).metered(&FlatPrices);
        for usage in before {
            let reporting = Metered { model: answers(usage), ..model.clone() };
            ask(&reporting, &Run::new()).await.unwrap();
        }
        ask(&model, &Run::new()).await.unwrap().usage.output_tokens
    };
    let reported = |tokens| Some(Usage::new(1_000, tokens));
    // An answer has 200 bytes.
    assert_eq!(counted(vec![]).await, 50);
    assert_eq!(counted(vec![reported(80)]).await, 80);
    assert_eq!(counted(vec![reported(80), reported(60)]).await, 60);
    assert_eq!(counted(vec![reported(80), None]).await, 80, "a guess teaches nothing");
    assert_eq!(counted(vec![reported(1)]).await, 10, "within limits");
    assert_eq!(counted(vec![reported(900)]).await, 200, "within limits");
    let thought = reported(90).map(|usage| usage.reasoning_tokens(Some(30)));
    assert_eq!(counted(vec![thought]).await, 60, "hidden reasoning has no bytes");
}

#[tokio::test]
async fn an_unlimited_run_teaches_the_bound_nothing() {
    let model = answers(Some(Usage::new(9_000, 10))).metered(&FlatPrices);
    ask(&model, &Run::new()).await.unwrap();
    assert_eq!(model.estimate(&question(), &cents("5")).unwrap().input_tokens, 1_000);
    let silent = Metered { model: answers(Some(Usage::new(0, 0))), ..model.clone() };
    ask(&silent, &cents("5")).await.unwrap();
    assert_eq!(model.estimate(&question(), &cents("5")).unwrap().input_tokens, 1_000);
}

#[tokio::test]
async fn a_refused_last_answer_is_not_reported_again() {
    for (is_last, reports) in [(false, 1), (true, 0)] {
        let recorder = Recorder::new();
        let run = cents("0.001").observed_by(Arc::new(recorder.clone()));
        let run = if is_last { run.wrapping_up() } else { run };
        ask(&answers(None).metered(&FlatPrices), &run).await.unwrap_err();
        assert_eq!(recorder.count(|event| matches!(event, Event::BudgetRefused { .. })), reports);
    }
}

#[tokio::test]
async fn rate_limits_are_emitted_only_if_the_response_reported_some() {
    #[derive(Debug)]
    struct Limited(ScriptedModel, RateLimits, bool);
    #[async_trait]
    impl ChatModel for Limited {
        fn id(&self) -> &ModelId {
            self.0.id()
        }

        fn settings(&self) -> &Settings {
            self.0.settings()
        }
        async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
            if self.2 {
                return Err(broken().with(|failure| failure.limits = self.1.clone()));
            }
            self.0.chat(request, run).await.map(|reply| ChatReply { limits: self.1.clone(), ..reply })
        }
    }
    let some = RateLimits { retry_after: Some(Duration::from_secs(1)), ..RateLimits::default() };
    for (limits, fails, emitted) in
        [(some.clone(), false, 1), (some, true, 1), (RateLimits::default(), false, 0), (RateLimits::default(), true, 0)]
    {
        let recorder = Recorder::new();
        let run = cents("1").observed_by(Arc::new(recorder.clone()));
        let model = Limited(answers(None), limits.clone(), fails).metered(&FlatPrices);
        assert_eq!(ask(&model, &run).await.is_err(), fails);
        let told = |event: &Event| matches!(event, Event::RateLimitsReported { limits: told, .. } if *told == limits);
        assert_eq!(recorder.count(told), emitted, "{limits:?}");
    }
}
