//! Agents at work, one line each.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use brigade_core::{Event, Money, Observer, Run, Usage};
use tokio::time::Instant;

/// Watches a run and shows its agents on standard error: on a terminal as a board that is drawn anew, elsewhere as one
/// line for each thing that happens.
#[derive(Debug)]
pub(crate) struct Board {
    agents: Mutex<BTreeMap<Arc<str>, Line>>,
    terminal: bool,
    color: bool,
}

#[derive(Debug)]
struct Line {
    state: State,
    activity: String,
    /// The tools that run now, and whether they are workers.
    calling: Vec<Arc<str>>,
    has_workers: bool,
    started: Instant,
    ended: Option<Instant>,
    tokens: u64,
    cost: Option<Money>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Working,
    Done,
    Failed,
}

/// Fast enough to look alive, slow enough to cost nothing.
const FRAME: Duration = Duration::from_millis(100);

impl Board {
    /// A board for standard error. Colours need a terminal, and respect `NO_COLOR`.
    pub(crate) fn new() -> Arc<Self> {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Arc::new(Self { agents: Mutex::default(), terminal, color })
    }

    /// Draws the board while `work` goes on, and once more at its end.
    pub(crate) async fn show<T>(&self, work: impl Future<Output = T>) -> T {
        if !self.terminal {
            return work.await;
        }
        let mut frames = tokio::time::interval(FRAME);
        let mut drawn = 0;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    self.draw(drawn);
                    return done;
                }
                _ = frames.tick() => drawn = self.draw(drawn),
            }
        }
    }

    /// Draws all lines over the `drawn` ones of before, and answers how many there are now.
    fn draw(&self, drawn: usize) -> usize {
        let mut text = String::new();
        if drawn > 0 {
            // Writing to a string does not fail, here and below.
            let _ = write!(text, "\x1b[{drawn}A");
        }
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        for (agent, line) in agents.iter() {
            let _ = writeln!(text, "\x1b[2K{}", line.text(agent, self.color));
        }
        // A terminal that went away takes the board with it, not the run.
        let _ = std::io::stderr().write_all(text.as_bytes());
        agents.len()
    }

    fn update(&self, agent: &Arc<str>, change: impl FnOnce(&mut Line)) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let line = agents.entry(Arc::clone(agent)).or_insert_with(Line::new);
        let before = line.activity.clone();
        change(line);
        if !self.terminal && line.activity != before {
            eprintln!("{}", line.text(agent, false));
        }
    }
}

impl Observer for Board {
    fn on_event(&self, run: &Run, event: &Event) {
        if let (Event::RunStarted, Some((above, _))) = (event, run.agent().rsplit_once('/')) {
            self.update(&above.into(), Line::waits_for_worker);
        }
        self.update(run.agent(), |line| match event {
            Event::TurnStarted { model, .. } => line.does(format!("asks {}", model.model())),
            Event::ToolStarted { tool, .. } => line.calls(tool),
            Event::ToolEnded { tool, .. } => line.has_called(tool),
            Event::Retrying { reason, attempt, .. } => {
                line.does(format!("{}, attempt {attempt}", reason.name().replace('_', " ")));
            }
            Event::FellBack { to, .. } => line.does(format!("falls back to {}", to.model())),
            Event::RateLimitWaited { .. } => line.does("waited for the rate limit".into()),
            Event::AttemptEnded { charge: Some(charge), .. } => line.spends(charge.usage, charge.cost),
            Event::RunEnded { stop, .. } => line.ends(State::Done, stop.name().replace('_', " ")),
            Event::RunFailed { kind, .. } => {
                let why = kind.map_or("failed", brigade_core::ModelErrorKind::name);
                line.ends(State::Failed, why.replace('_', " "));
            }
            _ => {}
        });
    }
}

impl Line {
    fn new() -> Self {
        Self {
            state: State::Working,
            activity: String::new(),
            calling: Vec::new(),
            has_workers: false,
            started: Instant::now(),
            ended: None,
            tokens: 0,
            cost: None,
        }
    }

    fn does(&mut self, activity: String) {
        self.activity = activity;
    }

    fn calls(&mut self, tool: &Arc<str>) {
        self.calling.push(Arc::clone(tool));
        self.waits();
    }

    /// One of the tools that run is an agent.
    fn waits_for_worker(&mut self) {
        self.has_workers = true;
        self.waits();
    }

    fn has_called(&mut self, tool: &Arc<str>) {
        if let Some(place) = self.calling.iter().position(|calling| calling == tool) {
            self.calling.remove(place);
        }
        self.waits();
    }

    fn waits(&mut self) {
        match (self.calling.as_slice(), self.has_workers) {
            ([], _) => {}
            ([one], true) => self.does(format!("waits for {one}")),
            ([one], false) => self.does(format!("calls {one}")),
            (several, true) => self.does(format!("waits for {} workers", several.len())),
            (several, false) => self.does(format!("calls {} tools", several.len())),
        }
    }

    fn spends(&mut self, usage: Usage, cost: Option<Money>) {
        self.tokens += usage.total_tokens();
        if let Some(cost) = cost {
            self.cost = Some(self.cost.unwrap_or_default() + cost);
        }
    }

    fn ends(&mut self, state: State, activity: String) {
        self.state = state;
        self.activity = activity;
        self.ended = Some(Instant::now());
    }

    fn text(&self, agent: &str, color: bool) -> String {
        let (mark, paint) = match self.state {
            State::Working => ("●", "33"),
            State::Done => ("✓", "32"),
            State::Failed => ("✗", "31"),
        };
        let mark = if color { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() };
        let elapsed = self.ended.unwrap_or_else(Instant::now) - self.started;
        let cost = self.cost.map_or_else(|| "–".to_owned(), |cost| cost.to_string());
        let name = agent.rsplit('/').next().unwrap_or(agent);
        let indent = "  ".repeat(agent.matches('/').count());
        let name = format!("{indent}{name}");
        let activity: String = self.activity.chars().take(28).collect();
        format!("{mark} {name:<16} {activity:<28} {:>5.1}s {:>7} tok {cost:>9}", elapsed.as_secs_f64(), self.tokens)
    }
}
