//! What `proxy.toml` may hold, as a JSON Schema, by which editors complete it and underline what is wrong.
//!
//! Nothing is written down twice: which keys there are and what each may hold is what their readers say
//! ([`super::form`]), and what they mean, with their defaults, is what the annotated example says. Rules that take more
//! than one key to see are `guestpass check`'s alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::env;
use super::form::{Form, Forms};

/// The annotated example, which the tests hold to the program.
const EXAMPLE: &str = include_str!("../../proxy.toml");

/// The schema of the whole file. It keeps to what the drafts of JSON Schema have in common, since editors differ in what
/// they know.
#[must_use]
pub fn schema() -> Value {
    let (forms, needed) = super::forms();
    let page = Page { forms, needed, remarks: Remarks::of(EXAMPLE) };
    let mut schema = page.table("");
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("proxy.toml, the configuration of guestpass"));
    Value::Object(schema)
}

struct Page {
    forms: Forms,
    needed: BTreeSet<String>,
    remarks: Remarks,
}

impl Page {
    /// The table at `path`; the whole file is at "".
    fn table(&self, path: &str) -> Map<String, Value> {
        let name = |key: &'_ str| -> Option<String> {
            let name = if path.is_empty() { key } else { key.strip_prefix(path)?.strip_prefix('.')? };
            (!name.contains('.')).then(|| name.to_owned())
        };
        let keys = self.forms.iter().filter_map(|(key, form)| Some((name(key)?, self.key(key, form))));
        let properties: Map<_, _> = keys.collect();
        // What a variable of the environment can say need not stand in the file.
        let needed = self.needed.iter().filter(|key| env::name_of(key).is_none());
        let needed: Vec<_> = needed.filter_map(|key| name(key)).collect();
        let mut table = Map::new();
        table.insert("type".to_owned(), json!("object"));
        table.insert("additionalProperties".to_owned(), json!(false));
        table.insert("properties".to_owned(), Value::Object(properties));
        if !needed.is_empty() {
            table.insert("required".to_owned(), json!(needed));
        }
        table
    }

    fn key(&self, path: &str, form: &Form) -> Value {
        let mut schema = self.form(path, form);
        if let Some(text) = self.remarks.text(path) {
            schema.insert("description".to_owned(), json!(text));
        }
        if let Some(default) = self.remarks.defaults.get(path) {
            schema.insert("default".to_owned(), default.clone());
        }
        Value::Object(schema)
    }

    fn form(&self, path: &str, form: &Form) -> Map<String, Value> {
        let schema = match form {
            Form::Text(None) => json!({ "type": "string" }),
            Form::Text(Some(pattern)) => json!({ "type": "string", "pattern": pattern }),
            Form::Flag => json!({ "type": "boolean" }),
            Form::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Form::Words(words) => json!({ "type": "string", "enum": words }),
            Form::Either(forms) => {
                json!({ "anyOf": forms.iter().map(|form| self.form(path, form)).collect::<Vec<_>>() })
            }
            Form::List(item) => json!({ "type": "array", "items": self.form(path, item) }),
            Form::Texts => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            Form::Table => Value::Object(self.table(path)),
            Form::Tables => json!({ "type": "array", "items": self.table(path) }),
        };
        match schema {
            Value::Object(schema) => schema,
            _ => Map::new(),
        }
    }
}

/// What the annotated example says of each key and section.
#[derive(Debug, Default)]
struct Remarks {
    texts: BTreeMap<String, String>,
    defaults: BTreeMap<String, Value>,
}

impl Remarks {
    /// A remark stands behind its key, or else, as with a section, in the lines above it.
    fn of(example: &str) -> Self {
        let mut remarks = Self::default();
        let mut section = String::new();
        let mut above: Vec<&str> = Vec::new();
        for line in example.lines() {
            // A setting that is commented out has no space behind its `#`, and prose has one.
            let setting =
                line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()));
            let setting = setting.unwrap_or(line);
            if let Some(prose) = setting.strip_prefix("# ") {
                above.push(prose);
            } else if setting.starts_with('[') {
                section = setting.trim_matches(['[', ']']).to_owned();
                remarks.say(section.clone(), &above.join(" "));
                above.clear();
            } else if let Some((name, rest)) = setting.split_once(" = ") {
                let (value, remark) = apart(rest);
                let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
                if !["needed", "example", "the default is"].iter().any(|word| remark.contains(word)) {
                    let value = format!("value = {value}").parse::<toml::Table>().ok();
                    let value = value.and_then(|mut table| serde_json::to_value(table.remove("value")?).ok());
                    value.into_iter().for_each(|value| remarks.show(&key, value));
                }
                let above = std::mem::take(&mut above).join(" ");
                remarks.say(key, if remark.is_empty() { &above } else { remark });
            } else {
                above.clear();
            }
        }
        remarks
    }

    fn text(&self, key: &str) -> Option<&String> {
        // The parts of an inline table are spoken of where it stands.
        let around = || Some(key.rsplit_once('.')?.0).filter(|table| self.defaults.contains_key(*table));
        self.texts.get(key).or_else(|| self.texts.get(around()?))
    }

    /// Of a section that stands there twice, what is said first is said of all.
    fn say(&mut self, key: String, text: &str) {
        if !text.is_empty() {
            self.texts.entry(key).or_insert_with(|| text.to_owned());
        }
    }

    fn show(&mut self, key: &str, default: Value) {
        if let Value::Object(parts) = &default {
            for (name, part) in parts {
                self.show(&format!("{key}.{name}"), part.clone());
            }
        }
        self.defaults.entry(key.to_owned()).or_insert(default);
    }
}

/// A value and the remark behind it.
fn apart(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let hash = text.char_indices().find(|(_, character)| {
        quoted ^= *character == '"';
        *character == '#' && !quoted
    });
    let (value, remark) = text.split_at(hash.map_or(text.len(), |(place, _)| place));
    (value.trim(), remark.trim_start_matches('#').trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_example_says_of_each_key_is_found() {
        let remarks = Remarks::of(concat!(
            "# The head,\n# which is of no key.\n\n",
            "workers = 0    # as many as \"#\" there are\n",
            "# Of what\n# the section is.\n#[a.b]\n#c = \"x # y\"  # a remark\n#d = \"\"   # needed: a thing\n",
            "# Spoken of above.\ne = { f = 1 }\n",
        ));
        let texts: Vec<_> = remarks.texts.iter().map(|(key, text)| format!("{key}: {text}")).collect();
        assert_eq!(
            texts,
            [
                "a.b: Of what the section is.",
                "a.b.c: a remark",
                "a.b.d: needed: a thing",
                "a.b.e: Spoken of above.",
                "workers: as many as \"#\" there are"
            ]
        );
        let defaults: Vec<_> = remarks.defaults.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(defaults, ["a.b.c = \"x # y\"", "a.b.e = {\"f\":1}", "a.b.e.f = 1", "workers = 0"]);
    }

    #[test]
    fn every_key_says_what_it_is() {
        let (forms, _) = crate::config::forms();
        let remarks = Remarks::of(EXAMPLE);
        // A section's name says enough, where its keys do.
        let is_section = |key: &str| matches!(forms[key], Form::Table | Form::Tables);
        let silent: Vec<_> = forms.keys().filter(|key| !is_section(key) && remarks.text(key).is_none()).collect();
        assert!(silent.is_empty(), "nothing in the example says what these are: {silent:?}");
    }
}
