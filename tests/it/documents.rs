//! The documents say what is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
fn links_between_documents_lead_somewhere() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
        let text = read(document);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.starts_with("https://")) {
            assert!(root().join(target).exists(), "{document} leads to {target}, which is not there");
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"))
}
