//! `brigade approvals`

use std::time::Duration;

use anyhow::{Context as _, bail};
use brigade_config::LOCAL_CALLER;
use brigade_durable::{Approval, ApprovalAnswer, ApprovalQuery, ApprovalStatus, Durable};
use brigade_terminal::printable;
use clap::{Args, ValueEnum};
use reqwest::{Client, RequestBuilder, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use crate::{exit::Exit, note, options::ConfigArg, out, runs::open_store};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade approvals                                        the calls that wait for an approval
  brigade approvals approve apr_7f0c… --reason \"Paid twice.\"
  brigade approvals deny 7f0c --reason \"Too much.\"
  brigade approvals approve apr_7f0c… --arguments '{\"order\": \"A-17\", \"amount\": 20}'

It asks the running server of the configuration, with an API key that has the scope \"approve\", or without keys with the
token that the server prints when it starts. If no server runs, it answers in the `store`, and the run goes on when the
server starts.")]
pub struct ApprovalsCommand {
    /// What to do
    #[arg(value_enum, default_value_t = Action::List)]
    action: Action,
    /// The id of the approval, or its first digits: at least 4, if no other call that waits begins with them
    #[arg(required_if_eq_any([("action", "approve"), ("action", "deny")]))]
    id: Option<String>,
    /// Why. The model reads the reason of a denial
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Other arguments to make the call with, as JSON
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// An API key with the scope "approve", or the server's token
    #[arg(long, value_name = "KEY", env = "BRIGADE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The address of the server; by default `server.listen` of the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Action {
    /// Lists the calls that wait for an approval
    List,
    /// Makes the call
    Approve,
    /// Does not make the call
    Deny,
}

/// A server on this machine answers at once.
const TIMEOUT: Duration = Duration::from_secs(10);

impl ApprovalsCommand {
    pub async fn run(self) -> anyhow::Result<Exit> {
        if self.arguments.is_some() && self.action != Action::Approve {
            bail!("`--arguments` belongs to `approve`");
        }
        if self.action == Action::List && (self.id.is_some() || self.reason.is_some()) {
            bail!("`list` takes neither an id nor a reason; write `brigade approvals approve ID` or `deny ID`");
        }
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => match self.config.load()?.config.server.listen {
                all if all.ip().is_unspecified() => format!("http://localhost:{}", all.port()),
                listen => format!("http://{listen}"),
            },
        };
        let arguments = self.arguments.as_deref().map(serde_json::from_str::<Map<String, Value>>).transpose();
        let arguments = arguments.context("`--arguments` must be a JSON object")?;
        // A second installation is refused, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().timeout(TIMEOUT);
        // The server of the configuration is on this machine, and its key must not go to a proxy.
        let client = if self.url.is_none() { builder.no_proxy() } else { builder }.build()?;
        let list = || client.get(format!("{base}/v1/approvals?status=pending&limit=100"));
        let id = match &self.id {
            Some(start) if !is_whole(start) => match self.send(list()).await? {
                Some(pending) => Some(whole_id(start, &pending)?),
                None => self.id.clone(),
            },
            id => id.clone(),
        };
        let request = match &id {
            Some(id) if self.action != Action::List => {
                let decision = if self.action == Action::Approve { "approve" } else { "deny" };
                let body = json!({ "decision": decision, "reason": self.reason, "arguments": arguments });
                let request = client.post(format!("{base}/v1/approvals/{id}"));
                request.header(CONTENT_TYPE, "application/json").body(body.to_string())
            }
            _ => list(),
        };
        match self.send(request).await? {
            Some(answer) => print(&answer)?,
            None if self.url.is_some() => bail!("no server answers at {base}"),
            None => self.in_store(arguments).await?,
        }
        Ok(Exit::Finished)
    }

    /// The answer of the server; absent if none runs.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Option<Value>> {
        let request = self.key.iter().fold(request, RequestBuilder::bearer_auth);
        let response = match request.send().await {
            Err(error) if error.is_connect() => return Ok(None),
            response => response.context("the server did not answer")?,
        };
        let is_success = response.status().is_success();
        let answer = response.text().await.context("the answer of the server broke off")?;
        let answer: Value = serde_json::from_str(&answer).context("the answer of the server is not JSON")?;
        if !is_success {
            let message = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or("the server refused it");
            bail!("{}", printable(message));
        }
        Ok(Some(answer))
    }

    async fn in_store(&self, arguments: Option<Map<String, Value>>) -> anyhow::Result<()> {
        let durable = Durable::shared(open_store(&self.config).await?);
        let query = ApprovalQuery::default().status(ApprovalStatus::Pending);
        let pending: Vec<_> = durable.store().approvals(&query).await?.iter().map(view).collect();
        let pending = json!({ "data": pending });
        let id = match self.id.as_deref().filter(|_| self.action != Action::List) {
            None => return print(&pending),
            Some(start) if !is_whole(start) => whole_id(start, &pending)?,
            Some(id) => id.to_owned(),
        };
        let answer = if self.action == Action::Approve {
            let answer = ApprovalAnswer::approve(LOCAL_CALLER);
            arguments.into_iter().fold(answer, |answer, arguments| answer.arguments(&Value::Object(arguments)))
        } else {
            ApprovalAnswer::deny(LOCAL_CALLER)
        };
        if let Some(refusal) = durable.answer_approval(&id, answer.reason(self.reason.clone())).await?.refusal() {
            bail!(refusal);
        }
        note!("the run goes on when the server starts");
        Ok(())
    }
}

