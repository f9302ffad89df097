//! The configuration: it is accepted or the reason is told, in its place, and no secret with it.

#![no_main]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use guestpass::clock::Timestamp;
use guestpass::config::{self, Place, known_keys};
use guestpass::routes::Table;
use libfuzzer_sys::fuzz_target;
use toml::{Table as Toml, Value};

static SECTIONS: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| known_keys().iter().filter_map(|key| key.split('.').next()).map(str::to_owned).collect());

fuzz_target!(|text: &str| {
    // A folder that is nowhere: what the text names is not to be found on this machine.
    let folder = Path::new("/nonexistent");
    let now = Timestamp::from_seconds(1_790_000_100);
    let loaded = config::parse("proxy.toml", text, folder, &|_| None, now);
    assert_eq!(loaded.config.is_some(), !loaded.problems.any_error(), "it runs, or it is said why not");
    let said = loaded.problems.render(false);
    assert_eq!(said.is_empty(), loaded.problems.is_empty());
    let lines = text.split('\n').count();
    for problem in loaded.problems.iter() {
        assert!(!problem.title.is_empty());
        if let Place::Line { number, text: line, underlined, .. } = &problem.place {
            assert!((1..=lines).contains(number));
            assert!(line.get(underlined.clone()).is_some(), "{underlined:?} of {line:?}");
        }
    }

    if let Some(config) = &loaded.config {
        assert!(config.listeners.iter().any(|listener| listener.redirect_to_https.is_none()));
        assert!(config.routes.iter().all(|route| route.upstream < config.upstreams.len()));
        let table = Table::new(config.routes.clone());
        let _ = table.find("shop.example", "/account/", &http::Method::GET, &[]);
        assert!(config.cookie.is_legal());
    }
    if let Ok(document) = text.parse::<Toml>() {
        if loaded.config.is_some() {
            assert!(document.keys().all(|key| SECTIONS.contains(key)));
        }
        let shown = format!("{said}{:?}{:?}", loaded.problems, loaded.config);
        for secret in secrets(&document) {
            // A secret that stands elsewhere too, or has the words of a message in it, is not to be recognized.
            if text.matches(secret).count() == 1
                && secret.len() >= 12
                && secret.bytes().any(|byte| byte.is_ascii_digit())
            {
                assert!(!shown.contains(secret), "{secret:?} is told:\n{shown}");
            }
        }
    }
});

/// What stands where a secret has its place.
fn secrets(document: &Toml) -> impl Iterator<Item = &str> {
    let places = [("keys", "secret"), ("genesys", "client_secret"), ("admin", "token")];
    places.into_iter().filter_map(|(section, key)| document.get(section)?.get(key).and_then(Value::as_str))
}
