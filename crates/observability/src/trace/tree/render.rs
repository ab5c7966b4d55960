//! Draws the tree.

use std::fmt::{self, Write};

use jiff::Timestamp;

use super::{Node, NodeKind, RunTree};
use crate::logs::escape::one_line;

/// How a [`RunTree`] is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeStyle {
    /// The number of columns. Longer lines are wrapped. Without it, no line is wrapped.
    pub width: Option<usize>,
    /// Whether to use the colors of a terminal.
    pub color: bool,
}

/// One row of the drawing, before it is wrapped.
struct Row<'a> {
    node: &'a Node,
    /// The branches before the first line of the text.
    branch: String,
    /// The branches before its other lines.
    trunk: String,
    text: String,
    is_failed: bool,
}

/// The time from the first event of a trace to its last one.
#[derive(Debug, Clone, Copy)]
struct TimeScale {
    start: Timestamp,
    micros: i64,
    /// The number of columns of a bar.
    columns: usize,
}

/// Columns of the time at which a row begins.
const OFFSET_COLUMNS: usize = 7;

/// A text that is narrower than this is not readable, so it runs over the edge.
const MIN_TEXT_COLUMNS: usize = 24;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const CYAN: &str = "36";

impl TreeStyle {
    /// Wraps lines that are longer than this number of columns.
    #[must_use]
    pub fn width(self, width: usize) -> Self {
        Self { width: Some(width), ..self }
    }

    /// Uses the colors of a terminal.
    #[must_use]
    pub fn color(self, color: bool) -> Self {
        Self { color, ..self }
    }

    fn paint(self, text: &str, color: &str) -> String {
        if self.color && !text.trim().is_empty() { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl fmt::Display for RunTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(TreeStyle::default()))
    }
}

impl RunTree {
    /// Draws the tree. A row has the time at which it began, a bar for its share of the whole time, and its text; bars
    /// above each other ran in parallel. A turn with one attempt is one row.
    pub fn render(&self, style: TreeStyle) -> String {
        let trace = self.trace.map(|trace| trace.to_string()).unwrap_or_default();
        let began = self.started.map(|started| format!(", began {started:.3}")).unwrap_or_default();
        let mut out = format!("trace {trace}{began}\n");
        let mut rows = Vec::new();
        for root in &self.roots {
            self.collect(&mut rows, *root, "", "");
        }
        let scale = self.scale(style.width);
        for row in rows {
            row.draw(&mut out, scale, style);
        }
        if self.is_cut {
            out.push_str("… and more than this program shows\n");
        }
        out
    }

    fn scale(&self, width: Option<usize>) -> TimeScale {
        let start = self.started.unwrap_or_default();
        let end = self.ended.unwrap_or_default().max(start);
        let micros = (end.as_microsecond() - start.as_microsecond()).max(1);
        TimeScale { start, micros, columns: if width.is_some_and(|width| width < 100) { 10 } else { 20 } }
    }

    /// Adds the row of a node, and the rows of the nodes below it.
    fn collect<'a>(&'a self, rows: &mut Vec<Row<'a>>, index: usize, branch: &str, trunk: &str) {
        let Some(node) = self.nodes.get(index) else { return };
        let only_attempt = self.only_attempt(node);
        let children: Vec<_> = node.children.iter().copied().filter(|child| Some(*child) != only_attempt).collect();
        let only_attempt = only_attempt.and_then(|attempt| self.nodes.get(attempt));
        let below = if children.is_empty() { "" } else { "│  " };
        rows.push(Row {
            node,
            branch: branch.to_owned(),
            trunk: format!("{trunk}{below}"),
            text: node.text(only_attempt),
            is_failed: node.is_failed || only_attempt.is_some_and(|attempt| attempt.is_failed),
        });
        for child in &children {
            let (last, rest) = if Some(child) == children.last() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.collect(rows, *child, &format!("{trunk}{last}"), &format!("{trunk}{rest}"));
        }
    }

    /// The attempt of a turn that has one only.
    fn only_attempt(&self, node: &Node) -> Option<usize> {
        let is_attempt = |index: &usize| self.nodes.get(*index).is_some_and(|node| node.kind == NodeKind::Attempt);
        let mut attempts = node.children.iter().copied().filter(is_attempt);
        let first = attempts.next().filter(|_| node.kind == NodeKind::Turn)?;
        attempts.next().is_none().then_some(first)
    }
}

