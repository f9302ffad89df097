//! `guestpass inspect`: what a cookie says, which key signed it, and what the proxy would read it as.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::{EX_CONFIG, check, environment};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Config;
use crate::cookie::{self, Jar, KeyId, KeyRing, Peek, Protection, Reading};
use crate::keys;
use crate::random::SystemRandom;
use crate::secret::SecretBytes;
use crate::session::Session;

/// What the cookie is called where nobody says otherwise.
const USUAL_NAME: &str = "genesys_session";

/// What `inspect` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Works without any key, but then nobody vouches for what it shows.
HMAC_SECRET, HMAC_SECRET_PREVIOUS and GENESYS_ORGANIZATION_ID are taken from the environment.

Examples:
  guestpass inspect v1.…
  guestpass inspect --config proxy.toml 'genesys_session=v1.…'
  curl -ks -o /dev/null -D - https://localhost:8443/ | guestpass inspect -
  guestpass inspect --keys keys.toml - < jar

Exit codes: 0 when the cookie is valid, or nothing is known to judge it by; 1 when it is not valid;
78 when the configuration is wrong.")]
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

/// Inspects one cookie on standard output. The exit code is 1 when it is known not to be valid.
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
    let ring = source(arguments, config.as_ref()).map(|source| keys::load(&source)).transpose()?;
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
            report.say("because", "no key is known: give --config FILE or --keys FILE, or set HMAC_SECRET");
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
            None | Some(Reading::Valid) => ExitCode::SUCCESS,
            Some(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(what, text)| writeln!(f, "{what:<13} {text}"))
    }
}

