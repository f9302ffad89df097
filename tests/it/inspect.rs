//! `guestpass inspect --config` judges a cookie as the proxy with that configuration would.

use guestpass::demo::genesys::DEMO_ORGANIZATION;

use crate::harness::{Town, program};

const SECRET: &str = "a test's secret, long enough to be one";

fn configuration(organization: &str, secret: &str) -> String {
    format!(
        r#"
        listen = [{{ address = "127.0.0.1:0", tls = false }}]
        upstream = [{{ name = "site", servers = ["http://127.0.0.1:1"] }}]
        genesys = {{ client_id = "c", client_secret = "s", organization_id = "{organization}" }}
        keys.secret = "{secret}"
        "#
    )
}

#[tokio::test]
async fn the_configuration_knows_what_the_cookie_is_worth() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let cookie = visitor.cookie.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (organization, secret, cookie_name, code, said) in [
        (DEMO_ORGANIZATION, SECRET, "genesys_session", 0, "reads as      valid\n"),
        ("another", SECRET, "genesys_session", 1, "reads as      outdated\n"),
        (DEMO_ORGANIZATION, "another secret, which is long enough too", "genesys_session", 1, "not in the ring\n"),
        (DEMO_ORGANIZATION, SECRET, "__Host-pass", 1, "name          __Host-pass\nreads as      forged\n"),
        (DEMO_ORGANIZATION, "short", "genesys_session", 78, ""),
    ] {
        let text = configuration(organization, secret) + &format!("cookie.name = \"{cookie_name}\"\n");
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let ended = program::run(folder.path(), &["inspect", "--config", "proxy.toml", &cookie]);
        let report = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{organization}, {secret}, {cookie_name}: {report}");
        assert!(report.contains(said), "{organization}, {secret}, {cookie_name}: {report}");
        assert!(!report.contains("none is known here"), "the organization is compared: {report}");
    }
    let ended = program::run(folder.path(), &["inspect", &cookie]);
    let report = String::from_utf8(ended.stdout).unwrap();
    assert!(report.contains("reads as      unverified\n"), "{report}");
    assert_eq!(ended.status.code(), Some(3), "what nobody can verify is not said to be good: {report}");
}
