//! A run as a stream of its events, with the answer as it is generated.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::{io::Write, pin::pin, time::Duration};

use brigade_core::{Agent, Delta, Event, Run, RunItem, stream};
use brigade_providers::Anthropic;
use brigade_rehearsal::{Script, ScriptedAnswer};
use futures::StreamExt;

async fn stream_story() -> anyhow::Result<()> {
    let teller = Agent::new("teller", Anthropic::from_env()?.model("claude-haiku-4-5").max_output_tokens(300));
    let mut items = pin!(stream(teller, &Run::new(), "Tell me a story of one sentence."));
    while let Some(item) = items.next().await {
        match item {
            RunItem::Event(_, Event::Delta(Delta::Text(text))) => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            // The call failed within the answer and is repeated: the text so far is discarded.
            RunItem::Event(_, Event::ReplyRestarted) => println!("\n[restarted]"),
            RunItem::Event(agent, Event::TurnEnded { elapsed, .. }) => println!("\n\n[{agent} took {elapsed:.1?}]"),
            RunItem::Event(..) => {}
            RunItem::End(outcome) => println!("{}", outcome?.summary()),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let story =
        ScriptedAnswer::text("Once there was a queue without metrics, and so everybody was sure that it was full.")
            .latency(Duration::from_millis(200), Duration::from_millis(20));
    brigade_examples::run(Script::always(story), stream_story).await
}
