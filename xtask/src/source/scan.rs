//! Reads from one Rust file what the rules about modules need: its child modules, imports, items and paths.
//!
//! It works on tokens, not on a syntax tree, so that paths inside macro calls are found as well. Comments are not
//! tokens, and documentation is a string literal, so neither is mistaken for code.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What one module contains. Code under `#[cfg(test)]` is left out.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) children: Vec<Child>,
    pub(crate) imports: Vec<Import>,
    pub(crate) items: Vec<Item>,
    pub(crate) paths: Vec<PathUse>,
}

/// `mod name;` or `mod name { … }`.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) is_public: bool,
    /// The contents of an inline module.
    pub(crate) inline: Option<Contents>,
}

/// One name that a `use` brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The name in this module; `*` for all names.
    pub(crate) name: String,
    pub(crate) path: PathUse,
    pub(crate) is_public: bool,
}

/// A path somewhere in the code: `crate::money::Money`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathUse {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

/// A named item at the top level of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) is_type: bool,
    pub(crate) is_public: bool,
    /// A macro that `#[macro_export]` puts at the root of the crate.
    pub(crate) is_exported_macro: bool,
}

const TYPES: [&str; 5] = ["struct", "enum", "trait", "type", "union"];
const VALUES: [&str; 3] = ["fn", "const", "static"];
/// Words that may stand between `pub` and the word that says what the item is.
const QUALIFIERS: [&str; 4] = ["async", "unsafe", "const", "extern"];

/// Reads the tokens of a file.
pub(crate) fn scan(text: &str) -> Result<Contents> {
    let tokens: TokenStream =
        text.parse().map_err(|error| anyhow::anyhow!("{error}")).context("the file is not Rust code")?;
    let mut contents = Contents::default();
    if !begins_with_test_only(&tokens) {
        Scanner { tokens: tokens.into_iter().collect(), contents: &mut contents, is_module: true }.run();
    }
    Ok(contents)
}

/// `#![cfg(test)]`.
fn begins_with_test_only(tokens: &TokenStream) -> bool {
    let mut inner = tokens.clone().into_iter();
    while is_punct(inner.next().as_ref(), '#') && is_punct(inner.next().as_ref(), '!') {
        if let Some(TokenTree::Group(attribute)) = inner.next()
            && is_test_only(&attribute)
        {
            return true;
        }
    }
    false
}

struct Scanner<'a> {
    tokens: VecDeque<TokenTree>,
    contents: &'a mut Contents,
    /// Items count at the top level of a module, not inside a function.
    is_module: bool,
}

