//! Shows the agents of a run while they work.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    sync::Arc,
    time::Duration,
};

use brigade_core::{Event, ModelErrorKind, Money, Observer, Run, Spending};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Shows the agents of a run on standard error: on a terminal as a table that is redrawn, otherwise as one line per change.
#[derive(Debug)]
pub struct ProgressDisplay {
    agents: Mutex<BTreeMap<Arc<str>, AgentRow>>,
    is_terminal: bool,
    has_color: bool,
}

#[derive(Debug)]
struct AgentRow {
    state: AgentState,
    activity: String,
    /// The tools and workers that are running.
    calls: Vec<Call>,
    started: Instant,
    ended: Option<Instant>,
    tokens: u64,
    cost: Option<Money>,
}

#[derive(Debug)]
struct Call {
    name: Arc<str>,
    is_worker: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AgentState {
    Running,
    Waiting,
    Finished,
    Failed,
}

const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

impl ProgressDisplay {
    /// Uses colors on a terminal, unless `NO_COLOR` is set.
    pub fn new() -> Arc<Self> {
        let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let has_color = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Arc::new(Self { agents: Mutex::default(), is_terminal, has_color })
    }

    /// Redraws the table while `work` runs, and once more at its end.
    pub async fn show_while<T>(&self, work: impl Future<Output = T>) -> T {
        if !self.is_terminal {
            return work.await;
        }
        let mut redraw = tokio::time::interval(REDRAW_INTERVAL);
        let mut rows = 0;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => {
                    self.draw(rows);
                    return result;
                }
                _ = redraw.tick() => rows = self.draw(rows),
            }
        }
    }

    /// Draws all rows over the `previous` ones, and returns their number.
    fn draw(&self, previous: usize) -> usize {
        let mut text = String::new();
        if previous > 0 {
            // Writing to a string does not fail, here and below.
            let _ = write!(text, "\x1b[{previous}A");
        }
        let agents = self.agents.lock();
        for (agent, row) in agents.iter() {
            let _ = writeln!(text, "\x1b[2K{}", row.text(agent, self.has_color));
        }
        // The run goes on if the terminal was closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
        agents.len()
    }

    fn update(&self, agent: &Arc<str>, change: impl FnOnce(&mut AgentRow)) {
        let mut agents = self.agents.lock();
        let row = agents.entry(Arc::clone(agent)).or_insert_with(AgentRow::new);
        let before = row.activity.clone();
        change(row);
        if !self.is_terminal && row.activity != before {
            // The run goes on if standard error was closed.
            let _ = writeln!(std::io::stderr(), "{}", row.text(agent, false));
        }
    }
}

impl Observer for ProgressDisplay {
    fn on_event(&self, run: &Run, event: &Event) {
        if let (Event::RunStarted, Some((supervisor, worker))) = (event, run.agent().rsplit_once('/')) {
            self.update(&supervisor.into(), |row| row.worker_started(worker));
        }
        self.update(run.agent(), |row| match event {
            Event::TurnStarted { model, .. } => row.set_activity(format!("calls {}", model.model())),
            Event::ToolStarted { tool, .. } => row.call_started(tool),
            Event::ToolEnded { tool, .. } => row.call_ended(tool),
            Event::Retrying { reason, attempt, .. } => {
                row.set_activity(format!("{}, attempt {attempt}", reason.name().replace('_', " ")));
            }
            Event::FellBack { to, .. } => row.set_activity(format!("falls back to {}", to.model())),
            Event::RateLimitWaited { .. } => row.set_activity("waited for the rate limit".into()),
            Event::AttemptEnded { charge: Some(charge), .. } => row.add_charge(&Spending::from(charge)),
            Event::RunEnded { stop, .. } => row.end(AgentState::Finished, stop.name().replace('_', " ")),
            Event::RunWaiting { .. } => row.end(AgentState::Waiting, "waits for a person".into()),
            Event::RunFailed { kind, .. } => {
                let reason = kind.map_or("failed", ModelErrorKind::name);
                row.end(AgentState::Failed, reason.replace('_', " "));
            }
            Event::RunStarted
            | Event::Resumed { .. }
            | Event::TurnEnded { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptEnded { charge: None, .. }
            | Event::Delta(_)
            | Event::ReplyRestarted
            | Event::RetrySuppressed { .. }
            | Event::BreakerChanged { .. }
            | Event::RateLimitsReported { .. }
            | Event::WireQuirk { .. }
            | Event::UnknownTool { .. }
            | Event::WorkerFailed { .. }
            | Event::LoopNoticed { .. }
            | Event::Trimmed { .. }
            | Event::AnswerRejected { .. }
            | Event::HandedOff { .. }
            | Event::Degraded { .. }
            | Event::BudgetWarning { .. }
            | Event::BudgetRefused { .. } => {}
        });
    }
}

impl AgentRow {
    fn new() -> Self {
        Self {
            state: AgentState::Running,
            activity: String::new(),
            calls: Vec::new(),
            started: Instant::now(),
            ended: None,
            tokens: 0,
            cost: None,
        }
    }

