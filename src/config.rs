//! From `proxy.toml` and the environment to what every room needs to know, already parsed.
//!
//! This is the only module that knows of the file and of the environment: each room below owns a plain `Config` of its
//! own, and all of them are filled in here. Nothing is started, bound or connected. Files that the configuration names
//! (certificates, the key ring, the refusal page) are read to see that they are good, and nothing else is touched, so
//! that a running process can call [`load`] again at any time.
//!
//! The way of a file: `raw` walks over the TOML and knows where each value stands, `env` puts the environment over it,
//! the sections (`front`, `visitor`, `site`, `process`) say which keys there are and are gathered in a `draft`, `check`
//! applies the rules between them, and `problem` shows everything that was found, at once. `schema` says the same keys
//! to editors.

mod raw;
mod form;
mod value;
mod env;
mod front;
mod visitor;
mod upstream;
mod site;
mod process;
mod draft;
mod check;
mod overlap;
mod findings;
mod problem;
mod schema;
mod watch;

pub use self::problem::{Place, Problem, Problems, Severity};
pub use self::schema::schema;
pub use self::watch::Watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use zeroize::Zeroizing;

use self::draft::Draft;
use self::findings::Findings;
use self::form::Forms;
use self::raw::Surroundings;
use crate::access_log;
use crate::admin;
use crate::audit;
use crate::clock::Timestamp;
use crate::context::Trust;
use crate::cookie;
use crate::forward::Upstream;
use crate::gate;
use crate::genesys;
use crate::keys;
use crate::outbox;
use crate::routes::{OwnPrefix, Route};
use crate::server::{Limits, Listener};
use crate::stock;
use crate::store;
use crate::tls;

/// Everything that was configured. Whoever holds one knows that it makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many cores serve; 0 is one for each that the process may use.
    pub workers: usize,
    /// The text of the HTML that replaces the built-in refusal page.
    pub refusal_page: Option<String>,
    /// Where to listen: at least one that does not merely redirect.
    pub listeners: Vec<Listener>,
    /// How much of us clients may take.
    pub limits: Limits,
    /// `Some` when a listener terminates TLS.
    pub tls: Option<tls::Config>,
    /// The `max-age` of `Strict-Transport-Security` (RFC 6797); `None` sends none.
    pub hsts: Option<Duration>,
    /// How to reach Genesys.
    pub genesys: genesys::Config,
    /// How many sessions are made ahead.
    pub warm_pool: stock::Config,
    /// Who gets a session.
    pub gate: gate::Config,
    /// How the cookie is written.
    pub cookie: cookie::Config,
    /// Where the keys come from, and how they are rotated.
    pub keys: keys::Config,
    /// What the paths begin with that are answered here.
    pub own: OwnPrefix,
    /// Where it is kept what must outlive the process.
    pub store: store::Place,
    /// Who is told of sessions and keys; `None` is nobody.
    pub outbox: Option<outbox::Config>,
    /// Where the operator is listened to; `None` is nowhere.
    pub admin: Option<admin::Config>,
    /// At least one; routes name them by their place here.
    pub upstreams: Vec<Upstream>,
    /// In the order of the file. Behind all of them the routes' own room puts the implied one.
    pub routes: Vec<Route>,
    /// Whose forwarded headers are believed.
    pub trust: Trust,
    /// How much of a visitor's address the operator is shown.
    pub client_address: audit::ClientAddress,
    /// What the audit log holds, and where; `None` writes none.
    pub audit: Option<audit::Config>,
    /// Where the access log goes.
    pub access_log: access_log::Config,
    /// Which of our own messages are worth showing.
    pub log_level: tracing::Level,
    /// How long requests in flight may take to end once the process was told to stop.
    pub grace: Duration,
}

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless a problem is an error.
    pub config: Option<Config>,
    /// Everything that was found, errors and warnings, in the order of the file.
    pub problems: Problems,
    /// The other files that were read for it, but for the certificates and the key ring, which are followed by
    /// themselves, and for what the environment names.
    pub files: Vec<PathBuf>,
}

/// Reads the file at `path` and puts the environment over it. Relative paths in the file start at the file's own
/// folder, since the working directory under a service manager is nobody's choice. `env` answers for the environment's
/// variables, `now` is what certificates are held against.
#[must_use]
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>, now: Timestamp) -> Loaded {
    match text(path) {
        Ok(text) => parse(&path.display().to_string(), &text, folder(path), env, now),
        Err(problems) => Loaded { config: None, problems, files: Vec::new() },
    }
}

