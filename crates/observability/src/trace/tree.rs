//! A run as a tree, read from its log.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use brigade_core::RunId;
use jiff::Timestamp;

use crate::{Entry, Record};

mod describe;
mod render;

/// All runs of one trace as a tree: agents, their turns with attempts, waits, retries and fallbacks, and their tools,
/// each with its time, tokens and cost. Display it to see it.
#[derive(Debug, Default)]
pub struct Tree {
    trace: String,
    began: Option<Timestamp>,
    /// All branches; a branch names those below it by their place here.
    branches: Vec<Branch>,
    roots: Vec<usize>,
    runs: HashMap<RunId, Growth>,
    /// Agents that are seen only by what is below them, such as a pipeline: the branch of each path.
    groups: HashMap<String, usize>,
    /// The order in which the runs began.
    order: Vec<RunId>,
    cut: bool,
}

/// One line of the tree and what is below it.
#[derive(Debug, Default)]
struct Branch {
    title: String,
    /// What is known about its end; nothing while it goes on.
    facts: Vec<String>,
    is_open: bool,
    below: Vec<usize>,
}

/// Where the lines of one run go.
#[derive(Debug)]
struct Growth {
    agent: String,
    branch: usize,
    turn: Option<usize>,
    attempt: Option<usize>,
    tools: Vec<OpenTool>,
}

#[derive(Debug)]
struct OpenTool {
    name: String,
    call_id: String,
    branch: usize,
    has_run: bool,
}

/// There is no tree to show.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// What was given is no trace id.
    #[error("`{0}` is no trace id; give the 8 digits from a log line, or all 32")]
    Id(String),
    /// The file cannot be read.
    #[error("the run log {} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing in the file belongs to the trace.
    #[error("nothing in the run log belongs to trace {0}; is this the file that the process wrote?")]
    NotFound(String),
}

/// More lines than any run within the default limits writes; what comes after is left out, and the tree says so.
const MOST_RECORDS: usize = 200_000;

/// Deeper than agents delegate. A damaged file must not exhaust the stack.
const MOST_LEVELS: usize = 32;

