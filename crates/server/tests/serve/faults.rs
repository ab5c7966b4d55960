//! Runs scenarios of `scenarios/` with the binary, real sockets and a real clock. The ids are the same. The limits are
//! shorter, and the bounds hold on a busy machine.

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use brigade_rehearsal::{CallRecord, CallState, RunningSimulator};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Server, config, eventually, hash_of, json_of, question, scripted};

const WORDS: &str =
    "[[rule]]\nanswer = { text = \"One two three four five six.\", usage = { input = 40, output = 12 } }";

/// Stops each stream after two deltas.
const STALL: &str = "[[fault]]\nid = \"stall\"\nmatch = {}\nat = { after_deltas = 2 }\ndo = { stall = \"10m\" }\n";

/// Retries so late that a test notices a retry that it does not expect.
const SLOW_RETRY: &str = "[models.mini.policy.retry]\nbase = \"20s\"\ncap = \"20s\"\n";

/// The time within which the server must react to a disconnected client or a signal.
const REACTION_LIMIT: Duration = Duration::from_millis(250);

/// A running scenario. [`Scenario::holds`] adds it to the table.
struct Scenario {
    id: &'static str,
    title: &'static str,
    began: Instant,
}

/// The rows so far.
static TABLE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The number of rows of the table.
const SCENARIOS: usize = 10;

impl Scenario {
    fn begin(id: &'static str, title: &'static str) -> Self {
        Self { id, title, began: Instant::now() }
    }

    /// Records that all conditions hold. The last scenario prints the table directly to the terminal, because the test
    /// runner captures output.
    fn holds(self, provider: &RunningSimulator) {
        let Self { id, title, began } = self;
        let (seconds, totals) = (began.elapsed().as_secs_f64(), provider.call_log().totals());
        let billed = cents(provider);
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        table.push(format!(
            "{id:<12} holds {seconds:>7.3} s {:>4} requests  billed {billed:>8.4} ct  {title}",
            totals.arrived
        ));
        if table.len() == SCENARIOS {
            table.sort();
            let _ = writeln!(std::io::stderr(), "\n{}\n", table.join("\n"));
        }
    }
}

/// The cents that the provider bills, at the list price of the only model with a cost.
fn cents(provider: &RunningSimulator) -> f64 {
    let usage = provider.call_log().totals().usage;
    let [input, output] = [usage.input, usage.output].map(|tokens| f64::from(u32::try_from(tokens).unwrap()));
    (input * 0.25 + output * 2.0) / 1e4
}

/// Asks `clerk` one question as a stream. Returns the status, the whole text, and the data of the frames.
async fn stream(server: &Server) -> (StatusCode, String, Vec<Value>) {
    let response = server.post("/v1/chat/completions", &streamed()).send().await.unwrap();
    let status = response.status();
    let body = response.text().await.unwrap();
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let frames: Vec<_> = data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect();
    let text = frames.iter().filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str());
    (status, text.collect(), frames)
}

fn streamed() -> Value {
    let mut body = question("Count.");
    body["stream"] = json!(true);
    body
}

/// Asserts that the stream ended with an error and without `[DONE]`.
fn assert_interrupted(frames: &[Value]) {
    let last = frames.last().unwrap();
    assert!(last["error"]["code"].is_string(), "{frames:?}");
    assert!(!frames.contains(&json!("[DONE]")), "{frames:?}");
}

/// Waits until the provider has seen this number of calls.
async fn wait_for_calls(provider: &RunningSimulator, calls: u64) {
    eventually("the provider is asked", || (provider.call_log().totals().arrived == calls).then_some(())).await;
}

async fn usage(server: &Server) -> Value {
    json_of(server.get("/v1/usage")).await.1
}

