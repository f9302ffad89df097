//! The house stands as ARCHITECTURE.md draws it: imports go down its rows, and what a lint cannot see is seen here.
//!
//! A rule that is in the way may be wrong: then the rule, ARCHITECTURE.md and the code change in one commit.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::source::Source;

/// The rows, the highest first. A module uses only rows below its own.
const ROWS: &[&[&str]] = &[
    &["cli"],
    &["demo"],
    &["app"],
    &["config"],
    &["admin"],
    &["metrics"],
    &["pipeline"],
    &["gate", "forward", "server"],
    &["keys", "genesys", "stock", "outbox", "audit", "access_log", "tls"],
    &["event"],
    &["cookie", "routes", "store"],
    &["refusal", "hygiene"],
    &["context", "session"],
    &["policy", "backoff"],
    &["secret", "clock", "fingerprint", "body"],
    &["random"],
];

/// Lines of code a file, tests not counted: about 400, and some room for the one that just does not split well.
const LONGEST: usize = 450;

#[test]
fn every_module_has_its_row() {
    let declared: BTreeSet<_> = fs::read_to_string(root().join("src/lib.rs"))
        .expect("src/lib.rs is there")
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    let placed: BTreeSet<_> = ROWS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(declared, placed, "the modules of src/lib.rs, and those of the rows");

    let homeless: Vec<_> = sources()
        .iter()
        .filter(|source| !["lib.rs", "main.rs"].contains(&source.path.as_str()) && !placed.contains(source.module()))
        .map(|source| source.path.clone())
        .collect();
    assert!(homeless.is_empty(), "files of no module in the rows: {homeless:?}");
}

#[test]
fn imports_go_down_the_rows() {
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|source| !["lib.rs", "main.rs"].contains(&source.path.as_str()))
        .flat_map(wrong_imports)
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn main_knows_the_command_line_alone() {
    let main = Source::new("main.rs", &fs::read_to_string(root().join("src/main.rs")).expect("src/main.rs is there"));
    let others: Vec<_> = main.named_after("guestpass").into_iter().filter(|(_, module)| module != "cli").collect();
    assert!(others.is_empty(), "src/main.rs uses {others:?}");
    assert!(main.named_after("crate").is_empty(), "src/main.rs has modules of its own");
}

#[test]
fn architecture_md_prints_these_rows() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let after = document.split_once("\n## Rows\n").expect("ARCHITECTURE.md has a section called Rows").1;
    let block = after.split("```").nth(1).expect("the section has a block");
    // The first line is the fence's language; behind two spaces stands a remark.
    let printed: Vec<Vec<&str>> = block
        .lines()
        .skip(1)
        .map(|line| line.split("  ").next().unwrap_or_default().split(" · ").map(str::trim).collect())
        .collect();
    assert_eq!(printed, ROWS);
}

#[test]
fn serde_stays_where_data_is_read_and_written() {
    allow("derives serde", &["config/raw", "cookie/claims.rs", "/wire.rs", "demo"], |source| {
        let derives = source.derives().into_iter();
        derives
            .filter(|(_, list)| list.contains("Serialize") || list.contains("Deserialize"))
            .map(|(line, _)| line)
            .collect()
    });
}

#[test]
fn time_and_chance_are_handed_in() {
    let words = [
        "SystemTime::now",
        "now_utc",
        "now_local",
        "Utc::now",
        "rand::rng",
        "rand::random",
        "thread_rng",
        "getrandom",
        "OsRng",
        "SysRng",
        "new_v4",
        "now_v7",
    ];
    allow("asks the system for time or chance", &["clock.rs", "random.rs", "demo"], |source| {
        words.iter().flat_map(|word| source.lines_with(word)).collect()
    });
}

#[test]
fn errors_have_types_below_the_wiring() {
    allow("uses anyhow", &["main.rs", "cli", "demo.rs", "app"], |source| source.lines_with("anyhow"));
}

