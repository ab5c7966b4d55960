//! The state behind the HTTP API, built in code or from a configuration.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::Router;
use brigade_config::ANY_ORIGIN_WITHOUT_KEYS;
use brigade_core::{Budget, Ledger, Observer};
use brigade_durable::{Durable, RunStore};
use brigade_edge::{Health, HealthCheck, Origin, ParseOriginError};
use brigade_observability::{Collector, Metrics, MetricsConfig, MetricsHandle, Storage};
use brigade_store::StoreError;
use parking_lot::{Mutex, RwLock};
use tokio_util::task::AbortOnDropHandle;

use super::{
    accepts_runs::AcceptsRuns,
    access::{Access, ApiKey},
    approvals::ApprovalSettings,
    durable_runs, routes,
    served_setup::Setup,
};
use crate::{
    agents::served::ServedAgent,
    runs::{
        idempotency::IdempotencyKeys, lookup::RunLookup, manager::Runs, responses::Responses, sessions::LocalSessions,
        store::Store,
    },
    setup::error::{SetupContext as _, SetupError},
};

/// The HTTP API: agents, keys, budget and store, and the runs that clients start.
///
/// ```no_run
/// # async fn example(model: impl brigade_core::ChatModel) -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use brigade_core::{Agent, Budget};
/// use brigade_server::{Api, ServedAgent};
///
/// let clerk = Agent::new("clerk", model).instructions("You are a clerk.");
/// let api = Api::builder()
///     .agent(ServedAgent::new(clerk).purpose("Answers letters."))
///     .budget(Budget::default().usd("5.00")?)
///     .build()
///     .await?;
/// let app: Router = Router::new().route("/", get(|| async { "Hello." })).merge(api.router());
/// axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Api {
    setup: Arc<RwLock<Arc<Setup>>>,
    pub(crate) ledger: Ledger,
    runs: Runs,
    pub(crate) idempotency: IdempotencyKeys,
    health: Health,
    pub(crate) metrics: MetricsHandle,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) spans: Option<Collector>,
    pub(crate) store: Option<Store>,
    pub(crate) responses: Arc<Responses>,
    pub(crate) durable: Option<Durable>,
    pub(crate) sessions: Option<LocalSessions>,
    pub(crate) max_body: usize,
    pub(crate) console: bool,
    /// Carries on durable runs.
    worker: Mutex<Option<AbortOnDropHandle<()>>>,
    /// How long a run may wait for a place.
    pub(crate) longest_wait: Duration,
    /// How long a chat completion stays open while a call waits for an approval.
    pub(crate) wait_in_request: Duration,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// Builds an [`Api`].
#[derive(Debug)]
#[must_use]
pub struct ApiBuilder {
    agents: Vec<ServedAgent>,
    keys: Vec<ApiKey>,
    allow_any_host: bool,
    cors_origins: Vec<String>,
    pub(super) approvals: ApprovalSettings,
    budget: Budget,
    ledger: Option<Ledger>,
    store: Option<Store>,
    run_store: Option<Arc<dyn RunStore>>,
    sessions: Option<LocalSessions>,
    observers: Vec<Arc<dyn Observer>>,
    health: Health,
    metrics: Option<MetricsHandle>,
    spans: Option<Collector>,
    max_runs: usize,
    longest_wait: Duration,
    kept_runs: usize,
    max_body: usize,
    console: bool,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Api {
    /// Starts a builder.
    pub fn builder() -> ApiBuilder {
        ApiBuilder {
            agents: Vec::new(),
            keys: Vec::new(),
            allow_any_host: false,
            cors_origins: Vec::new(),
            approvals: ApprovalSettings::default(),
            budget: Budget::default(),
            ledger: None,
            store: None,
            run_store: None,
            sessions: None,
            observers: Vec::new(),
            health: Health::new(),
            metrics: None,
            spans: None,
            max_runs: 256,
            longest_wait: Duration::from_secs(1),
            kept_runs: 1_000,
            max_body: 4 << 20,
            console: false,
            tasks: Vec::new(),
        }
    }

    /// All routes, for a service of axum 0.8: the OpenAI-compatible API, Brigade's own API, metrics, health and
    /// documentation.
    ///
    /// `Router::merge` adds them as they are, and `Router::nest("/ai", …)` below a path. The routes bring the middleware
    /// that they need: keys, allowed hosts, origins of web pages, limits on heads and bodies, request ids, and answers
    /// after a panic. Layers that are added after `merge` or `nest` run outside of these. When the service stops, it calls
    /// [`Runs::drain`], then [`Api::close`], and keeps its connections open until then.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::{Router, routing::get};
    /// # use brigade_core::{Agent, testing::ScriptedModel};
    /// # use brigade_server::{Api, ServedAgent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let api = Api::builder().agent(ServedAgent::new(Agent::new("clerk", ScriptedModel::new([])))).build().await?;
    /// # let stop_signal = async || ();
    /// let app: Router = Router::new().route("/", get(|| async { "Hello." })).nest("/ai", api.router());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// let runs = api.clone();
    /// let stopped = async move {
    ///     stop_signal().await;
    ///     runs.runs().drain(Duration::from_secs(30)).await;
    /// };
    /// axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    /// api.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn router(self: &Arc<Self>) -> Router {
        routes::all(self)
    }

