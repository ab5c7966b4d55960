//! API keys: who may send requests, and what each key may do.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::Response,
};
use brigade_config::{KeyHash, KeyScope, LOCAL_CALLER, key_name_problem};
use brigade_core::{Budget, Ledger, Spending};
use brigade_edge::{Connection, is_sent_to_loopback};
use brigade_openai::ErrorCode;
use uuid::Uuid;

use super::{ApiError, api::Api, request_rate::RequestLimiter};
use crate::{runs::store::Store, setup::error::SetupError};

/// An API key of a client.
///
/// ```
/// use brigade_config::KeyHash;
/// use brigade_core::Budget;
/// use brigade_server::ApiKey;
///
/// let key = ApiKey::new("mobile-app", KeyHash::of("brg_1")).budget(Budget::default().usd("5.00")?);
/// # Ok::<(), brigade_core::ParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ApiKey {
    name: Arc<str>,
    hash: KeyHash,
    scopes: Vec<KeyScope>,
    approves: Vec<Arc<str>>,
    budget: Budget,
    max_runs: Option<usize>,
    requests_per_minute: Option<NonZeroU32>,
    burst: Option<NonZeroU32>,
}

/// The keys that are accepted.
#[derive(Debug)]
pub(crate) struct Access {
    keys: Vec<KnownKey>,
    /// Keys that were removed. Their runs may go on, and they may be added again.
    retired: Vec<Caller>,
    changes: Vec<BudgetChange>,
    /// The caller of all requests if there are no keys.
    local: Caller,
    allow_any_host: bool,
    /// Without keys, an answer to an approval needs this token, so that a tool which runs a program cannot approve calls
    /// over the network of its own machine.
    approval_token: String,
}

/// Another budget for an account; see [`Ledger::set_budget`].
#[derive(Debug)]
struct BudgetChange {
    account: Ledger,
    budget: Budget,
    spent: Spending,
    as_of: Spending,
}

#[derive(Debug)]
struct KnownKey {
    hash: KeyHash,
    caller: Caller,
}

/// The key that a request was sent with.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    scopes: Arc<[KeyScope]>,
    /// The other keys whose calls it may approve.
    approves: Arc<[Arc<str>]>,
    /// The account that the key's runs spend from.
    pub(crate) account: Ledger,
    /// The maximum number of its runs at the same time.
    pub(crate) max_runs: Option<usize>,
    limiter: Option<RequestLimiter>,
}

impl ApiKey {
    /// A key that may start and read its own runs, without a budget. The name must have 1 to 64 of `A-Z`, `a-z`, `0-9`,
    /// `_`, `-` and `.`, and must not be `local`; [`ApiBuilder::build`](crate::ApiBuilder::build) checks it.
    pub fn new(name: impl Into<Arc<str>>, hash: KeyHash) -> Self {
        Self {
            name: name.into(),
            hash,
            scopes: vec![KeyScope::Run, KeyScope::Read],
            approves: Vec::new(),
            budget: Budget::default(),
            max_runs: None,
            requests_per_minute: None,
            burst: None,
        }
    }

    /// The operations that the key permits. [`KeyScope::Run`] and [`KeyScope::Read`] by default.
    #[must_use]
    pub fn scopes(self, scopes: impl IntoIterator<Item = KeyScope>) -> Self {
        Self { scopes: scopes.into_iter().collect(), ..self }
    }

    /// The names of other keys whose calls the key may approve. It needs [`KeyScope::Approve`] too. None by default.
    #[must_use]
    pub fn approves(self, keys: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { approves: keys.into_iter().collect(), ..self }
    }

    /// The budget that all runs of the key share. Unlimited by default.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The maximum number of runs at the same time. By default half of [`ApiBuilder::max_runs`](crate::ApiBuilder::max_runs),
    /// so that no key takes all; all of them if there is only one key.
    #[must_use]
    pub fn max_runs(self, runs: Option<usize>) -> Self {
        Self { max_runs: runs, ..self }
    }

    /// The maximum number of requests per minute. Unlimited by default.
    #[must_use]
    pub fn requests_per_minute(self, limit: Option<NonZeroU32>) -> Self {
        Self { requests_per_minute: limit, ..self }
    }

    /// The number of requests that may come at once after a pause. By default, the requests of ten seconds.
    #[must_use]
    pub fn burst(self, burst: Option<NonZeroU32>) -> Self {
        Self { burst, ..self }
    }
}

