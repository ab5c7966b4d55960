//! Fixtures that the tests of this crate share.

use std::{collections::BTreeMap, sync::Arc};

use brigade_core::{
    Agent, Budget, FunctionTool, Journal, JournalError, Message, Outcome, Role, Run, StepRecord, Tool, Worker,
    async_trait,
    testing::{ScriptedModel, Turn},
};
use parking_lot::Mutex;
use serde_json::Value;

/// Keeps the records of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(Arc<Mutex<BTreeMap<String, StepRecord>>>);

impl Records {
    pub(crate) fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Journal for Records {
    fn records(&self) -> Vec<StepRecord> {
        self.0.lock().values().cloned().collect()
    }

    async fn write(&self, record: StepRecord) -> Result<(), JournalError> {
        self.0.lock().insert(record.path.clone(), record);
        Ok(())
    }
}

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
