//! The floor: the same work without a framework, as a good engineer would write it for this one purpose.
//!
//! One pooled client with its headers and its URL prepared; the history as typed messages, serialised for each call;
//! the answer read into types; tools called directly; workers joined in place. No retries, no budget, no events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::{BoxFuture, try_join_all};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::scenario::{
    CLERK, Cast, DESK, LOOKUP, LOOKUP_PURPOSE, ORACLE, Scenario, TASK_PURPOSE, TOPIC_PURPOSE, WORKERS, look_up,
};
use crate::wire::{Answer, Function, Message, Request, Response, Tool, ToolCall};

/// The hand-written loop, set up for one scenario.
#[derive(Debug)]
pub(crate) struct Floor {
    client: reqwest::Client,
    url: Url,
    lookup: Vec<Tool>,
    workers: Vec<Tool>,
    tokens: AtomicU64,
}

/// No conversation has more turns.
const MAX_TURNS: usize = 25;

#[derive(Deserialize)]
struct Topic {
    topic: String,
}

#[derive(Deserialize)]
struct Assignment {
    task: String,
}

impl Floor {
    pub(crate) fn new(base_url: &str) -> Result<Self> {
        // A second installation is refused, and the first is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer simulated"));
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_mins(10))
            .build()?;
        Ok(Self {
            client,
            url: Url::parse(&format!("{base_url}/v1/chat/completions"))?,
            lookup: vec![tool(LOOKUP, LOOKUP_PURPOSE, ("topic", TOPIC_PURPOSE))?],
            workers: WORKERS
                .iter()
                .map(|worker| tool(worker.name, worker.purpose, ("task", TASK_PURPOSE)))
                .collect::<Result<_>>()?,
            tokens: AtomicU64::new(0),
        })
    }

    /// The answer of one run.
    pub(crate) async fn run(&self, scenario: Scenario) -> Result<String> {
        let (cast, tools) = match scenario {
            Scenario::Chat => (&ORACLE, [].as_slice()),
            Scenario::ToolLoop => (&CLERK, &*self.lookup),
            Scenario::Supervisor => (&DESK, &*self.workers),
        };
        self.converse(cast, tools, scenario.task()).await
    }

    async fn converse(&self, cast: &Cast, tools: &[Tool], task: &str) -> Result<String> {
        let mut messages =
            vec![Message::System { content: cast.instructions.to_owned() }, Message::User { content: task.to_owned() }];
        for _ in 0..MAX_TURNS {
            let Answer { content, tool_calls } =
                self.ask(&Request { model: cast.model, messages: &messages, tools }).await?;
            if tool_calls.is_empty() {
                return content.context("the model said nothing");
            }
            let results = try_join_all(tool_calls.iter().map(|call| self.call(call))).await?;
            let results: Vec<_> = tool_calls
                .iter()
                .zip(results)
                .map(|(call, content)| Message::Tool { tool_call_id: call.id.clone(), content })
                .collect();
            messages.push(Message::Assistant { content, tool_calls });
            messages.extend(results);
        }
        bail!("no answer after {MAX_TURNS} turns")
    }

    async fn ask(&self, request: &Request<'_>) -> Result<Answer> {
        let body = serde_json::to_vec(request)?;
        let response = self.client.post(self.url.clone()).body(body).send().await?.error_for_status()?;
        let response: Response = serde_json::from_slice(&response.bytes().await?)?;
        let tokens = response.usage.prompt_tokens + response.usage.completion_tokens;
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        let choice = response.choices.into_iter().next().context("an answer without choices")?;
        match choice.finish_reason.as_str() {
            "stop" | "tool_calls" => Ok(choice.message),
            reason => bail!("the answer stopped early: {reason}"),
        }
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let arguments = call.function.arguments.as_str();
            if call.function.name == LOOKUP {
                let Topic { topic } = serde_json::from_str(arguments)?;
                return Ok(look_up(&topic));
            }
            let worker = WORKERS.iter().find(|worker| worker.name == call.function.name);
            let worker = worker.with_context(|| format!("there is no tool {}", call.function.name))?;
            let Assignment { task } = serde_json::from_str(arguments)?;
            self.converse(worker, &self.lookup, &task).await
        })
    }
}

fn tool(name: &'static str, description: &'static str, (field, meaning): (&str, &str)) -> Result<Tool> {
    let parameters = json!({
        "type": "object",
        "properties": { field: { "type": "string", "description": meaning } },
        "required": [field],
    });
    let function = Function { name, description, parameters: to_raw_value(&parameters)? };
    Ok(Tool { kind: "function", function })
}
