//! The documents say what is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use guestpass::clock::{Clock, SystemClock};
use guestpass::config;
use guestpass::demo::certificate;

use crate::harness::program::{self, Program};

#[test]
fn every_dependency_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("Cargo.toml is TOML");
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let used: BTreeSet<_> = tables
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(|dependencies| dependencies.keys().cloned())
        .collect();
    let document = read("CONTRIBUTING.md");
    let section = document.split_once("\n## Dependencies\n").expect("CONTRIBUTING.md has a section on them").1;
    // A row is `| names | reason |`, the names in backticks.
    let explained: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('|').filter(|(_, reason)| reason.len() > 10))
        .flat_map(|(names, _)| names.split(['`', ',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned))
        .collect();
    assert_eq!(used, explained, "the dependencies of Cargo.toml, and those that CONTRIBUTING.md explains");
}

#[test]
fn what_the_library_alone_has_is_said() {
    let quoted = |text: &str| -> BTreeSet<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let manifest: toml::Table = read("Cargo.toml").parse().expect("Cargo.toml is TOML");
    let is_optional = |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool) == Some(true);
    let dependencies = manifest["dependencies"].as_table().expect("it has some");
    let always: BTreeSet<_> =
        dependencies.iter().filter(|(_, it)| !is_optional(it)).map(|(it, _)| it.clone()).collect();
    let document = read("CONTRIBUTING.md");
    let said = document.lines().find(|line| line.starts_with("The library alone has ")).expect("it is said");
    assert_eq!(quoted(said), always, "the dependencies that are not optional, and those that CONTRIBUTING.md names");

    let (code, document) = (read("src/lib.rs"), read("ARCHITECTURE.md"));
    let lines: Vec<_> = code.lines().filter(|line| *line != "#[doc(hidden)]").collect();
    let rooms = |feature: Option<&str>| -> BTreeSet<String> {
        let stands_behind = |line: &str| match feature {
            Some(feature) => line == format!("#[cfg(feature = \"{feature}\")]"),
            None => !line.starts_with("#[cfg"),
        };
        let pairs = lines.windows(2).filter(|pair| stands_behind(pair[0]));
        pairs.filter_map(|pair| Some(pair[1].strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned())).collect()
    };
    for feature in [None, Some("rest"), Some("ring-file")] {
        let row = feature.map_or_else(|| "| none | ".to_owned(), |feature| format!("| `{feature}` | "));
        let said = document.lines().find_map(|line| line.strip_prefix(&row)).expect("each feature has a row");
        assert_eq!(quoted(said), rooms(feature), "the rooms of {feature:?}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document);
        let folder = folder.parent().expect("it stands in one");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.starts_with("https://")) {
            assert!(folder.join(target).exists(), "{document} leads to {target}, which is not there");
        }
    }
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(program::command(folder.path(), &["demo", "--port", "0"]));
    let port = program.says("guestpass, in front of the site   https://localhost:").trim_end_matches('/').to_owned();
    program.says("What happens from here on");
    let tries = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("curl "));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let printed = tries(&program.said().replace(&format!("localhost:{port}"), "localhost:8443"));
    assert!(printed.len() >= 5, "{printed:#?}");
    assert_eq!(tries(&read("README.md")), printed);
}

#[test]
fn every_command_and_flag_of_the_documents_exists() {
    let commands: [&[&str]; 27] = [
        &[],
        &["demo"],
        &["check"],
        &["run"],
        &["explain"],
        &["inspect"],
        &["keys"],
        &["keys", "new"],
        &["keys", "list"],
        &["keys", "rotate"],
        &["keys", "promote"],
        &["keys", "retire"],
        &["audit"],
        &["audit", "show"],
        &["audit", "verify"],
        &["sessions"],
        &["sessions", "revoke"],
        &["outbox"],
        &["outbox", "list"],
        &["outbox", "retry"],
        &["outbox", "drop"],
        &["simulate"],
        &["simulate", "genesys"],
        &["simulate", "site"],
        &["schema"],
        &["completions"],
        &["man"],
    ];
    let known = commands.map(|command| (command, help(command)));
    let mut named = BTreeSet::new();
    for document in documents() {
        for code in pieces_of_code(&read(&document)) {
            let Some((command, flags)) = command_line(&code) else { continue };
            let any_command = command.is_empty() && code.starts_with("--");
            let exists = |flag: &String| {
                known.iter().any(|(known, help)| (any_command || *known == command) && speaks_of(help, flag))
            };
            assert!(any_command || known.iter().any(|(known, _)| *known == command), "{document} names {code}");
            let unknown: Vec<_> = flags.iter().filter(|flag| !exists(flag)).collect();
            assert!(unknown.is_empty(), "{document} names {code}, but there is no {unknown:?}");
            named.insert(command.join(" "));
        }
    }
    let unnamed: Vec<_> = commands.iter().map(|command| command.join(" ")).filter(|it| !named.contains(it)).collect();
    assert_eq!(
        unnamed,
        ["audit", "sessions", "simulate"],
        "every command stands in a document, but for those that only hold others"
    );
}

