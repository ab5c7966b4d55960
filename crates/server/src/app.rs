//! Where the crates meet: accounts, models with their prices, limits and policies, and the agents that use them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use brigade_core::{ChatModel, Embedder, Ledger, Metered, ModelError, ModelId, Settings};
use brigade_observability::{MetricsConfig, PriceBook};
use brigade_providers::{Anthropic, Client, ClientBuilder, OpenAi, OpenAiResponses, Probe, Protocol};
use brigade_rehearsal::demo as story;
use brigade_resilience::{Accounts, FallbackModel, ModelHealth, Policy};

use crate::{
    agents::recall,
    agents::team::{self, Served},
    config::{self, Config, Kind, Loaded, NoteTool, Provider},
    models::simulated::Simulated,
    runs::store::Store,
};

/// What the program does its work with: agents, and the accounts and models behind them.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) agents: BTreeMap<String, Arc<Served>>,
    pub(crate) prices: PriceBook,
    /// The names that metrics may show.
    pub(crate) labels: MetricsConfig,
    providers: BTreeMap<String, Account>,
    standing: Standing,
}

/// What stays when the configuration is read again: what was spent, where that is kept, and what is known about
/// providers.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) ledger: Ledger,
    pub(crate) store: Option<Store>,
    accounts: Accounts,
    simulated: Simulated,
}

/// A model that agents can be given, and all models that may answer in its place, itself first.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) model: Arc<dyn ChatModel>,
    pub(crate) chain: Vec<ModelId>,
}

/// A provider account, by what it speaks.
#[derive(Debug, Clone)]
enum Account {
    Chat(OpenAi),
    Responses(OpenAiResponses),
    Anthropic(Anthropic),
}

/// Gives prices, policies and shared state to models.
struct Pass<'a> {
    prices: &'a PriceBook,
    standing: &'a Standing,
    providers: &'a BTreeMap<String, Provider>,
}

impl Standing {
    /// Nothing is spent, and nothing known.
    pub(crate) fn new(config: &Config) -> Self {
        let ledger = Ledger::root("this process", config.budget.to_core());
        Self { ledger, store: None, accounts: Accounts::new(), simulated: Simulated::default() }
    }

    /// What was spent before this process began counts, and what it spends is kept.
    pub(crate) async fn kept_in(self, store: Option<Store>) -> anyhow::Result<Self> {
        if let Some(store) = &store {
            store.restore(&self.ledger, None).await?;
        }
        Ok(Self { store, ..self })
    }
}

impl App {
    /// What a configuration describes.
    pub(crate) fn from_config(loaded: &Loaded, standing: Standing) -> anyhow::Result<Self> {
        let Loaded { config, folder, .. } = loaded;
        let prices = prices(loaded)?;
        let embedding = config.recall.embedding.iter().map(|embedding| embedding.provider.as_ref().as_str());
        let used = config.models.values().map(|model| model.provider.as_ref().as_str());
        let used: BTreeSet<&str> = used.chain(embedding).collect();
        let used = config.providers.iter().filter(|(name, _)| used.contains(name.as_str()));
        let providers: BTreeMap<_, _> = used
            .map(|(name, provider)| Ok((name.clone(), Account::open(name, provider, (folder, &standing.simulated))?)))
            .collect::<anyhow::Result<_>>()?;
        let pass = Pass { prices: &prices, standing: &standing, providers: &config.providers };
        let models = pass.models(&config.models, &providers)?;
        let embedder = config.recall.embedding.as_ref().map(|embedding| pass.embedder(embedding, &providers));
        let embedder = embedder.transpose()?;
        let embedding = embedder.as_ref().map(|embedder| embedder.id().clone());
        let recall = recall::open(config, standing.store.as_ref(), embedder);
        let agents = team::build(config, folder, (&models, recall))?;
        let tools = config.tools.keys().map(String::as_str).chain(NoteTool::ALL.map(NoteTool::name));
        let labels = embedding.into_iter().fold(labels(&agents, tools), MetricsConfig::model);
        Ok(Self { agents, prices, labels, providers, standing })
    }