/// Of the file at `path` where its keys come from, for commands that need nothing else: whoever rotates keys need not
/// have the other secrets at hand. The ring file itself may be missing or broken. Beside it where the operator is
/// listened to, unless something is wrong with that.
///
/// # Errors
///
/// The problems of the section, or of the file's syntax, when that cannot be known.
pub fn load_keys(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    now: Timestamp,
) -> Result<(keys::Config, Option<admin::Config>), Problems> {
    let text = text(path)?;
    let (draft, problems, _) = read(&path.display().to_string(), &text, folder(path), env, now);
    let is_of = |section: &str, problem: &Problem| problem.key.starts_with(section);
    let of_the_keys = |problem: &&Problem| problem.key.is_empty() || is_of("keys", problem);
    let wrong = || problems.iter().filter(of_the_keys).cloned().collect();
    let draft = draft.ok_or_else(wrong)?;
    let admin = draft.admin.and_then(|entry| entry.value).filter(|_| !problems.iter().any(|one| is_of("admin", one)));
    draft.keys.map(|keys| (keys, admin)).ok_or_else(wrong)
}

/// As [`load`], for a text that is at hand already. `name` stands for it in problems, and relative paths start at
/// `folder`.
#[must_use]
pub fn parse(name: &str, text: &str, folder: &Path, env: &dyn Fn(&str) -> Option<String>, now: Timestamp) -> Loaded {
    let (draft, problems, files) = read(name, text, folder, env, now);
    let config = draft.and_then(Draft::into_config).filter(|_| !problems.any_error());
    Loaded { config, problems, files }
}

/// `None` where the text is no TOML at all.
fn read(
    name: &str,
    text: &str,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    now: Timestamp,
) -> (Option<Draft>, Problems, Vec<PathBuf>) {
    let mut findings = Findings::new(known_keys());
    let (document, mistakes) = DeTable::parse_recoverable(text);
    findings.hide_secrets(document.get_ref());
    if !mistakes.is_empty() {
        // What could be made out between the mistakes would only give rise to more complaints about the same lines.
        for mistake in &mistakes {
            findings.syntax(mistake);
        }
        return (None, findings.into_problems(name, text), Vec::new());
    }
    let surroundings = Surroundings { env, folder, now, asks_for_forms: false };
    let draft = Draft::read(document.get_ref(), &surroundings, &mut findings);
    check::all(&draft, &mut findings);
    let files = findings.take_read();
    (Some(draft), findings.into_problems(name, text), files)
}

/// Every key that there is, with dots between its parts: `upstream.tls.ca`. The sections that read the keys are the
/// only place where they are written down, so this asks them.
#[must_use]
pub fn known_keys() -> BTreeSet<String> {
    forms().0.into_keys().collect()
}

/// What each key may hold, and those that nobody can do without where their section stands.
fn forms() -> (Forms, BTreeSet<String>) {
    let asking =
        Surroundings { env: &|_| None, folder: Path::new(""), now: Timestamp::from_millis(0), asks_for_forms: true };
    let mut findings = Findings::new(BTreeSet::new());
    let nothing = DeTable::new();
    Draft::read(&nothing, &asking, &mut findings);
    // Which lists may not be empty is seen where nobody is shown an entry of them.
    let draft = Draft::read(&nothing, &Surroundings { asks_for_forms: false, ..asking }, &mut findings);
    check::all(&draft, &mut findings);
    findings.into_forms()
}

fn text(path: &Path) -> Result<Zeroizing<String>, Problems> {
    let name = path.display().to_string();
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(Zeroizing::new(text)),
        Ok(Err(_)) => Err(unreadable(&name, "it is not UTF-8, which TOML is")),
        Err(error) => Err(unreadable(&name, &error.to_string())),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

fn unreadable(name: &str, why: &str) -> Problems {
    let problem = Problem {
        severity: Severity::Error,
        key: String::new(),
        title: "the configuration cannot be read".to_owned(),
        place: Place::File(name.to_owned()),
        notes: vec![why.to_owned()],
        help: Some("name another file with --config".to_owned()),
    };
    Problems::from_iter([problem])
}
