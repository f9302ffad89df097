//! `guestpass explain` says what would become of a request, by the proxy's own layers, and sends nothing.
//!
//! Each file in `tests/fixtures/explain` is one request and what is said of it: its first lines are the arguments, one a
//! line behind `# `. `{cookie}` in them is the good one of the golden cookies, `{forged}` the same with another tag.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::program;

const CONFIGURATION: &str = r#"
[[listen]]
address = "127.0.0.1:8443"
tls = false

[genesys]
client_id = "client"
client_secret = "the client's secret"
organization_id = "6a1c5a39-6f0b-4d0c-9a57-0d6a8c6f7d11"

[session]
warm_pool = { size = 8 }
never_issue = ["/status"]

[keys]
file = "keys.toml"

[[upstream]]
name = "site"
servers = ["http://127.0.0.1:9"]

[[upstream]]
name = "chat"
servers = ["h2c://127.0.0.1:9"]
forward_token = true

[[route]]
host = "shop.example"
path = "/account/**"
session = "require"

[[route]]
host = "shop.example"
path = "/public/**"
session = "open"

[[route]]
host = "shop.example"
path = "/chat/**"
session = "require"
on_missing = "redirect:/hello"
upstream = "chat"
"#;

/// A folder with a configuration and the golden cookies' keys.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("proxy.toml"), CONFIGURATION).unwrap();
    let key = &golden()["keys"][0];
    let ring = format!(
        "[[key]]\nid = {}\nsecret = {}\ncreated = 2026-01-01T00:00:00Z\nstate = \"signing\"\n",
        key["id"], key["secret"]
    );
    let path = folder.path().join("keys.toml");
    fs::write(&path, ring).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/cookies/v1.json")).unwrap()
}

/// Runs it a minute and a half after the golden cookies were made.
fn explain(folder: &TempDir, arguments: &[String]) -> Output {
    let mut all = vec!["explain", "--at", "2026-09-21T14:15:00Z"];
    all.extend(arguments.iter().map(String::as_str));
    program::run(folder.path(), &all)
}

#[test]
fn each_request_is_explained_as_its_fixture_has_it() {
    let golden = golden();
    let row = &golden["rows"][0];
    let cookie = row["value"].as_str().unwrap();
    let (untagged, tag) = cookie.rsplit_once('.').unwrap();
    let forged = format!("{untagged}.{}", tag.chars().rev().collect::<String>().replace('c', "A"));
    let secrets = [cookie, row["session"]["tok"].as_str().unwrap(), "the client's secret"];

    let folder = folder();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/explain");
    let mut names: Vec<_> = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 10);
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let arguments: Vec<String> = text
            .lines()
            .map_while(|line| line.strip_prefix("# "))
            .map(|argument| argument.replace("{cookie}", cookie).replace("{forged}", &forged))
            .collect();
        let expected = text.split_once("\n\n").unwrap().1;
        let output = explain(&folder, &arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, expected, "{} is now\n{said}", path.display());
        assert_eq!(output.status.code(), Some(0), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        for secret in secrets {
            assert!(!said.contains(secret), "{} shows {secret}", path.display());
        }
    }
}

#[test]
fn a_wrong_configuration_is_78_and_a_wrong_argument_2() {
    let folder = folder();
    let code = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let output = explain(&folder, &arguments);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
        output.status.code().unwrap()
    };
    assert_eq!(code(&["GET", "https://shop.example/", "--config", "none.toml"]), 78);
    for arguments in [
        &["GET"][..],
        &["G ET", "https://shop.example/"],
        &["GET", "/account/"],
        &["GET", "ftp://shop.example/"],
        &["GET", "https://me@shop.example/"],
        &["GET", "https://shop.example/", "-H", "no colon"],
        &["GET", "https://shop.example/", "-H", "a name: value"],
        &["GET", "https://shop.example/", "--cookie", "two\nlines"],
        &["GET", "https://shop.example/", "--at", "tomorrow"],
    ] {
        assert_eq!(code(arguments), 2, "{arguments:?}");
    }
}
