//! Draws the tree.

use std::fmt::{self, Write};

use super::{Node, RunTree};
use crate::logs::escape::OneLine;

impl fmt::Display for RunTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("trace ")?;
        if let Some(trace) = self.trace {
            write!(f, "{trace}")?;
        }
        if let Some(started) = self.started {
            write!(f, ", began {started:.3}")?;
        }
        f.write_char('\n')?;
        for root in &self.roots {
            self.draw(f, *root, "", "")?;
        }
        if self.is_cut {
            f.write_str("… and more than this program shows\n")?;
        }
        Ok(())
    }
}

impl RunTree {
    /// Draws a node behind `prefix`, and the nodes below it behind `below`.
    fn draw(&self, f: &mut fmt::Formatter<'_>, index: usize, prefix: &str, below: &str) -> fmt::Result {
        let Some(node) = self.nodes.get(index) else { return Ok(()) };
        writeln!(f, "{prefix}{node}")?;
        let last = node.children.last();
        for child in &node.children {
            let (branch, trunk) = if Some(child) == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.draw(f, *child, &format!("{below}{branch}"), &format!("{below}{trunk}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = OneLine(&mut *f);
        out.write_str(&self.title)?;
        for fact in &self.facts {
            write!(out, " · {fact}")?;
        }
        if self.is_open { out.write_str(" · not ended") } else { Ok(()) }
    }
}