    fn set_activity(&mut self, activity: String) {
        self.activity = activity;
    }

    fn call_started(&mut self, tool: &Arc<str>) {
        self.calls.push(Call { name: Arc::clone(tool), is_worker: false });
        self.show_calls();
    }

    /// One of the running calls is a worker.
    fn worker_started(&mut self, worker: &str) {
        let call = self.calls.iter_mut().find(|call| &*call.name == worker && !call.is_worker);
        if let Some(call) = call {
            call.is_worker = true;
        }
        self.show_calls();
    }

    fn call_ended(&mut self, tool: &Arc<str>) {
        if let Some(index) = self.calls.iter().position(|call| call.name == *tool) {
            self.calls.remove(index);
        }
        self.show_calls();
    }

    fn show_calls(&mut self) {
        match self.calls.as_slice() {
            [] => {}
            [Call { name, is_worker: true }] => self.set_activity(format!("waits for {name}")),
            [Call { name, is_worker: false }] => self.set_activity(format!("runs {name}")),
            several if several.iter().any(|call| call.is_worker) => {
                self.set_activity(format!("waits for {} workers", several.len()));
            }
            several => self.set_activity(format!("runs {} tools", several.len())),
        }
    }

    fn add_charge(&mut self, spending: &Spending) {
        self.tokens += spending.usage.total_tokens();
        if let Some(cost) = spending.cost() {
            self.cost = Some(self.cost.unwrap_or_default() + cost);
        }
    }

    fn end(&mut self, state: AgentState, activity: String) {
        self.state = state;
        self.activity = activity;
        self.ended = Some(Instant::now());
    }

    fn text(&self, agent: &str, has_color: bool) -> String {
        let (mark, color) = match self.state {
            AgentState::Running => ("●", "33"),
            AgentState::Waiting => ("◌", "33"),
            AgentState::Finished => ("✓", "32"),
            AgentState::Failed => ("✗", "31"),
        };
        let mark = if has_color { format!("\x1b[{color}m{mark}\x1b[0m") } else { mark.to_owned() };
        let elapsed = self.ended.unwrap_or_else(Instant::now) - self.started;
        let cost = self.cost.map_or_else(|| "–".to_owned(), |cost| cost.to_string());
        let name = agent.rsplit('/').next().unwrap_or(agent);
        let indent = "  ".repeat(agent.matches('/').count());
        let name = format!("{indent}{name}");
        let activity: String = self.activity.chars().take(28).collect();
        format!("{mark} {name:<16} {activity:<28} {:>5.1}s {:>7} tok {cost:>9}", elapsed.as_secs_f64(), self.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_runs_after_a_worker_is_shown_as_a_tool() {
        let mut row = AgentRow::new();
        let name = |name: &str| Arc::<str>::from(name);
        let mut shown = Vec::new();
        let mut step = |change: &dyn Fn(&mut AgentRow)| {
            change(&mut row);
            shown.push(row.activity.clone());
        };
        step(&|row| row.call_started(&name("critic")));
        step(&|row| row.worker_started("critic"));
        step(&|row| row.call_started(&name("finder")));
        step(&|row| row.worker_started("finder"));
        step(&|row| row.call_ended(&name("critic")));
        step(&|row| row.call_ended(&name("finder")));
        step(&|row| row.call_started(&name("lookup")));
        step(&|row| row.call_started(&name("search")));
        let waits =
            ["waits for critic", "waits for 2 workers", "waits for 2 workers", "waits for finder", "waits for finder"];
        let expected = ["runs critic"].into_iter().chain(waits).chain(["runs lookup", "runs 2 tools"]);
        assert_eq!(shown, expected.collect::<Vec<_>>());
    }
}
