//! How large a crate and a file may be. Tests do not count.
//!
//! An example in a doc comment is a test that `cargo test` runs, and a limit that counted examples would be an argument
//! against writing them. A folder `testing` is support for tests that is only compiled with a feature. So the size of a
//! crate counts neither. The size of a file counts its examples, because they take space on the screen.

use std::collections::BTreeMap;

use crate::rules::finding::Finding;
use crate::source::files;

/// A file is about one thing; a longer one is about two.
const MAX_FILE_LINES: usize = 400;

/// The most lines of a crate without its tests, and the crates with a limit of their own.
const MAX_CRATE_LINES: usize = 10_000;
const CRATE_LIMITS: [(&str, usize); 1] = [("crates/core", CORE_LINES)];

/// The core stays small: what few programs need belongs in a crate of its own.
const CORE_LINES: usize = 9_500;

/// The lines of each crate's sources, by the folder of the crate.
#[derive(Debug, Default)]
pub(crate) struct Sizes(BTreeMap<String, usize>);

impl Sizes {
    /// Counts a file if it is Rust code in a crate's `src` folder.
    pub(crate) fn add(&mut self, path: &str, text: &str) {
        if let Some((folder, _)) = path.split_once("/src/")
            && files::is_rust(path)
            && !files::is_test_only(path)
            && !path.contains("/src/testing/")
        {
            *self.0.entry(folder.to_owned()).or_default() += lines_without_tests(text) - lines_of_examples(text);
        }
    }

    pub(crate) fn print(&self) {
        let sizes: Vec<String> = self.0.iter().map(|(folder, lines)| format!("{folder} {lines}")).collect();
        println!("lines without tests: {}", sizes.join(", "));
    }

    pub(crate) fn check(&self) -> Vec<Finding> {
        let too_large = |(folder, lines): (&String, &usize)| {
            let limit =
                CRATE_LIMITS.iter().find(|(name, _)| name == folder).map_or(MAX_CRATE_LINES, |(_, limit)| *limit);
            let what = format!("{lines} lines without tests, {limit} are allowed");
            (*lines > limit).then(|| Finding::new(folder, what, "simplify it, or move a part into a crate of its own"))
        };
        self.0.iter().filter_map(too_large).collect()
    }
}

/// A finding for a file that is too long.
pub(crate) fn check_file(path: &str, text: &str) -> Option<Finding> {
    let count = lines_without_tests(text);
    let what = format!("{count} lines without tests, {MAX_FILE_LINES} are allowed");
    (count > MAX_FILE_LINES).then(|| Finding::new(path, what, "split it into files that are about one thing each"))
}

/// Lines above the module of inline tests. `#[cfg(test)] mod tests;` among the other modules ends nothing.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        let [attribute, module] = pair else {
            return false;
        };
        *attribute == "#[cfg(test)]" && module.contains("mod ") && module.ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

/// Lines of examples in doc comments that `cargo test` compiles, with their fences, above the module of inline tests.
fn lines_of_examples(text: &str) -> usize {
    let (mut count, mut fence) = (0, None);
    for line in text.lines().take(lines_without_tests(text)).map(str::trim_start) {
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim) else {
            fence = None;
            continue;
        };
        let was_example = fence == Some(true);
        if let Some(language) = doc.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(is_tested(language)) };
        }
        count += usize::from(was_example || fence == Some(true));
    }
    count
}

/// Whether rustdoc makes a test of a code block with this text after its fence.
fn is_tested(language: &str) -> bool {
    language.split([',', ' ']).all(|word| matches!(word, "" | "rust" | "no_run" | "should_panic" | "compile_fail"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> String {
        "const A: u8 = 1;\n".repeat(count)
    }

    #[test]
    fn four_hundred_lines_are_allowed_and_one_more_is_not() {
        assert_eq!(check_file("a.rs", &lines(400)), None);
        let finding = check_file("a.rs", &lines(401)).unwrap();
        assert_eq!(finding.what, "401 lines without tests, 400 are allowed");
    }

    #[test]
    fn inline_tests_do_not_count() {
        let text = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(400), lines(100));
        assert_eq!(lines_without_tests(&text), 400);
        let early = format!("#[cfg(test)]\nmod tests;\n{}", lines(400));
        assert_eq!(lines_without_tests(&early), 402);
    }

    #[test]
    fn examples_that_are_tested_do_not_count_for_the_crate_but_for_the_file() {
        let documented = |fence: &str| format!("/// A.\n///\n/// {fence}\n/// a();\n/// ```\npub fn a() {{}}\n");
        for (fence, counted) in [("```", 3), ("```rust,no_run", 3), ("```text", 0), ("```ignore", 0)] {
            let text = documented(fence);
            assert_eq!((lines_without_tests(&text), lines_of_examples(&text)), (6, counted), "{fence}");
        }
        let two = format!("//! ```\n//! b();\n//! ```\n\n{}", documented("```"));
        assert_eq!(lines_of_examples(&two), 6);
        let inline = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(1), documented("```"));
        assert_eq!(lines_of_examples(&inline), 0, "inline tests are left out already");
    }

    #[test]
    fn support_for_tests_does_not_count() {
        let mut sizes = Sizes::default();
        sizes.add("crates/core/src/testing/fake.rs", &lines(MAX_CRATE_LINES * 2));
        assert_eq!(sizes.check(), []);
    }

    #[test]
    fn a_crate_above_its_limit_is_found() {
        let mut sizes = Sizes::default();
        sizes.add("crates/core/src/a.rs", &lines(CORE_LINES - 100));
        sizes.add("crates/core/src/b.rs", &lines(100));
        sizes.add("crates/core/src/b/tests.rs", &lines(100));
        sizes.add("crates/core/tests/c.rs", &lines(100));
        sizes.add("crates/a/src/a.rs", &lines(10_000));
        assert_eq!(sizes.check(), []);
        sizes.add("crates/core/src/c.rs", &lines(1));
        sizes.add("crates/a/src/c.rs", &lines(1));
        let findings = sizes.check();
        assert_eq!(findings.iter().map(|finding| &*finding.place).collect::<Vec<_>>(), ["crates/a", "crates/core"]);
    }
}