#[tokio::test]
async fn r06_an_overloaded_model_is_skipped_and_its_fallback_answers() {
    const RUNS: usize = 50;
    let scenario = Scenario::begin("R06", "overloaded for twelve seconds, fifty runs at once, another model");
    let script = "[[rule]]\nwhen = { model = \"gpt-5\" }\nanswer = { text = \"The first.\" }\n\
                  [[rule]]\nanswer = { text = \"The second.\" }\n";
    let storm = "[[fault]]\nid = \"storm\"\nmatch = { model = \"gpt-5\", before = \"12s\" }\ndo = { status = 529 }\n";
    let provider = scripted(script, storm).await;
    let over = Instant::now() + Duration::from_secs(12);
    let first = "[models.first]\nprovider = \"sim\"\nmodel = \"gpt-5\"\nfallbacks = [\"mini\"]\n";
    let server =
        Server::start(&format!("{}{first}", config(&provider).replace("\nmodel = \"mini\"", "\nmodel = \"first\"")));
    let asking: JoinSet<_> =
        (0..RUNS).map(|_| json_of(server.post("/v1/chat/completions", &question("Who?")))).collect();
    let answers = asking.join_all().await;
    let by_second = |(status, answer): &&(u16, Value)| {
        let text = &answer["choices"][0]["message"]["content"];
        *status == 200 && text == "The second." && answer["brigade"]["degraded"][0]["part"].is_string()
    };
    let degraded = answers.iter().filter(by_second).count();
    assert!(Instant::now() < over, "the machine is too slow for this test");
    assert!(degraded * 100 >= RUNS * 95, "{degraded} of {RUNS}: {:?}", answers.first());
    let refused = |call: &CallRecord| call.status == 529;
    let to_first = provider.call_log().calls().into_iter().filter(refused).count();
    assert!(to_first * 10 <= RUNS * 12, "{to_first} requests for {RUNS} calls");
    let until_first_answers = async {
        while json_of(server.post("/v1/chat/completions", &question("Who?"))).await.1["choices"][0]["message"]["content"]
            != "The first."
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let recovered = tokio::time::timeout_at(over + Duration::from_secs(20), until_first_answers).await;
    recovered.expect("the first model is asked again within 20 s of its return");
    let while_down = provider.call_log().calls().into_iter().filter(refused).count() - to_first;
    assert!(while_down <= 10, "{while_down} requests to find out that it is back");
    scenario.holds(&provider);
}

#[tokio::test]
async fn r11_a_stream_that_ends_early_is_retried_before_the_first_text_and_reported_after_it() {
    let scenario = Scenario::begin("R11/silent", "a clean early end before anything was shown");
    let ends = |events: &str| {
        format!("[[fault]]\nid = \"end\"\nmatch = {{ call = 1 }}\nat = {{ {events} }}\ndo = {{ then = \"end\" }}\n")
    };
    let provider = scripted(WORDS, &ends("after_events = 1")).await;
    let server = Server::start(&config(&provider));
    let (status, text, frames) = stream(&server).await;
    assert_eq!(
        (status, text.as_str(), frames.last()),
        (StatusCode::OK, "One two three four five six.", Some(&json!("[DONE]")))
    );
    assert_eq!(provider.call_log().totals().arrived, 2, "one silent retry");
    scenario.holds(&provider);

    let scenario = Scenario::begin("R11", "a clean early end after three words");
    let provider = scripted(WORDS, &ends("after_deltas = 3")).await;
    let server = Server::start(&format!("{}{SLOW_RETRY}", config(&provider)));
    let (status, text, frames) = stream(&server).await;
    assert!(status == StatusCode::OK && !text.is_empty() && text.len() < 27, "{text}");
    assert_interrupted(&frames);
    assert_eq!(provider.call_log().totals().arrived, 1, "no retry after text was sent");
    assert_ne!(usage(&server).await["total"]["uncertain"], "0", "the end of the first answer may be billed");
    scenario.holds(&provider);
}

#[tokio::test]
async fn r14_a_stalled_stream_times_out() {
    let stall = |events: &str| {
        format!("[[fault]]\nid = \"stall\"\nmatch = {{ call = 1 }}\nat = {{ {events} }}\ndo = {{ stall = \"10m\" }}\n")
    };
    let with_short_timeouts = |provider: &RunningSimulator, retry: &str| {
        let timeouts = "[models.mini.policy.timeouts]\nfirst_delta = \"400ms\"\nidle = \"400ms\"\n";
        Server::start(&format!("{}{timeouts}{retry}", config(provider)))
    };
    let scenario = Scenario::begin("R14/first", "silence before the first word");
    let provider = scripted(WORDS, &stall("after_events = 1")).await;
    let server = with_short_timeouts(&provider, "");
    let (_, text, frames) = stream(&server).await;
    assert_eq!((text.as_str(), frames.last()), ("One two three four five six.", Some(&json!("[DONE]"))));
    scenario.holds(&provider);

    let scenario = Scenario::begin("R14", "silence after five words");
    let provider = scripted(WORDS, &stall("after_deltas = 5")).await;
    let server = with_short_timeouts(&provider, SLOW_RETRY);
    let asked = Instant::now();
    let (_, text, frames) = stream(&server).await;
    let took = asked.elapsed();
    assert!((400..1_400).contains(&took.as_millis()), "{took:?}");
    assert!(text.starts_with("One two"), "{text}");
    assert_interrupted(&frames);
    provider.call_log().wait_until_idle().await;
    assert_eq!(provider.call_log().totals().arrived, 1, "no retry after text was sent");
    assert_eq!(
        provider.call_log().calls()[0].state,
        CallState::ClientDisconnected,
        "the server closes the stalled connection"
    );
    let (_, metrics) = json_of(server.get("/metrics")).await;
    let timed_out = r#"model="gpt-5-mini",outcome="provider_timeout_idle"} 1"#;
    assert!(metrics.as_str().unwrap().contains(timed_out));
    scenario.holds(&provider);
}

#[tokio::test]
async fn r36_fifty_runs_compete_for_the_budget_of_three_runs() {
    let scenario = Scenario::begin("R36", "fifty runs at once, a key with the budget of three");
    let limit = 45.0;
    let script =
        "[[rule]]\nanswer = { text = \"Done.\", usage = { input = 40, output = 74950 }, latency = { first = \"1s\" } }";
    let provider = scripted(script, "").await;
    let server = Server::start(&format!(
        "{}max_output_tokens = 75000\nbudget = {{ usd = \"0.15\", wrap_up_percent = 0 }}\n\
         [keys.racer]\nhash = \"sha256:{}\"\nbudget = {{ usd = \"0.45\" }}\n",
        config(&provider),
        hash_of("brg_racer")
    ));
    let ask = || server.post("/v1/chat/completions", &question("Do it.")).header("authorization", "Bearer brg_racer");
    let asking: JoinSet<_> = (0..50).map(|_| json_of(ask())).collect();
    wait_for_calls(&provider, 3).await;
    let (client, request) = ask().build_split();
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        let (asking, began) = (client.execute(request.as_ref().unwrap().try_clone().unwrap()), Instant::now());
        assert_eq!(asking.await.unwrap().status(), 402);
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < Duration::from_millis(5), "{quickest:?} for a refusal");
    let racing = asking.join_all();
    let sampling = async {
        loop {
            let owed = cents(&provider);
            assert!(owed <= limit, "{owed} ct");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answers = tokio::select! {
        answers = racing => answers,
        () = sampling => unreachable!("the sampling never ends"),
    };
    let (good, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!((good.len(), refused.len()), (3, 47));
    assert!(refused.iter().all(|(status, body)| *status == 402 && body["error"]["code"] == "budget_exhausted"));
    assert_eq!(provider.call_log().totals().arrived, 3, "a refused request does not reach the provider");
    assert!((44.0..=limit).contains(&cents(&provider)), "{} ct", cents(&provider));
    scenario.holds(&provider);
}

#[tokio::test]
async fn r39_a_disconnected_client_cancels_its_model_call() {
    let first = "[[fault]]\nid = \"stall\"\nmatch = {}\nat = { after_events = 1 }\ndo = { stall = \"10m\" }\n";
    let cases = [
        ("R39/first", "the client disconnects before the first word", true, first),
        ("R39/middle", "the client disconnects in the middle of the answer", true, STALL),
        ("R39/whole", "the client disconnects, without streaming", false, STALL),
    ];
    for (id, title, is_streamed, fault) in cases {
        let scenario = Scenario::begin(id, title);
        let provider = scripted(WORDS, fault).await;
        let server =
            Server::start(&config(&provider).replace("[server]", "[server]\nmax_runs = 1\nlongest_wait = \"0s\""));
        let body = if is_streamed { streamed() } else { question("Count.") };
        let request = server.post("/v1/chat/completions", &body);
        let mut asking = JoinSet::from_iter([async move {
            let mut response = request.send().await.unwrap();
            // In the middle: the first words have arrived, and no more will.
            response.chunk().await.unwrap();
            response
        }]);
        wait_for_calls(&provider, 1).await;
        let response = if id == "R39/middle" { Some(asking.join_next().await.unwrap().unwrap()) } else { None };
        let gone = Instant::now();
        drop((response, asking));
        let hung_up = || (provider.call_log().totals().disconnected == 1).then_some(());
        eventually("the provider sees the end", hung_up).await;
        assert!(gone.elapsed() <= REACTION_LIMIT, "{id}: the provider saw the disconnect after {:?}", gone.elapsed());
        let cancelled = || server.log().contains("cancelled").then_some(());
        eventually("the run is cancelled", cancelled).await;
        let usage = usage(&server).await;
        assert_ne!(usage["total"]["uncertain"], "0", "{id}: the provider may bill the whole answer: {usage}");
        let again = server.post("/v1/chat/completions", &streamed()).send();
        let again = tokio::time::timeout(Duration::from_secs(1), again).await;
        assert!(!again.is_ok_and(|again| again.unwrap().status() == 429), "{id}: the run still occupies a slot");
        scenario.holds(&provider);
    }
}

#[tokio::test]
async fn r40_a_shutdown_ends_twenty_runs_each_with_a_clear_status() {
    let scenario = Scenario::begin("R40/term", "SIGTERM with twenty runs, half of them too slow");
    let script = "[[rule]]\nwhen = { last_user_contains = \"slowly\" }\nanswer = { text = \"Never.\", latency = { first = \"10m\" } }\n\
                  [[rule]]\nanswer = { text = \"At last.\", latency = { first = \"1s\" } }\n";
    let provider = scripted(script, "").await;
    let mut server = Server::start(&config(&provider).replace("[server]", "[server]\ndrain = \"2s\""));
    server.until_ready().await;
    let ask = |text: &'static str| {
        let asking = json_of(server.post("/v1/chat/completions", &question(text)));
        async move { (text, asking.await) }
    };
    let asking: JoinSet<_> =
        (0..20).map(|number| ask(if number % 2 == 0 { "Do it." } else { "Do it slowly." })).collect();
    wait_for_calls(&provider, 20).await;
    server.signal("-TERM");
    let signalled = Instant::now();
    while json_of(server.get("/readyz")).await.0 != 503 {
        assert!(signalled.elapsed() < REACTION_LIMIT, "still ready {:?} after the signal", signalled.elapsed());
    }
    for (text, (status, answer)) in asking.join_all().await {
        if text == "Do it." {
            assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("At last.")));
        } else {
            assert_eq!((status, &answer["error"]["code"]), (503, &json!("cancelled")), "{answer}");
        }
    }
    assert!(server.exit().await.success());
    let took = signalled.elapsed();
    assert!((2_000..7_000).contains(&took.as_millis()), "{took:?}");
    assert!(server.log().contains("cancelled 10 runs"), "{}", server.log());
    provider.call_log().wait_until_idle().await;
    assert_eq!(provider.call_log().totals().disconnected, 10);
    scenario.holds(&provider);
}
