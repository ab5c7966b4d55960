//! An API that a configuration describes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use brigade_config::{Config, ConfigValue, LoadedConfig};
use brigade_observability::{Collector, Metrics, MetricsError, MetricsHandle, RunLog};

use crate::{
    api::{
        access::{Access, ApiKey, Caller},
        api::{Api, ApiBuilder},
        served_setup::Setup,
    },
    app::{App, SharedState, refuse_postgres},
    health::providers::ProviderHealth,
    setup::error::{SetupContext as _, SetupError},
};

/// An [`Api`] that a configuration describes and that can be reloaded.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use brigade_config::LoadedConfig;
/// use brigade_server::ConfiguredApi;
///
/// let config = LoadedConfig::from_file("brigade.toml".as_ref())?;
/// let configured = ConfiguredApi::start(&config).await?;
/// let app: axum::Router = axum::Router::new().merge(configured.api().router());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConfiguredApi {
    api: Arc<Api>,
    state: SharedState,
    health: Arc<ProviderHealth>,
    listen: SocketAddr,
    /// The configuration at the start. A reload compares these values to warn about keys that need a restart.
    values: Vec<ConfigValue>,
}

/// A configuration that was built and can be applied without errors.
pub(crate) struct PreparedReload {
    app: App,
    setup: Setup,
    loaded: LoadedConfig,
}

/// Keys that only take effect at a start, because a reload keeps sockets, files, background tasks and the main budget.
const ONLY_AT_START: [&str; 19] = [
    "approvals.wait_in_request",
    "approvals.webhook",
    "approvals.webhook_allow_private",
    "approvals.webhook_secret",
    "budget",
    "log.events",
    "log.format",
    "retention.events",
    "retention.runs",
    "retention.sessions",
    "server.console",
    "server.drain",
    "server.kept_runs",
    "server.listen",
    "server.longest_wait",
    "server.max_body",
    "server.max_runs",
    "server.metrics_listen",
    "store",
];

impl ConfiguredApi {
    /// Opens the store, builds the agents and starts health probes. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if something that the configuration names is missing, such as a key or a file.
    pub async fn start(loaded: &LoadedConfig) -> Result<Self, SetupError> {
        require_servable(&loaded.config, loaded.config.server.listen)?;
        let state = SharedState::open(loaded).await?;
        let app = App::from_config(loaded, &state)?;
        Self::build(loaded, state, app).await
    }

    /// Builds an API with the demo's team. Its provider is the simulator at `base_url`.
    pub(crate) async fn start_demo(loaded: &LoadedConfig, base_url: &str) -> Result<Self, SetupError> {
        require_keys(&loaded.config, loaded.config.server.listen)?;
        let state = SharedState::new(&loaded.config);
        let app = App::demo(base_url, &state)?;
        Self::build(loaded, state, app).await
    }

    async fn build(loaded: &LoadedConfig, state: SharedState, app: App) -> Result<Self, SetupError> {
        let LoadedConfig { config, folder, .. } = loaded;
        let metrics = metrics(&app)?;
        metrics.watch_budget("process", &state.ledger);
        metrics.watch_prices(&app.prices);
        let breakers = state.breakers.clone();
        metrics.watch_breakers(move || {
            let models = breakers.snapshot().into_iter();
            models.filter_map(|model| Some((model.model.clone(), model.breaker_state()?))).collect()
        });
        let health = Arc::new(ProviderHealth::new(app.probe_targets(config), state.breakers.clone()));
        let mut builder = Api::builder()
            .ledger(state.ledger.clone())
            .store(state.store.clone())
            .sessions(state.sessions.clone())
            .metrics(metrics.clone())
            .spans(Collector::of_environment().context("cannot export spans")?)
            .max_runs(config.server.max_runs)
            .longest_wait(config.server.longest_wait)
            .kept_runs(config.server.kept_runs)
            .max_body(config.server.max_body.bytes)
            .console(config.server.console)
            .four_eyes(config.approvals.four_eyes)
            .wait_in_request(config.approvals.wait_in_request)
            .shared_health_check(Arc::clone(&health) as _)
            .task(Arc::clone(&health).watch());
        builder = app.agents.into_iter().fold(builder, ApiBuilder::agent);
        builder = config.server.cors_origins.iter().map(ToString::to_string).fold(builder, ApiBuilder::cors_origin);
        builder = api_keys(config).into_iter().fold(builder, ApiBuilder::key);
        if let Some((webhook, sender)) = app.webhook {
            let watched = webhook.clone();
            metrics.watch_webhook(move || watched.failed());
            builder = builder.approval_webhook(webhook.clone()).task(webhook.send_all(sender));
        }
        if let Some(store) = state.store.clone() {
            builder = builder.task(store.sweep());
        }
        if let Some(path) = &config.log.events {
            let path = folder.join(path);
            let recorder = RunLog::open(&path).context(format!("cannot open `log.events` = {}", path.display()))?;
            builder = builder.observer(Arc::new(recorder));
        }
        let api = builder.build().await?;
        watch_budgets(&api.metrics, &api.setup().access);
        Ok(Self { api, state, health, listen: config.server.listen, values: loaded.values.clone() })
    }

