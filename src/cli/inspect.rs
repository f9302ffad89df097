//! `guestpass inspect`: what a cookie says, which key signed it, and what the proxy would read it as.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::keys::with_advice;
use crate::cli::{EX_CONFIG, check, environment, escaped};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Config;
use crate::cookie::{self, Jar, KeyId, KeyRing, Peek, Protection, Reading};
use crate::keys;
use crate::random::SystemRandom;
use crate::secret::SecretBytes;
use crate::session::Session;

/// What the cookie is called where nobody says otherwise.
const USUAL_NAME: &str = "genesys_session";

/// What the exit code says of a cookie that could not be verified, so that no script takes it for a good one.
const UNVERIFIED: u8 = 3;

/// What `inspect` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Without any key it shows what the cookie claims, for which nobody vouches then.
HMAC_SECRET, HMAC_SECRET_PREVIOUS and GENESYS_ORGANIZATION_ID are taken from the environment.

Examples:
  guestpass inspect v1.…
  guestpass inspect --config proxy.toml 'genesys_session=v1.…'
  curl -ks -o /dev/null -D - https://localhost:8443/ | guestpass inspect -
  guestpass inspect --keys keys.toml - < jar

Exit codes:
  0   the cookie is valid
  1   it is not valid
  3   nobody can tell: no key is known to verify it with
  78  the configuration is wrong")]
pub(super) struct Arguments {
    /// The value, name=value, a header line or a whole head, or curl's jar; "-" reads standard input
    cookie: String,

    /// The proxy's configuration, for its keys, its organization and the cookie's name
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The key ring to verify it with, rather than the configuration's or the environment's
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// The cookie's name, which is under its signature [default: as it came, else as configured]
    #[arg(long)]
    name: Option<String>,

    /// The Genesys organization that it must be for, rather than the configuration's
    #[arg(long, value_name = "ID")]
    organization: Option<String>,

    /// Show the session's token too: whoever has it acts as the visitor
    #[arg(long)]
    show_token: bool,
}

/// Inspects one cookie on standard output. The exit code is 0 only when it is known to be valid.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let clock = SystemClock::new();
    let config = match &arguments.config {
        None => None,
        Some(path) => match check::load(path, &clock)? {
            Some(config) => Some(config),
            None => return Ok(ExitCode::from(EX_CONFIG)),
        },
    };
    let text = if arguments.cookie == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("the cookie cannot be read from standard input")?;
        text
    } else {
        arguments.cookie.clone()
    };
    let ring = source(arguments, config.as_ref()).map(|source| keys::load(&source).map_err(with_advice)).transpose()?;
    let organization = arguments.organization.clone().or_else(|| match &config {
        Some(config) => Some(config.genesys.organization_id.clone()),
        None => variable("GENESYS_ORGANIZATION_ID"),
    });
    let known = Known { ring: ring.map(Arc::new), organization };
    let usual = config.as_ref().map_or(USUAL_NAME, |config| &config.cookie.name);
    let found = find(&text, arguments.name.as_deref(), usual);
    let report = inspect(&found, &known, clock.now(), arguments.show_token);
    write!(io::stdout().lock(), "{report}").context("standard output cannot be written")?;
    Ok(report.exit_code())
}

/// A configuration has the environment laid over it already.
fn source(arguments: &Arguments, config: Option<&Config>) -> Option<keys::Source> {
    let secret = |name| variable(name).map(|text| SecretBytes::new(text.into_bytes()));
    match (&arguments.keys, config) {
        (Some(path), _) => Some(keys::Source::File(path.clone())),
        (None, Some(config)) => Some(config.keys.source.clone()),
        (None, None) => {
            Some(keys::Source::Secret { current: secret("HMAC_SECRET")?, previous: secret("HMAC_SECRET_PREVIOUS") })
        }
    }
}

/// An empty variable is what a deployment leaves behind that has none.
fn variable(name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// What there is to compare the cookie with.
#[derive(Debug, Default)]
struct Known {
    ring: Option<Arc<KeyRing>>,
    organization: Option<String>,
}

/// The cookie in what was pasted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'t> {
    name: &'t str,
    pub(super) value: &'t str,
}

/// Takes the wanted cookie, or the one of the `usual` name, or the first that there is, out of what was pasted.
pub(super) fn find<'t>(text: &'t str, wanted: Option<&'t str>, usual: &'t str) -> Found<'t> {
    let text = text.trim();
    let mut pairs: Vec<_> =
        text.lines().flat_map(|line| in_a_header(line).or_else(|| in_a_jar(line)).unwrap_or_default()).collect();
    if pairs.is_empty() {
        pairs = split(text);
    }
    let named = pairs.iter().find(|(name, _)| *name == wanted.unwrap_or(usual));
    match named.or_else(|| pairs.first()) {
        Some((name, value)) => Found { name: wanted.unwrap_or(name), value },
        None => Found { name: wanted.unwrap_or(usual), value: text },
    }
}