#[test]
fn errors_become_responses_in_one_place() {
    // The gate's redirect and the plain listener's are no errors, nor is what the operator's listener and the proxy's own
    // paths tell.
    let others = [
        "refusal.rs",
        "gate/service.rs",
        "gate/reload.rs",
        "admin.rs",
        "pipeline/own.rs",
        "pipeline/redirect.rs",
        "demo",
    ];
    allow("makes a response", &others, |source| {
        ["Response::new", "Response::builder"].iter().flat_map(|word| source.lines_with(word)).collect()
    });
    let errors = [
        "BAD_REQUEST",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "NOT_FOUND",
        "REQUEST_TIMEOUT",
        "PAYLOAD_TOO_LARGE",
        "MISDIRECTED_REQUEST",
        "TOO_MANY_REQUESTS",
        "INTERNAL_SERVER_ERROR",
        "NOT_IMPLEMENTED",
        "BAD_GATEWAY",
        "SERVICE_UNAVAILABLE",
        "GATEWAY_TIMEOUT",
    ];
    // Genesys' room reads such answers and gives none.
    allow("names the status of an error", &["refusal.rs", "genesys", "demo"], |source| {
        errors.iter().flat_map(|word| source.lines_with(word)).collect()
    });
}

#[test]
fn only_commands_print() {
    allow("prints", &["cli", "demo"], |source| [source.lines_with("println!"), source.lines_with("print!")].concat());
    allow("prints errors", &["cli", "demo", "main.rs"], |source| {
        [source.lines_with("eprintln!"), source.lines_with("eprint!")].concat()
    });
}

#[test]
fn the_decision_is_pure() {
    let impure =
        ["async", "await", "tokio", "tracing", "std::fs", "std::io", "std::net", "std::env", "Instant", "Clock"];
    forbid("gate/decision", &impure);
}

