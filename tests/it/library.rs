//! The gate is worn by others: the library by itself pulls in no server, no TLS and no command line, and the examples
//! of it run as they say.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, Response};

use crate::harness::program::Program;

#[test]
fn alone_it_pulls_in_no_server_no_tls_and_no_command_line() {
    let alone = tree(&["--no-default-features"]);
    for bulky in [
        "annotate-snippets",
        "anyhow",
        "aws-lc-rs",
        "aws-lc-sys",
        "clap",
        "h2",
        "hyper",
        "hyper-util",
        "mio",
        "reqwest",
        "ring",
        "rustls",
        "socket2",
        "toml",
        "tracing-subscriber",
    ] {
        assert!(!alone.contains_key(bulky), "{bulky}");
    }
    assert!(alone.contains_key("hmac") && alone.contains_key("tokio"), "{alone:?}");
    assert!(!alone["tokio"].split(',').any(|feature| feature == "net"), "tokio: {}", alone["tokio"]);

    let with_rings = tree(&["--no-default-features", "--features", "ring-file"]);
    assert!(with_rings.contains_key("toml") && !with_rings.contains_key("rustls"));
    let with_rest = tree(&["--no-default-features", "--features", "rest"]);
    assert!(with_rest.contains_key("reqwest") && !with_rest.contains_key("clap"));
    let whole = tree(&[]);
    assert!(["clap", "hyper", "rustls", "toml"].iter().all(|name| whole.contains_key(*name)));
}

#[tokio::test]
async fn the_example_on_axum_does_what_it_says() {
    guards("axum", "/account").await;
}

#[tokio::test]
async fn the_example_on_hyper_does_what_it_says() {
    let example = guards("hyper", "/account/orders").await;
    assert_eq!(example.get("/x%2f..%2faccount", "").await.status(), 400);
}

/// Plays what the example's head tells to try.
async fn guards(name: &str, path: &str) -> Example {
    let example = Example::start(name);
    let first = example.get("/", "").await;
    let jar = first.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(first.status().is_success() && jar.starts_with("genesys_session=v1."), "{jar}");
    let refused = example.get(path, "").await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key(SET_COOKIE)), (401, false));
    let passed = example.get(path, &jar).await;
    assert_eq!((passed.status().as_u16(), passed.headers().contains_key(SET_COOKIE)), (200, false));
    let forged = example.get(path, &(jar + "x")).await;
    assert_eq!(forged.status(), 403);
    example
}

struct Example {
    _program: Program,
    address: String,
    client: Client,
}

impl Example {
    fn start(name: &str) -> Self {
        let profile = ["--profile", if cfg!(debug_assertions) { "dev" } else { "release" }];
        // All of them at once: the patience of a program's first words is not for a compiler, another test's neither.
        let built = cargo(&["build", "--quiet", "--examples"]).args(profile).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let mut run = cargo(&["run", "--quiet", "--example", name]);
        run.args(profile).env("PORT", "0").env_remove("HMAC_SECRET");
        let program = Program::start(run);
        let address = program.says("listening on ");
        Self { _program: program, address, client: Client::builder().no_proxy().build().unwrap() }
    }

    async fn get(&self, path: &str, cookies: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.address));
        request.header(COOKIE, cookies).send().await.unwrap()
    }
}

/// The packages that a build with these features needs on this machine, and the features of each.
fn tree(features: &[&str]) -> BTreeMap<String, String> {
    let mut tree = cargo(&["tree", "--edges", "no-dev", "--prefix", "none", "--format", "{p} {f}"]);
    let tree = tree.args(features).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).unwrap();
    let package = |line: &str| {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with('('));
        Some((words.next()?.to_owned(), words.nth(1).unwrap_or_default().to_owned()))
    };
    lines.lines().filter_map(package).collect()
}

/// The cargo that is running these tests, in the environment that it was started in: what it adds to that for a test
/// would have it build everything anew.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).args(["--offline", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in env::vars_os() {
        let added = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") || name == "LD_LIBRARY_PATH"
        });
        if added {
            command.env_remove(name);
        }
    }
    command
}
