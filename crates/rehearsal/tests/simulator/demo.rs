//! The demo script, run by a client that only follows the protocols.

use std::time::Duration;

use brigade_rehearsal::{Script, Simulator, WireDialect, demo};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, post_in_memory, with_tool};

const CHAT: WireDialect = WireDialect::OpenaiChat;
const MESSAGES: WireDialect = WireDialect::Anthropic;

/// The content blocks of a streamed reply.
fn blocks(answer: &Answer) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut arguments = String::new();
    for event in answer.events() {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                blocks.push(event["content_block"].clone());
                arguments.clear();
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for field in ["text", "thinking", "signature"] {
                    if let Some(piece) = event["delta"][field].as_str() {
                        block[field] = json!(format!("{}{piece}", block[field].as_str().unwrap()));
                    }
                }
                arguments.push_str(event["delta"]["partial_json"].as_str().unwrap_or(""));
            }
            "content_block_stop" if !arguments.is_empty() => {
                blocks.last_mut().unwrap()["input"] = serde_json::from_str(&arguments).unwrap();
            }
            _ => {}
        }
    }
    blocks
}

async fn worker(simulator: &Simulator, name: &str, tool: Option<&str>, task: &str) -> String {
    let mut messages = vec![
        json!({ "role": "system", "content": format!("You are {name}, a worker.") }),
        json!({ "role": "user", "content": task }),
    ];
    loop {
        let mut body = json!({ "model": demo::WORKER_MODEL, "messages": messages });
        if let Some(tool) = tool {
            body = with_tool(body, CHAT, tool);
        }
        let answer = post_in_memory(simulator, CHAT, &body).await.unwrap().json();
        let message = answer["choices"][0]["message"].clone();
        let Some(calls) = message["tool_calls"].as_array().cloned() else {
            return message["content"].as_str().unwrap().to_owned();
        };
        messages.push(message);
        for call in calls {
            let content = demo::SEARCH_RESULT;
            messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": content }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_demo_ends_within_four_seconds_for_about_three_cents() {
    let simulator = Simulator::builder().script(Script::demo()).build();
    let started = Instant::now();
    let mut messages = vec![json!({ "role": "user", "content": demo::QUESTION })];
    let mut body = json!({
        "model": demo::SUPERVISOR_MODEL, "max_tokens": 8000, "stream": true,
        "thinking": { "type": "enabled", "budget_tokens": 2000 },
        "system": "You are desk, the supervisor.",
    });
    for name in demo::WORKERS {
        body = with_tool(body, MESSAGES, name);
    }
    body["messages"] = json!(messages);
    let plan = blocks(&post_in_memory(&simulator, MESSAGES, &body).await.unwrap());
    messages.push(json!({ "role": "assistant", "content": plan }));

    let calls: Vec<_> = plan.iter().filter(|block| block["type"] == "tool_use").collect();
    let names: Vec<_> = calls.iter().map(|call| call["name"].as_str().unwrap()).collect();
    assert_eq!(names, demo::WORKERS);
    let tools = [Some(demo::SEARCH_TOOL), None, Some(demo::CALCULATE_TOOL)];
    let task = |at: usize| calls[at]["input"]["task"].as_str().unwrap();
    let answers = tokio::join!(
        worker(&simulator, names[0], tools[0], task(0)),
        worker(&simulator, names[1], tools[1], task(1)),
        worker(&simulator, names[2], tools[2], task(2)),
    );
    let results: Vec<Value> = [answers.0, answers.1, answers.2]
        .iter()
        .zip(calls)
        .map(|(text, call)| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": text }))
        .collect();
    messages.push(json!({ "role": "user", "content": results }));
    body["messages"] = json!(messages);
    let verdict = blocks(&post_in_memory(&simulator, MESSAGES, &body).await.unwrap());
    let text = verdict[0]["text"].as_str().unwrap();
    assert!(text.starts_with("**Stay on SQS for now.**"), "{text}");

    let took = started.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    let calls = simulator.call_log().calls();
    assert_eq!(calls.len(), 7);
    let nano_usd: u64 = calls.iter().map(|call| price(&call.model, &call.usage)).sum();
    assert!((25_000_000..35_000_000).contains(&nano_usd), "{nano_usd}");
}

/// List prices in nano-USD per token: uncached input, cached input, cache write, output.
fn price(model: &str, usage: &brigade_rehearsal::BilledUsage) -> u64 {
    let [uncached, cached, write, output] = match model {
        demo::SUPERVISOR_MODEL => [3000, 300, 3750, 15_000],
        _ => [250, 25, 0, 2000],
    };
    (usage.input - usage.cached - usage.cache_write) * uncached
        + usage.cached * cached
        + usage.cache_write * write
        + usage.output * output
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_without_tools_answers_at_once() {
    let simulator = Simulator::builder().script(Script::demo()).build();
    let body = json!({
        "model": demo::SUPERVISOR_MODEL, "max_tokens": 1000, "system": "You are desk.",
        "messages": [{ "role": "user", "content": demo::QUESTION }],
    });
    let answer = post_in_memory(&simulator, MESSAGES, &body).await.unwrap().json();
    assert_eq!(answer["stop_reason"], "end_turn");
}
