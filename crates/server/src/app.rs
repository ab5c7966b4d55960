//! Composes the crates: accounts, models with prices and policies, and the agents that use them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
};

use brigade_config::{
    Config, EmbeddingConfig, LoadedConfig, ModelConfig, NoteTool, ProviderConfig, ProviderKind, Secrets, UnpricedConfig,
};
use brigade_core::{ChatModel, Embedder, Ledger, Metered, ModelId, UnpricedPolicy};
use brigade_observability::{MetricsConfig, PriceBook};
use brigade_providers::{Anthropic, OpenAi, OpenAiEmbeddings};
use brigade_rehearsal::demo as script;
use brigade_resilience::{Accounts, FallbackModel, Policy};
use brigade_tools::WebhookSender;

use crate::{
    agents::{
        self, demo,
        from_config::{AgentBuilder, ConfiguredModel},
        mcp::McpServers,
        served::ServedAgent,
    },
    health::providers::ProbeTargets,
    models::{account::Account, simulator::SharedSimulator},
    runs::{approval_webhook::ApprovalWebhook, sessions::LocalSessions, store::Store},
    setup::error::{SetupContext as _, SetupError},
};

/// Agents, and the accounts and prices that they use.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) agents: Vec<ServedAgent>,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) prices: PriceBook,
    /// The names that may become metric labels.
    pub(crate) labels: MetricsConfig,
    /// Advice on the MCP servers.
    pub(crate) warnings: Vec<String>,
    /// Notifies people of calls that wait for an approval.
    pub(crate) webhook: Option<(ApprovalWebhook, WebhookSender)>,
}

/// What survives a reload of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct SharedState {
    pub(crate) ledger: Ledger,
    pub(crate) store: Option<Store>,
    /// The sessions, if there is no store.
    pub(crate) sessions: LocalSessions,
    /// Circuit breakers and rate limits of all models.
    pub(crate) breakers: Accounts,
    simulator: SharedSimulator,
}

/// Fails if the store is not a file.
pub(crate) fn refuse_postgres(config: &Config) -> Result<(), SetupError> {
    if config.store_address().is_none() {
        return Ok(());
    }
    Err(SetupError::Invalid(
        "`store` is the address of a PostgreSQL database, which only `brigade store` and `brigade runs` can use: runs need a file \
         for their history and spending; write `store = \"brigade.db\"`"
            .to_owned(),
    ))
}

struct ModelBuilder<'a> {
    prices: &'a PriceBook,
    state: &'a SharedState,
    accounts: &'a BTreeMap<String, Account>,
    providers: &'a BTreeMap<String, ProviderConfig>,
}

impl SharedState {
    /// State without a store and without spending.
    pub(crate) fn new(config: &Config) -> Self {
        let ledger = Ledger::root("this process", config.budget.to_core());
        Self {
            ledger,
            store: None,
            sessions: LocalSessions::new(),
            breakers: Accounts::new(),
            simulator: SharedSimulator::default(),
        }
    }

    /// Opens the configured store and counts the spending that it has recorded.
    pub(crate) async fn open(loaded: &LoadedConfig) -> Result<Self, SetupError> {
        let LoadedConfig { config, folder, .. } = loaded;
        let state = Self::new(config);
        refuse_postgres(config)?;
        let Some(path) = &config.store else { return Ok(state) };
        let store = Store::open(&folder.join(path), config.retention.clone()).await?;
        store.restore(&state.ledger, None).await?;
        Ok(Self { store: Some(store), ..state })
    }
}

impl App {
    /// Builds what a configuration describes.
    pub(crate) fn from_config(loaded: &LoadedConfig, state: &SharedState) -> Result<Self, SetupError> {
        Self::with_secrets(loaded, state, &Secrets::of(&loaded.folder))
    }

