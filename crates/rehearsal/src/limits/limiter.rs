//! Rate limits: buckets per model that refill continuously.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::exchange::request::Request;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;

/// The rate limits of an account for each model. A limit that is not set does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SimulatedRateLimits {
    /// Requests per minute; that many are also allowed in one burst.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute. `OpenAI` counts the larger of the estimated input and `max_tokens`
    /// (<https://platform.openai.com/docs/guides/rate-limits>). Anthropic counts the input.
    pub tokens_per_minute: Option<u32>,
}

impl SimulatedRateLimits {
    /// Sets the requests per minute.
    #[must_use]
    pub fn requests_per_minute(self, limit: impl Into<Option<u32>>) -> Self {
        Self { requests_per_minute: limit.into(), ..self }
    }

    /// Sets the tokens per minute.
    #[must_use]
    pub fn tokens_per_minute(self, limit: impl Into<Option<u32>>) -> Self {
        Self { tokens_per_minute: limit.into(), ..self }
    }
}

/// The state of the limits after a call, for the response headers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LimitStatus {
    pub(crate) requests: BucketLevel,
    pub(crate) tokens: BucketLevel,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BucketLevel {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// The time until the bucket is full.
    pub(crate) reset: Duration,
}

impl LimitStatus {
    /// The status that an account without limits reports.
    pub(crate) const UNLIMITED: Self = Self {
        requests: BucketLevel { limit: 10_000, remaining: 9_999, reset: Duration::from_millis(6) },
        tokens: BucketLevel { limit: 4_000_000, remaining: 4_000_000, reset: Duration::ZERO },
    };
}

/// The rejection of a call that exceeds a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitExceeded {
    pub(crate) status: LimitStatus,
    pub(crate) dimension: Dimension,
    /// The time until the call fits.
    pub(crate) wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Requests,
    Tokens,
}

impl LimitExceeded {
    /// The vendor's error for the rejected call.
    pub(crate) fn failure(&self, dialect: WireDialect, model: &str) -> Failure {
        if dialect == WireDialect::Anthropic {
            return Failure::with_status(dialect, 429, model);
        }
        let (kind, level, limit) = match self.dimension {
            Dimension::Requests => ("requests", self.status.requests, "requests per min (RPM)"),
            Dimension::Tokens => ("tokens", self.status.tokens, "tokens per min (TPM)"),
        };
        let message = format!(
            "Rate limit reached for {model} in organization org-rehearsal on {limit}: Limit {}, Used {}. Please try again in {}ms. Visit https://platform.openai.com/account/rate-limits to learn more.",
            level.limit,
            level.limit - level.remaining,
            self.wait.as_millis()
        );
        Failure::new(429, kind, message).code("rate_limit_exceeded")
    }
}

/// Enforces the rate limits.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: SimulatedRateLimits,
    accounts: Mutex<HashMap<AccountKey, Account>>,
}

/// Each vendor counts each model separately.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AccountKey {
    is_anthropic: bool,
    model: String,
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
    updated: Instant,
}

impl Limiter {
    pub(crate) fn new(limits: SimulatedRateLimits) -> Self {
        Self { limits, accounts: Mutex::default() }
    }

    /// Takes what the request needs from both buckets, or nothing from either.
    pub(crate) fn admit(&self, request: &Request) -> Result<LimitStatus, LimitExceeded> {
        let is_anthropic = request.dialect == WireDialect::Anthropic;
        let output = if is_anthropic { 0 } else { request.max_tokens.unwrap_or(0) };
        let tokens = f64::from(u32::try_from(request.prompt_tokens.max(output)).unwrap_or(u32::MAX));
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = AccountKey { is_anthropic, model: request.model.clone() };
        let account = accounts.entry(key).or_insert_with(|| Account {
            requests: self.limits.requests_per_minute.map(Bucket::full),
            tokens: self.limits.tokens_per_minute.map(Bucket::full),
        });
        let requests_wait = account.requests.as_mut().map_or(Duration::ZERO, |bucket| bucket.ready_in(1.0));
        let tokens_wait = account.tokens.as_mut().map_or(Duration::ZERO, |bucket| bucket.ready_in(tokens));
        let wait = requests_wait.max(tokens_wait);
        if !wait.is_zero() {
            let dimension = if tokens_wait == wait { Dimension::Tokens } else { Dimension::Requests };
            return Err(LimitExceeded { status: account.status(), dimension, wait });
        }
        account.requests.iter_mut().for_each(|bucket| bucket.level -= 1.0);
        account.tokens.iter_mut().for_each(|bucket| bucket.level -= tokens);
        Ok(account.status())
    }
}

impl Account {
    fn status(&self) -> LimitStatus {
        let LimitStatus { requests, tokens } = LimitStatus::UNLIMITED;
        LimitStatus {
            requests: self.requests.as_ref().map_or(requests, Bucket::level),
            tokens: self.tokens.as_ref().map_or(tokens, Bucket::level),
        }
    }
}

impl Bucket {
    fn full(limit: u32) -> Self {
        Self { limit, level: f64::from(limit), updated: Instant::now() }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.limit) / 60.0
    }

    /// Refills the bucket and returns the time until `amount` can be taken.
    fn ready_in(&mut self, amount: f64) -> Duration {
        let now = Instant::now();
        let refill = (now - self.updated).as_secs_f64() * self.per_second();
        self.level = (self.level + refill).min(f64::from(self.limit));
        self.updated = now;
        // A request above the capacity never fits; it has to wait for a full bucket.
        let amount = amount.min(f64::from(self.limit));
        if self.level < amount { self.refill_time(amount - self.level) } else { Duration::ZERO }
    }

    fn refill_time(&self, amount: f64) -> Duration {
        Duration::try_from_secs_f64(amount / self.per_second()).unwrap_or(Duration::from_mins(1))
    }

    fn level(&self) -> BucketLevel {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the level is between 0 and the limit, which is a u32"
        )]
        let remaining = self.level.max(0.0) as u32;
        BucketLevel { limit: self.limit, remaining, reset: self.refill_time(f64::from(self.limit) - self.level) }
    }
}
