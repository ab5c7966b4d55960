//! Words that make a sentence hard to understand for somebody who does not know the project.

use crate::rules::finding::Finding;
use crate::source::{files, prose};

/// Words that are not used in comments, documentation and messages.
struct Refused {
    words: &'static [&'static str],
    reason: &'static str,
    instead: &'static str,
    /// Words around them with which they are plain English.
    except: &'static [&'static str],
}

const REFUSED: [Refused; 7] = [
    Refused {
        words: &["whoever"],
        reason: "hides who acts",
        instead: "name the caller, the observer, the client",
        except: &[],
    },
    Refused {
        words: &["for want of"],
        reason: "is not in common use",
        instead: "write `because there is no …`",
        except: &[],
    },
    Refused {
        words: &["is no", "are no", "was no"],
        reason: "reads as a riddle in a message",
        instead: "write `is not a …`",
        except: &["there is no", "there are no", "there was no", "is no longer", "are no longer", "was no longer"],
    },
    Refused {
        words: &["of whose", "to whose", "from whose", "for whose", "by whose", "of which"],
        reason: "makes the reader hold two clauses at once",
        instead: "write two sentences",
        except: &[],
    },
    Refused {
        words: &["is told", "are told", "was told", "were told"],
        reason: "hides who reports what to whom",
        instead: "write notify, emit, report, send or log, with a subject",
        except: &[],
    },
    Refused {
        words: &["nobody"],
        reason: "hides who does not act",
        instead: "name the caller, the observer, the client, or what is missing",
        except: &[],
    },
    Refused {
        words: &["as many as may", "those that"],
        reason: "stands for a noun that the reader has to find",
        instead: "name the things",
        except: &[],
    },
];

/// This file, which has to name the words.
const EXEMPT: &str = "xtask/src/rules/words.rs";

/// A finding for each line with a refused word.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    if path == EXEMPT || !is_read_by_people(path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for prose in prose::of_file(path, text) {
        let text = prose.text.to_lowercase();
        for (refused, word) in REFUSED.iter().filter_map(|refused| Some((refused, refused.find(&text)?))) {
            let what = format!("`{word}` {}", refused.reason);
            findings.push(Finding::new(format!("{path}:{}", prose.line), what, refused.instead));
        }
    }
    findings
}

fn is_read_by_people(path: &str) -> bool {
    let kinds = ["rs", "md", "toml", "yml", "yaml"];
    kinds.iter().any(|kind| files::has_extension(path, kind)) || path.starts_with("deploy/") || path.starts_with(".ci/")
}

impl Refused {
    fn find(&self, text: &str) -> Option<&'static str> {
        let plain = self.except.iter().fold(text.to_owned(), |text, plain| text.replace(plain, ""));
        self.words.iter().copied().find(|word| has_words(&plain, word))
    }
}

/// Whether `words` stand in `text` as whole words.
fn has_words(text: &str, words: &str) -> bool {
    let is_part = |character: Option<char>| character.is_some_and(|it| it.is_alphanumeric() || it == '_');
    text.match_indices(words).any(|(start, _)| {
        let (before, from_here) = text.split_at(start);
        let after = from_here.trim_start_matches(words);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &str, text: &str) -> Vec<String> {
        check(path, text).into_iter().map(|finding| finding.what.split('`').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn each_refused_word_is_found_in_comments_messages_and_markdown() {
        for word in REFUSED.iter().flat_map(|refused| refused.words) {
            assert_eq!(words("a.rs", &format!("// It {word} x.\n")), [*word]);
            assert_eq!(words("a.rs", &format!("bail!(\"It {word} x.\");\n")), [*word]);
            assert_eq!(words("a.md", &format!("It {} x.\n", word.to_uppercase())), [*word]);
        }
    }

    #[test]
    fn identifiers_and_code_are_not_prose() {
        assert!(words("a.rs", "fn nobody() { whoever(is_told) } // calls `nobody` or nobody_else\n").is_empty());
        assert!(words("a.md", "Call `nobody`.\n```\nnobody\n```\n").is_empty());
    }

    #[test]
    fn plain_sentences_with_the_same_words_pass() {
        assert!(words("a.md", "There is no key, and the run is no longer open.\n").is_empty());
        assert_eq!(words("a.md", "This is no key, and there is no lock.\n"), ["is no"]);
    }

    #[test]
    fn a_finding_has_its_line_and_what_to_write() {
        let finding = &check("a.rs", "//! Docs.\n\n// Nobody calls it.\n")[0];
        assert_eq!(finding.place, "a.rs:3");
        assert!(!finding.remedy.is_empty());
    }
}
