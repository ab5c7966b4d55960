//! Draws the tree.

use std::fmt::{self, Write};

use super::{Branch, Tree};
use crate::logs::escape::OneLine;

/// What stands before a branch's own line, and before those below it.
#[derive(Default)]
struct Margin {
    own: String,
    below: String,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace {}", self.trace)?;
        if let Some(began) = self.began {
            write!(f, ", began {began:.3}")?;
        }
        f.write_char('\n')?;
        for root in &self.roots {
            self.draw(f, *root, &Margin::default())?;
        }
        if self.cut {
            f.write_str("… and more than this program shows\n")?;
        }
        Ok(())
    }
}

impl Tree {
    fn draw(&self, f: &mut fmt::Formatter<'_>, place: usize, margin: &Margin) -> fmt::Result {
        let Margin { own, below } = margin;
        let Some(branch) = self.branches.get(place) else { return Ok(()) };
        writeln!(f, "{own}{branch}")?;
        let last = branch.below.last();
        for twig in &branch.below {
            let (mark, carry) = if Some(twig) == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let margin = Margin { own: format!("{below}{mark}"), below: format!("{below}{carry}") };
            self.draw(f, *twig, &margin)?;
        }
        Ok(())
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = OneLine(&mut *f);
        out.write_str(&self.title)?;
        for fact in &self.facts {
            write!(out, " · {fact}")?;
        }
        if self.is_open { out.write_str(" · not ended") } else { Ok(()) }
    }
}
