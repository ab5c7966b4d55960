//! The tree of a run, built from its records.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use brigade_core::{Event, EventRecord, ModelId, RunId, ToolStatus, TraceId};
use jiff::{SignedDuration, Timestamp};

mod describe;
pub(crate) mod render;

/// All runs of one trace as a tree: agents, their turns with attempts, waits, retries and fallbacks, and their tools,
/// each with its time, tokens and cost. [`Display`](std::fmt::Display) draws it.
///
/// ```
/// use brigade_core::{Event, EventRecord, Run};
/// use brigade_observability::RunTree;
///
/// let run = Run::new();
/// let records = [Event::RunStarted, Event::HandedOff { to: "critic".into() }];
/// let tree = RunTree::from_records("", records.map(|event| EventRecord::new(&run, event)))?;
/// assert!(tree.to_string().ends_with("  └─ handed off to critic\n"));
/// # Ok::<(), brigade_observability::TraceError>(())
/// ```
#[derive(Debug, Default)]
pub struct RunTree {
    trace: Option<TraceId>,
    started: Option<Timestamp>,
    /// The time of the last event.
    ended: Option<Timestamp>,
    /// All lines; a line refers to those below it by their index here.
    nodes: Vec<Node>,
    roots: Vec<usize>,
    runs: HashMap<RunId, OpenRun>,
    /// The node of each agent without a run of its own, such as a pipeline, by its path.
    groups: HashMap<String, usize>,
    /// The runs in the order in which they started.
    order: Vec<RunId>,
    is_cut: bool,
}

/// One line of the tree and the lines below it.
#[derive(Debug, Default)]
struct Node {
    title: String,
    /// The result; empty until the end is known.
    facts: Vec<String>,
    kind: NodeKind,
    began: Option<Timestamp>,
    /// Absent while it goes on.
    ended: Option<Timestamp>,
    is_open: bool,
    is_failed: bool,
    children: Vec<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum NodeKind {
    Run,
    Turn,
    Attempt,
    Tool,
    /// An event without a duration.
    #[default]
    Note,
}

/// The nodes that the next events of one run belong to.
#[derive(Debug)]
struct OpenRun {
    agent: String,
    node: usize,
    turn: Option<usize>,
    attempts: Vec<OpenAttempt>,
    tools: Vec<OpenTool>,
}

#[derive(Debug)]
struct OpenAttempt {
    model: ModelId,
    node: usize,
    started: Timestamp,
}

#[derive(Debug)]
struct OpenTool {
    name: String,
    call_id: String,
    node: usize,
    has_run: bool,
}

/// A tree could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The id has the wrong form.
    #[error("`{0}` is not a trace id; give the 8 digits from a log line, or all 32")]
    Id(String),
    /// The file cannot be read.
    #[error("the file of events {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No record belongs to the trace.
    #[error("no run has the trace id {0}")]
    NotFound(String),
}

/// More records than a run within the default limits writes. The tree omits later ones and says so.
const MAX_RECORDS: usize = 200_000;

/// Deeper than agents delegate. A damaged file must not exhaust the stack.
const MAX_LEVELS: usize = 32;

impl RunTree {
    /// Reads the tree of the trace whose id starts with `id` from a file that a [`RunLog`](crate::RunLog) wrote.
    /// Lines that cannot be read, for example because another version wrote them, are skipped.
    pub fn open(path: impl AsRef<Path>, id: &str) -> Result<Self, TraceError> {
        let path = path.as_ref();
        let failed = |source| TraceError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        Self::read(BufReader::new(file), id, failed)
    }

