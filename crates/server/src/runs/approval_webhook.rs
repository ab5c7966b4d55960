//! Notifies the configured address of calls that wait for an approval.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use brigade_config::{ApprovalsConfig, Secrets};
use brigade_core::RunId;
use brigade_durable::Approval;
use brigade_tools::{EgressGuard, Webhook, WebhookSender};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::setup::error::{SetupContext as _, SetupError};

/// Posts which calls wait for an approval to one address. Clones share what was not sent yet.
#[derive(Debug, Clone)]
pub(crate) struct ApprovalWebhook {
    webhook: Webhook,
    pending: Arc<PendingNotifications>,
}

/// The calls that were not sent yet.
#[derive(Debug, Default)]
struct PendingNotifications {
    runs: Mutex<BTreeMap<RunId, Vec<Approval>>>,
    added: Notify,
}

/// The calls of one turn ask one after another, and one message has all of them.
const GATHERING: Duration = Duration::from_millis(250);

impl ApprovalWebhook {
    /// The webhook of this configuration, with the sender of its messages. If its secret was not read, its address is only
    /// checked.
    pub(crate) fn of(
        config: &ApprovalsConfig,
        secrets: &Secrets<'_>,
    ) -> Result<Option<(Self, WebhookSender)>, SetupError> {
        let (Some(url), Some(source)) = (&config.webhook, &config.webhook_secret) else { return Ok(None) };
        let egress = EgressGuard::default().allow_private(config.webhook_allow_private);
        Webhook::check(url, egress).context("`approvals.webhook` cannot be used")?;
        let secret = secrets.secret(source, "`approvals.webhook_secret`", "");
        if secret == Secrets::STAND_IN {
            return Ok(None);
        }
        let (webhook, sender) =
            Webhook::new(url, &secret, egress).context("`approvals.webhook_secret` cannot be used")?;
        Ok(Some((Self { webhook, pending: Arc::default() }, sender)))
    }

    /// A call begins to wait.
    pub(crate) fn notify(&self, approval: &Approval) {
        self.pending.runs.lock().entry(approval.run).or_default().push(approval.clone());
        self.pending.added.notify_one();
    }

    /// The number of messages that were not delivered.
    pub(crate) fn failed(&self) -> u64 {
        self.webhook.failed()
    }

    /// Sends a message for each run whose calls begin to wait, for ever.
    pub(crate) async fn send_all(self, sender: WebhookSender) {
        let gathering = async {
            loop {
                self.pending.added.notified().await;
                tokio::time::sleep(GATHERING).await;
                for (run, approvals) in mem::take(&mut *self.pending.runs.lock()) {
                    let id = format!("msg_{}", Uuid::new_v4().simple());
                    self.webhook.send(id, message(run, &approvals).to_string());
                }
            }
        };
        tokio::join!(sender.run(), gathering);
    }
}

/// It has no arguments, because the receiver may be a chat room. Who may see them finds them in `GET /v1/approvals`.
fn message(run: RunId, approvals: &[Approval]) -> Value {
    let calls = approvals.iter().map(|approval| {
        let Approval { id, tool, path, expires_at, .. } = approval;
        json!({ "id": id, "tool": tool, "step": path, "expires_at": expires_at })
    });
    let first = approvals.first().map(|approval| (&approval.queue, &approval.account));
    let data = json!({
        "run": run,
        "agent": first.map(|(agent, _)| agent),
        "key": first.map(|(_, key)| key),
        "approvals": calls.collect::<Vec<_>>(),
    });
    json!({ "type": "approval.requested", "timestamp": Timestamp::now(), "data": data })
}
