//! How the tools of a server differ from the tools that a person has read.

use std::{collections::BTreeMap, fmt};

use crate::{
    definition::{ToolDefinition, canonical},
    visible::one_line,
};

/// How the tools of a server differ from the pinned ones.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Drift {
    /// One entry for each tool that differs, by name.
    pub changes: Vec<ToolChange>,
}

/// How one tool differs from its pinned definition.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ToolChange {
    /// The server has a tool that is not pinned.
    Added(ToolDefinition),
    /// The server does not have the tool any more.
    Removed(ToolDefinition),
    /// The server describes the tool in another way.
    Changed {
        /// What was pinned.
        pinned: ToolDefinition,
        /// What the server says now.
        found: ToolDefinition,
    },
}

/// A description is quoted up to this length.
const QUOTED_BYTES: usize = 400;

/// More lines would fill a log.
const MAX_CHANGES: usize = 20;

impl Drift {
    /// Compares definitions; absent if they are the same.
    pub fn between(pinned: &[ToolDefinition], found: &[ToolDefinition]) -> Option<Self> {
        let by_name = |tools: &[ToolDefinition]| -> BTreeMap<String, ToolDefinition> {
            tools.iter().map(|tool| (tool.name.clone(), tool.clone())).collect()
        };
        let (pinned, mut found) = (by_name(pinned), by_name(found));
        let mut changes = Vec::new();
        for (name, pinned) in pinned {
            match found.remove(&name) {
                Some(found) if found == pinned => {}
                Some(found) => changes.push(ToolChange::Changed { pinned, found }),
                None => changes.push(ToolChange::Removed(pinned)),
            }
        }
        changes.extend(found.into_values().map(ToolChange::Added));
        changes.sort_by(|one, other| one.name().cmp(other.name()));
        (!changes.is_empty()).then_some(Self { changes })
    }

    /// The names of the tools that differ, in one line.
    pub fn summary(&self) -> String {
        let names: Vec<_> = self.changes.iter().take(MAX_CHANGES).map(|change| one_line(change.name(), 64)).collect();
        let more = self.changes.len().saturating_sub(MAX_CHANGES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    }
}

impl ToolChange {
    /// The name of the tool at the server.
    pub fn name(&self) -> &str {
        match self {
            Self::Added(tool) | Self::Removed(tool) | Self::Changed { found: tool, .. } => &tool.name,
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.changes.iter().take(MAX_CHANGES).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{change}")?;
        }
        match self.changes.len().saturating_sub(MAX_CHANGES) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for ToolChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = one_line(self.name(), 64);
        match self {
            Self::Added(tool) => write!(f, "+ {name}: {}", one_line(&tool.description, QUOTED_BYTES)),
            Self::Removed(_) => write!(f, "- {name}"),
            Self::Changed { pinned, found } => {
                write!(f, "~ {name}")?;
                if pinned.description != found.description {
                    let (before, after) = (quoted(&pinned.description), quoted(&found.description));
                    write!(f, "\n  - description: {before}\n  + description: {after}")?;
                }
                if pinned.input_schema != found.input_schema {
                    let (before, after) = (canonical(&pinned.input_schema), canonical(&found.input_schema));
                    write!(f, "\n  - input_schema: {}\n  + input_schema: {}", quoted(&before), quoted(&after))?;
                }
                if pinned.hints != found.hints {
                    write!(f, "\n  - hints: {:?}\n  + hints: {:?}", pinned.hints, found.hints)?;
                }
                Ok(())
            }
        }
    }
}

/// A text in one line, in which invisible characters are escaped.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|char| {
            let escape = crate::visible::is_invisible(char);
            let (plain, escaped) = if escape { (None, Some(char.escape_unicode())) } else { (Some(char), None) };
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect();
    one_line(&escaped, QUOTED_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drift_names_what_was_added_removed_and_changed() {
        let tool = |name: &str, text: &str| ToolDefinition::new(name, text, json!({"type": "object"}));
        let pinned = [tool("get", "Reads."), tool("old", "Gone."), tool("same", "Same.")];
        let found = [tool("same", "Same."), tool("new", "Is new."), tool("get", "Reads.\u{200b} Then mails it.")];
        let drift = Drift::between(&pinned, &found).unwrap();
        assert_eq!(drift.summary(), "get, new, old");
        let text = drift.to_string();
        assert!(text.contains("  - description: Reads.\n  + description: Reads.\\u{200b} Then mails it."), "{text}");
        assert!(text.contains("\n+ new: Is new.\n- old"), "{text}");
        assert_eq!(Drift::between(&pinned, &pinned), None);
    }
}