impl Access {
    /// Opens an account per key below the account of the `process`. A key that `previous` has or had keeps its account and
    /// its request limiter, so that runs in flight count; [`Access::apply_budgets`] changes its budget. New accounts start
    /// with their spending in the store.
    pub(crate) async fn new(
        keys: Vec<ApiKey>,
        process: &Ledger,
        store: Option<&Store>,
        previous: Option<&Self>,
        max_runs: usize,
    ) -> Result<Self, SetupError> {
        let known = previous.into_iter().flat_map(|previous| previous.callers().chain(&previous.retired));
        let known: BTreeMap<_, _> = known.map(|key| (&*key.name, key)).collect();
        let (mut accepted, mut changes) = (Vec::new(), Vec::new());
        let share = (keys.len() > 1).then_some(max_runs.div_ceil(2));
        for key in keys {
            if let Some(problem) = key_name_problem(&key.name) {
                return Err(SetupError::Invalid(problem));
            }
            let before = known.get(&*key.name);
            let account = match before {
                Some(before) => before.account.clone(),
                None => open_account(&key, process, store).await?,
            };
            if before.is_some() && account.budget() != key.budget {
                changes.push(BudgetChange::new(&key, account.clone(), store).await?);
            }
            let previous = before.and_then(|before| before.limiter.as_ref());
            let limiter = key
                .requests_per_minute
                .map(|limit| RequestLimiter::new(limit.into(), key.burst.map(Into::into), previous));
            let max_runs = key.max_runs.or(share);
            let (scopes, approves) = (key.scopes.into(), key.approves.into());
            let caller = Caller { name: key.name, scopes, approves, account, max_runs, limiter };
            accepted.push(KnownKey { hash: key.hash, caller });
        }
        let is_retired = |caller: &&Caller| accepted.iter().all(|key: &KnownKey| key.caller.name != caller.name);
        let retired = known.into_values().filter(is_retired).cloned().collect();
        let local = Caller {
            name: LOCAL_CALLER.into(),
            scopes: [KeyScope::Run, KeyScope::Read, KeyScope::Admin].into(),
            approves: [].into(),
            account: process.clone(),
            max_runs: None,
            limiter: None,
        };
        let approval_token = match previous {
            Some(previous) => previous.approval_token.clone(),
            None => format!("brt_{}", Uuid::new_v4().simple()),
        };
        Ok(Self { keys: accepted, retired, changes, local, allow_any_host: false, approval_token })
    }

    /// Applies the budgets of keys that had another one before.
    pub(crate) fn apply_budgets(&self) {
        for BudgetChange { account, budget, spent, as_of } in &self.changes {
            account.set_budget(budget.clone(), *spent, as_of);
        }
    }

    pub(crate) fn allow_any_host(self, allow_any_host: bool) -> Self {
        Self { allow_any_host, ..self }
    }

    /// True if requests need no key.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// The callers with keys.
    pub(crate) fn callers(&self) -> impl Iterator<Item = &Caller> {
        self.keys.iter().map(|key| &key.caller)
    }

    /// The caller with this name, for a run that it started before.
    pub(crate) fn named(&self, name: &str) -> Option<&Caller> {
        self.callers().chain([&self.local]).find(|caller| &*caller.name == name)
    }

    /// The token that an answer to an approval needs; absent if there are keys.
    pub(crate) fn approval_token(&self) -> Option<&str> {
        self.is_open().then_some(&self.approval_token)
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = header.and_then(|value| value.trim_start().split_once(' '));
        let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
        if self.keys.is_empty() {
            let token = KeyHash::of(&self.approval_token);
            let has_token = key.is_some_and(|key| KeyHash::of(key).matches(&token));
            let scopes = self.local.scopes.iter().copied().chain(has_token.then_some(KeyScope::Approve)).collect();
            return Ok(Caller { scopes, ..self.local.clone() });
        }
        let refuse = |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidApiKey, message);
        let hash = KeyHash::of(key.ok_or_else(|| refuse("send your API key as `authorization: Bearer …`"))?);
        // Compares all keys, so that the response time does not depend on which one matches.
        let found = self.keys.iter().fold(None, |found, key| if key.hash.matches(&hash) { Some(key) } else { found });
        found
            .map(|key| key.caller.clone())
            .ok_or_else(|| refuse("this API key is unknown; check it, or create one with `brigade keys new`"))
    }
}

impl Caller {
    fn has(&self, scope: KeyScope) -> bool {
        // Who administers the server is not the one who decides what agents may do.
        self.scopes.contains(&scope) || (scope != KeyScope::Approve && self.scopes.contains(&KeyScope::Admin))
    }