/// How an id begins, and the number of digits after that.
const PREFIX: &str = "apr_";
const DIGITS: usize = 32;

/// Fewer digits could be a mistake, and one call that waits would begin with them.
const LEAST_DIGITS: usize = 4;

fn is_whole(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|digits| digits.len() == DIGITS)
}

/// The id of the pending approval that begins with these digits.
fn whole_id(start: &str, pending: &Value) -> anyhow::Result<String> {
    let digits = start.trim_end_matches('…');
    let digits = digits.strip_prefix(PREFIX).unwrap_or(digits);
    if pending.get("has_more") == Some(&Value::Bool(true)) {
        bail!("more than 100 calls wait, so write the whole id");
    }
    if digits.len() < LEAST_DIGITS {
        bail!("write at least {LEAST_DIGITS} digits of the id; `brigade approvals` lists the calls that wait");
    }
    let all = pending.get("data").and_then(Value::as_array).into_iter().flatten();
    let ids = all.filter_map(|approval| approval.get("id").and_then(Value::as_str));
    let mut found = ids.filter(|id| id.strip_prefix(PREFIX).is_some_and(|id| id.starts_with(digits)));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        (Some(_), Some(_)) => bail!("several calls that wait have ids that begin with `{digits}`; write more digits"),
        (None, _) => {
            bail!("no call that waits has an id that begins with `{digits}`; `brigade approvals` lists them")
        }
    }
}

/// Prints the approvals of a list, or one.
fn print(answer: &Value) -> anyhow::Result<()> {
    let approvals = answer.get("data").and_then(Value::as_array);
    if answer.get("has_more") == Some(&Value::Bool(true)) {
        note!("only the newest 100 are shown");
    }
    if approvals.is_some_and(Vec::is_empty) {
        note!("no call waits for an approval");
    }
    for approval in approvals.map_or(std::slice::from_ref(answer), Vec::as_slice) {
        out!("{}", line(approval));
    }
    Ok(())
}

/// The parts of a stored approval that [`line`] shows.
fn view(approval: &Approval) -> Value {
    let Approval { id, status, tool, arguments, queue, account, run, expires_at, .. } = approval;
    json!({
        "id": id, "status": status.name(), "tool": tool, "agent": queue, "key": account, "run": run,
        "arguments": arguments, "expires_at": expires_at,
    })
}

/// An approval in one line.
fn line(approval: &Value) -> String {
    let text = |name: &str| approval.get(name).and_then(Value::as_str).unwrap_or_default();
    let arguments = approval.get("arguments").map(ToString::to_string).unwrap_or_default();
    let edited = if approval.get("edited") == Some(&Value::Bool(true)) { ", edited" } else { "" };
    printable(&format!(
        "{} {:<8} {} {arguments} (run {} of {} by {}, until {})",
        text("id"),
        format!("{}{edited}", text("status")),
        text("tool"),
        text("run"),
        text("agent"),
        text("key"),
        text("expires_at")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digits_of_an_id_are_enough_if_they_are_those_of_one_call() {
        let ids = ["apr_7f0c1111111111111111111111111111", "apr_7f0c2222222222222222222222222222"];
        let pending = |count: usize, has_more: bool| {
            let data: Vec<_> = ids.iter().take(count).map(|id| json!({ "id": id })).collect();
            json!({ "data": data, "has_more": has_more })
        };
        for start in ["7f0c", "apr_7f0c", "apr_7f0c1…", "7f0c1111"] {
            assert!(!is_whole(start));
            assert_eq!(whole_id(start, &pending(1, false)).unwrap(), ids[0]);
        }
        assert_eq!(whole_id("7f0c2", &pending(2, false)).unwrap(), ids[1]);
        let refused = |start, pending| whole_id(start, &pending).unwrap_err().to_string();
        assert!(refused("7f0c", pending(2, false)).contains("several"));
        assert!(refused("0c11", pending(2, false)).contains("no call"));
        assert!(refused("apr_", pending(1, false)).contains("at least 4"), "a mistake must not allow the only call");
        assert!(refused("7f0c", pending(1, true)).contains("whole id"));
        assert!(is_whole(ids[0]));
    }
}
