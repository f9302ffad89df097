//! Reads Rust source as far as the rules of the house need it: what is code, and which paths it names.
//!
//! This is no parser. It knows comments, literals and `#[cfg(test)]`, so that a word in a sentence or a test's own needs
//! are not taken for the program's.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// One file below `src`.
pub(super) struct Source {
    /// Its path from `src` on: `gate/decision.rs`.
    pub(super) path: String,
    /// The text with comments, literals and test items blanked out; every line stands where it stood.
    pub(super) code: String,
    /// How many lines are no test's.
    pub(super) length: usize,
}

impl Source {
    /// Every file below `folder` but those that hold tests alone, in the order of their paths.
    pub(super) fn all_in(folder: &Path) -> Vec<Self> {
        let mut sources = Vec::new();
        gather(folder, folder, &mut sources);
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(sources.len() > 20, "the sources of this crate stand in {}", folder.display());
        sources
    }

    pub(super) fn new(path: &str, text: &str) -> Self {
        let mut code = without_comments_and_literals(text);
        let mut length = text.lines().count();
        while let Some(item) = test_item(&code) {
            length -= code[item.clone()].lines().count();
            let blank: String = code[item.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(item, &blank);
        }
        Self { path: path.to_owned(), code, length }
    }

    /// The top-level module that it belongs to: `gate` for `gate.rs` and `gate/decision.rs`.
    pub(super) fn module(&self) -> &str {
        self.path.split('/').next().and_then(|first| first.split('.').next()).unwrap_or_default()
    }

    /// The modules that follow `root` in paths such as `root::gate::Config` and `root::{gate, clock::Clock}`, each with
    /// its line.
    pub(super) fn named_after(&self, root: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.words(root) {
            let Some(rest) = self.code[at + root.len()..].trim_start().strip_prefix("::") else { continue };
            let line = self.line(at);
            match rest.trim_start().strip_prefix('{') {
                Some(group) => found.extend(heads(group).into_iter().map(|name| (line, name))),
                None => found.push((line, word(rest.trim_start()).to_owned())),
            }
        }
        found
    }

    /// The lines of paths that climb out of the module by `super`, and so name another one unseen.
    pub(super) fn climbing_out(&self) -> Vec<usize> {
        let depth = self.path.split('/').count();
        let climbs = |at: usize| {
            let mut rest = &self.code[at..];
            let mut steps = 0;
            while word(rest) == "super" {
                let Some(next) = rest["super".len()..].strip_prefix("::") else { return 0 };
                rest = next;
                steps += 1;
            }
            steps
        };
        let begins = |at: &usize| !self.code[..*at].ends_with("super::");
        self.words("super")
            .into_iter()
            .filter(begins)
            .filter(|at| climbs(*at) >= depth)
            .map(|at| self.line(at))
            .collect()
    }

    /// The lines on which `needle` stands, not as a part of a longer word.
    pub(super) fn lines_with(&self, needle: &str) -> Vec<usize> {
        self.words(needle).into_iter().map(|at| self.line(at)).collect()
    }

    /// What stands between the brackets of each `derive(…)`, with its line.
    pub(super) fn derives(&self) -> Vec<(usize, &str)> {
        let list = |at: usize| self.code[at..].split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        self.words("derive").into_iter().filter_map(|at| Some((self.line(at), list(at)?.0))).collect()
    }

    fn words(&self, needle: &str) -> Vec<usize> {
        let ends = |index: usize| self.code[index + needle.len()..].chars().next();
        let in_word = |c: Option<char>| c.is_some_and(is_word);
        self.code
            .match_indices(needle)
            .map(|(at, _)| at)
            .filter(|&at| !in_word(self.code[..at].chars().next_back()))
            .filter(|&at| !needle.ends_with(is_word) || !in_word(ends(at)))
            .collect()
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

fn gather(folder: &Path, root: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            gather(&path, root, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let name = path.strip_prefix(root).expect("it stands below the root").to_string_lossy().replace('\\', "/");
            into.push(Source::new(&name, &text));
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    text.find(|c| !is_word(c)).map_or(text, |end| &text[..end])
}

/// The first word of each member of a `use` group, of which the opening brace is already gone.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && is_word(c) => {
                heads.push(word(&group[at..]).to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// The next item under `#[cfg(test)]`, its attribute included, to its closing brace or semicolon.
fn test_item(code: &str) -> Option<Range<usize>> {
    let start = code.find("#[cfg(test)]")?;
    let mut depth = 0;
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return Some(start..start + at + 1),
            '}' => depth -= 1,
            ';' if depth == 0 => return Some(start..start + at + 1),
            _ => {}
        }
    }
    Some(start..code.len())
}

/// The text with every comment and every literal's inside as blanks.
fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = comment(&chars, at).or_else(|| literal(&chars, at));
        match end {
            Some(end) => {
                code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
                at = end;
            }
            None => {
                code.push(chars[at]);
                at += 1;
            }
        }
    }
    code
}

fn comment(chars: &[char], start: usize) -> Option<usize> {
    match chars[start..] {
        ['/', '/', ..] => Some(position(chars, start, '\n')),
        ['/', '*', ..] => {
            let (mut depth, mut at) = (0, start);
            while at < chars.len() {
                match chars[at..] {
                    ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
                    ['*', '/', ..] if depth == 1 => return Some(at + 2),
                    ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
            }
            Some(at)
        }
        _ => None,
    }
}

fn literal(chars: &[char], start: usize) -> Option<usize> {
    let in_a_word = start > 0 && is_word(chars[start - 1]);
    match chars[start..] {
        ['"', ..] => Some(quoted(chars, start + 1, '"')),
        ['\'', '\\', ..] => Some(quoted(chars, start + 1, '\'')),
        // With nothing between the quotes' places it is a lifetime.
        ['\'', _, '\'', ..] => Some(start + 3),
        ['r', ..] if !in_a_word => raw(chars, start + 1),
        ['b' | 'c', 'r', ..] if !in_a_word => raw(chars, start + 2),
        _ => None,
    }
}

fn quoted(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `r"…"` and `r#"…"#`; a raw identifier such as `r#type` is none.
fn raw(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|&&c| c == '#').count();
    let open = start + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(at)
}

fn position(chars: &[char], start: usize, wanted: char) -> usize {
    chars[start..].iter().position(|&c| c == wanted).map_or(chars.len(), |distance| start + distance)
}