    /// The same, with a choice of whether secrets are read.
    pub(crate) fn with_secrets(
        loaded: &LoadedConfig,
        state: &SharedState,
        secrets: &Secrets<'_>,
    ) -> Result<Self, SetupError> {
        let LoadedConfig { config, folder, .. } = loaded;
        let prices = prices(loaded)?;
        let open = |(name, provider): (&String, &ProviderConfig)| {
            Ok((name.clone(), Account::open(name, provider, secrets, &state.simulator)?))
        };
        let accounts: BTreeMap<_, _> = used_providers(config).map(open).collect::<Result<_, SetupError>>()?;
        let builder = ModelBuilder { prices: &prices, state, accounts: &accounts, providers: &config.providers };
        let models = builder.models(&config.models)?;
        let embedder = config.recall.embedding.as_ref().map(|embedding| builder.embedder(embedding)).transpose()?;
        let embedding = embedder.as_ref().map(|embedder| embedder.id().clone());
        let recall = agents::open_recall(config, state.store.as_ref(), embedder);
        let mcp = McpServers::open(loaded, secrets)?;
        let agents = AgentBuilder { config, folder, secrets, models: &models, mcp: &mcp, recall }.build()?;
        let webhook = ApprovalWebhook::of(&config.approvals, secrets)?;
        secrets.check().map_err(SetupError::Invalid)?;
        let tools = config.tools.keys().map(String::as_str).chain(NoteTool::ALL.map(NoteTool::name)).chain(mcp.names());
        let labels = metric_labels(&agents, tools);
        let labels = embedding.into_iter().fold(labels, MetricsConfig::model);
        Ok(Self { agents, accounts, prices, labels, warnings: mcp.warnings().collect(), webhook })
    }

    /// Builds the team of `brigade demo`, whose provider is a simulator at this address.
    pub(crate) fn demo(base_url: &str, state: &SharedState) -> Result<Self, SetupError> {
        let invalid = || format!("{base_url} is not a valid address of a simulator");
        let anthropic = Anthropic::builder().base_url(base_url).api_key("simulated").agent_header(true).build();
        let openai = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").agent_header(true);
        let (anthropic, openai) = (anthropic.context(invalid())?, openai.build().context(invalid())?);
        let prices = PriceBook::bundled();
        let with_policy = |model: Arc<dyn ChatModel>| {
            let metered = Metered::new(model, Arc::new(prices.clone()));
            Policy::default().wrap(metered, [], &state.breakers)
        };
        let supervisor = with_policy(Arc::new(anthropic.model(script::SUPERVISOR_MODEL).thinking(1_024)));
        let worker = with_policy(Arc::new(openai.model(script::WORKER_MODEL)));
        let models = vec![supervisor.id().clone(), worker.id().clone()];
        let team = ServedAgent::new(demo::team(supervisor, &worker))
            .purpose("Answers a question with a researcher, a critic and an estimator.")
            .budget(demo::budget().context("the budget of the demo")?)
            .models(models);
        let agents = vec![team.check().context("the team of the demo cannot run")?];
        let labels = metric_labels(&agents, [script::SEARCH_TOOL, script::CALCULATE_TOOL]);
        let labels = script::WORKERS.into_iter().fold(labels, MetricsConfig::agent);
        let accounts = [("anthropic", Account::Anthropic(anthropic)), ("openai", Account::OpenAi(openai))];
        let accounts = accounts.into_iter().map(|(name, account)| (name.to_owned(), account)).collect();
        Ok(Self { agents, accounts, prices, labels, warnings: Vec::new(), webhook: None })
    }

    pub(crate) fn agent(&self, name: &str) -> Option<&ServedAgent> {
        self.agents.iter().find(|served| **served.agent.name() == *name)
    }

    pub(crate) fn probe_targets(&self, config: &Config) -> ProbeTargets {
        let models = self.agents.iter().map(|served| (served.agent.name().to_string(), served.models.clone()));
        let exposed = self.agents.iter().filter(|served| served.exposed).map(|served| served.agent.name().to_string());
        ProbeTargets {
            accounts: self.accounts.clone(),
            models: models.collect(),
            exposed: exposed.collect(),
            interval: config.server.probe_every,
        }
    }
}

/// The bundled prices, overridden by the configured file.
pub(crate) fn prices(loaded: &LoadedConfig) -> Result<PriceBook, SetupError> {
    let providers = loaded.config.providers.iter();
    let local = providers.filter(|(name, provider)| provider.kind(name).is_ok_and(ProviderKind::runs_at_home));
    let local = local.map(|(name, _)| name.clone());
    let Some(path) = &loaded.config.prices else { return Ok(PriceBook::bundled().local_accounts(local)) };
    let path = loaded.folder.join(path);
    let text = fs::read_to_string(&path).context(format!("cannot read the prices in {}", path.display()))?;
    let prices = PriceBook::from_toml_overlay(&text);
    let prices = prices.context(format!("the prices in {} are not valid", path.display()))?;
    Ok(prices.local_accounts(local))
}

/// The names that may become metric labels: those of agents, their models and tools. Names that a model invents may not.
fn metric_labels<'a>(agents: &[ServedAgent], tools: impl IntoIterator<Item = &'a str>) -> MetricsConfig {
    let labels = tools.into_iter().fold(MetricsConfig::default(), MetricsConfig::tool);
    agents.iter().fold(labels, |labels, agent| agent.add_labels(labels))
}

