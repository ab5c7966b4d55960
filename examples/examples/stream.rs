//! A run as a stream: the answer as it is written, and what happens meanwhile.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::{io::Write, pin::pin, time::Duration};

use brigade_core::{Agent, Delta, Event, Run, RunItem, stream};
use brigade_providers::Anthropic;
use brigade_rehearsal::{Script, ScriptedAnswer};
use futures::StreamExt;

async fn tell() -> anyhow::Result<()> {
    let teller = Agent::new("teller", Anthropic::from_env()?.model("claude-haiku-4-5").max_output_tokens(300));
    let mut items = pin!(stream(teller, &Run::new(), "Tell me a story of one sentence."));
    while let Some(item) = items.next().await {
        match item {
            RunItem::Event(_, Event::Delta(Delta::Text(text))) => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            // The call failed midway and begins again: what was shown so far is void.
            RunItem::Event(_, Event::ReplyRestarted) => println!("\n[again]"),
            RunItem::Event(agent, Event::TurnEnded { elapsed, .. }) => println!("\n\n[{agent} took {elapsed:.1?}]"),
            RunItem::Event(..) => {}
            RunItem::Done(outcome) => println!("{}", outcome?.summary()),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let story = ScriptedAnswer::text(
        "Once there was a queue that nobody measured, and so everybody was sure that it was full.",
    )
    .latency(Duration::from_millis(200), Duration::from_millis(20));
    brigade_examples::run(Script::always(story), tell).await
}
