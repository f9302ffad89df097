//! Paths: whatever a server reads as a protected path is judged as protected, or refused.
//!
//! The servers are a row of decoders, each after a real kind, put together of the same few steps in the order of that
//! kind. They know nothing of how guestpass reads a path.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use guestpass::clock::Timestamp;
use guestpass::config;
use guestpass::policy::Policy;
use guestpass::routes::{OwnPrefix, Table};
use http::Method;
use libfuzzer_sys::fuzz_target;

const HOST: &str = "shop.example";

/// One table for sites that mind case, and one for those that do not.
static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| [false, true].map(table));

fn table(ignore_case: bool) -> Table {
    let text = format!(
        r#"
        listen = [{{ address = "127.0.0.1:0", tls = false, scheme = "https" }}]
        genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
        upstream = [{{ name = "site", servers = ["http://127.0.0.1:1"] }}]
        keys.secret = "a fuzzer's secret, long enough to be one"
        store.path = "off"
        route = [
            {{ path = "/a/**", session = "require", ignore_case = {ignore_case} }},
            {{ path = "/b/*/c", session = "require", ignore_case = {ignore_case} }},
            {{ path = "/a/o/**", session = "open" }},
        ]
        "#
    );
    let loaded = config::parse("fuzz", &text, Path::new(""), &|_| None, Timestamp::from_seconds(0));
    Table::new(loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render(false))).routes)
}

fuzz_target!(|path: &str| {
    let own = OwnPrefix::parse("/g/").unwrap();
    let found = own.find(path);
    if let Ok(Some(name)) = found {
        assert_eq!(path, format!("/g/{name}"), "as it stands");
    }
    for (ignores_case, table) in [false, true].into_iter().zip(&*TABLES) {
        let judged = table.find(HOST, path, &Method::GET, &[]);
        let Ok(matched) = &judged else { continue };
        for (server, read) in SERVERS {
            let Some(reading) = read(path) else { continue };
            let reading = if ignores_case { reading.to_ascii_lowercase() } else { reading };
            if is_protected(&reading) {
                assert_eq!(matched.rules.policy, Policy::Require, "{server} reads {path:?} as {reading:?}");
            }
            let is_own = reading == "/g" || reading.starts_with("/g/");
            assert!(!is_own || !matches!(found, Ok(None)), "{server} reads {path:?} as our {reading:?}");
        }
    }
});

/// As the routes above say it.
fn is_protected(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match path.trim_end_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["", "a", "o", ..] => false,
        ["", "a", ..] => true,
        ["", "b", between, "c"] => !between.is_empty(),
        _ => false,
    }
}

/// What a server makes of a path before it looks for the page; `None` when it refuses.
type Server = fn(&str) -> Option<String>;

const SERVERS: [(&str, Server); 9] = [
    ("one that takes it as it stands", |path| Some(path.to_owned())),
    ("nginx", |path| resolved(&merged(&decoded(path)?))),
    ("nginx with merge_slashes off", |path| resolved(&decoded(path)?)),
    ("Apache", |path| Some(merged(&resolved(&decoded(&merged(path))?)?))),
    ("Tomcat", |path| resolved(&merged(&decoded(&without_parameters(path))?.replace('\\', "/")))),
    ("IIS", |path| Some(without_ends(&resolved(&merged(&decoded(path)?.replace('\\', "/")))?))),
    ("a URL parser and a decoder behind it", |path| decoded(&as_a_url(path)?)),
    ("a URL parser that leaves escapes alone", as_a_url),
    ("two that decode, one behind the other", |path| resolved(&merged(&decoded(&resolved(&decoded(path)?)?)?))),
];

/// Percent-decoding, once.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = rest.get(1..3).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        // What `from_str_radix` takes for a number besides is a sign.
        let escaped = escaped.filter(|_| rest[1] != b'+');
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[3..] } else { behind };
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn merged(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

/// Dot segments, as in RFC 3986, section 5.2.4; above the root is refused.
fn resolved(path: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').collect();
    for (place, segment) in segments.iter().enumerate().skip(1) {
        let last = place + 1 == segments.len();
        match *segment {
            "." => kept.extend(last.then_some("")),
            ".." => {
                kept.pop()?;
                kept.extend(last.then_some(""));
            }
            other => kept.push(other),
        }
    }
    Some(format!("/{}", kept.join("/")))
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}

/// Windows' names have no dots and spaces at their ends.
fn without_ends(path: &str) -> String {
    path.split('/').map(|segment| segment.trim_end_matches(['.', ' '])).collect::<Vec<_>>().join("/")
}

/// The WHATWG's URLs: a backslash is a slash, what begins with two is a host, `%2e` is a dot, and nobody climbs above
/// the root.
fn as_a_url(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    let path = match path.strip_prefix("//") {
        Some(rest) => {
            let rest = rest.trim_start_matches('/');
            rest.find('/').map_or_else(|| "/".to_owned(), |place| rest[place..].to_owned())
        }
        None => path,
    };
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').collect();
    for (place, segment) in segments.iter().enumerate().skip(1) {
        let dots = segment.to_ascii_lowercase().replace("%2e", ".");
        match dots.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if place + 1 == segments.len() {
            kept.push("");
        }
    }
    Some(format!("/{}", kept.join("/")))
}