/// The accounts that a model uses, so that unused ones need no key.
fn used_providers(config: &Config) -> impl Iterator<Item = (&String, &ProviderConfig)> {
    let embedding = config.recall.embedding.iter().map(|embedding| embedding.provider.as_ref());
    let used: BTreeSet<_> = config.models.values().map(|model| model.provider.as_ref()).chain(embedding).collect();
    config.providers.iter().filter(move |(name, _)| used.contains(name))
}

/// Opens the accounts that a model uses, each on its own: an error concerns only its account.
pub(crate) fn accounts<'a>(
    LoadedConfig { config, folder, .. }: &'a LoadedConfig,
    state: &'a SharedState,
) -> impl Iterator<Item = (&'a String, Result<Account, SetupError>)> {
    used_providers(config).map(|(name, provider)| {
        let secrets = Secrets::of(folder);
        let account = Account::open(name, provider, &secrets, &state.simulator);
        (name, secrets.check().map_err(SetupError::Invalid).and(account))
    })
}

impl ModelBuilder<'_> {
    /// Wraps every configured model in its policy, with its fallbacks.
    fn models(&self, configs: &BTreeMap<String, ModelConfig>) -> Result<BTreeMap<String, ConfiguredModel>, SetupError> {
        let mut metered = BTreeMap::new();
        for (name, config) in configs {
            metered.insert(name.as_str(), self.metered(config)?);
        }
        let mut models = BTreeMap::new();
        for (name, config) in configs {
            let own = metered.get(name.as_str()).ok_or_else(|| SetupError::missing("a model"))?;
            let (mut ids, mut fallbacks) = (vec![own.id().clone()], Vec::new());
            for fallback in &config.fallbacks {
                let other = metered.get(fallback.as_ref().as_str()).ok_or_else(|| SetupError::missing("a fallback"))?;
                let policy = configs.get(fallback.as_ref()).map(|config| self.policy(config));
                let policy = policy.ok_or_else(|| SetupError::missing("a fallback"))?;
                let model = FallbackModel::new(policy.wrap(Arc::clone(other), [], &self.state.breakers));
                let is_larger = self.context_window(other.id()) > self.context_window(own.id());
                fallbacks.push(if is_larger { model.with_larger_context() } else { model });
                ids.push(other.id().clone());
            }
            let model = self.policy(config).wrap(Arc::clone(own), fallbacks, &self.state.breakers);
            models.insert(name.clone(), ConfiguredModel { model, ids });
        }
        Ok(models)
    }

    /// The configured policy. Tokens count against rate limits as the provider counts them.
    fn policy(&self, config: &ModelConfig) -> Policy {
        let mut policy = config.policy.clone();
        let name = config.provider.as_ref();
        let kind = self.providers.get(name).and_then(|provider| provider.kind(name).ok());
        policy.limits.charging = policy.limits.charging.or(kind.and_then(ProviderKind::charging));
        policy
    }

    fn metered(&self, config: &ModelConfig) -> Result<Arc<dyn ChatModel>, SetupError> {
        let account = self.accounts.get(config.provider.as_ref()).ok_or_else(|| SetupError::missing("a provider"))?;
        let unpriced = match config.unpriced {
            UnpricedConfig::Deny => UnpricedPolicy::Deny,
            UnpricedConfig::Warn => UnpricedPolicy::Warn,
        };
        let model = account.model(&config.model, config.settings());
        let model = match &self.state.store {
            Some(store) => Arc::new(store.booked(model)),
            None => model,
        };
        Ok(Arc::new(Metered::new(model, Arc::new(self.prices.clone())).unpriced(unpriced)))
    }

    /// The model that finds notes by meaning. The run that searches pays for it.
    fn embedder(&self, config: &EmbeddingConfig) -> Result<Arc<dyn Embedder>, SetupError> {
        let name = config.provider.as_ref().as_str();
        let Some(model) = self.accounts.get(name).and_then(|account| account.embeddings(&config.model)) else {
            return Err(SetupError::Invalid(format!(
                "`recall.embedding`: the provider `{name}` has no embeddings; use one of kind \"openai\" or \"compatible\""
            )));
        };
        let model = config.dimensions.into_iter().fold(model, OpenAiEmbeddings::dimensions);
        let prices = Arc::new(self.prices.clone());
        Ok(match &self.state.store {
            Some(store) => Arc::new(Metered::new(store.booked(model), prices)),
            None => Arc::new(Metered::new(model, prices)),
        })
    }

    fn context_window(&self, model: &ModelId) -> Option<u64> {
        self.prices.lookup(model)?.context_window
    }
}
