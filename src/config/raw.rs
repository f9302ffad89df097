//! The file as it stands: tables and their values, each with its place, and nothing of what they mean.
//!
//! A [`Section`] is one table. Whoever reads it names each key once, with how its value is read; what was not asked for
//! when the section ends is a key that nobody knows. So the code that fills a room's `Config` is at the same time the
//! list of keys, and no second one can fall behind it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::env;
use super::findings::{At, Findings, Spot};
use super::form::Form;
use super::value::{self, Reading, Unfit};
use crate::clock::Timestamp;

/// What surrounds the file.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    /// What certificates are held against.
    pub(super) now: Timestamp,
    /// Asks every reader what it would take: lists of tables that are not there are read as if they had one empty table,
    /// and each reader is shown a value that cannot be meant.
    pub(super) asks_for_forms: bool,
}

/// One table of the file, possibly an absent one.
pub(super) struct Section<'a> {
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) findings: &'a mut Findings,
    table: Option<&'a DeTable<'a>>,
    places: Places,
    asked: BTreeSet<&'static str>,
}

/// Where a table and what it says stands; outlives the reading of it, for rules that compare tables.
#[derive(Clone, Debug)]
pub(super) struct Places {
    path: String,
    header: At,
    said: BTreeMap<String, At>,
}

/// What was made of a table, if it could be, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    pub(super) value: Option<T>,
    pub(super) places: Places,
}

impl Places {
    /// Where the table begins.
    pub(super) fn header(&self) -> Spot {
        Spot { key: self.path.clone(), at: self.header.clone() }
    }

    /// Where the value of `key` stands, or where it would have to.
    pub(super) fn of(&self, key: &str) -> Spot {
        Spot { key: self.path_of(key), at: self.said.get(key).unwrap_or(&self.header).clone() }
    }

    /// Whether somebody said anything about `key`.
    pub(super) fn says(&self, key: &str) -> bool {
        self.said.contains_key(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(table: &'a DeTable<'a>, surroundings: &'a Surroundings<'a>, findings: &'a mut Findings) -> Self {
        let places = Places::new(String::new(), At::Nowhere, Some(table));
        Self { surroundings, findings, table: Some(table), places, asked: BTreeSet::new() }
    }

    /// Where everything in this section stands.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The value of `key` as `read` understands it; `None` when nothing was said, or something wrong, which is then
    /// reported.
    pub(super) fn get<T>(&mut self, key: &'static str, read: impl FnOnce(&DeValue<'_>) -> Reading<T>) -> Option<T> {
        let Some(value) = self.value(key) else {
            self.learn(key, || form_of(read));
            return None;
        };
        let reading = read(&value);
        let spot = self.places.of(key);
        self.accept(&spot, reading)
    }

    /// As [`Self::get`]; an empty text says nothing.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Reading<T>,
    ) -> Option<T> {
        let Some(value) = self.value(key) else {
            self.learn(key, || form_of(read).or_word(""));
            return None;
        };
        if value.as_str() == Some("") {
            self.places.said.remove(key);
            return None;
        }
        self.get(key, read)
    }