impl Scanner<'_> {
    fn run(mut self) {
        let (mut is_public, mut is_exported_macro) = (false, false);
        while let Some(token) = self.tokens.pop_front() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(attribute) = self.attribute() {
                        is_exported_macro |= attribute.stream().to_string() == "macro_export";
                        if is_test_only(&attribute) {
                            self.skip_item();
                        }
                    }
                    continue;
                }
                TokenTree::Ident(ident) => {
                    let (word, line) = (ident.to_string(), ident.span().start().line);
                    if word == "pub" {
                        is_public = !self.skip_group(Delimiter::Parenthesis);
                        continue;
                    }
                    if QUALIFIERS.contains(&word.as_str()) && self.next_is_item_word() {
                        continue;
                    }
                    self.word(&word, Mark { line, is_public, is_exported_macro });
                }
                TokenTree::Group(group) => self.nested(&group),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            (is_public, is_exported_macro) = (false, false);
        }
    }

    fn word(&mut self, word: &str, mark: Mark) {
        match word {
            "use" => {
                let tokens = self.take_until_semicolon();
                let mut paths = Vec::new();
                use_tree(tokens, &[], &mut paths);
                for (name, path) in paths {
                    self.contents.imports.push(Import { name, path, is_public: mark.is_public });
                }
            }
            "mod" => self.module(mark),
            "macro_rules" => {
                self.tokens.pop_front();
                self.item(mark, false);
            }
            _ if TYPES.contains(&word) => self.item(mark, true),
            _ if VALUES.contains(&word) => self.item(mark, false),
            _ => self.path(word, mark.line),
        }
    }

    fn module(&mut self, Mark { line, is_public, .. }: Mark) {
        let Some(TokenTree::Ident(name)) = self.tokens.pop_front() else { return };
        let inline = match self.tokens.pop_front() {
            Some(TokenTree::Group(body)) => {
                let mut contents = Contents::default();
                let tokens = body.stream().into_iter().collect();
                Scanner { tokens, contents: &mut contents, is_module: true }.run();
                Some(contents)
            }
            _ => None,
        };
        self.contents.children.push(Child { name: name.to_string(), line, is_public, inline });
    }

    fn item(&mut self, mark: Mark, is_type: bool) {
        if self.is_module
            && let Some(TokenTree::Ident(name)) = self.tokens.front()
        {
            let Mark { line, is_public, is_exported_macro } = mark;
            self.contents.items.push(Item { name: name.to_string(), line, is_type, is_public, is_exported_macro });
            self.tokens.pop_front();
        }
    }

    fn path(&mut self, first: &str, line: usize) {
        let mut segments = vec![first.to_owned()];
        while is_separator(&self.tokens) {
            self.tokens.drain(..2);
            match self.tokens.front() {
                Some(TokenTree::Ident(segment)) => segments.push(segment.to_string()),
                _ => break,
            }
            self.tokens.pop_front();
        }
        if segments.len() > 1 {
            self.contents.paths.push(PathUse { line, segments });
        }
    }

    fn nested(&mut self, group: &Group) {
        let tokens = group.stream().into_iter().collect();
        Scanner { tokens, contents: self.contents, is_module: false }.run();
    }

    fn attribute(&mut self) -> Option<Group> {
        if is_punct(self.tokens.front(), '!') {
            self.tokens.pop_front();
        }
        match self.tokens.pop_front()? {
            TokenTree::Group(group) => Some(group),
            other => {
                self.tokens.push_front(other);
                None
            }
        }
    }

    fn next_is_item_word(&self) -> bool {
        let is_item_word =
            |word: &str| TYPES.contains(&word) || VALUES.contains(&word) || QUALIFIERS.contains(&word) || word == "mod";
        matches!(self.tokens.front(), Some(TokenTree::Ident(next)) if is_item_word(&next.to_string()))
            || matches!(self.tokens.front(), Some(TokenTree::Literal(_)))
    }

    fn skip_group(&mut self, delimiter: Delimiter) -> bool {
        let is_there = matches!(self.tokens.front(), Some(TokenTree::Group(group)) if group.delimiter() == delimiter);
        if is_there {
            self.tokens.pop_front();
        }
        is_there
    }

    /// Skips what an attribute belongs to: up to a `;` or over the first block in braces.
    fn skip_item(&mut self) {
        let mut is_import = false;
        while let Some(token) = self.tokens.pop_front() {
            match token {
                TokenTree::Ident(word) => is_import |= word == "use",
                TokenTree::Punct(punct) if punct.as_char() == ';' => return,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_import => return,
                _ => {}
            }
        }
    }

    fn take_until_semicolon(&mut self) -> VecDeque<TokenTree> {
        let end = self.tokens.iter().position(|token| is_punct(Some(token), ';')).unwrap_or(self.tokens.len());
        self.tokens.drain(..end).collect()
    }
}

/// What stands before an item.
#[derive(Clone, Copy)]
struct Mark {
    line: usize,
    is_public: bool,
    is_exported_macro: bool,
}

