//! The same work without a framework, as a good engineer would write it for this one purpose.
//!
//! It has one pooled client with prepared headers and URL. The history is a list of typed messages, serialized for each
//! call, and answers are parsed into types. Tools are called directly. There are no retries, no budget and no events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::{BoxFuture, try_join_all};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::compare::wire::{Answer, Function, Message, Request, Response, Tool, ToolCall};
use crate::workload::{
    AgentSpec, CLERK, DESK, LOOKUP, LOOKUP_PURPOSE, ORACLE, TASK_PURPOSE, TOPIC_PURPOSE, WORKERS, Workload, look_up,
};

/// The hand-written loop, set up for one workload.
#[derive(Debug)]
pub(crate) struct HandWritten {
    client: reqwest::Client,
    url: Url,
    lookup: Vec<Tool>,
    workers: Vec<Tool>,
    tokens: AtomicU64,
}

/// The most turns of a conversation.
const MAX_TURNS: usize = 25;

#[derive(Deserialize)]
struct Topic {
    topic: String,
}

#[derive(Deserialize)]
struct Assignment {
    task: String,
}

impl HandWritten {
    pub(crate) fn new(base_url: &str) -> Result<Self> {
        // An error means that a crypto provider is already installed; then that one is used.
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
    pub(crate) async fn run(&self, workload: Workload) -> Result<String> {
        let (agent, tools) = match workload {
            Workload::Chat => (&ORACLE, [].as_slice()),
            Workload::ToolLoop => (&CLERK, &*self.lookup),
            Workload::Supervisor => (&DESK, &*self.workers),
        };
        self.converse(agent, tools, workload.task()).await
    }

    async fn converse(&self, agent: &AgentSpec, tools: &[Tool], task: &str) -> Result<String> {
        let mut messages = vec![
            Message::System { content: agent.instructions.to_owned() },
            Message::User { content: task.to_owned() },
        ];
        for _ in 0..MAX_TURNS {
            let Answer { content, tool_calls } =
                self.ask(&Request { model: agent.model, messages: &messages, tools }).await?;
            if tool_calls.is_empty() {
                return content.context("the answer is empty");
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
        let choice = response.choices.into_iter().next().context("the answer has no choices")?;
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