impl Tree {
    /// Reads the tree of the trace whose id begins with `id` from a file that a [`Recorder`](crate::Recorder) wrote.
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
        let mut unreadable = None;
        let lines = log.lines().map_while(|line| line.map_err(|error| unreadable = Some(failed(error))).ok());
        // Parsing is what takes the time; the last line may be half written.
        let lines = lines.filter(|line| line.contains(&id));
        let records = lines.filter_map(|line| serde_json::from_str::<Record>(&line).ok());
        let tree = Self::of(&id, records.filter(|record| record.trace.starts_with(&id)));
        unreadable.map_or(tree, Err)
    }

    /// The tree of these records, which are one trace's in the order in which they were made; `id` names it if there
    /// are none.
    pub fn of(id: &str, records: impl IntoIterator<Item = Record>) -> Result<Self, TraceError> {
        let mut tree = Self::default();
        let mut records = records.into_iter();
        records.by_ref().take(MOST_RECORDS).for_each(|record| tree.add(&record));
        tree.cut = records.next().is_some();
        if tree.roots.is_empty() { Err(TraceError::NotFound(id.to_owned())) } else { Ok(tree) }
    }

    fn add(&mut self, record: &Record) {
        if self.began.is_none() {
            self.began = Some(record.at);
            self.trace.clone_from(&record.trace);
        }
        let mut run = self.runs.remove(&record.run).unwrap_or_else(|| self.begin(record));
        self.grow(&mut run, &record.entry);
        self.runs.insert(record.run, run);
    }

    /// A run that was not seen before.
    fn begin(&mut self, record: &Record) -> Growth {
        let agent = record.agent.to_string();
        let branch = self.groups.get(&agent).copied().unwrap_or_else(|| self.hang(&agent, true));
        self.order.push(record.run);
        Growth { agent, branch, turn: None, attempt: None, tools: Vec::new() }
    }

    /// A branch for the agent at `path`: below the tool call that started it, else below the agent above it.
    fn hang(&mut self, path: &str, is_open: bool) -> usize {
        let title = if path.is_empty() { "run".to_owned() } else { path.to_owned() };
        let branch = self.branch(title, is_open);
        match path.rsplit_once('/').filter(|_| path.matches('/').count() < MOST_LEVELS) {
            Some((above, name)) => {
                let parent = self.caller(above, name).unwrap_or_else(|| self.group(above));
                self.put_below(parent, branch);
            }
            None => self.roots.push(branch),
        }
        branch
    }

    fn group(&mut self, path: &str) -> usize {
        if let Some(known) = self.groups.get(path) {
            return *known;
        }
        let branch = self.hang(path, false);
        self.groups.insert(path.to_owned(), branch);
        branch
    }

    /// The branch of the call of `name` by the agent at `above`. Of several, the first that has no run yet: calls and
    /// runs begin in the same order.
    fn caller(&mut self, above: &str, name: &str) -> Option<usize> {
        for id in self.order.iter().rev() {
            let Some(run) = self.runs.get_mut(id).filter(|run| run.agent == above) else { continue };
            if let Some(tool) = run.tools.iter_mut().find(|tool| tool.name == name && !tool.has_run) {
                tool.has_run = true;
                return Some(tool.branch);
            }
        }
        let mut above = self.order.iter().rev().filter_map(|id| self.runs.get(id).filter(|run| run.agent == above));
        above.next().map(|run| run.branch)
    }

    fn grow(&mut self, run: &mut Growth, entry: &Entry) {
        match entry {
            Entry::RunEnded { .. } | Entry::RunFailed { .. } => {
                let unfinished = run.turn.take().into_iter().chain(run.attempt.take());
                let unfinished = unfinished.chain(run.tools.drain(..).map(|tool| tool.branch));
                unfinished.for_each(|branch| self.close(branch, vec!["no answer".to_owned()]));
                self.close(run.branch, describe::facts(entry));
            }
            Entry::TurnStarted { .. } => run.turn = Some(self.leaf(run.branch, entry, true)),
            Entry::TurnEnded { .. } => {
                let turn = run.turn.take().unwrap_or_else(|| self.leaf(run.branch, entry, true));
                self.close(turn, describe::facts(entry));
            }
            Entry::AttemptStarted { .. } => {
                run.attempt = Some(self.leaf(run.turn.unwrap_or(run.branch), entry, true));
            }
            Entry::AttemptEnded { .. } => {
                let above = run.turn.unwrap_or(run.branch);
                let attempt = run.attempt.take().unwrap_or_else(|| self.leaf(above, entry, true));
                self.close(attempt, describe::facts(entry));
            }
            Entry::ToolStarted { tool, call_id } => {
                let branch = self.leaf(run.branch, entry, true);
                let (name, call_id) = (tool.clone(), call_id.clone());
                run.tools.push(OpenTool { name, call_id, branch, has_run: false });
            }
            Entry::ToolEnded { call_id, .. } => {
                let open = run.tools.iter().position(|tool| tool.call_id == *call_id);
                let branch = match open {
                    Some(place) => run.tools.remove(place).branch,
                    None => self.leaf(run.branch, entry, true),
                };
                self.close(branch, describe::facts(entry));
            }
            Entry::RunStarted | Entry::Unknown => {}
            _ => drop(self.leaf(run.turn.unwrap_or(run.branch), entry, false)),
        }
    }

    fn branch(&mut self, title: String, is_open: bool) -> usize {
        self.branches.push(Branch { title, is_open, ..Branch::default() });
        self.branches.len() - 1
    }

    fn leaf(&mut self, above: usize, entry: &Entry, is_open: bool) -> usize {
        let leaf = self.branch(describe::title(entry), is_open);
        self.put_below(above, leaf);
        leaf
    }

    fn put_below(&mut self, above: usize, branch: usize) {
        if let Some(above) = self.branches.get_mut(above) {
            above.below.push(branch);
        }
    }

    fn close(&mut self, branch: usize, facts: Vec<String>) {
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.is_open = false;
            branch.facts = facts;
        }
    }
}

#[cfg(test)]
mod tests;
