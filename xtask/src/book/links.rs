//! Links between the pages. A page links only to other pages of the site and to addresses, because a link to another file of
//! the repository would lead nowhere on the site.

use std::collections::BTreeSet;

use crate::rules::finding::Finding;

/// Findings for links whose page or heading does not exist.
pub(crate) fn check(pages: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in pages {
        for target in targets(text).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { resolve(path, file) };
            let Some((_, linked)) = pages.iter().find(|(page, _)| *page == file) else {
                let what = format!("links to {target}, which is not a page in SUMMARY.md");
                findings.push(Finding::new(format!("docs/{path}"), what, "link to a page, or name the file as code"));
                continue;
            };
            if !heading.is_empty() && !anchors(linked).contains(heading) {
                let what = format!("links to {target}, and there is no such heading");
                findings.push(Finding::new(format!("docs/{path}"), what, "write the anchor of a heading"));
            }
        }
    }
    findings
}

/// The targets of the links in Markdown, without those in code.
pub(crate) fn targets(text: &str) -> impl Iterator<Item = &str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target)))
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchors that mdBook makes of headings: lower case, `-` for spaces, without other punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
    };
    headings.map(anchor).collect()
}

/// The path below the folder of a link in the page at `path`.
fn resolve(path: &str, link: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let pages = [("a/one.md", text), ("two.md", "# Two\n\n## Why `this` stopped?\n")];
        check(&pages.map(|(path, text)| (path.to_owned(), text.to_owned()))).into_iter().map(|it| it.what).collect()
    }

    #[test]
    fn links_to_pages_and_headings_pass() {
        let text = "# One\n[a](../two.md) [b](../two.md#why-this-stopped) [c](#one) [d](https://x.example/y)\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found_and_code_is_not_a_link() {
        assert_eq!(found("[a](two.md)"), ["links to two.md, which is not a page in SUMMARY.md"]);
        assert_eq!(found("[a](../two.md#no)"), ["links to ../two.md#no, and there is no such heading"]);
        assert_eq!(found("```rust\na[0](b)\n```\n"), [""; 0]);
    }
}