    /// Metrics and health only, without authentication, for a separate address.
    pub fn metrics_router(self: &Arc<Self>) -> Router {
        routes::metrics_and_health(self)
    }

    /// The runs that clients have started.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// The account of the whole process.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The checks behind `/readyz`, to be combined with those of the service that mounts the router.
    pub fn health(self: &Arc<Self>) -> Health {
        let health = Health::new().check(AcceptsRuns(Arc::clone(self))).check(self.health.clone());
        match &self.store {
            Some(store) => health.check(store.clone()),
            None => health,
        }
    }

    /// Exports the remaining spans and writes pending history to disk. Call it after [`Runs::drain`].
    ///
    /// # Errors
    ///
    /// Fails if a part of the history could not be written; the store then lacks the cost of some calls.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.runs.release().cancel();
        let worker = self.worker.lock().take();
        durable_runs::join(worker).await;
        if let Some(spans) = &self.spans {
            spans.shutdown().await;
        }
        match &self.store {
            Some(store) => store.close().await,
            None => Ok(()),
        }
    }

    pub(crate) fn lookup(&self) -> RunLookup<'_> {
        RunLookup { runs: &self.runs, store: self.store.as_ref(), durable: self.durable.as_ref() }
    }

    pub(crate) fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read())
    }

    /// Uses another setup for new requests. Running requests keep theirs.
    pub(crate) fn replace(&self, setup: Setup) {
        *self.setup.write() = Arc::new(setup);
    }
}

impl ApiBuilder {
    /// Adds an agent. Its name is the model that clients ask for.
    pub fn agent(mut self, agent: ServedAgent) -> Self {
        self.agents.push(agent);
        self
    }

    /// Adds an API key. Without keys, requests need none, but only those to localhost are accepted.
    pub fn key(mut self, key: ApiKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Accepts requests to any host name even without keys, for a service that authenticates requests itself.
    pub fn allow_any_host(self) -> Self {
        Self { allow_any_host: true, ..self }
    }

    /// Lets web pages of this origin send requests, such as `https://app.example`. `*` stands for all origins and needs a
    /// key. None by default.
    pub fn cors_origin(mut self, origin: impl Into<String>) -> Self {
        self.cors_origins.push(origin.into());
        self
    }

    /// What all runs together may spend. Unlimited by default.
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Keeps sessions, history, spending and the runs of `POST /v1/runs`. Without a store they are lost when the process ends.
    pub fn store(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }

    /// Keeps the runs of `POST /v1/runs` elsewhere than in the store, so that they survive the end of the process.
    pub fn run_store(self, store: impl RunStore) -> Self {
        Self { run_store: Some(Arc::new(store)), ..self }
    }

    /// Observes all runs.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Adds a check to `/readyz`.
    pub fn health_check(mut self, check: impl HealthCheck) -> Self {
        self.health = self.health.check(check);
        self
    }

    pub(crate) fn shared_health_check(mut self, check: Arc<dyn HealthCheck>) -> Self {
        self.health = self.health.shared_check(check);
        self
    }

    /// The maximum number of runs at the same time; more wait briefly and then get status 429. 256 by default, because each run holds a
    /// conversation in memory.
    pub fn max_runs(self, runs: usize) -> Self {
        Self { max_runs: runs, ..self }
    }

    /// How long a run beyond [`ApiBuilder::max_runs`], or beyond the share of its key, waits for a place before it is
    /// refused. 1 s by default: longer than a burst of requests, and shorter than clients wait before they try again.
    /// At most as many runs wait as may run. Zero refuses at once.
    pub fn longest_wait(self, wait: Duration) -> Self {
        Self { longest_wait: wait, ..self }
    }

    /// The number of finished runs that are kept in memory. 1,000 by default.
    pub fn kept_runs(self, runs: usize) -> Self {
        Self { kept_runs: runs, ..self }
    }

    /// The maximum size of a request body in bytes. 4 MiB by default: a long conversation with a few images.
    pub fn max_body(self, bytes: usize) -> Self {
        Self { max_body: bytes, ..self }
    }

    /// Whether the router serves the console, a web page at `/console` that shows runs and their cost. It shows what the key
    /// of its user may see. False by default: a service chooses which pages it has.
    pub fn console(self, is_served: bool) -> Self {
        Self { console: is_served, ..self }
    }

    /// The metrics that runs are counted in. By default the API has its own, which `/metrics` serves.
    pub fn metrics(self, metrics: MetricsHandle) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The account of the process, in place of a new one with [`ApiBuilder::budget`].
    pub(crate) fn ledger(self, ledger: Ledger) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Sessions for all agents if there is no store. Without them, each agent has its own memory.
    pub(crate) fn sessions(self, sessions: LocalSessions) -> Self {
        Self { sessions: Some(sessions), ..self }
    }

    pub(crate) fn spans(self, spans: Collector) -> Self {
        Self { spans: Some(spans), ..self }
    }

    /// Adds a background task that ends with the API.
    pub(crate) fn task(mut self, task: impl Future<Output = ()> + Send + 'static) -> Self {
        self.tasks.push(AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(task)));
        self
    }

