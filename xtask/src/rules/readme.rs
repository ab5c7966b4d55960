//! The README's first code block must be a part of an example, which is compiled and run.

use crate::rules::finding::Finding;

/// The README shows the part of this example between two marks.
pub(crate) const EXAMPLE: &str = "examples/examples/brief.rs";
pub(crate) const README: &str = "README.md";

const BEGIN: &str = "// README: begin\n";
const END: &str = "// README: end\n";

/// A finding unless the README's first Rust block is exactly the marked part of the example.
pub(crate) fn check(readme: &str, example: &str) -> Option<Finding> {
    let marked = between(example, BEGIN, END).map(str::trim);
    let shown = between(readme, "```rust\n", "```\n").map(str::trim);
    if marked.is_some() && marked == shown {
        return None;
    }
    let line = readme.lines().position(|line| line == "```rust").map_or(1, |index| index + 1);
    let what = format!("the first Rust block is not the marked part of {EXAMPLE}");
    Some(Finding::new(format!("{README}:{line}"), what, "copy it over, without a change"))
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(begin)?.1.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::check;

    const EXAMPLE: &str = "use a;\n// README: begin\nlet x = 1;\n// README: end\n";

    #[test]
    fn the_same_code_passes_and_other_code_is_found_at_its_line() {
        assert!(check("# T\n```rust\nlet x = 1;\n```\n", EXAMPLE).is_none());
        let finding = check("# T\n\n```rust\nlet x = 2;\n```\n", EXAMPLE).unwrap();
        assert!(finding.to_string().contains("README.md:3"), "{finding}");
        assert!(check("# T\n", EXAMPLE).is_some());
        assert!(check("# T\n```rust\nlet x = 1;\n```\n", "let x = 1;").is_some());
    }
}
