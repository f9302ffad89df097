//! What editors are told of `proxy.toml` is what the program takes: which keys there are, and what each may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use guestpass::config;
use serde_json::{Value, json};

use crate::harness::program;

fn schema() -> Value {
    let printed = program::run(Path::new("/"), &["schema"]);
    assert!(printed.status.success());
    serde_json::from_slice(&printed.stdout).unwrap()
}

/// Every key below `table`, with its schema.
fn keys(table: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    assert_eq!(table["additionalProperties"], json!(false), "{path:?} takes keys that nobody knows");
    for (name, key) in table["properties"].as_object().unwrap() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        for table in [key, &key["items"]].into_iter().filter(|it| it.get("properties").is_some()) {
            keys(table, &path, found);
        }
        found.insert(path, key.clone());
    }
}

#[test]
fn it_has_every_key_and_no_other() {
    let mut found = BTreeMap::new();
    keys(&schema(), "", &mut found);
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), config::known_keys());
}

#[test]
fn a_key_says_what_it_means_what_it_may_hold_and_what_holds_without_it() {
    let mut found = BTreeMap::new();
    let schema = schema();
    keys(&schema, "", &mut found);
    let mut same_site = found["cookie.same_site"].clone();
    let words = same_site.as_object_mut().unwrap().remove("description");
    assert!(words.is_some_and(|words| words.as_str().unwrap().starts_with("strict | lax")));
    assert_eq!(same_site, json!({ "type": "string", "enum": ["strict", "lax", "none"], "default": "strict" }));
    let headers = &found["limits.headers"];
    assert_eq!((&headers["minimum"], &headers["maximum"], &headers["default"]), (&json!(1), &json!(1000), &json!(100)));
    assert_eq!(found["genesys.client_id"].get("default"), None, "what is needed has no default");
    assert_eq!(schema["required"], json!(["listen", "upstream"]));
    assert_eq!(found["upstream"]["items"]["required"], json!(["name", "servers"]));
    assert_eq!(schema["properties"]["genesys"].get("required"), None, "the environment may say it all");
}

#[test]
#[ignore = "needs node with ajv"]
fn another_validator_takes_what_is_right_and_refuses_what_is_wrong() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = serde_json::Map::new();
    let mut right = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    let mut add = |name: String, text: &str| {
        let document: toml::Table = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        documents.insert(name.clone(), serde_json::to_value(document).unwrap());
        name
    };
    let example = fs::read_to_string(root.join("proxy.toml")).unwrap();
    right.insert(add("proxy.toml".to_owned(), &example));
    for kind in ["accept", "refuse"] {
        for entry in fs::read_dir(root.join("tests/fixtures/config").join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let name = format!("{kind}/{}", path.file_name().unwrap().display());
            // What a schema can know: names, words, units and ranges.
            let is_seen = |line: &&str| {
                ["unknown key", "is not a duration", "is not a size", "is none of its values", "out of range"]
                    .iter()
                    .any(|words| line.starts_with("# error") && line.contains(words))
            };
            let is_wrong =
                text.lines().map_while(|line| line.starts_with("# ").then_some(line)).any(|line| is_seen(&line));
            if kind == "accept" {
                right.insert(add(name, &text));
            } else if is_wrong {
                wrong.insert(add(name, &text));
            }
        }
    }
    assert!(right.len() > 20 && wrong.len() > 5, "{right:?} {wrong:?}");
    let refused = refused(root, &json!({ "schema": schema(), "documents": documents }));
    assert_eq!(refused.keys().cloned().collect::<BTreeSet<_>>(), wrong, "{refused:#?}");
}

/// What the validator says of each document that it does not take.
fn refused(root: &Path, question: &Value) -> BTreeMap<String, String> {
    let folder = root.join("tests/schema");
    assert!(folder.join("node_modules").exists(), "`npm ci --prefix tests/schema` installs ajv, as .ci/run does");
    let mut node = Command::new("node")
        .arg(folder.join("validate.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let ended = node.wait_with_output().unwrap();
    assert!(ended.status.success());
    serde_json::from_slice(&ended.stdout).unwrap()
}