    /// Builds the API. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if there are no agents, an agent is not valid, or the store cannot be read.
    pub async fn build(self) -> Result<Arc<Api>, SetupError> {
        if self.agents.is_empty() {
            return Err(SetupError::NoAgents);
        }
        let ledger = self.ledger.clone().unwrap_or_else(|| Ledger::root("this process", self.budget.clone()));
        if let Some(store) = self.store.as_ref().filter(|_| self.ledger.is_none()) {
            store.restore(&ledger, None).await?;
        }
        let agents = self.agents.into_iter().map(|agent| {
            let name = agent.agent.name().to_string();
            let agent = agent.check().context(format!("the agent {name} cannot run"))?;
            Ok((name, Arc::new(agent)))
        });
        let agents = agents.collect::<Result<BTreeMap<_, _>, SetupError>>()?;
        let runs = Runs::new(self.max_runs, self.kept_runs);
        let access = Access::new(self.keys, &ledger, self.store.as_ref(), None, runs.max_running()).await?;
        let access = access.allow_any_host(self.allow_any_host);
        let cors_origins: Result<Vec<Origin>, ParseOriginError> =
            self.cors_origins.iter().map(|origin| origin.parse()).collect();
        let cors_origins = cors_origins.map_err(|error| SetupError::Invalid(error.to_string()))?;
        if access.is_open() && !self.allow_any_host && cors_origins.iter().any(Origin::is_any) {
            return Err(SetupError::Invalid(ANY_ORIGIN_WITHOUT_KEYS.to_owned()));
        }
        let labels = agents.values().fold(MetricsConfig::default(), |labels, agent| agent.add_labels(labels));
        let metrics = match self.metrics {
            Some(metrics) => metrics,
            None => Metrics::local(&labels).context("cannot set up metrics")?,
        };
        let mut observers = self.observers;
        observers.push(metrics.observer());
        let run_store = self.run_store.or_else(|| Some(Arc::new(self.store.as_ref()?.durable_runs())));
        let four_eyes = self.approvals.four_eyes;
        let setup = Arc::new(RwLock::new(Arc::new(Setup { agents, access, cors_origins, four_eyes })));
        let api = Arc::new(Api {
            setup: Arc::clone(&setup),
            ledger,
            runs,
            idempotency: IdempotencyKeys::stored_in(self.store.as_ref()),
            health: self.health,
            metrics,
            observers,
            spans: self.spans,
            responses: Arc::new(Responses::new(self.store.as_ref().map(Store::responses))),
            durable: run_store.map(|store| durable_runs::open(store, setup, self.approvals.webhook)),
            store: self.store,
            sessions: self.sessions,
            max_body: self.max_body,
            console: self.console,
            worker: Mutex::default(),
            longest_wait: self.longest_wait,
            wait_in_request: self.approvals.wait_in_request,
            _tasks: self.tasks,
        });
        let sampled = Arc::downgrade(&api);
        api.metrics.watch_storage(move || {
            let Some(api) = sampled.upgrade() else { return Storage::working() };
            let storage = api.store.as_ref().map_or_else(Storage::working, Store::sample);
            storage.forgotten_keys(api.idempotency.forgotten())
        });
        if let Some(durable) = &api.durable {
            *api.worker.lock() = Some(durable_runs::spawn_worker(&api, durable).await?);
        }
        let watched = Arc::downgrade(&api);
        api.metrics.watch_waiting_runs(move || watched.upgrade().map_or(0, |api| api.runs.waiting()));
        Ok(api)
    }
}