#[test]
fn the_gate_does_no_http_of_its_own() {
    forbid("gate", &["reqwest", "hyper", "hyper_util", "tokio_tungstenite", "TcpStream"]);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let long: Vec<_> = sources()
        .iter()
        .filter(|source| source.length > LONGEST)
        .map(|source| {
            format!("src/{} has {} lines outside its tests, {LONGEST} are enough", source.path, source.length)
        })
        .collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources() -> Vec<Source> {
    Source::all_in(&root().join("src"))
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let own = source.module();
    let place = |line: usize| format!("src/{}:{line}", source.path);
    let climbs = source.climbing_out().into_iter().map(|line| {
        format!("{}: `super` climbs out of `{own}`; write `crate::…`, so that one sees where to", place(line))
    });
    let uses =
        source.named_after("crate").into_iter().filter(|(_, used)| used != own).filter_map(|(line, used)| {
            match (row(own), row(&used)) {
                (Some(here), Some(there)) if here < there => None,
                (Some(here), Some(there)) if here == there => {
                    Some(format!("{}: `{own}` and `{used}` stand in one row and may not know each other", place(line)))
                }
                (Some(_), Some(_)) => Some(format!("{}: `{used}` stands above `{own}`", place(line))),
                _ => Some(format!("{}: `crate::{used}` is no module in the rows", place(line))),
            }
        });
    climbs.chain(uses).collect()
}

/// Fails for every line that `find` finds in a file that is none of `places`: a file, a folder and its file, or, with a
/// leading slash, a file name in any folder.
fn allow(what: &str, places: &[&str], find: impl Fn(&Source) -> Vec<usize>) {
    let found: Vec<_> = sources()
        .iter()
        .filter(|source| !places.iter().any(|place| stands_in(&source.path, place)))
        .flat_map(|source| {
            find(source).into_iter().map(|line| format!("src/{}:{line} {what}", source.path)).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "only {places:?} may:\n{}\n", found.join("\n"));
}

/// Fails where a file of `place` says one of `words`, or where there is none to say anything.
fn forbid(place: &str, words: &[&str]) {
    let sources = sources();
    let placed = || sources.iter().filter(|source| stands_in(&source.path, place));
    let found: Vec<_> = placed()
        .flat_map(|source| words.iter().map(move |word| (source, word)))
        .flat_map(|(source, word)| {
            source.lines_with(word).into_iter().map(move |line| format!("src/{}:{line} {word}", source.path))
        })
        .collect();
    assert!(found.is_empty(), "{place} does without these:\n{}\n", found.join("\n"));
    let is_founded = root().join("src/gate").exists();
    assert!(!is_founded || placed().count() > 0, "src/{place} is where this rule was to look");
}

fn stands_in(path: &str, place: &str) -> bool {
    if place.starts_with('/') {
        return path.ends_with(place);
    }
    path == place || path.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The rules above are only as good as what they read with.
mod reading {
    use super::*;

    #[test]
    fn a_wrong_import_is_found_however_it_is_written() {
        let wrong = |path, text| wrong_imports(&Source::new(path, text)).len();
        for text in [
            "use crate::gate::Config;",
            "use crate::{clock::Clock, gate::{self, Config}};",
            "use crate::{\n    clock::{Clock, Timestamp},\n    gate,\n};",
            "fn f() -> crate::gate::Config { todo!() }",
            "fn f(x: &'a str) { let c = 'c'; crate::gate::f(x, c) }",
            "fn f() { let _ = \"\\\" // \"; crate::gate::f() }",
            "use super::gate::Config;",
            "use crate::nowhere::Thing;",
            "use crate::server::Limits;",
        ] {
            assert_eq!(wrong("forward.rs", text), 1, "{text}");
        }
        assert_eq!(wrong("forward/pool.rs", "use super::super::gate::Config;"), 1);
        assert_eq!(wrong("context/record.rs", "use crate::session::Session;"), 1);
    }

    #[test]
    fn what_is_right_or_no_code_is_left_alone() {
        let wrong = |path, text| wrong_imports(&Source::new(path, text));
        for text in [
            "use crate::cookie::Reading;\nuse crate::{forward::Server, clock::Clock};",
            "//! See [`crate::gate`].\n/// And crate::server::Limits.\n/* crate::gate /* crate::gate */ crate::gate */",
            "const A: &str = \"crate::gate::X\"; const B: &str = r#\"\"crate::gate::X\"#; const C: &[u8] = br\"crate::gate\";",
            "#[cfg(test)]\nmod tests {\n    use crate::gate::Config;\n    fn f() { if true { } }\n}\n",
            "#[cfg(test)]\nuse crate::gate::Config;\n",
            "pub(crate) fn f() {} pub(super) fn g() {} mod inner;",
            "let not_crate_gate = my_crate::gate::x();",
        ] {
            assert_eq!(wrong("forward.rs", text), [""; 0], "{text}");
        }
        assert_eq!(wrong("forward/pool.rs", "use super::Server;\npub(in super::super) struct X;"), [""; 0]);
    }

    #[test]
    fn code_behind_a_test_module_is_still_read() {
        let text = "#[cfg(test)]\nmod tests { fn f() { \"}\"; } }\n\nuse crate::cli::Command;\n";
        let source = Source::new("forward.rs", text);
        assert_eq!(source.named_after("crate"), [(4, "cli".to_owned())]);
        assert_eq!(source.length, 2);
    }

    #[test]
    fn words_are_whole_and_places_exact() {
        let source = Source::new("forward.rs", "eprintln!(); println!();\n#[derive(Debug, Serialize)] struct X;");
        assert_eq!((source.lines_with("println!"), source.lines_with("eprintln!")), (vec![1], vec![1]));
        assert_eq!(source.derives(), [(2, "Debug, Serialize")]);
        for (path, place, expected) in [
            ("config/raw.rs", "config/raw", true),
            ("config/raw/route.rs", "config/raw", true),
            ("config/rawer.rs", "config/raw", false),
            ("genesys/wire.rs", "/wire.rs", true),
            ("app.rs", "app", true),
            ("apple.rs", "app", false),
        ] {
            assert_eq!(stands_in(path, place), expected, "{path} in {place}");
        }
    }
}
