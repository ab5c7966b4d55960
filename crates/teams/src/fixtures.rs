//! Fixtures that the tests of this crate share.

use brigade_core::{
    Agent, Budget, FunctionTool, Message, Outcome, Role, Run, Tool, Worker,
    testing::{ScriptedModel, Turn},
};
use serde_json::Value;

/// A worker whose model gives one reply.
pub(crate) fn worker(name: &str, reply: Turn) -> Worker {
    Worker::new(Agent::new(name, ScriptedModel::new([reply])))
}

/// The results of the first turn's tool calls: whether each is an error, and its text.
pub(crate) fn tool_results(outcome: &Outcome) -> Vec<(bool, String)> {
    let results = outcome.transcript.messages()[2].tool_results();
    results.map(|result| (result.is_error, result.text())).collect()
}

/// The run of an agent below `run`.
pub(crate) fn agent(run: &Run, name: &str) -> Run {
    run.child(name, Budget::unlimited()).unwrap()
}

/// Calls a tool, and returns its output or its error as text.
pub(crate) async fn call(tool: &FunctionTool, input: Value, run: &Run) -> String {
    match tool.call(input, run).await {
        Ok(output) => Message::new(Role::User, output.content).text().into_owned(),
        Err(error) => format!("error: {error}"),
    }
}