/// What stands in a cookie is anybody's text, and a terminal obeys some of it. Quotation marks are harmless.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' | '"' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
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
mod tests {
    use super::*;
    use crate::cookie::Key;
    use crate::secret::SecretText;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn key(id: &str, fill: u8) -> Key {
        Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![fill; 32]))
    }

    fn known(organization: Option<&str>) -> Known {
        let ring = KeyRing::new(key("new", 1), vec![key("old", 2)]).unwrap();
        Known { ring: Some(Arc::new(ring)), organization: organization.map(str::to_owned) }
    }

    /// A `Set-Cookie` line for a session of an hour, made under `key`.
    fn line(key: Key) -> String {
        protected(key, Protection::Signed)
    }

    fn protected(key: Key, protection: Protection) -> String {
        let ring = Arc::new(KeyRing::new(key, vec![]).unwrap());
        let session = Session {
            id: "session-1\u{1b}[2J".to_owned(),
            token: SecretText::new("swordfish".to_owned()),
            organization_id: "org".to_owned(),
            issued_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(3600)),
        };
        let config = cookie::Config { protection, ..cookie::Config::default() };
        let jar = Jar::new(config, ring, "org".to_owned(), Arc::new(SystemRandom));
        format!("Set-Cookie: {}", jar.write(&session, "h", NOW).unwrap().session.to_str().unwrap())
    }

    fn report(text: &str, known: &Known, seconds_later: u64) -> Report {
        inspect(&find(text, None, USUAL_NAME), known, NOW.plus(Duration::from_secs(seconds_later)), false)
    }

    #[test]
    fn the_cookie_is_found_in_whatever_was_pasted() {
        let found = |text| {
            let found = find(text, None, USUAL_NAME);
            (found.name, found.value)
        };
        let default = "genesys_session";
        assert_eq!(found("v1.a.b.c"), (default, "v1.a.b.c"));
        assert_eq!(found(" v1.a.b.c==\n"), (default, "v1.a.b.c=="));
        assert_eq!(found("other=v1.a.b.c"), ("other", "v1.a.b.c"));
        assert_eq!(found("e1.a.b.c=="), (default, "e1.a.b.c=="));
        assert_eq!(found("set-cookie: genesys_session=v1.a.b.c; Path=/; Secure"), (default, "v1.a.b.c"));
        assert_eq!(found("Cookie: a=1; genesys_session=v1.a.b.c; z=2"), (default, "v1.a.b.c"));
        assert_eq!(found("nonsense"), (default, "nonsense"));
        let head = "HTTP/2 200\r\ncontent-type: text/html; charset=utf-8\r\nset-cookie: cart=7; Path=/\r\n\
                    set-cookie: genesys_session=v1.a.b.c; Secure\r\n\r\n";
        assert_eq!(found(head), (default, "v1.a.b.c"));
        let jar = "# Netscape HTTP Cookie File\n\n#HttpOnly_localhost\tFALSE\t/\tTRUE\t1\tgenesys_session\tv1.a.b.c\n";
        assert_eq!(found(jar), (default, "v1.a.b.c"));
        assert_eq!(find("Cookie: a=1; pass=v1.a.b.c", None, "pass"), Found { name: "pass", value: "v1.a.b.c" });
        assert_eq!(find("a=1; b=2", Some("b"), USUAL_NAME), Found { name: "b", value: "2" });
        assert_eq!(find("é", Some("b"), USUAL_NAME), Found { name: "b", value: "é" });
    }

    #[test]
    fn a_good_cookie_is_described_without_its_token() {
        let report = report(&line(key("new", 1)), &known(Some("org")), 60);
        assert_eq!(
            report.to_string(),
            "name          genesys_session\n\
             reads as      valid\n\
             because       its signature is right and its time is not over\n\
             key           new, which signs\n\
             session       session-1\\u{1b}[2J\n\
             organization  org\n\
             issued        2026-09-21T14:13:20.000Z (1 min 0 s ago)\n\
             valid until   2026-09-21T15:13:20.000Z (in 59 min 0 s)\n\
             token         not shown, 9 characters: --show-token shows it\n\
             note          a signed cookie hides nothing: whoever has it can read all of this, and the token\n"
        );
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
        let pasted = line(key("new", 1));
        let shown = inspect(&find(&pasted, None, USUAL_NAME), &known(None), NOW, true).to_string();
        assert!(shown.contains("token         swordfish\n"), "{shown}");
        assert!(shown.contains("organization  org (not compared: none is known here)\n"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, known, later, expected) in [
            (line(key("old", 2)), known(None), 0, "old, which verifies"),
            (
                line(key("gone", 3)),
                known(None),
                0,
                "reads as      outdated\nbecause       its key gone is not in the ring",
            ),
            (
                line(key("new", 3)),
                known(None),
                0,
                "reads as      forged\nbecause       its tag is not the one that the key makes of it under this cookie's",
            ),
            (line(key("new", 1)), known(Some("other")), 0, "reads as      outdated\nbecause       it is for another"),
            (
                line(key("new", 1)),
                known(None),
                9999,
                "reads as      expired\nbecause       it ended at 2026-09-21T15:13:20",
            ),
            (line(key("new", 1)).replace("session=", "other="), known(None), 0, "reads as      forged"),
            (
                "a name = value".to_owned(),
                known(None),
                0,
                "reads as      absent\nbecause       no cookie can have that name",
            ),
            ("nonsense".to_owned(), known(None), 0, "reads as      malformed\nbecause       it has not the four parts"),
            ("nonsense".to_owned(), Known::default(), 0, "reads as      malformed"),
        ] {
            let report = report(&text, &known, later);
            assert!(report.to_string().contains(expected), "{report} is to say {expected:?}");
            assert!(!report.to_string().contains("swordfish"));
            let valid = report.reading == Some(Reading::Valid);
            assert_eq!(report.exit_code(), if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }

    #[test]
    fn without_a_key_the_claims_are_shown_as_unverified() {
        let report = report(&line(key("new", 1)), &Known::default(), 0);
        let text = report.to_string();
        assert!(text.contains("reads as      unverified\n") && text.contains("\nsession       session-1"), "{text}");
        assert!(!text.contains("swordfish"), "{text}");
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_sealed_cookie_is_described_to_whoever_has_its_key() {
        let sealed = protected(key("new", 1), Protection::Sealed);
        let text = report(&sealed, &known(Some("org")), 60).to_string();
        assert!(text.contains("reads as      valid\n") && text.contains("\nsession       session-1"), "{text}");
        assert!(text.contains("token         not shown, 9 characters") && !text.contains("swordfish"), "{text}");
        assert!(text.ends_with("note          a sealed cookie cannot be read without its key\n"), "{text}");
        let shown = inspect(&find(&sealed, None, USUAL_NAME), &known(None), NOW, true).to_string();
        assert!(shown.contains("token         swordfish\n"), "{shown}");

        let over = report(&sealed, &known(None), 9999);
        assert_eq!(over.reading, Some(Reading::Expired));
        assert!(over.to_string().contains("\nsession       session-1"), "its key still opens it: {over}");
    }

    #[test]
    fn a_sealed_cookie_stays_closed_without_its_key() {
        let sealed = protected(key("new", 1), Protection::Sealed);
        let without = report(&sealed, &Known::default(), 0).to_string();
        assert!(
            without.contains("reads as      unverified\n") && without.contains("\nkey           new\n"),
            "{without}"
        );
        assert!(!without.contains("session-1") && !without.contains("\ntoken"), "{without}");

        let wrong = report(&protected(key("new", 3), Protection::Sealed), &known(None), 0);
        assert_eq!(wrong.reading, Some(Reading::Forged));
        assert!(!wrong.to_string().contains("session-1"), "{wrong}");
    }

    #[test]
    fn spans_are_said_in_their_two_largest_units() {
        let said = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([said(59), said(3599), said(3600), said(200_000)], ["59 s", "59 min 59 s", "1 h 0 min", "2 d 7 h"]);
    }
}
