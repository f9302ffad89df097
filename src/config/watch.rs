//! The configuration of a running process: read again when a file that it comes from has changed.
//!
//! One step at a time; whoever wires the program calls [`Watch::look`] again and again. Certificates and the key ring
//! are followed by their own rooms, since they change on their own and must not wait for a file that is being edited.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Loaded, load};
use crate::clock::Timestamp;
use crate::fingerprint::Fingerprint;

type Environment = Box<dyn Fn(&str) -> Option<String> + Send>;

/// Looks after a configuration and everything that it was read from.
pub struct Watch {
    path: PathBuf,
    env: Environment,
    /// The files as they were when they were last read, well or badly; the configuration's own first.
    seen: Vec<(PathBuf, Option<Fingerprint>)>,
}

impl Watch {
    /// Reads the configuration at `path` for the first time, as [`load`] does.
    #[must_use]
    pub fn open(path: &Path, env: Environment, now: Timestamp) -> (Self, Loaded) {
        let mut this = Self { seen: vec![(path.to_owned(), None)], path: path.to_owned(), env };
        let loaded = this.load(now);
        (this, loaded)
    }

    /// One step: reads everything again if a file has changed, or the operator `asked` for it. Touches the disk, so it
    /// may block.
    pub fn look(&mut self, asked: bool, now: Timestamp) -> Option<Loaded> {
        let is_as_it_was = |(path, seen): &(PathBuf, Option<Fingerprint>)| Fingerprint::of(path) == *seen;
        (asked || !self.seen.iter().all(is_as_it_was)).then(|| self.load(now))
    }

    fn load(&mut self, now: Timestamp) -> Loaded {
        // Before they are read: what changes in between is then seen at the next look.
        let mut seen: Vec<_> = self.seen.iter().map(|(path, _)| (path.clone(), Fingerprint::of(path))).collect();
        let named = RefCell::default();
        let env = |name: &str| {
            let said = (self.env)(name);
            if let Some(path) = said.as_ref().filter(|path| name.ends_with("_FILE") && !path.is_empty()) {
                RefCell::<Vec<PathBuf>>::borrow_mut(&named).push(path.into());
            }
            said
        };
        let loaded = load(&self.path, &env, now);
        if loaded.config.is_some() {
            let read: Vec<_> = named.into_inner().into_iter().chain(loaded.files.iter().cloned()).collect();
            seen.retain(|(path, _)| *path == self.path || read.contains(path));
            for path in read {
                if seen.iter().all(|(known, _)| *known != path) {
                    seen.push((path.clone(), Fingerprint::of(&path)));
                }
            }
        }
        self.seen = seen;
        loaded
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("path", &self.path).field("seen", &self.seen).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = r#"
        refusal_page = "page.html"
        listen = [{ address = "127.0.0.1:0", tls = false }]
        genesys = { base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }
        upstream = [{ name = "site", servers = ["http://127.0.0.1:1"] }]
    "#;

    #[test]
    fn every_file_that_the_configuration_comes_from_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(at(name), text).unwrap();
        write("proxy.toml", GOOD);
        write("page.html", "a page");
        write("secret", "a secret that is long enough for it");
        let secret = at("secret").display().to_string();
        let env = move |name: &str| (name == "HMAC_SECRET_FILE").then(|| secret.clone());
        let now = Timestamp::from_seconds(0);
        let (mut watch, loaded) = Watch::open(&at("proxy.toml"), Box::new(env), now);
        assert!(loaded.config.is_some(), "{}", loaded.problems.render(false));
        assert!(watch.look(false, now).is_none());
        assert!(watch.look(true, now).is_some(), "who asks gets it");

        write("page.html", "another page");
        let loaded = watch.look(false, now).unwrap();
        assert_eq!(loaded.config.unwrap().refusal_page.as_deref(), Some("another page"));
        write("secret", "another secret that is long enough");
        assert!(watch.look(false, now).unwrap().config.is_some());
        write("proxy.toml", "workers = 'many'");
        assert!(watch.look(false, now).unwrap().problems.any_error());
        assert!(watch.look(false, now).is_none(), "a mistake is reported once");
        fs::remove_file(at("proxy.toml")).unwrap();
        assert!(watch.look(false, now).unwrap().config.is_none());
        write("proxy.toml", GOOD);
        assert!(watch.look(false, now).unwrap().config.is_some());
        assert!(watch.look(false, now).is_none());
    }
}