#[test]
fn the_limits_of_the_documents_are_those_of_the_example() {
    let example: toml::Table = read("proxy.toml").parse().unwrap();
    let limits = example["limits"].as_table().unwrap();
    let document = read("docs/operating.md");
    let table = document.split_once("| setting in `[limits]` |").expect("it has a table of them").1;
    let mut shown = toml::Table::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for (name, value) in cells[1].split(", ").zip(cells[2].split(", ")) {
            let value = if value == "no limit" { "0" } else { value };
            let name = name.trim_matches('`');
            let number =
                limits.get(name).is_some_and(toml::Value::is_integer).then(|| value.parse::<i64>().ok()).flatten();
            shown.insert(name.to_owned(), number.map_or_else(|| value.into(), Into::into));
        }
    }
    assert_eq!(&shown, limits);
}

#[test]
fn the_least_configuration_of_the_readme_works() {
    let readme = read("README.md");
    let text = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("README.md shows one");
    let folder = tempfile::tempdir().unwrap();
    let files = certificate::kept_in(&folder.path().join("certs"), &SystemClock::new()).unwrap();
    fs::rename(&files.chain, folder.path().join("certs/site.pem")).unwrap();
    fs::rename(&files.key, folder.path().join("certs/site.key")).unwrap();
    let env = |name: &str| match name {
        "GENESYS_CLIENT_SECRET" => Some("secret".to_owned()),
        "HMAC_SECRET" => Some("s".repeat(32)),
        _ => None,
    };
    let look = |text: &str| config::parse("README.md", text, folder.path(), &env, SystemClock::new().now());
    let untouched: Vec<_> = look(text).problems.iter().map(|problem| problem.title.clone()).collect();
    assert_eq!(
        untouched,
        ["genesys.client_id", "genesys.organization_id"].map(|key| format!("`{key}` is still the example's")),
        "whoever forgets to fill something in is told"
    );
    let loaded = look(&text.replace('…', "filled-in"));
    assert_eq!(loaded.problems.render(false), "");
    assert!(loaded.config.is_some());
}

#[test]
fn every_test_that_an_invariant_leans_on_exists() {
    let document = read("ARCHITECTURE.md");
    let table = document.split_once("\n## Invariants\n").expect("ARCHITECTURE.md has a section on them").1;
    let mut rows = 0;
    for row in
        table.lines().skip_while(|line| !line.starts_with("| ---")).skip(1).take_while(|line| line.starts_with('|'))
    {
        rows += 1;
        let noticed_by = row.rsplit('|').nth(1).unwrap_or_default().trim();
        assert!(!noticed_by.is_empty(), "nothing would notice: {row}");
        for test in noticed_by.split('`').filter(|word| word.contains("::")) {
            let (module, name) = test.rsplit_once("::").expect("the line above asks for it");
            assert!(is_a_test(module, name), "there is no test {test}");
        }
    }
    assert!(rows > 10, "{rows} rows");
}

/// Whether one of the files that can hold the module's tests has a function of that name.
fn is_a_test(module: &str, name: &str) -> bool {
    let path = module.trim_end_matches("::tests").replace("::", "/");
    let within = format!("src/{path}/tests.rs");
    [format!("src/{path}.rs"), within, format!("tests/it/{path}.rs")]
        .iter()
        .filter_map(|file| fs::read_to_string(root().join(file)).ok())
        .any(|text| text.contains(&format!("fn {name}(")))
}

/// What is set as code: in backticks, or the lines of a block.
fn pieces_of_code(document: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for (index, part) in document.split("```").enumerate() {
        if index % 2 == 1 {
            pieces.extend(part.lines().skip(1).map(|line| line.trim().to_owned()));
        } else {
            pieces.extend(part.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    pieces
}

/// The command of ours in a piece of code, and its flags; or flags alone. `None` for everything else.
fn command_line(code: &str) -> Option<(Vec<&str>, Vec<String>)> {
    let code = code.split("  #").next().unwrap_or_default();
    let rest = match (code.split_once("guestpass "), code.split_once("cargo run")) {
        (Some((before, rest)), _) if !before.contains("cargo") => rest,
        (_, Some((_, rest))) => rest.split_once(" -- ")?.1,
        _ if code.starts_with("--") && !code.starts_with("-->") => code,
        _ => return None,
    };
    let words: Vec<_> = rest.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
    let is_command = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase());
    let command = words.iter().take_while(is_command).copied().collect();
    let flags = words.iter().filter(|word| word.starts_with("--")).map(|word| (*word).to_owned()).collect();
    Some((command, flags))
}

fn speaks_of(help: &str, flag: &str) -> bool {
    help.split([' ', '\n', ',']).any(|word| word == flag)
}

fn help(command: &[&str]) -> String {
    let arguments = [command, &["--help"]].concat();
    let ended = program::run(root(), &arguments);
    assert!(ended.status.success(), "{arguments:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// All that is written for people, but for what stands beside code of its own.
fn documents() -> Vec<String> {
    let markdown = |folder: &str| {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().file_name());
        let names = files.map(|name| format!("{folder}{}", name.to_str().expect("names of files are text")));
        names.filter(|name| name.ends_with(".md")).collect::<Vec<_>>()
    };
    let documents = ["", "docs/", "certs/"].map(markdown).concat();
    assert!(documents.iter().any(|name| name == "README.md") && documents.len() > 8, "{documents:?}");
    documents
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"))
}
