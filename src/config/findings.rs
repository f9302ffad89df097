//! Collects what is found on the way through a configuration, and takes the secrets out before anybody sees it.
//!
//! A finding knows bytes of the file; a [`Problem`] holds the line that they are in. Between the two stands the
//! redaction: a value that is secret, that nobody knows the meaning of, or that a mistake in the file's syntax makes
//! doubtful, is never shown. When in doubt, a line says too little.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::form::{Form, Forms};
use super::problem::{Place, Problem, Problems, Severity};

/// What stands in a line where something was taken out.
const HIDDEN: &str = "…";

/// Where a setting was said, as long as the file is at hand.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// With dots between its parts: `genesys.client_id`.
    pub(super) key: String,
    pub(super) at: At,
}

#[derive(Clone, Debug)]
pub(super) enum At {
    /// These bytes of the file.
    Bytes(Range<usize>),
    /// This environment variable.
    Variable(String),
    /// Nowhere.
    Nowhere,
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Findings {
    known: BTreeSet<String>,
    forms: Forms,
    found: Vec<Finding>,
    /// What unknown keys were probably meant to be.
    meant: Vec<String>,
    hidden: Vec<Range<usize>>,
    read: Vec<PathBuf>,
}

/// One thing that was found; its notes and its help are added where it is reported.
#[derive(Debug)]
pub(super) struct Finding {
    severity: Severity,
    title: String,
    spot: Spot,
    label: String,
    /// Another place that it has to do with, and what stands there.
    beside: Option<(At, &'static str)>,
    notes: Vec<String>,
    help: Option<String>,
    doubtful: bool,
    missing: bool,
}

impl Finding {
    pub(super) fn beside(&mut self, other: &Spot, what: &'static str) -> &mut Self {
        self.beside = Some((other.at.clone(), what));
        self
    }

    pub(super) fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

impl Findings {
    /// `known` are all keys that there are; they help to tell what somebody meant.
    pub(super) fn new(known: BTreeSet<String>) -> Self {
        Self { known, forms: Forms::new(), found: Vec::new(), meant: Vec::new(), hidden: Vec::new(), read: Vec::new() }
    }

    /// Notes what the key at `path` may hold.
    pub(super) fn learn(&mut self, path: String, form: Form) {
        self.forms.insert(path, form);
    }

    /// Whether something was found about the key at `path` already, so that a second complaint would be the same again.
    pub(super) fn speak_of(&self, path: &str) -> bool {
        self.found.iter().any(|finding| finding.spot.key == path)
    }

    /// Notes that the configuration holds what the file at `path` says.
    pub(super) fn reads(&mut self, path: &Path) {
        self.read.push(path.to_owned());
    }

    /// Those files.
    pub(super) fn take_read(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.read)
    }

    /// What was learnt of all keys, and those that were missing.
    pub(super) fn into_forms(self) -> (Forms, BTreeSet<String>) {
        let missing = self.found.into_iter().filter(|finding| finding.missing).map(|finding| finding.spot.key);
        (self.forms, missing.collect())
    }

    pub(super) fn error(&mut self, spot: &Spot, title: impl Into<String>, label: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, spot.clone(), title.into(), label.into(), false)
    }

    pub(super) fn warning(&mut self, spot: &Spot, title: impl Into<String>, label: impl Into<String>) -> &mut Finding {
        self.push(Severity::Warning, spot.clone(), title.into(), label.into(), false)
    }

    /// The key at `spot` is needed and was not said.
    pub(super) fn missing(&mut self, spot: &Spot, label: impl Into<String>) -> &mut Finding {
        let finding = self.error(spot, format!("`{}` is missing", spot.key), label);
        finding.missing = true;
        finding
    }

    /// The file is no TOML here.
    pub(super) fn syntax(&mut self, mistake: &toml::de::Error) {
        let spot = Spot { key: String::new(), at: mistake.span().map_or(At::Nowhere, At::Bytes) };
        self.push(Severity::Error, spot, "this is not TOML".to_owned(), mistake.message().to_owned(), true);
    }

    /// The key at `spot` is none of ours. `siblings` are those that stand in the same section.
    pub(super) fn unknown(&mut self, spot: &Spot, value: &Spanned<DeValue<'_>>, siblings: &BTreeSet<&'static str>) {
        // A value whose meaning nobody knows may be a secret under a misspelt name.
        self.hide_leaves(value);
        let (section, name) = spot.key.rsplit_once('.').unwrap_or(("", &spot.key));
        if let Some(near) = nearest(name, siblings) {
            let dot = if section.is_empty() { "" } else { "." };
            self.meant.push(format!("{section}{dot}{near}"));
        }
        let help = self.what_was_meant(&spot.key, siblings);
        self.error(spot, format!("unknown key `{}`", spot.key), "there is no such key").help(help);
    }