/// The cookies of a header line, with the attributes that may stand behind them.
fn in_a_header(line: &str) -> Option<Vec<(&str, &str)>> {
    ["set-cookie:", "cookie:"].iter().find_map(|header| {
        let (name, value) = line.split_at_checked(header.len())?;
        name.eq_ignore_ascii_case(header).then(|| split(value))
    })
}

/// The cookie of a line in curl's cookie jar, which has seven fields.
fn in_a_jar(line: &str) -> Option<Vec<(&str, &str)>> {
    let fields: Vec<_> = line.trim_end().split('\t').collect();
    let [_, _, _, _, _, name, value] = fields[..] else { return None };
    Some(vec![(name, value)])
}

/// Pairs with a semicolon between them. A value may hold a "=" where padding is wrong; no cookie's name looks like a
/// value of ours.
fn split(text: &str) -> Vec<(&str, &str)> {
    text.split(';')
        .map(str::trim)
        .filter(|pair| !pair.starts_with("v1.") && !pair.starts_with("e1."))
        .filter_map(|pair| pair.split_once('='))
        .collect()
}

fn inspect(found: &Found<'_>, known: &Known, now: Timestamp, show_token: bool) -> Report {
    let mut report = Report { lines: vec![("name", escaped(found.name))], reading: None };
    let peeked = cookie::peek(found.value.as_bytes(), found.name, known.ring.as_deref());
    let config = cookie::Config { name: found.name.to_owned(), ..cookie::Config::default() };
    match (&known.ring, &peeked) {
        _ if !config.is_legal() => {
            report.judge(Reading::Absent, "no cookie can have that name");
            return report;
        }
        (Some(ring), _) => {
            let session = peeked.as_ref().ok().and_then(|peek| peek.session.as_ref());
            let claimed = || session.map(|session| session.organization_id.clone()).unwrap_or_default();
            let organization = known.organization.clone().unwrap_or_else(claimed);
            let jar = Jar::new(config, Arc::clone(ring), organization, Arc::new(SystemRandom));
            let (verdict, flaw) = jar.judge(found.value.as_bytes(), now);
            let good = || "its signature is right and its time is not over".to_owned();
            report.judge(verdict.reading(), &flaw.map_or_else(good, |flaw| flaw.to_string()));
        }
        (None, Err(flaw)) => report.judge(flaw.reading(), &flaw.to_string()),
        (None, Ok(_)) => {
            report.say("reads as", "unverified");
            report.say(
                "because",
                "no key is known to verify it with: give --config FILE or --keys FILE, or set HMAC_SECRET",
            );
        }
    }
    if let Ok(Peek { key_id, protection, session }) = &peeked {
        report.say("key", &format!("{key_id}{}", known.ring.as_deref().map_or("", |ring| role(ring, *key_id, now))));
        if let Some(session) = session {
            report.describe(session, known.organization.is_some(), now, show_token);
        }
        report.say(
            "note",
            match protection {
                Protection::Signed => {
                    "a signed cookie hides nothing: whoever has it can read all of this, and the token"
                }
                Protection::Sealed => "a sealed cookie cannot be read without its key",
            },
        );
    }
    report
}

fn role(ring: &KeyRing, key_id: KeyId, now: Timestamp) -> &'static str {
    match ring.find(key_id) {
        Some(_) if ring.signing(now).id() == key_id => ", which signs",
        Some(_) => ", which verifies",
        None => ", which is not in the ring",
    }
}

/// What is said of a cookie, a line a fact.
#[derive(Debug)]
struct Report {
    lines: Vec<(&'static str, String)>,
    /// `None` when nothing can be known without a key.
    reading: Option<Reading>,
}

impl Report {
    fn say(&mut self, what: &'static str, text: &str) {
        self.lines.push((what, text.to_owned()));
    }

    fn judge(&mut self, reading: Reading, why: &str) {
        self.reading = Some(reading);
        self.say("reads as", reading.as_str());
        self.say("because", &escaped(why));
    }

    fn describe(&mut self, session: &Session, organization_compared: bool, now: Timestamp, show_token: bool) {
        let compared = if organization_compared { "" } else { " (not compared: none is known here)" };
        let token = session.token.expose();
        self.say("session", &escaped(&session.id));
        self.say("organization", &format!("{}{compared}", escaped(&session.organization_id)));
        self.say("issued", &moment(session.issued_at, now));
        self.say("valid until", &moment(session.expires_at, now));
        if show_token {
            self.say("token", &escaped(token));
        } else {
            self.say("token", &format!("not shown, {} characters: --show-token shows it", token.chars().count()));
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self.reading {
            None => ExitCode::from(UNVERIFIED),
            Some(Reading::Valid) => ExitCode::SUCCESS,
            Some(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(what, text)| writeln!(f, "{what:<13} {text}"))
    }
}

pub(super) fn moment(moment: Timestamp, now: Timestamp) -> String {
    if moment > now {
        format!("{moment} (in {})", span(moment.since(now)))
    } else {
        format!("{moment} ({} ago)", span(now.since(moment)))
    }
}

/// The two largest units are enough to plan with.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
