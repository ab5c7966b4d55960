//! Rate limits as the vendors enforce them: buckets per model that refill without a break.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;

/// Limits of one account, for each model apart. What is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedRateLimits {
    /// Requests per minute; as many may come at once.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute. `OpenAI` counts the estimated input or the `max_tokens` asked for, whichever
    /// is more (<https://platform.openai.com/docs/guides/rate-limits>), Anthropic counts the input.
    pub tokens_per_minute: Option<u32>,
}

/// The state of the limits after a call, as the headers tell it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    pub(crate) requests: Level,
    pub(crate) tokens: Level,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Until the bucket is full again.
    pub(crate) reset: Duration,
}

/// A call that came too early.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exceeded {
    pub(crate) standing: Standing,
    pub(crate) dimension: Dimension,
    /// When the call would fit.
    pub(crate) wait: Duration,
}

impl Exceeded {
    /// What this vendor says to a call that came too early.
    pub(crate) fn failure(&self, dialect: WireDialect, model: &str) -> Failure {
        if dialect == WireDialect::Anthropic {
            return Failure::with_status(dialect, 429, model);
        }
        let (kind, level, what) = match self.dimension {
            Dimension::Requests => ("requests", self.standing.requests, "requests per min (RPM)"),
            Dimension::Tokens => ("tokens", self.standing.tokens, "tokens per min (TPM)"),
        };
        let message = format!(
            "Rate limit reached for {model} in organization org-rehearsal on {what}: Limit {}, Used {}. Please try again in {}ms. Visit https://platform.openai.com/account/rate-limits to learn more.",
            level.limit,
            level.limit - level.remaining,
            self.wait.as_millis()
        );
        Failure::new(429, kind, message).code("rate_limit_exceeded")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Requests,
    Tokens,
}

/// What an account without limits of its own is shown.
pub(crate) const UNLIMITED: Standing = Standing {
    requests: Level { limit: 10_000, remaining: 9_999, reset: Duration::from_millis(6) },
    tokens: Level { limit: 4_000_000, remaining: 4_000_000, reset: Duration::ZERO },
};

#[derive(Debug)]
pub(crate) struct Limiter {
    limits: SimulatedRateLimits,
    accounts: Mutex<HashMap<(bool, String), Account>>,
}

#[derive(Debug)]
struct Account {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    limit: u32,
    level: f64,
    at: Instant,
}

impl Limiter {
    pub(crate) fn new(limits: SimulatedRateLimits) -> Self {
        Self { limits, accounts: Mutex::default() }
    }

    /// Takes what the request needs from both buckets, or from neither.
    pub(crate) fn admit(&self, request: &Request) -> Result<Standing, Exceeded> {
        let anthropic = request.dialect == WireDialect::Anthropic;
        let output = if anthropic { 0 } else { request.max_tokens.unwrap_or(0) };
        let tokens = request.prompt_tokens.max(output);
        let need = f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry((anthropic, request.model.clone())).or_insert_with(|| Account {
            requests: self.limits.requests_per_minute.map(Bucket::full),
            tokens: self.limits.tokens_per_minute.map(Bucket::full),
        });
        let short = [(Dimension::Requests, &mut account.requests, 1.0), (Dimension::Tokens, &mut account.tokens, need)]
            .into_iter()
            .filter_map(|(dimension, bucket, need)| Some((dimension, bucket.as_mut()?.wait(need)?)))
            .max_by_key(|&(_, wait)| wait);
        if let Some((dimension, wait)) = short {
            return Err(Exceeded { standing: account.standing(), dimension, wait });
        }
        account.requests.iter_mut().for_each(|bucket| bucket.level -= 1.0);
        account.tokens.iter_mut().for_each(|bucket| bucket.level -= need);
        Ok(account.standing())
    }
}

impl Account {
    fn standing(&self) -> Standing {
        let level = |bucket: &Option<Bucket>, free| bucket.as_ref().map_or(free, Bucket::shown);
        Standing { requests: level(&self.requests, UNLIMITED.requests), tokens: level(&self.tokens, UNLIMITED.tokens) }
    }
}

impl Bucket {
    fn full(limit: u32) -> Self {
        Self { limit, level: f64::from(limit), at: Instant::now() }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.limit) / 60.0
    }

    /// Refills, and tells how long `need` has to wait, if it has to.
    fn wait(&mut self, need: f64) -> Option<Duration> {
        let now = Instant::now();
        let gained = (now - self.at).as_secs_f64() * self.per_second();
        self.level = (self.level + gained).min(f64::from(self.limit));
        self.at = now;
        // A request larger than the bucket can never fit; it is told to wait for a full one.
        let need = need.min(f64::from(self.limit));
        (self.level < need).then(|| self.time(need - self.level))
    }

    fn time(&self, amount: f64) -> Duration {
        Duration::try_from_secs_f64(amount / self.per_second()).unwrap_or(Duration::from_mins(1))
    }

    fn shown(&self) -> Level {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the level lies between 0 and the limit, which is a u32"
        )]
        let remaining = self.level.max(0.0) as u32;
        Level { limit: self.limit, remaining, reset: self.time(f64::from(self.limit) - self.level) }
    }
}