    /// Takes every value whose key says that it is secret out of what is shown, wherever it stands: also in a section
    /// or under a spelling that is not ours.
    pub(super) fn hide_secrets(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().to_ascii_lowercase();
            if sounds_secret(&name) {
                self.hide_leaves(value);
            } else {
                self.hide_secrets_within(value);
            }
        }
    }

    fn hide_secrets_within(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.hide_secrets(table),
            DeValue::Array(items) => items.iter().for_each(|item| self.hide_secrets_within(item)),
            DeValue::String(text) if names_a_user(text) => self.hidden.push(value.span()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    /// Hides what stands at the ends of `value`; the span of a table may be its header, which has nothing to hide.
    fn hide_leaves(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => table.iter().for_each(|(key, value)| {
                self.hidden.push(key.span());
                self.hide_leaves(value);
            }),
            DeValue::Array(items) => items.iter().for_each(|item| self.hide_leaves(item)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => self.hidden.push(value.span()),
        }
    }

    /// All problems in the order of the file, what is nowhere in it last.
    pub(super) fn into_problems(self, name: &str, text: &str) -> Problems {
        let Self { known, mut found, meant, mut hidden, .. } = self;
        // One slip of the keyboard is one mistake: what it would have said is not missing as well.
        let was_meant = |key: &str| {
            meant.iter().any(|meant| {
                key.strip_prefix(meant.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        found.retain(|finding| !(finding.missing && was_meant(&finding.spot.key)));
        hidden.sort_by_key(|range| range.start);
        found.sort_by_key(|finding| match &finding.spot.at {
            At::Bytes(range) => range.start,
            At::Variable(_) | At::Nowhere => usize::MAX,
        });
        let page = Page { name, text, hidden: &hidden, known: &known };
        found.into_iter().map(|finding| page.problem(finding)).collect()
    }

    fn push(&mut self, severity: Severity, spot: Spot, title: String, label: String, doubtful: bool) -> &mut Finding {
        self.found.push(Finding {
            severity,
            title,
            spot,
            label,
            beside: None,
            notes: Vec::new(),
            help: None,
            doubtful,
            missing: false,
        });
        self.found.last_mut().expect("one was pushed on the line above")
    }

    fn what_was_meant(&self, key: &str, siblings: &BTreeSet<&'static str>) -> String {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        if let Some(near) = nearest(name, siblings) {
            return format!("did you mean `{near}`?");
        }
        let elsewhere = self.known.iter().find(|known| known.rsplit('.').next() == Some(name));
        if let Some((home, _)) = elsewhere.and_then(|known| known.rsplit_once('.')) {
            return format!("`{name}` belongs to `{home}`");
        }
        let all = siblings.iter().copied().collect::<Vec<_>>().join(", ");
        let place = if section.is_empty() { "the file".to_owned() } else { format!("`{section}`") };
        format!("{place} can hold: {all}")
    }
}

/// The name that somebody most likely meant: no further away than a third of its letters.
fn nearest(name: &str, names: &BTreeSet<&'static str>) -> Option<&'static str> {
    names
        .iter()
        .map(|&known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min()
        .map(|(_, known)| known)
}

/// Errs on the side of hiding: no harm comes of a line that shows one value too few.
fn sounds_secret(name: &str) -> bool {
    ["secret", "password", "passwd"].iter().any(|word| name.contains(word)) || name == "token"
}

/// People write passwords into URLs (RFC 3986, section 3.2.1).
fn names_a_user(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// The file as problems show it.
struct Page<'a> {
    name: &'a str,
    text: &'a str,
    hidden: &'a [Range<usize>],
    known: &'a BTreeSet<String>,
}

impl Page<'_> {
    fn problem(&self, finding: Finding) -> Problem {
        let Finding { severity, title, spot, label, beside, mut notes, help, doubtful, missing: _ } = finding;
        if let Some((At::Bytes(bytes), what)) = beside {
            notes.insert(0, format!("{what} stands in line {}", self.number(bytes.start)));
        }
        let place = match spot.at {
            At::Bytes(bytes) => self.line(&bytes, label, doubtful),
            At::Variable(name) => {
                // There is no line to write it under.
                if !label.is_empty() {
                    notes.insert(0, label);
                }
                Place::Variable(name)
            }
            At::Nowhere => Place::File(self.name.to_owned()),
        };
        Problem { severity, key: spot.key, title, place, notes, help }
    }

    /// The line in which `bytes` begin.
    fn line(&self, bytes: &Range<usize>, label: String, doubtful: bool) -> Place {
        // A mistake in the syntax may be said to stand within a character.
        let begin = self.text.floor_char_boundary(bytes.start);
        let end = self.text.ceil_char_boundary(bytes.end).max(begin);
        let start = self.text[..begin].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let meant = (begin - start).min(line.len())..(end - start).min(line.len());
        let (text, underlined) = if doubtful { self.doubtful(line, meant) } else { self.redacted(start, line, meant) };
        Place::Line { file: self.name.to_owned(), number: self.number(start), text, underlined, label }
    }

    fn number(&self, byte: usize) -> usize {
        self.text[..byte].matches('\n').count() + 1
    }

    /// The line without what is hidden in it, and where the bytes that are meant have gone.
    fn redacted(&self, start: usize, line: &str, meant: Range<usize>) -> (String, Range<usize>) {
        let hides = |byte: usize| self.hidden.iter().any(|range| range.contains(&(start + byte)));
        let mut shown = String::new();
        let mut moved = vec![0; line.len() + 1];
        let mut marker = None;
        for (byte, character) in line.char_indices() {
            if hides(byte) {
                let place = *marker.get_or_insert(shown.len());
                moved[byte] = place;
                shown.truncate(place);
                shown.push_str(HIDDEN);
                continue;
            }
            moved[byte] = shown.len();
            // A comment is where a secret's predecessor is kept, or the secret itself while something is tried.
            if character == '#' && byte >= meant.end {
                break;
            }
            marker = None;
            shown.push(character);
        }
        moved[line.len()] = shown.len();
        shown.truncate(shown.trim_end().len());
        let begin = moved[meant.start].min(shown.len());
        let end = moved[meant.end].clamp(begin, shown.len());
        (shown, begin..end)
    }

    /// A line that is no TOML, so that nobody can tell where a secret begins: it is shown whole only if it begins with
    /// a name that is known and not secret.
    fn doubtful(&self, line: &str, meant: Range<usize>) -> (String, Range<usize>) {
        let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
        let name_start = line.find(|character: char| !matches!(character, '[' | ' ' | '\t')).unwrap_or(line.len());
        let name_length = line[name_start..].find(|character| !is_name(character)).unwrap_or(line.len() - name_start);
        let (before, after) = line.split_at(name_start + name_length);
        let is_known = |part: &str| self.known.iter().any(|known| known.split('.').any(|word| word == part));
        let mut parts = before[name_start..].split('.');
        if !parts.clone().all(is_known) {
            return (HIDDEN.to_owned(), 0..HIDDEN.len());
        }
        let secret = parts.any(sounds_secret) || sounds_secret(&after.to_ascii_lowercase()) || names_a_user(after);
        if !secret {
            return (line.to_owned(), meant);
        }
        let shown = format!("{before} = {HIDDEN}");
        let end = shown.len();
        (shown, if meant.end <= before.len() { meant } else { end - HIDDEN.len()..end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'a>(text: &'a str, hidden: &'a [Range<usize>], known: &'a BTreeSet<String>) -> Page<'a> {
        Page { name: "proxy.toml", text, hidden, known }
    }

    #[test]
    fn what_is_hidden_leaves_a_mark_and_the_underline_follows() {
        let text = "a = 1\nk = { s = \"é#x\", f = 2 } # s was y\n";
        let hidden = text.find("\"é").unwrap()..text.find(", f").unwrap();
        let known = BTreeSet::new();
        let page = page(text, std::slice::from_ref(&hidden), &known);
        for (meant, underlined) in [("k", "k"), ("\"é#x\"", HIDDEN), ("f", "f"), ("2", "2")] {
            let start = text.find(meant).unwrap();
            let place = page.line(&(start..start + meant.len()), String::new(), false);
            let Place::Line { number: 2, text: shown, underlined: range, .. } = place else { panic!("{place:?}") };
            assert_eq!(shown, "k = { s = …, f = 2 }");
            assert_eq!(&shown[range], underlined);
        }
    }

    #[test]
    fn a_line_that_is_no_toml_is_shown_only_if_it_can_hold_no_secret() {
        let known = ["keys.secret", "limits.keep_alive", "listen.tls"].map(str::to_owned).into();
        for (line, shown) in [
            ("keep_alive = 75s", "keep_alive = 75s"),
            ("  limits.keep_alive = 75s # long", "  limits.keep_alive = 75s # long"),
            ("[[listen", "[[listen"),
            ("secret = hunter2", "secret = …"),
            ("keys.secret hunter2", "keys.secret = …"),
            ("keys = { secret = hunter2 }", "keys = …"),
            ("limits.tls = https://user:hunter2@example", "limits.tls = …"),
            ("hunter2==", "…"),
            ("sekret = hunter2", "…"),
            ("\"secret\" = hunter2", "…"),
            ("", "…"),
        ] {
            let place = page(line, &[], &known).line(&(0..line.len()), String::new(), true);
            let Place::Line { text, underlined, .. } = place else { panic!("{place:?}") };
            assert_eq!(text, shown);
            assert!(text.get(underlined).is_some(), "{line}");
        }
    }

    #[test]
    fn the_nearest_name_is_one_that_can_be_meant() {
        let names = ["header_timeout", "header_size", "headers", "tls"].into();
        assert_eq!(nearest("header_timout", &names), Some("header_timeout"));
        assert_eq!(nearest("heaedrs", &names), Some("headers"));
        assert_eq!(nearest("tsl", &names), Some("tls"));
        assert_eq!(nearest("admin", &names), None);
    }
}
