//! An agent with a typed tool and a typed answer.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use brigade_core::{Agent, Effect, ToolError, ToolOutput, tool_fn};
use brigade_providers::OpenAi;
use brigade_rehearsal::{RequestMatcher, Script, ScriptedAnswer, ScriptedToolCall};
use schemars::JsonSchema;
use serde::Deserialize;

/// The tool's arguments. The schema for the model is derived from the type and these comments.
#[derive(Deserialize, JsonSchema)]
struct Stock {
    /// The article number: two letters and four digits.
    article: String,
}

/// The agent's answer.
#[derive(Debug, Deserialize, JsonSchema)]
struct Advice {
    /// Whether to order more.
    order: bool,
    /// Why, in one sentence.
    reason: String,
}

async fn advise() -> anyhow::Result<()> {
    let stock = tool_fn("stock", "How many pieces of an article are in stock.", |args: Stock, _run| async move {
        match args.article.as_str() {
            "AB1234" => Ok(ToolOutput::text("3 pieces, 40 sold last week")),
            // The model gets this message, and can correct its call.
            other => Err(ToolError::new(format!("there is no article {other}; article numbers look like AB1234"))),
        }
    });
    let buyer = Agent::new("buyer", OpenAi::from_env()?.model("gpt-5-mini"))
        .instructions("You watch the stock.")
        .tool(stock.effect(Effect::Repeatable))
        .output::<Advice>();

    let outcome = buyer.run("Do we need more AB1234?").await?;
    let Advice { order, reason } = outcome.parse()?;
    println!("order: {order}\nreason: {reason}\n\n{}", outcome.summary());
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asks = ScriptedAnswer::calls([ScriptedToolCall::new("stock", r#"{"article":"AB1234"}"#)]);
    let answers =
        ScriptedAnswer::text(r#"{"order": true, "reason": "Three pieces last half a day at last week's pace."}"#);
    let first = RequestMatcher::default().turn(0);
    let script = Script::default().rule(first, asks).rule(RequestMatcher::default(), answers);
    brigade_examples::run(script, advise).await
}
