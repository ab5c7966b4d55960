//! Two agents of one run that talk to each other over the bus.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::Arc;

use brigade_core::{Agent, Event, Observer, Run, Worker};
use brigade_providers::OpenAi;
use brigade_rehearsal::{AgentMatcher, RequestMatcher, Script, ScriptedAnswer, ScriptedToolCall};
use brigade_teams::bus_tools;

/// Prints each tool call and the end of each run.
#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    fn on_event(&self, run: &Run, event: &Event) {
        if let Event::ToolStarted { tool, .. } = event {
            println!("{}: {tool}", run.agent());
        } else if let Event::RunEnded { stop, turns, .. } = event {
            println!("{}: {} after {turns} turns", run.agent(), stop.name());
        }
    }
}

async fn write_together() -> anyhow::Result<()> {
    let mini = OpenAi::from_env()?.model("gpt-5-mini");
    let member = |name: &str, instructions: &str| {
        let [send_message, wait_for_message] = bus_tools(["writer", "editor"]);
        Agent::new(name, mini.clone()).instructions(instructions).tool(send_message).tool(wait_for_message)
    };
    let writer = member("writer", "You are writer. Send your draft to the editor, wait for the remarks, then answer.");
    let editor = member("editor", "You are editor. Wait for the writer's draft, then send your remarks back.");
    let desk = Agent::new("desk", mini.clone())
        .instructions("You are desk. Let the writer and the editor work at the same time.")
        .worker(Worker::new(writer))
        .worker(Worker::new(editor))
        .observer(Arc::new(Printer));
    let outcome = desk.run("Write one line about queues.").await?;
    println!("\n{}\n\n{}", outcome.text, outcome.summary());
    Ok(())
}

/// The simulator's answers.
fn script() -> Script {
    let task = |text| format!(r#"{{"task":"{text}"}}"#);
    let both = [
        ScriptedToolCall::new("writer", task("Write one line about queues.")),
        ScriptedToolCall::new("editor", task("Help the writer.")),
    ];
    let send = |to, text| {
        ScriptedAnswer::calls([ScriptedToolCall::new("send_message", format!(r#"{{"to":"{to}","text":"{text}"}}"#))])
    };
    let wait = || ScriptedAnswer::calls([ScriptedToolCall::new("wait_for_message", r#"{"within_seconds":20}"#)]);
    let at = |agent: &str, turn: usize| RequestMatcher::default().agent(agent).turn(turn);
    ["desk", "writer", "editor"]
        .into_iter()
        .fold(Script::default(), |script, name| script.agent(AgentMatcher::by_system(name, format!("You are {name}"))))
        .rule(at("desk", 0), ScriptedAnswer::calls(both))
        .rule(at("writer", 0), send("editor", "A queue is a promise."))
        .rule(at("writer", 1), wait())
        .rule(at("writer", 2), ScriptedAnswer::text("A queue is a promise to somebody who has to wait."))
        .rule(at("editor", 0), wait())
        .rule(at("editor", 1), send("writer", "A promise to whom?"))
        .rule(at("editor", 2), ScriptedAnswer::text("I asked to whom the promise is made."))
        .rule(RequestMatcher::default(), ScriptedAnswer::text("\"A queue is a promise to somebody who has to wait.\""))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    brigade_examples::run(script(), write_together).await
}
