//! Signed messages to one configured address.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::{Client, StatusCode, Url};
use ring::hmac;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{BuildToolError, EgressGuard, http::describe};

/// Sends signed messages to one configured address, in the background. Clones share the queue.
///
/// A message is a `POST` of JSON, signed as [Standard Webhooks](https://www.standardwebhooks.com) describes it: the header
/// `webhook-signature` has the HMAC-SHA256 of the id, the time and the body, so a receiver can refuse forged and old
/// messages with the libraries of that specification. The id in `webhook-id` stays the same when a message is sent again.
///
/// A message is sent four times at most, within about a minute, unless the receiver refuses it with a status of 4xx. The queue
/// is bounded, and a message that does not fit is dropped. Failures are logged and counted. Redirects are not followed.
///
/// ```
/// use brigade_tools::{EgressGuard, Webhook};
///
/// # fn main() -> Result<(), brigade_tools::BuildToolError> {
/// let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// let (webhook, sender) = Webhook::new("https://hooks.example.com/brigade", secret, EgressGuard::default())?;
/// webhook.send("msg_1", r#"{"type":"approval.requested"}"#);
/// // A task of the program sends what is in the queue until all clones of `webhook` are dropped.
/// let sending = sender.run();
/// # drop(sending);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Webhook {
    queue: mpsc::Sender<Message>,
    failed: Arc<AtomicU64>,
}

/// Sends the messages of a [`Webhook`].
#[derive(Debug)]
pub struct WebhookSender {
    queue: mpsc::Receiver<Message>,
    target: Arc<Target>,
    failed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
}

struct Target {
    client: Client,
    url: Url,
    key: hmac::Key,
}

/// Why a message was not delivered.
struct Failure {
    reason: String,
    /// The receiver may take the message later.
    is_transient: bool,
}

/// Messages of a few hundred bytes.
const MAX_QUEUED: usize = 1_000;

/// A receiver that hangs does not delay all messages.
const PARALLEL: usize = 4;

const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before the message is sent again. A receiver that restarts is back within a minute; a person who waits for
/// the message for longer looks at the list of approvals.
const DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// The start of a secret, so that it is recognized as one.
const SECRET_PREFIX: &str = "whsec_";

/// The specification wants 24 to 64 bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

impl Webhook {
    /// Sends messages to `url`, signed with `secret`: `whsec_` and 24 to 64 random bytes in base64.
    ///
    /// # Errors
    ///
    /// Fails if the address is not valid or not allowed, or the secret is not one. The secret is in no error.
    pub fn new(url: &str, secret: &str, egress: EgressGuard) -> Result<(Self, WebhookSender), BuildToolError> {
        let url = Self::check(url, egress)?;
        let key = secret.strip_prefix(SECRET_PREFIX).and_then(|secret| BASE64.decode(secret.trim()).ok());
        let key = key.filter(|key| SECRET_BYTES.contains(&key.len())).ok_or(BuildToolError::WebhookSecret)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let client = egress.client(url.as_str())?;
        let ((queue, receiver), failed) = (mpsc::channel(MAX_QUEUED), Arc::default());
        let target = Arc::new(Target { client, url, key });
        let sender = WebhookSender { queue: receiver, target, failed: Arc::clone(&failed) };
        Ok((Self { queue, failed }, sender))
    }

    /// Checks an address without a secret.
    ///
    /// # Errors
    ///
    /// Fails if the address is not valid or not allowed.
    pub fn check(url: &str, egress: EgressGuard) -> Result<Url, BuildToolError> {
        let parsed = Url::parse(url).map_err(|_| BuildToolError::Address(url.to_owned()))?;
        egress.check(&parsed)?;
        Ok(parsed)
    }

    /// Puts a message into the queue. `id` identifies it for the receiver, and `body` is JSON. Never waits: a message that does
    /// not fit is dropped.
    pub fn send(&self, id: impl Into<String>, body: impl Into<String>) {
        let message = Message { id: id.into(), body: body.into() };
        if let Err(error) = self.queue.try_send(message) {
            let reason = match error {
                mpsc::error::TrySendError::Full(_) => "too many messages wait",
                mpsc::error::TrySendError::Closed(_) => "the program stops",
            };
            tracing::warn!("a message to the webhook was dropped: {reason}");
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of messages that were not delivered.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl WebhookSender {
    /// Sends messages until all clones of the [`Webhook`] are dropped and the queue is empty.
    pub async fn run(mut self) {
        let mut sending = JoinSet::new();
        while let Some(message) = self.queue.recv().await {
            while sending.len() >= PARALLEL {
                sending.join_next().await;
            }
            let (target, failed) = (Arc::clone(&self.target), Arc::clone(&self.failed));
            sending.spawn(async move {
                if let Err(error) = target.deliver(&message).await {
                    tracing::warn!(id = message.id, "a message to the webhook was not delivered: {}", error.reason);
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while sending.join_next().await.is_some() {}
    }
}

impl Target {
    async fn deliver(&self, message: &Message) -> Result<(), Failure> {
        for delay in DELAYS {
            match self.post(message).await {
                Err(error) if error.is_transient => tokio::time::sleep(delay).await,
                result => return result,
            }
        }
        self.post(message).await
    }

    async fn post(&self, Message { id, body }: &Message) -> Result<(), Failure> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature(&self.key, id, seconds, body))
            .body(body.clone());
        let response =
            request.send().await.map_err(|error| Failure { reason: describe(&error), is_transient: true })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let is_transient =
            status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        Err(Failure { reason: format!("the receiver answered {status}"), is_transient })
    }
}

/// The value of the header `webhook-signature`.
fn signature(key: &hmac::Key, id: &str, seconds: u64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(tag))
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
