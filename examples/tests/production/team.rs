//! Runs the team in both forms, in virtual time.

use std::{fs, path::Path, time::Duration};

use axum::Router;
use brigade_config::LoadedConfig;
use brigade_core::{Run, Task};
use brigade_observability::{LogFormat, LogTarget, Logging, LoggingHandle, Metrics, MetricsConfig};
use brigade_providers::{Anthropic, OpenAi};
use brigade_rehearsal::{CallLog, FaultPlan, RunningSimulator, Script, Simulator};
use brigade_scenarios::in_virtual_time;
use brigade_server::ConfiguredApi;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tracing_subscriber::layer::SubscriberExt;

use crate::{
    production,
    readme::{Row, row},
};

/// How the simulator knows the agents: both forms give them these instructions.
const AGENTS: &str = r#"
[[agent]]
name = "desk"
system_contains = "Plan the work, delegate it"
[[agent]]
name = "researcher"
system_contains = "Cite each fact."
[[agent]]
name = "estimator"
system_contains = "Calculate, do not guess."
"#;

const CONFIG: &str = include_str!("../../production.toml");

#[derive(Debug, Clone, Copy)]
enum Form {
    Rust,
    Toml,
}

/// The team, its log and its address.
pub(crate) struct Team {
    /// Absent after it was shut down.
    pub(crate) simulator: Option<RunningSimulator>,
    call_log: CallLog,
    agent: TeamAgent,
    url: String,
    log: Log,
    _server: JoinSet<()>,
}

/// A log file, in a folder that is deleted with it.
struct Log {
    folder: TempDir,
    logging: LoggingHandle,
}

enum TeamAgent {
    Rust(Box<brigade_core::Agent>),
    Toml(#[expect(dead_code, reason = "it serves until it is dropped")] Box<ConfiguredApi>),
}

/// A run, in the JSON form of its outcome.
pub(crate) struct Answer(pub(crate) Value);

/// Runs the same test with the program's team and with the configured one, and with the README's row of this test.
pub(crate) fn in_both_forms(test: &str, script: &str, faults: &str, work: impl AsyncFn(Team, Row)) {
    for form in [Form::Rust, Form::Toml] {
        eprintln!("as {form:?}:");
        in_virtual_time(async {
            let folder = tempfile::tempdir().unwrap();
            let target = LogTarget::File(folder.path().join("log"));
            let logging = Logging::new().format(LogFormat::Json).level("info").variable(None).target(target);
            let (lines, logging) = logging.layer().unwrap();
            let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
            let script = Script::from_toml(&format!("{AGENTS}{script}")).unwrap();
            let simulator = Simulator::builder().script(script).faults(FaultPlan::from_toml(faults).unwrap());
            let simulator = simulator.build().serve_locally().await.unwrap();
            let log = Log { folder, logging };
            let team = match form {
                Form::Rust => Team::in_rust(simulator, log).await,
                Form::Toml => Team::in_toml(simulator, log).await,
            };
            work(team, row(test)).await;
        })
        .unwrap();
    }
}

impl Team {
    async fn in_rust(simulator: RunningSimulator, log: Log) -> Self {
        let url = simulator.base_url();
        let openai = OpenAi::builder().base_url(format!("{url}/v1")).api_key("simulated").build().unwrap();
        let anthropic = Anthropic::builder().base_url(url).api_key("simulated").build().unwrap();
        let metrics = Metrics::local(&MetricsConfig::default()).unwrap();
        let agent = TeamAgent::Rust(Box::new(production::team(&openai, &anthropic, &metrics).unwrap()));
        Self::served(simulator, log, agent, production::routes(openai, anthropic, metrics)).await
    }

    async fn in_toml(simulator: RunningSimulator, log: Log) -> Self {
        let (url, events) = (simulator.base_url(), log.folder.path().join("events.jsonl"));
        let environment = [
            ("BRIGADE__PROVIDERS__OPENAI__BASE_URL", format!("{url}/v1")),
            ("BRIGADE__PROVIDERS__ANTHROPIC__BASE_URL", url),
            ("BRIGADE__TOOLS__SEARCH__HTTP__SECRET_HEADERS", "{}".to_owned()),
            ("BRIGADE__LOG__EVENTS", events.display().to_string()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        // The store writes on a thread of its own, which does not know the virtual clock.
        let config = CONFIG.replacen("store = \"brigade.db\"", "", 1);
        assert_ne!(config, CONFIG);
        let loaded = LoadedConfig::parse(Path::new("production.toml"), &config, environment).unwrap();
        let api = ConfiguredApi::start(&loaded).await.unwrap();
        let router = api.api().router();
        Self::served(simulator, log, TeamAgent::Toml(Box::new(api)), router).await
    }

    async fn served(simulator: RunningSimulator, log: Log, agent: TeamAgent, routes: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let call_log = simulator.call_log().clone();
        Self { simulator: Some(simulator), call_log, agent, url, log, _server: server }
    }

    /// The requests that the providers received.
    pub(crate) fn call_log(&self) -> &CallLog {
        &self.call_log
    }

    pub(crate) async fn ask(&self, question: &str) -> Answer {
        self.ask_in(question, None).await
    }

    pub(crate) async fn ask_in(&self, question: &str, session: Option<&str>) -> Answer {
        match &self.agent {
            TeamAgent::Rust(desk) => {
                let outcome = desk
                    .run_in(&Run::new(), session.into_iter().fold(Task::from(question), Task::session))
                    .await
                    .unwrap();
                Answer(serde_json::to_value(outcome).unwrap())
            }
            TeamAgent::Toml(_) => {
                let body = json!({ "agent": "desk", "task": question, "session_id": session }).to_string();
                let request = client().post(format!("{}/v1/runs", self.url)).header("content-type", "application/json");
                let text = request.body(body).send().await.unwrap().text().await.unwrap();
                let mut run: Value = serde_json::from_str(&text).unwrap();
                assert!(run["result"].is_object(), "{text}");
                let mut outcome = run["result"].take();
                outcome["trace"] = run["trace_id"].take();
                Answer(outcome)
            }
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Waits for this status, for at most five minutes.
    pub(crate) async fn until_status(&self, path: &str, status: u16) {
        for _ in 0..300 {
            if self.get(path).await.0 == status {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("{path} never has the status {status}");
    }

    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    pub(crate) fn log(&self) -> String {
        self.log.logging.flush();
        fs::read_to_string(self.log.folder.path().join("log")).unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        parsed(&self.log())
    }

    /// The lines with the trace id of a run.
    pub(crate) fn lines_of(&self, run: &Answer) -> Vec<Value> {
        parsed(&self.log_of(run))
    }

    /// The text of these lines.
    pub(crate) fn log_of(&self, run: &Answer) -> String {
        let id = format!("\"trace_id\":{}", run.0["trace"]);
        self.log().split_inclusive('\n').filter(|line| line.contains(&id)).collect()
    }
}

fn parsed(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sum over all series of a metric; of a histogram, the number of its samples.
pub(crate) fn metric(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_count").unwrap_or(rest);
        rest.starts_with(['{', ' ']).then(|| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    });
    values.sum()
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        self.0["text"].as_str().unwrap()
    }

    /// The parts that failed.
    pub(crate) fn degraded(&self) -> Vec<&str> {
        self.0["degraded"].as_array().unwrap().iter().map(|part| part["part"].as_str().unwrap()).collect()
    }
}

pub(crate) fn client() -> reqwest::Client {
    // Fails if it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