impl Node {
    /// The text of its row. A turn has the result of its only attempt: the cost with its certainty, or the error.
    fn text(&self, only_attempt: Option<&Self>) -> String {
        let mut text = self.title.clone();
        let mut facts = self.facts.clone();
        if let Some(attempt) = only_attempt {
            match (facts.get_mut(2), attempt.facts.get(2)) {
                (Some(cost), Some(certain_cost)) if attempt.facts.len() > 3 => cost.clone_from(certain_cost),
                (None, _) => facts.clone_from(&attempt.facts),
                (Some(_), _) => {}
            }
        }
        for fact in facts {
            text.extend([" · ", &fact]);
        }
        if self.is_open {
            text.push_str(" · not ended");
        }
        one_line(&text).into_owned()
    }
}

impl Row<'_> {
    fn draw(&self, out: &mut String, scale: TimeScale, style: TreeStyle) {
        let (offset, bar) = (scale.offset(self.node), scale.bar(self.node));
        let indent = OFFSET_COLUMNS + 1 + scale.columns + 2;
        let used = indent + self.branch.chars().count().max(self.trunk.chars().count());
        let columns = style.width.map(|width| width.saturating_sub(used).max(MIN_TEXT_COLUMNS));
        let lines = columns.map_or_else(|| vec![self.text.clone()], |columns| wrap(&self.text, columns));
        for (number, line) in lines.iter().enumerate() {
            let text = self.paint(line, number == 0, style);
            // Writing to a string does not fail.
            let _ = if number == 0 {
                let offset = style.paint(&format!("{offset:>OFFSET_COLUMNS$}"), DIM);
                let bar = style.paint(&bar, if self.is_failed { RED } else { CYAN });
                writeln!(out, "{offset} {bar}  {}{text}", style.paint(&self.branch, DIM))
            } else {
                writeln!(out, "{:indent$}{}{text}", "", style.paint(&self.trunk, DIM))
            };
        }
    }

    /// The title of a run is bold, and failures are red.
    fn paint(&self, line: &str, is_first: bool, style: TreeStyle) -> String {
        if self.is_failed {
            return style.paint(line, RED);
        }
        let (title, facts) = line.split_at(line.find(" · ").unwrap_or(line.len()));
        match self.node.kind {
            _ if !is_first => line.to_owned(),
            NodeKind::Run => format!("{}{facts}", style.paint(title, BOLD)),
            NodeKind::Turn | NodeKind::Attempt | NodeKind::Tool => line.to_owned(),
            NodeKind::Note => style.paint(line, DIM),
        }
    }
}

impl TimeScale {
    fn micros_since_start(self, at: Timestamp) -> i64 {
        (at.as_microsecond() - self.start.as_microsecond()).clamp(0, self.micros)
    }

    fn offset(self, node: &Node) -> String {
        let Some(began) = node.began else { return String::new() };
        let seconds = std::time::Duration::from_micros(self.micros_since_start(began).unsigned_abs()).as_secs_f64();
        format!("{seconds:.1}s")
    }

    /// A bar from the beginning to the end of the node; a dot for an event without a duration.
    fn bar(self, node: &Node) -> String {
        let Some(began) = node.began else { return " ".repeat(self.columns) };
        let column = |at: Timestamp, round_up: bool| {
            let position = i128::from(self.micros_since_start(at)) * self.columns as i128;
            let micros = i128::from(self.micros);
            usize::try_from((position + if round_up { micros - 1 } else { 0 }) / micros).unwrap_or(0)
        };
        let start = column(began, false).min(self.columns - 1);
        let (end, mark) = match (node.kind, node.ended) {
            (NodeKind::Note, _) => (start + 1, "·"),
            (_, Some(ended)) => (column(ended, true).clamp(start + 1, self.columns), "━"),
            (_, None) => (self.columns, "╌"),
        };
        format!("{}{}{}", " ".repeat(start), mark.repeat(end - start), " ".repeat(self.columns - end))
    }
}

/// Breaks a text into lines, between words where possible.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= columns {
                if let Some(line) = lines.last_mut() {
                    line.extend(std::iter::repeat_n(' ', gap).chain(word));
                }
                break;
            }
            // Only a word that is longer than a line is broken.
            let rest = if used == 0 { word.split_off(columns) } else { std::mem::take(&mut word) };
            if let Some(line) = lines.last_mut() {
                line.extend(word);
            }
            lines.push(String::new());
            word = rest;
        }
    }
    lines
}
