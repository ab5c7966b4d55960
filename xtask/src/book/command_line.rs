//! The page about the command line: the help of each command.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

const INTRODUCTION: &str = "# Command line

`cargo install --locked --path crates/server --features otlp` installs the program `brigade`. Each command explains itself with
`--help`; this page has the same text. `brigade completions SHELL` prints completions for a shell.

";

/// Commands within commands are listed to this depth.
const DEPTH: usize = 2;

/// Asks the program for the help of all its commands.
pub(crate) fn page(shell: &Shell, brigade: &Path) -> Result<String> {
    let mut page = INTRODUCTION.to_owned();
    add(shell, brigade, &[], &mut page)?;
    Ok(page)
}

fn add(shell: &Shell, brigade: &Path, command: &[String], page: &mut String) -> Result<()> {
    // The width of the terminal would change the text.
    let help = cmd!(shell, "{brigade} {command...} --help").env("COLUMNS", "100").quiet().read()?;
    let title = [&["brigade".to_owned()], command].concat().join(" ");
    let level = "#".repeat(2 + command.len().saturating_sub(1));
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.extend([format!("{level} `{title}`\n\n```text\n{}\n```\n\n", lines.join("\n").trim_end())]);
    if command.len() < DEPTH {
        for name in subcommands(&help) {
            add(shell, brigade, &[command, &[name.to_owned()]].concat(), page)?;
        }
    }
    Ok(())
}

/// The names under `Commands:`, without `help`.
fn subcommands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::subcommands;

    #[test]
    fn the_commands_are_read_from_the_help() {
        let help =
            "A.\n\nCommands:\n  run   Runs\n  keys  Makes keys\n        and more\n  help  Print\n\nOptions:\n  -h  x\n";
        assert_eq!(subcommands(help), ["run", "keys"]);
        assert!(subcommands("Options:\n  -h").is_empty());
    }
}