    /// As [`Self::optional`]; saying nothing is a problem.
    pub(super) fn need<T>(&mut self, key: &'static str, read: impl FnOnce(&DeValue<'_>) -> Reading<T>) -> Option<T> {
        let value = self.optional(key, read);
        if value.is_none() && !self.places.says(key) {
            self.missing(key);
        }
        value
    }

    /// The path of a file, from the folder that relative ones start at; an empty one says nothing.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let folder = self.surroundings.folder;
        self.optional(key, value::text).map(|path| folder.join(path))
    }

    /// As [`Self::path`]; saying nothing is a problem.
    pub(super) fn need_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let folder = self.surroundings.folder;
        self.need(key, value::text).map(|path| folder.join(path))
    }

    /// An array of which `read` understands each item; what it does not is reported by itself. The environment writes
    /// one with spaces or commas.
    pub(super) fn list<T>(&mut self, key: &'static str, read: impl Fn(&DeValue<'_>) -> Reading<T>) -> Option<Vec<T>> {
        let Some(value) = self.value(key) else {
            self.learn(key, || Form::List(Box::new(form_of(read))));
            return None;
        };
        let spot = self.places.of(key);
        let mut items = Vec::new();
        match (value.as_ref(), &spot.at) {
            (DeValue::Array(array), _) => {
                for item in array.iter() {
                    let spot = Spot { key: spot.key.clone(), at: At::Bytes(item.span()) };
                    items.push(self.accept(&spot, read(item.get_ref())));
                }
            }
            (DeValue::String(text), At::Variable(_)) => {
                for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
                    items.push(self.accept(&spot, read(&DeValue::String(Cow::Borrowed(word)))));
                }
            }
            (other, _) => {
                let unfit = Unfit::type_of(other, "an array").help(format!("write `{key} = [\"…\"]`"));
                self.accept::<T>(&spot, Err(unfit));
                return None;
            }
        }
        items.into_iter().collect()
    }

    /// The table `key`, also when it is not there, so that its own defaults and needs come to bear.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        self.asked.insert(key);
        self.learn(key, || Form::Table);
        let header = self.places.said.get(key).cloned();
        let table = match self.table.and_then(|table| table.get(key)).map(toml::Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                let unfit =
                    Unfit::type_of(other, "a table").help(format!("begin a section: `[{}]`", self.places.path_of(key)));
                let spot = self.places.of(key);
                self.accept::<T>(&spot, Err(unfit));
                None
            }
            None => None,
        };
        // What is missing in a section that is not there is missing in the one around it.
        let header = header.unwrap_or_else(|| self.places.header.clone());
        self.descend(key, table, header, read)
    }

    /// The list of tables `key`.
    pub(super) fn each<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<Entry<T>> {
        self.asked.insert(key);
        self.learn(key, || Form::Tables);
        let mut entry = |section: &mut Section<'_>| {
            let value = read(section);
            Entry { value, places: section.places.clone() }
        };
        match self.table.and_then(|table| table.get(key)).map(toml::Spanned::get_ref) {
            Some(DeValue::Array(items)) => {
                let mut entries = Vec::new();
                for item in items.iter() {
                    if let DeValue::Table(table) = item.get_ref() {
                        entries.push(self.descend(key, Some(table), At::Bytes(item.span()), &mut entry));
                    } else {
                        self.no_list_of_tables(key, item.get_ref(), At::Bytes(item.span()));
                    }
                }
                entries
            }
            Some(other) => {
                self.no_list_of_tables(key, other, self.places.of(key).at);
                Vec::new()
            }
            None if self.surroundings.asks_for_forms => {
                vec![self.descend(key, None, At::Nowhere, &mut entry)]
            }
            None => Vec::new(),
        }
    }

    /// A table whose keys are the operator's own, from text to text.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let Some(value) = self.value(key) else {
            self.learn(key, || Form::Texts);
            return None;
        };
        let spot = self.places.of(key);
        let Some(table) = value.as_table() else {
            let unfit = Unfit::type_of(&value, "a table").help(format!("write `{key} = {{ name = \"value\" }}`"));
            return self.accept(&spot, Err(unfit));
        };
        let mut texts = Some(BTreeMap::new());
        for (name, value) in table {
            let spot = Spot { key: format!("{}.{}", spot.key, name.get_ref()), at: At::Bytes(value.span()) };
            match (self.accept(&spot, value::text(value.get_ref())), &mut texts) {
                (Some(text), Some(texts)) => drop(texts.insert(name.get_ref().to_string(), text)),
                _ => texts = None,
            }
        }
        texts
    }

    /// Reports what is wrong with a value, and hands on what is right.
    pub(super) fn accept<T>(&mut self, spot: &Spot, reading: Reading<T>) -> Option<T> {
        let unfit = match reading {
            Ok(value) => return Some(value),
            Err(unfit) => unfit,
        };
        let name = match &spot.at {
            At::Variable(name) => name,
            At::Bytes(_) | At::Nowhere => &spot.key,
        };
        let finding = self.findings.error(spot, format!("`{name}` {}", unfit.what), unfit.label);
        if let Some(help) = unfit.help {
            finding.help(help);
        }
        None
    }

    fn value(&mut self, key: &'static str) -> Option<Cow<'a, DeValue<'a>>> {
        self.asked.insert(key);
        let path = self.places.path_of(key);
        match env::of(&path, self.surroundings.env) {
            Ok(None) => {}
            Ok(Some(env::Variable { name, text })) => {
                self.places.said.insert(key.to_owned(), At::Variable(name));
                return Some(Cow::Owned(DeValue::String(Cow::Owned(text))));
            }
            Err(error) => {
                let spot = Spot { key: path.clone(), at: At::Variable(error.variable().to_owned()) };
                self.places.said.insert(key.to_owned(), spot.at.clone());
                self.findings.error(&spot, error.to_string(), "").help(error.help());
                return None;
            }
        }
        self.table.and_then(|table| table.get(key)).map(|value| Cow::Borrowed(value.get_ref()))
    }

    /// Notes what `key` may hold, where that is what is wanted to be known.
    fn learn(&mut self, key: &'static str, form: impl FnOnce() -> Form) {
        if self.surroundings.asks_for_forms {
            self.findings.learn(self.places.path_of(key), form());
        }
    }

    fn missing(&mut self, key: &'static str) {
        let spot = self.places.of(key);
        let variable = env::name_of(&spot.key);
        let help = match variable {
            Some(variable) => format!("write `{key} = \"…\"`, or set {variable} or {variable}_FILE in the environment"),
            None => format!("write `{key} = …`"),
        };
        let section =
            if self.places.path.is_empty() { "the file".to_owned() } else { format!("`{}`", self.places.path) };
        self.findings.missing(&spot, format!("{section} needs `{key}`")).help(help);
    }

    fn no_list_of_tables(&mut self, key: &'static str, found: &DeValue<'_>, at: At) {
        let path = self.places.path_of(key);
        let unfit = Unfit::type_of(found, "a list of tables").help(format!("there can be several: write `[[{path}]]`"));
        self.accept::<()>(&Spot { key: path, at }, Err(unfit));
    }

    fn descend<T>(
        &mut self,
        key: &'static str,
        table: Option<&DeTable<'_>>,
        header: At,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section {
            surroundings: self.surroundings,
            findings: self.findings,
            table,
            places: Places::new(self.places.path_of(key), header, table),
            asked: BTreeSet::new(),
        };
        let value = read(&mut section);
        section.end();
        value
    }

    /// Reports every key that nobody asked for.
    pub(super) fn end(&mut self) {
        let Some(table) = self.table else { return };
        for (key, value) in table {
            if !self.asked.contains(key.get_ref().as_ref()) {
                let spot = Spot { key: self.places.path_of(key.get_ref()), at: At::Bytes(key.span()) };
                self.findings.unknown(&spot, value, &self.asked);
            }
        }
    }
}

/// What a reader would take, as it says when it is shown what nobody writes into this file.
fn form_of<T>(read: impl FnOnce(&DeValue<'_>) -> Reading<T>) -> Form {
    let nothing = Datetime { date: None, time: None, offset: None };
    read(&DeValue::Datetime(nothing)).map_or_else(|unfit| unfit.form, |_| Form::Text(None))
}

impl Places {
    fn new(path: String, header: At, table: Option<&DeTable<'_>>) -> Self {
        let said = table.into_iter().flatten();
        let said = said.map(|(key, value)| (key.get_ref().to_string(), At::Bytes(value.span()))).collect();
        Self { path, header, said }
    }
}