    /// The keys whose approvals the caller may see; absent means all.
    pub(crate) fn visible_approvals(&self) -> Option<Vec<Arc<str>>> {
        let approves = self.approves.iter().filter(|_| self.has(KeyScope::Approve));
        let own = std::iter::once(&self.name).chain(approves);
        (!self.has(KeyScope::Admin)).then(|| own.cloned().collect())
    }

    /// Fails unless the caller may answer the approvals of `account`.
    pub(crate) fn require_approver(&self, account: &str, four_eyes: bool) -> Result<(), ApiError> {
        let refuse = |message| Err(ApiError::new(StatusCode::FORBIDDEN, ErrorCode::ScopeMissing, message));
        if *self.name == *account {
            let message = "this key started the run, and `approvals.four_eyes` wants another key to answer";
            return if four_eyes { refuse(message.to_owned()) } else { Ok(()) };
        }
        if self.approves.iter().any(|name| **name == *account) {
            return Ok(());
        }
        refuse(format!("the key `{0}` may not answer for `{account}`; add that to `keys.{0}.approves`", self.name))
    }

    /// The key whose data the caller may see: its own, or with the scope `admin` that of all keys, which is `None`.
    pub(crate) fn visible_owner(&self) -> Option<&str> {
        (!self.has(KeyScope::Admin)).then_some(&*self.name)
    }

    /// The key that a list of runs is filtered by. A caller that asks for no `key` gets its own runs, or with the scope
    /// `admin` the runs of all keys, which is `None`.
    pub(crate) fn visible_key(&self, key: Option<&str>) -> Result<Option<Arc<str>>, ApiError> {
        match key {
            Some(key) if self.visible_owner().is_none_or(|owner| owner == key) => Ok(Some(key.into())),
            Some(key) => {
                let message =
                    format!("the key `{}` may not see runs of `{key}`; that needs the scope `admin`", self.name);
                Err(ApiError::new(StatusCode::FORBIDDEN, ErrorCode::ScopeMissing, message))
            }
            None => Ok(self.visible_owner().map(Arc::from)),
        }
    }

    pub(crate) fn require(&self, scope: KeyScope) -> Result<(), ApiError> {
        if self.has(scope) {
            return Ok(());
        }
        if *self.name == *LOCAL_CALLER {
            let message = "an answer needs the token that the server printed at its last start: send it as `authorization: \
                           Bearer …`, or with `brigade approvals --key …`; the token of an earlier start is not valid any more";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidApiKey, message));
        }
        let scope = format!("{scope:?}").to_lowercase();
        let message =
            format!("the key `{0}` does not have the scope `{scope}`; add it to `keys.{0}.scopes`", self.name);
        Err(ApiError::new(StatusCode::FORBIDDEN, ErrorCode::ScopeMissing, message))
    }
}

async fn open_account(key: &ApiKey, process: &Ledger, store: Option<&Store>) -> Result<Ledger, SetupError> {
    let account = process.child(format!("the key {}", key.name), key.budget.clone());
    if let Some(store) = store {
        store.restore(&account, Some(&key.name)).await?;
    }
    Ok(account)
}

impl BudgetChange {
    /// Without a store, all spending of the account counts in another window.
    async fn new(key: &ApiKey, account: Ledger, store: Option<&Store>) -> Result<Self, SetupError> {
        let (mut spent, mut as_of) = (Spending::default(), Spending::default());
        if let Some(store) = store
            && account.budget().window != key.budget.window
        {
            as_of = account.spending();
            spent = store.spent(key.budget.window, &key.name).await?;
        }
        Ok(Self { account, budget: key.budget.clone(), spent, as_of })
    }
}

/// Middleware that requires a known key and enforces its request rate. Adds the [`Caller`] to the request.
pub(crate) async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let setup = api.setup();
    let caller = setup.access.caller(request.headers())?;
    if let Some(connection) = request.extensions().get::<Connection>() {
        if setup.access.is_open() {
            connection.trust_anyone();
        } else {
            connection.trust(&caller.name);
        }
    }
    if let Some(limiter) = &caller.limiter {
        limiter.admit(&caller.name)?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Middleware against DNS rebinding: without keys, only requests to this machine's own names are accepted. Otherwise a
/// web page whose name resolves to 127.0.0.1 could send requests.
pub(crate) async fn check_host(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let access = &api.setup().access;
    if access.is_open() && !access.allow_any_host && !is_sent_to_loopback(request.headers()) {
        let message =
            "without keys this server accepts requests to localhost, 127.0.0.1 and [::1] only; configure keys";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, ErrorCode::UnknownHost, message));
    }
    Ok(next.run(request).await)
}