    fn read(log: impl BufRead, id: &str, failed: impl Fn(io::Error) -> TraceError) -> Result<Self, TraceError> {
        let id = id.to_ascii_lowercase();
        if !(8..=32).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TraceError::Id(id));
        }
        let mut failure = None;
        let lines = log.lines().map_while(|line| line.map_err(|error| failure = Some(failed(error))).ok());
        // Parsing takes most of the time, so it is left to lines that contain the id.
        let lines = lines.filter(|line| line.contains(&id));
        let records = lines.filter_map(|line| serde_json::from_str::<EventRecord>(&line).ok());
        let tree = Self::from_records(&id, records.filter(|record| record.trace.to_string().starts_with(&id)));
        failure.map_or(tree, Err)
    }

    /// Builds the tree of these records, which belong to one trace and are in the order in which they were made. The
    /// error names `id` if there are none.
    pub fn from_records(id: &str, records: impl IntoIterator<Item = EventRecord>) -> Result<Self, TraceError> {
        let mut tree = Self::default();
        let mut records = records.into_iter();
        records.by_ref().take(MAX_RECORDS).for_each(|record| tree.add(&record));
        tree.is_cut = records.next().is_some();
        if tree.roots.is_empty() { Err(TraceError::NotFound(id.to_owned())) } else { Ok(tree) }
    }

    fn add(&mut self, record: &EventRecord) {
        self.trace.get_or_insert(record.trace);
        self.started.get_or_insert(record.at);
        self.ended = self.ended.max(Some(record.at));
        let mut run = self.runs.remove(&record.run).unwrap_or_else(|| self.start_run(record));
        self.add_event(&mut run, &record.event, record.at);
        self.runs.insert(record.run, run);
    }

    fn start_run(&mut self, record: &EventRecord) -> OpenRun {
        let agent = record.agent.to_string();
        let node = self.groups.get(&agent).copied().unwrap_or_else(|| self.add_agent(&agent, true));
        self.order.push(record.run);
        OpenRun { agent, node, turn: None, attempts: Vec::new(), tools: Vec::new() }
    }

    /// Adds a node for the agent at `path`: below the tool call that started it, else below the agent above it.
    fn add_agent(&mut self, path: &str, is_open: bool) -> usize {
        let title = if path.is_empty() { "run".to_owned() } else { path.to_owned() };
        let node = self.add_node(title, NodeKind::Run, is_open);
        match path.rsplit_once('/').filter(|_| path.matches('/').count() < MAX_LEVELS) {
            Some((parent_path, name)) => {
                let parent = self.caller(parent_path, name).unwrap_or_else(|| self.group(parent_path));
                self.add_child(parent, node);
            }
            None => self.roots.push(node),
        }
        node
    }

    fn group(&mut self, path: &str) -> usize {
        if let Some(known) = self.groups.get(path) {
            return *known;
        }
        let node = self.add_agent(path, false);
        self.groups.insert(path.to_owned(), node);
        node
    }

    /// The node of the call of `name` by the agent at `path`. Of several calls, the first without a run: calls and runs
    /// start in the same order.
    fn caller(&mut self, path: &str, name: &str) -> Option<usize> {
        for id in self.order.iter().rev() {
            let Some(run) = self.runs.get_mut(id).filter(|run| run.agent == path) else { continue };
            if let Some(tool) = run.tools.iter_mut().find(|tool| tool.name == name && !tool.has_run) {
                tool.has_run = true;
                return Some(tool.node);
            }
        }
        let mut callers = self.order.iter().rev().filter_map(|id| self.runs.get(id).filter(|run| run.agent == path));
        callers.next().map(|run| run.node)
    }

    fn add_event(&mut self, run: &mut OpenRun, event: &Event, at: Timestamp) {
        match event {
            Event::RunStarted | Event::Delta(_) | Event::RateLimitsReported { .. } => {}
            Event::Resumed { .. } => self.resume_run(run, event),
            Event::RunEnded { stop, turns, usage, cost, elapsed } => {
                let turns = describe::count(u64::from(*turns), "turn");
                let usage = describe::tokens(Some(usage));
                self.close_run(run, vec![stop.name().to_owned(), turns, usage, describe::money(*cost)], *elapsed);
            }
            Event::RunFailed { message, elapsed, .. } => {
                self.close_run(run, vec![format!("failed: {message}")], *elapsed);
                self.fail(run.node);
            }
            Event::RunWaiting { reason, elapsed } => self.close_run(run, vec![format!("waiting: {reason}")], *elapsed),
            Event::TurnStarted { .. } => run.turn = Some(self.add_leaf(run.node, event, NodeKind::Turn)),
            Event::TurnEnded { usage, cost, stop, tool_calls, elapsed, .. } => {
                let turn = run.turn.take().unwrap_or_else(|| self.add_leaf(run.node, event, NodeKind::Turn));
                // After a fallback, the model that answered is not the one that was asked.
                if let Some(node) = self.nodes.get_mut(turn) {
                    node.title = describe::title(event);
                }
                self.close(turn, describe::turn(usage.as_ref(), *cost, *stop, *tool_calls), *elapsed);
            }
            Event::AttemptStarted { model } => {
                let node = self.add_leaf(run.turn.unwrap_or(run.node), event, NodeKind::Attempt);
                run.attempts.push(OpenAttempt { model: model.clone(), node, started: at });
            }
            Event::AttemptEnded { model, error, charge, elapsed } => {
                let parent = run.turn.unwrap_or(run.node);
                let attempt = run
                    .take_attempt(model, at, *elapsed)
                    .unwrap_or_else(|| self.add_leaf(parent, event, NodeKind::Attempt));
                self.close(attempt, describe::attempt(*error, charge.as_ref()), *elapsed);
                if error.is_some() {
                    self.fail(attempt);
                }
            }
            Event::ToolStarted { tool, call_id } => {
                let node = self.add_leaf(run.node, event, NodeKind::Tool);
                let (name, call_id) = (tool.to_string(), call_id.to_string());
                run.tools.push(OpenTool { name, call_id, node, has_run: false });
            }
            Event::ToolEnded { call_id, outcome, reason, elapsed, .. } => {
                let open = run.tools.iter().position(|tool| *tool.call_id == **call_id);
                let open = open.map(|index| run.tools.remove(index).node);
                let node = open.unwrap_or_else(|| self.add_leaf(run.node, event, NodeKind::Tool));
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                self.close(node, vec![format!("{}{reason}", outcome.name())], *elapsed);
                if !matches!(outcome, ToolStatus::Ok | ToolStatus::Waiting) {
                    self.fail(node);
                }
            }
            Event::ReplyRestarted
            | Event::RateLimitWaited { .. }
            | Event::Retrying { .. }
            | Event::RetrySuppressed { .. }
            | Event::FellBack { .. }
            | Event::BreakerChanged { .. }
            | Event::UnknownTool { .. }
            | Event::Trimmed { .. }
            | Event::AnswerRejected { .. }
            | Event::LoopNoticed { .. }
            | Event::BudgetRefused { .. }
            | Event::BudgetWarning { .. }
            | Event::HandedOff { .. }
            | Event::Degraded { .. }
            | Event::WorkerFailed { .. }
            | Event::WireQuirk { .. } => {
                self.add_leaf(run.turn.unwrap_or(run.node), event, NodeKind::Note);
            }
        }
    }

    fn add_node(&mut self, title: String, kind: NodeKind, is_open: bool) -> usize {
        // A group has no beginning of its own.
        let began = self.ended.filter(|_| is_open || kind != NodeKind::Run);
        self.nodes.push(Node { title, kind, began, is_open, ..Node::default() });
        self.nodes.len() - 1
    }

    fn add_leaf(&mut self, parent: usize, event: &Event, kind: NodeKind) -> usize {
        let leaf = self.add_node(describe::title(event), kind, kind != NodeKind::Note);
        self.add_child(parent, leaf);
        leaf
    }

    fn add_child(&mut self, parent: usize, child: usize) {
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.push(child);
        }
    }

    fn close_run(&mut self, run: &mut OpenRun, facts: Vec<String>, elapsed: Duration) {
        self.end_parts(run, "no answer");
        self.close(run.node, facts, elapsed);
    }

    /// Ends what was going on when the process of a stored run ended. The run itself goes on, whatever its first end was, or
    /// though it waited.
    fn resume_run(&mut self, run: &mut OpenRun, event: &Event) {
        self.end_parts(run, "cut off");
        if let Some(node) = self.nodes.get_mut(run.node) {
            (node.is_open, node.is_failed, node.ended) = (true, false, None);
            node.facts.clear();
        }
        self.add_leaf(run.node, event, NodeKind::Note);
    }

    /// Ends the turn, attempts and tools of a run that have not ended.
    fn end_parts(&mut self, run: &mut OpenRun, why: &str) {
        let tools = run.tools.drain(..).map(|tool| tool.node);
        let attempts = run.attempts.drain(..).map(|attempt| attempt.node);
        for node in run.turn.take().into_iter().chain(attempts).chain(tools) {
            self.end(node, vec![why.to_owned()]);
        }
    }

    fn close(&mut self, node: usize, mut facts: Vec<String>, elapsed: Duration) {
        facts.push(describe::time(elapsed));
        self.end(node, facts);
    }

    fn end(&mut self, node: usize, facts: Vec<String>) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.is_open = false;
            node.ended = self.ended;
            node.facts = facts;
        }
    }

    fn fail(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.is_failed = true;
        }
    }
}

impl OpenRun {
    /// Takes the open attempt at `model` that started `elapsed` before `at`. Several are open only if one is a hedge for
    /// another.
    fn take_attempt(&mut self, model: &ModelId, at: Timestamp, elapsed: Duration) -> Option<usize> {
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        let distance =
            |attempt: &OpenAttempt| at.duration_since(attempt.started).saturating_sub(elapsed).unsigned_abs();
        let open = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.model == *model);
        let (index, _) = open.min_by_key(|(_, attempt)| distance(attempt))?;
        Some(self.attempts.remove(index).node)
    }
}

#[cfg(test)]
mod tests;