    /// The API, whose router can be mounted in another service.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Uses another configuration for new requests. Logs a warning for each changed key that needs a restart.
    ///
    /// # Errors
    ///
    /// Fails if the configuration cannot be used; then nothing changes.
    pub async fn reload(&self, loaded: LoadedConfig) -> Result<(), SetupError> {
        let prepared = self.prepare(loaded).await?;
        self.apply(prepared);
        Ok(())
    }

    pub(crate) async fn prepare(&self, loaded: LoadedConfig) -> Result<PreparedReload, SetupError> {
        let config = &loaded.config;
        // A reload does not move the socket, so its current address decides whether keys are needed.
        require_servable(config, self.listen)?;
        let previous = self.api.setup();
        if config.keys.is_empty() && !previous.access.is_open() {
            return Err(SetupError::Invalid(
                "the configuration has no keys any more, so requests would need none; keep a key in `[keys]`, or restart \
                 the server to serve without keys".to_owned()));
        }
        let (ledger, store) = (&self.state.ledger, self.state.store.as_ref());
        let access =
            Access::new(api_keys(config), ledger, store, Some(&previous.access), self.api.runs().max_running()).await?;
        let app = App::from_config(&loaded, &self.state)?;
        let agents = app.agents.iter().map(|agent| (agent.agent.name().to_string(), Arc::new(agent.clone())));
        let cors_origins = config.server.cors_origins.clone();
        let four_eyes = config.approvals.four_eyes;
        let setup = Setup { agents: agents.collect(), access, cors_origins, four_eyes };
        Ok(PreparedReload { app, setup, loaded })
    }

    pub(crate) fn apply(&self, prepared: PreparedReload) {
        let PreparedReload { app, setup, loaded } = prepared;
        let metrics = &self.api.metrics;
        setup.access.apply_budgets();
        metrics.observer().add_names(&app.labels);
        metrics.watch_prices(&app.prices);
        watch_budgets(metrics, &setup.access);
        for previous in self.api.setup().access.callers() {
            let has_budget = |caller: &Caller| caller.name == previous.name && caller.account.budget().usd.is_some();
            if !setup.access.callers().any(has_budget) {
                metrics.forget_budget(&previous.name);
            }
        }
        for key in ONLY_AT_START.into_iter().filter(|key| values(key, &self.values) != values(key, &loaded.values)) {
            tracing::warn!("`{key}` has changed; restart the server to apply it");
        }
        self.health.replace(app.probe_targets(&loaded.config));
        self.api.replace(setup);
    }
}

/// The value of a key and of all keys below it.
fn values<'a>(key: &str, all: &'a [ConfigValue]) -> BTreeMap<&'a str, &'a toml::Value> {
    let is_below =
        |value: &&ConfigValue| value.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    all.iter().filter(is_below).map(|value| (value.key.as_str(), &value.value)).collect()
}

/// Fails if there is nothing to serve, or everybody could use it.
pub(crate) fn require_servable(config: &Config, listen: SocketAddr) -> Result<(), SetupError> {
    if config.agents.is_empty() {
        return Err(SetupError::NoAgents);
    }
    refuse_postgres(config)?;
    if config.store.is_none() && config.asks_for_approvals() {
        return Err(SetupError::Invalid(
            "a tool or a worker has `approve`, and calls that wait for an approval are kept in a store; add `store = \
             \"brigade.db\"`, or remove `approve`"
                .to_owned(),
        ));
    }
    require_keys(config, listen)
}

/// Fails if other machines can reach the address but no keys are configured.
fn require_keys(config: &Config, listen: SocketAddr) -> Result<(), SetupError> {
    if config.keys.is_empty() && !listen.ip().is_loopback() {
        return Err(SetupError::Invalid(format!(
            "other machines can reach {listen}, but no keys are configured, so anybody could spend your money; listen on \
             127.0.0.1, or add the section `[keys.NAME]` that `brigade keys new NAME` prints to the configuration \
             (`--demo` has none; `brigade init` writes one)"
        )));
    }
    Ok(())
}

fn api_keys(config: &Config) -> Vec<ApiKey> {
    let keys = config.keys.iter().map(|(name, key)| {
        ApiKey::new(name.as_str(), key.hash)
            .scopes(key.scopes.iter().copied())
            .approves(key.approves.iter().map(|name| name.as_ref().as_str().into()))
            .budget(key.budget.to_core())
            .max_runs(key.max_runs)
            .requests_per_minute(key.requests_per_minute)
            .burst(key.burst)
    });
    keys.collect()
}

/// Installs the metrics for the whole process. If the process already has a recorder, the API gets metrics of its own.
fn metrics(app: &App) -> Result<MetricsHandle, SetupError> {
    let metrics = match Metrics::install(&app.labels) {
        Err(MetricsError::AlreadyInstalled) => Metrics::local(&app.labels),
        result => result,
    };
    metrics.context("cannot set up metrics")
}

fn watch_budgets(metrics: &MetricsHandle, access: &Access) {
    access.callers().for_each(|caller| metrics.watch_budget(&caller.name, &caller.account));
}