    /// The team of `brigade demo`, at a simulator.
    pub(crate) fn demo(base_url: &str, standing: Standing) -> anyhow::Result<Self> {
        let address = "the simulator's address cannot be used";
        let claude = Anthropic::builder().base_url(base_url).api_key("simulated").agent_header(true).build();
        let openai = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").agent_header(true);
        let (claude, openai) = (claude.context(address)?, openai.build().context(address)?);
        let prices = PriceBook::bundled();
        let guarded = |model: Arc<dyn ChatModel>| {
            let metered = Metered::new(model, Arc::new(prices.clone()));
            Policy::default().wrap(metered, [], &standing.accounts)
        };
        let supervisor = guarded(Arc::new(claude.model(story::SUPERVISOR_MODEL).thinking(1_024)));
        let worker = guarded(Arc::new(openai.model(story::WORKER_MODEL)));
        let chain = vec![supervisor.id().clone(), worker.id().clone()];
        let desk = crate::cli::demo::team(supervisor, &worker);
        let served = Served::of_demo(desk, chain)?;
        let agents = BTreeMap::from([(story::SUPERVISOR.to_owned(), Arc::new(served))]);
        let labels = labels(&agents, [story::SEARCH_TOOL, story::CALCULATE_TOOL]);
        let labels = story::WORKERS.into_iter().fold(labels, MetricsConfig::agent);
        let accounts = [("anthropic", Account::Anthropic(claude)), ("openai", Account::Chat(openai))];
        let providers = accounts.into_iter().map(|(name, account)| (name.to_owned(), account)).collect();
        Ok(Self { agents, prices, labels, providers, standing })
    }

    /// What the whole process spends from.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.standing.ledger
    }

    /// What is known about each model.
    pub(crate) fn models(&self) -> Vec<ModelHealth> {
        self.standing.accounts.snapshot()
    }

    /// The names of the accounts that models use.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &String> {
        self.providers.keys()
    }

    /// Asks an account whether it can be reached and accepts the credentials, at no cost. It takes as long as the
    /// caller lets it.
    pub(crate) async fn probe(&self, account: &str) -> Option<Result<Probe, ModelError>> {
        Some(match self.providers.get(account)? {
            Account::Chat(client) => client.probe().await,
            Account::Responses(client) => client.probe().await,
            Account::Anthropic(client) => client.probe().await,
        })
    }
}

impl Account {
    /// Sets an account up; the error names it.
    fn open(name: &str, provider: &Provider, (folder, simulated): (&Path, &Simulated)) -> anyhow::Result<Self> {
        let kind = provider.kind(name).map_err(|error| anyhow!(error))?;
        let opened = match kind {
            Kind::Anthropic => set_up(Anthropic::builder(), name, (provider, kind, folder)).map(Self::Anthropic),
            Kind::OpenAiResponses => {
                set_up(OpenAiResponses::builder(), name, (provider, kind, folder)).map(Self::Responses)
            }
            Kind::Server(server) => set_up(OpenAi::server(server), name, (provider, kind, folder)).map(Self::Chat),
            Kind::Simulator => {
                tracing::warn!("the provider `{name}` is simulated: its answers are made up, and nobody is asked");
                let base_url = format!("{}/v1", simulated.base_url()?);
                set_up(OpenAi::compatible(name, base_url), name, (provider, kind, folder)).map(Self::Chat)
            }
            Kind::Compatible => {
                let base_url = provider.base_url.as_deref().unwrap_or_default();
                set_up(OpenAi::compatible(name, base_url), name, (provider, kind, folder)).map(Self::Chat)
            }
        };
        opened.with_context(|| format!("the provider `{name}`"))
    }

    fn model(&self, name: &str, settings: Settings) -> Arc<dyn ChatModel> {
        match self {
            Self::Chat(client) => Arc::new(client.model(name).settings(settings)),
            Self::Responses(client) => Arc::new(client.model(name).settings(settings)),
            Self::Anthropic(client) => Arc::new(client.model(name).settings(settings)),
        }
    }
}

fn set_up<P: Protocol>(
    builder: ClientBuilder<P>,
    name: &str,
    (provider, kind, folder): (&Provider, Kind, &Path),
) -> anyhow::Result<Client<P>> {
    let mut builder = builder.name(name).propagate_trace(provider.propagate_trace).agent_header(provider.agent_header);
    if let Some(url) = &provider.base_url {
        builder = builder.base_url(url.clone());
    }
    if let Some(http2) = provider.http2 {
        builder = builder.http2(http2);
    }
    for (header, value) in &provider.headers {
        builder = builder.header(header.clone(), value.clone());
    }
    if let Some(key) = key(provider, kind, folder)? {
        builder = builder.api_key(key);
    }
    Ok(builder.build()?)
}

/// The account's key. A server at an address of its own need not have one.
fn key(provider: &Provider, kind: Kind, folder: &Path) -> anyhow::Result<Option<String>> {
    if let Some(secret) = &provider.api_key {
        return secret.as_ref().read(folder).map(Some).map_err(|error| anyhow!("its API key: {error}"));
    }
    match kind.key_variable() {
        // The vendor's key is for the vendor's address.
        Some(variable) if provider.base_url.is_none() => {
            let key = config::Secret::Env(variable.to_owned()).read(folder);
            key.map(Some).map_err(|error| anyhow!("it has no `api_key`, and {error}"))
        }
        _ => Ok(None),
    }
}