/// Flattens `a::{b, c as d, e::*}` into the name and the path of each import.
fn use_tree(mut tokens: VecDeque<TokenTree>, prefix: &[String], found: &mut Vec<(String, PathUse)>) {
    let mut segments = prefix.to_vec();
    let mut line = 0;
    let mut alias = None;
    let mut is_group = false;
    while let Some(token) = tokens.pop_front() {
        match token {
            TokenTree::Ident(word) if word == "as" => {
                alias = tokens.pop_front().map(|name| name.to_string());
            }
            TokenTree::Ident(word) => {
                line = word.span().start().line;
                // `money::{self, Money}` imports the module itself.
                if word != "self" || segments.is_empty() {
                    segments.push(word.to_string());
                }
            }
            TokenTree::Group(group) => {
                is_group = true;
                use_tree(group.stream().into_iter().collect(), &segments, found);
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => {
                push_import(&segments, alias.take(), line, is_group, found);
                segments = prefix.to_vec();
                is_group = false;
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {
                line = punct.span().start().line;
                alias = Some("*".to_owned());
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    if segments.len() > prefix.len() || alias.is_some() {
        push_import(&segments, alias, line, is_group, found);
    }
}

fn push_import(
    segments: &[String],
    alias: Option<String>,
    line: usize,
    is_group: bool,
    found: &mut Vec<(String, PathUse)>,
) {
    if let Some(last) = segments.last()
        && !is_group
    {
        found.push((alias.unwrap_or_else(|| last.clone()), PathUse { line, segments: segments.to_vec() }));
    }
}

/// `cfg(test)`, or `cfg(all(test, …))`.
fn is_test_only(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,") || text == "test" || text.starts_with("tokio::test")
}

fn is_punct(token: Option<&TokenTree>, expected: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == expected)
}

fn is_separator(tokens: &VecDeque<TokenTree>) -> bool {
    is_punct(tokens.front(), ':') && is_punct(tokens.get(1), ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str) -> Vec<(String, String)> {
        let contents = scan(text).unwrap();
        contents.imports.into_iter().map(|import| (import.name, import.path.segments.join("::"))).collect()
    }

    fn paths(text: &str) -> Vec<String> {
        scan(text).unwrap().paths.into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_flattened() {
        let found = imports("use crate::{Money, run::{self, Run as R, *}};\nuse std::fmt;");
        let expected = [
            ("Money", "crate::Money"),
            ("run", "crate::run"),
            ("R", "crate::run::Run"),
            ("*", "crate::run"),
            ("fmt", "std::fmt"),
        ];
        assert_eq!(found, expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn paths_in_code_and_in_macro_calls_are_found() {
        let text = "fn a() { let x = crate::b::c(); vec![super::d::E]; }";
        assert_eq!(paths(text), ["crate::b::c", "super::d::E"]);
    }

    #[test]
    fn comments_docs_strings_and_tests_are_not_code() {
        let text = "//! [`crate::a::B`]\n/// crate::a::B\nfn a() { \"crate::a::B\"; }\n// crate::a::B\n\
            #[cfg(test)]\nuse crate::a::{B, C};\n#[cfg(test)]\nmod tests { use crate::a::B; }\n\
            #[cfg(all(test, unix))]\nfn b() { crate::a::b(); }";
        assert!(paths(text).is_empty() && imports(text).is_empty());
        assert!(imports("#![cfg(test)]\nuse crate::a::B;").is_empty());
    }

    #[test]
    fn public_items_and_modules_are_told_apart_from_private_ones() {
        let text = "pub struct A;\npub(crate) enum B {}\npub async fn c() {}\npub const fn d() {}\nmod e;\npub mod f {}\n\
            pub use g::H;\npub(crate) use g::I;\n#[macro_export]\nmacro_rules! j { () => {} }\nfn k() { struct L; }";
        let contents = scan(text).unwrap();
        let public: Vec<_> = contents.items.iter().filter(|item| item.is_public).map(|item| &*item.name).collect();
        assert_eq!(public, ["A", "c", "d"]);
        let types: Vec<_> = contents.items.iter().filter(|item| item.is_type).map(|item| &*item.name).collect();
        assert_eq!(types, ["A", "B"]);
        assert!(!contents.children[0].is_public && contents.children[1].is_public);
        assert_eq!(contents.imports.iter().map(|import| import.is_public).collect::<Vec<_>>(), [true, false]);
        assert!(contents.items.iter().any(|item| item.name == "j" && item.is_exported_macro));
    }
}
