//! Who may ask for what.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::bail;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, header::HOST, uri::Authority},
    middleware::Next,
    response::Response,
};
use brigade_core::Ledger;

use super::{ApiError, Site, rate::Rate};
use crate::{
    config::{Config, KeyHash, Scope},
    runs::store::Store,
};

/// Whom the server lets in.
#[derive(Debug)]
pub(crate) struct Doors {
    keys: Vec<KnownKey>,
    /// Whoever asks where no keys are configured.
    anybody: Caller,
}

#[derive(Debug)]
struct KnownKey {
    hash: KeyHash,
    caller: Caller,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The key's name in the configuration.
    pub(crate) name: Arc<str>,
    scopes: Arc<[Scope]>,
    /// What the caller's runs spend from.
    pub(crate) account: Ledger,
    /// How often the caller may ask, if that is limited.
    rate: Option<Rate>,
}

/// The name of those who ask where no keys are configured, and of those at the command line.
pub(crate) const ANYBODY: &str = "local";

impl Doors {
    /// As configured. An address that others can reach needs keys. How often keys that `before` knew have asked counts on,
    /// and so does what they have spent; other accounts count what the store knows of them.
    pub(crate) async fn new(
        config: &Config,
        (process, store): (&Ledger, Option<&Store>),
        before: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let listen = config.server.listen;
        if config.keys.is_empty() && !listen.ip().is_loopback() {
            bail!(
                "{listen} can be reached by others, and no keys are configured, so anybody could spend your money; \
                 add a key with `brigade keys new`, or listen on 127.0.0.1"
            );
        }
        let known: BTreeMap<_, _> =
            before.into_iter().flat_map(|before| &before.keys).map(|key| (&*key.caller.name, &key.caller)).collect();
        let mut keys = Vec::new();
        for (name, key) in &config.keys {
            let (budget, before) = (key.budget.to_core(), known.get(name.as_str()));
            let spent_from = before.map(|caller| &caller.account);
            let account = match spent_from.filter(|account| *account.budget() == budget) {
                Some(account) => account.clone(),
                None => opened(process.child(format!("the key {name}"), budget), (name, spent_from), store).await?,
            };
            let rate = Rate::of(key, before.and_then(|caller| caller.rate.as_ref()));
            let caller = Caller { name: name.as_str().into(), scopes: key.scopes.as_slice().into(), account, rate };
            keys.push(KnownKey { hash: key.hash, caller });
        }
        let anybody = Caller {
            name: ANYBODY.into(),
            scopes: [Scope::Run, Scope::Read, Scope::Admin].into(),
            account: process.clone(),
            rate: None,
        };
        Ok(Self { keys, anybody })
    }

    /// Whether anybody may ask.
    pub(crate) fn are_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// The callers that have limits of their own.
    pub(crate) fn callers(&self) -> impl Iterator<Item = &Caller> {
        self.keys.iter().map(|key| &key.caller)
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if self.keys.is_empty() {
            return Ok(self.anybody.clone());
        }
        let refused = |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = header.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
        let hash = KeyHash::of(key.ok_or_else(|| refused("send your key as `authorization: Bearer …`"))?.trim());
        // All are compared, so that the time tells nothing about which fits.
        let found = self.keys.iter().fold(None, |found, key| if key.hash.matches(&hash) { Some(key) } else { found });
        found.map(|key| key.caller.clone()).ok_or_else(|| refused("this key is not known here"))
    }
}

impl Caller {
    /// Whether the caller may do what `scope` names.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether the caller may see what belongs to the key called `owner`.
    pub(crate) fn may_see(&self, owner: &str) -> bool {
        *self.name == *owner || self.may(Scope::Admin)
    }

    /// Whose runs the caller is shown who asks for those of the key called `wanted`, or for any; absent means
    /// everybody's.
    pub(crate) fn sees_only(&self, wanted: Option<&str>) -> Result<Option<Arc<str>>, ApiError> {
        match wanted {
            Some(name) if self.may_see(name) => Ok(Some(name.into())),
            Some(name) => {
                let message = format!("the key `{}` sees nothing of `{name}`", self.name);
                Err(ApiError::new(StatusCode::FORBIDDEN, "scope_missing", message))
            }
            None if self.may(Scope::Admin) => Ok(None),
            None => Ok(Some(Arc::clone(&self.name))),
        }
    }

    /// An error unless the caller may do what `scope` names.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.may(scope) {
            return Ok(());
        }
        let scope = format!("{scope:?}").to_lowercase();
        let message = format!("the key `{}` has no scope `{scope}`", self.name);
        Err(ApiError::new(StatusCode::FORBIDDEN, "scope_missing", message))
    }
}

/// A new account of the key called `name`, which counts what was spent from it before.
async fn opened(
    account: Ledger,
    (name, before): (&str, Option<&Ledger>),
    store: Option<&Store>,
) -> anyhow::Result<Ledger> {
    match (store, before) {
        (Some(store), _) => store.restore(&account, Some(name)).await?,
        (None, Some(before)) => account.restore(before.spending()),
        (None, None) => {}
    }
    Ok(account)
}

/// Lets a request in whose key is known and has not asked too often, and notes who asks.
pub(crate) async fn admit(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = site.current().doors.caller(request.headers())?;
    if let Some(rate) = &caller.rate {
        rate.admit(&caller.name)?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Refuses requests that were sent to another name than this machine's own, where no key protects: a page whose name was
/// made to lead to 127.0.0.1 must not reach the server.
pub(crate) async fn check_host(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if site.current().doors.are_open() && !names_loopback(request.headers()) {
        let message = "this server answers to localhost, 127.0.0.1 and [::1] only, because it has no keys";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message));
    }
    Ok(next.run(request).await)
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