/// The names that metrics may show: those of the configuration.
fn labels<'a>(agents: &BTreeMap<String, Arc<Served>>, tools: impl IntoIterator<Item = &'a str>) -> MetricsConfig {
    let mut labels = tools.into_iter().fold(MetricsConfig::default(), MetricsConfig::tool);
    for (name, served) in agents {
        labels = served.chain.iter().cloned().fold(labels.agent(name.as_str()), MetricsConfig::model);
    }
    labels
}

/// The bundled prices, below those that the configuration names.
pub(crate) fn prices(loaded: &Loaded) -> anyhow::Result<PriceBook> {
    let Some(path) = &loaded.config.prices else { return Ok(PriceBook::bundled()) };
    let path = loaded.folder.join(path);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read the prices in {}", path.display()))?;
    PriceBook::from_toml_overlay(&text).with_context(|| format!("the prices in {}", path.display()))
}

impl Pass<'_> {
    /// Every configured model, guarded, with its fallbacks behind it.
    fn models(
        &self,
        models: &BTreeMap<String, config::Model>,
        providers: &BTreeMap<String, Account>,
    ) -> anyhow::Result<BTreeMap<String, Guarded>> {
        let mut metered = BTreeMap::new();
        for (name, model) in models {
            let account = providers.get(model.provider.as_ref()).context("a model has no provider")?;
            metered.insert(name.as_str(), self.metered(account, model));
        }
        let mut guarded = BTreeMap::new();
        for (name, model) in models {
            let own = metered.get(name.as_str()).context("a model is missing")?;
            let (mut chain, mut alternates) = (vec![own.id().clone()], Vec::new());
            for fallback in &model.fallbacks {
                let other = metered.get(fallback.as_ref().as_str()).context("a fallback is missing")?;
                let policy = models.get(fallback.as_ref()).map(|model| self.policy(model));
                let policy = policy.context("a policy is missing")?;
                let alternate = FallbackModel::new(policy.wrap(Arc::clone(other), [], &self.standing.accounts));
                let is_larger = self.context_of(other.id()) > self.context_of(own.id());
                alternates.push(if is_larger { alternate.with_larger_context() } else { alternate });
                chain.push(other.id().clone());
            }
            let model = self.policy(model).wrap(Arc::clone(own), alternates, &self.standing.accounts);
            guarded.insert(name.clone(), Guarded { model, chain });
        }
        Ok(guarded)
    }

    /// The model's policy, with tokens counted as its provider counts them.
    fn policy(&self, model: &config::Model) -> Policy {
        let mut policy = model.policy.clone();
        let name = model.provider.as_ref();
        let kind = self.providers.get(name).and_then(|provider| provider.kind(name).ok());
        policy.limits.charging = policy.limits.charging.or(kind.and_then(Kind::charging));
        policy
    }

    fn metered(&self, account: &Account, model: &config::Model) -> Arc<dyn ChatModel> {
        let unpriced = match model.unpriced {
            config::Unpriced::Deny => brigade_core::UnpricedPolicy::Deny,
            config::Unpriced::Warn => brigade_core::UnpricedPolicy::Warn,
        };
        let client = account.model(&model.model, model.settings());
        let client = match &self.standing.store {
            Some(store) => Arc::new(store.booked(client)),
            None => client,
        };
        Arc::new(Metered::new(client, Arc::new(self.prices.clone())).unpriced(unpriced))
    }

    /// The model that finds notes by what they mean, paid for by the runs that ask it.
    fn embedder(
        &self,
        written: &config::Embedding,
        providers: &BTreeMap<String, Account>,
    ) -> anyhow::Result<Arc<dyn Embedder>> {
        let name = written.provider.as_ref().as_str();
        let Some(Account::Chat(client)) = providers.get(name) else {
            bail!(
                "`recall.embedding`: the provider `{name}` gives no embeddings here; name one of kind \"openai\", or a compatible one"
            );
        };
        let model = client.embeddings(&written.model);
        let model = written.dimensions.into_iter().fold(model, brigade_providers::OpenAiEmbeddings::dimensions);
        let prices = Arc::new(self.prices.clone());
        Ok(match &self.standing.store {
            Some(store) => Arc::new(Metered::new(store.booked(model), prices)),
            None => Arc::new(Metered::new(model, prices)),
        })
    }

    /// The context window, where both are known enough to compare.
    fn context_of(&self, model: &ModelId) -> Option<u64> {
        self.prices.lookup(model)?.context_window
    }
}
