//! What is said of a request: a section for each layer, a line for each fact. Never a token, and of a cookie its name
//! alone.

use std::fmt;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use crate::cli::check::servers;
use crate::cli::escaped;
use crate::cli::inspect::moment;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::context::{Context, Entry};
use crate::cookie::{Flaw, Verdict};
use crate::forward::{Protocol, Upstream};
use crate::gate::Facts;
use crate::policy::{OnMintFailure, OnMissing, Policy, Rules};
use crate::routes::{HostPattern, Matched, Read, Rule};
use crate::server::Listener;

/// What stands where something is not shown.
const HIDDEN: &str = "…";

/// The sections so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    sections: Vec<Section>,
    /// Routes that cover the path as it was received, as they are to be shown.
    covering: Vec<String>,
}

#[derive(Debug)]
struct Section {
    title: String,
    lines: Vec<(String, String)>,
}

impl Section {
    fn say(&mut self, what: impl Into<String>, text: impl Into<String>) -> &mut Self {
        self.lines.push((what.into(), text.into()));
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, section) in self.sections.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n" };
            writeln!(f, "{gap}{}", section.title)?;
            let width = section.lines.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
            for (what, text) in &section.lines {
                writeln!(f, "{}", format!("  {what:width$}  {text}").trim_end())?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn section(&mut self, title: impl Into<String>) -> &mut Section {
        self.sections.push(Section { title: title.into(), lines: Vec::new() });
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }

    /// Who asks for what, as the context has it.
    pub(super) fn request(&mut self, context: &Context, config: &Config) {
        let section = self.section("request");
        section.say("method", context.method.as_str());
        match context.misaddressed {
            None => section.say("host", escaped(&context.host)),
            Some(error) => section.say("host", format!("none: {error}")),
        };
        section.say("port", format!("{}, over {}", context.port, context.scheme.as_str()));
        let trusted = if context.peer_is_trusted { ", one of trust.proxies" } else { "" };
        section.say("from", format!("{}{trusted}", context.connection.peer.ip()));
        if context.peer_is_trusted {
            section.say("client", context.client.to_string());
        }
        section.say("id", format!("{} here; else random", context.request_id));
        let serves =
            |listener: &Listener| listener.redirect_to_https.is_none() && listener.scheme == context.connection.scheme;
        if !config.listeners.iter().any(serves) {
            section.say("but", format!("no listener serves visitors who use {}", context.connection.scheme.as_str()));
        }
    }

    /// In which ways the path can be read, and what each meets.
    pub(super) fn path(&mut self, context: &Context, readings: &Result<Vec<Read<'_>>, Rule>) {
        let section = self.section("path");
        section.say("as received", escaped(context.uri.path()));
        let readings = match readings {
            Err(rule) => {
                section.say("readings", format!("none: {rule}"));
                return;
            }
            Ok(readings) if readings.len() == 1 => {
                section.say("readings", "this one alone");
                readings
            }
            Ok(readings) => {
                for (place, read) in readings.iter().enumerate() {
                    let met = read.routes.first().map_or_else(|| "no route".to_owned(), |met| route(*met));
                    section.say(format!("reading {}", place + 1), format!("{} meets {met}", escaped(&read.reading)));
                }
                readings
            }
        };
        self.covering =
            readings.first().into_iter().flat_map(|read| read.routes.iter().map(|met| route(*met))).collect();
    }

    /// A path of the proxy's own, which the site never hears of.
    pub(super) fn own(&mut self, name: &str) {
        self.section("own path").say("name", format!("{name:?}, behind own.prefix: the proxy answers"));
    }

    /// The route that was met, and those that stand behind it.
    pub(super) fn route(&mut self, head: &Parts, config: &Config) {
        let covering = std::mem::take(&mut self.covering);
        let Some(matched) = head.extensions.get::<Matched>() else { return };
        let upstream = config.upstreams.get(matched.upstream).map_or("", |upstream| upstream.name.as_str());
        let section = self.section("route");
        section.say("met", format!("{}, to {upstream}", matched.pattern));
        section.say("asks", rules(&matched.rules));
        for (place, passed_over) in covering.iter().enumerate() {
            section.say(if place == 0 { "covering" } else { "" }, format!("{}. {passed_over}", place + 1));
        }
        if covering.len() > 1 {
            section
                .say("because", "the most particular host comes first, then the longest beginning without wildcards");
        }
    }

    /// What of the request was dropped or changed before the gate.
    pub(super) fn hygiene(&mut self, received: &HeaderMap, left: &HeaderMap) {
        let names = |keep: &dyn Fn(&HeaderName) -> bool| -> String {
            let names: Vec<&str> = received.keys().filter(|name| keep(name)).map(HeaderName::as_str).collect();
            names.join(", ")
        };
        let dropped = names(&|name| !left.contains_key(name));
        let changed =
            names(&|name| left.contains_key(name) && !received.get_all(name).iter().eq(left.get_all(name).iter()));
        let section = self.section("hygiene");
        section.say("drops", if dropped.is_empty() { "nothing".to_owned() } else { dropped });
        if !changed.is_empty() {
            section.say("changes", changed);
        }
    }

    /// Each cookie of our name, judged by itself.
    pub(super) fn cookies(
        &mut self,
        name: &str,
        judged: impl Iterator<Item = (Verdict, Option<Flaw>)>,
        now: Timestamp,
    ) {
        let section = self.section("cookie");
        let mut judged = judged.peekable();
        if judged.peek().is_none() {
            section.say(name, "absent");
        }
        for (verdict, flaw) in judged {
            let why = match (verdict.session(), &flaw) {
                (Some(session), _) => {
                    format!("session {}, until {}", escaped(&session.id), moment(session.expires_at, now))
                }
                (None, Some(flaw)) => escaped(&flaw.to_string()),
                (None, None) => String::new(),
            };
            section.say(name, format!("{}: {why}", verdict.reading().as_str()));
        }
    }

    /// Whether it would mint, and what keeps it from that.
    pub(super) fn visit(&mut self, facts: Facts, obstacles: &[&str]) {
        let section = self.section("visit");
        if facts.preflight {
            section.say("no", "a CORS preflight, which passes on every policy and carries no cookie");
        } else if facts.visit {
            section.say("yes", "it gets a session where it has none and the route gives one");
        } else {
            for obstacle in obstacles {
                section.say("no", *obstacle);
            }
        }
    }

    /// What was decided, as the access log will have it.
    pub(super) fn decision(&mut self, entry: &Entry) {
        let section = self.section("decision");
        section.say("policy", entry.policy.map_or("none: no route was met", Policy::as_str));
        section.say("reading", entry.reading.unwrap_or("no cookie was asked for"));
        section.say("decision", entry.decision.unwrap_or("none"));
        if let Some(instead) = entry.shadow {
            section.say("shadow", format!("NOTHING IS REFUSED on this route: it would be {instead}"));
        }
        if let Some(reason) = &entry.reason {
            section.say("because", escaped(reason));
        }
    }

    /// What Genesys would be asked for.
    pub(super) fn minted(&mut self, config: &Config) {
        let payload = &config.genesys.payload;
        let section = self.section("minted");
        section.say("by", format!("{}, for {}", config.genesys.base_url, escaped(&config.genesys.organization_id)));
        if config.warm_pool.size > 0 {
            section.say("or", "the warm pool, where one is there already");
        }
        section.say("channel", payload.channel.as_str());
        section.say("lasts", format!("{} s", payload.expiration_seconds));
        let metadata = payload.metadata.iter().map(|(name, text)| format!("{name} = {text:?}")).collect::<Vec<_>>();
        section.say("metadata", if metadata.is_empty() { "none".to_owned() } else { metadata.join(", ") });
    }

    /// The request as `upstream` would receive it.
    pub(super) fn sent(&mut self, sent: &Request<()>, upstream: &Upstream) {
        let section = self.section(format!("goes up to {}, {}", upstream.name, servers(upstream)));
        section.say(sent.method().as_str(), format!("{} {:?}", escaped(&sent.uri().to_string()), sent.version()));
        section.fields(sent.headers());
        if let Protocol::Https(_) = upstream.protocol {
            section.say("over HTTP/2", "the same, with :authority in the place of host");
        }
    }

    /// What is added to the site's own answer.
    pub(super) fn additions(&mut self, response: &Response<Bytes>) {
        let section = self.section("comes back");
        section.say("status", "the site's own, and with the site's answer:");
        section.fields(response.headers());
        if response.headers().is_empty() {
            section.say("added", "nothing");
        }
    }

    /// An answer of the proxy's own.
    pub(super) fn answer(&mut self, response: &Response<Bytes>) {
        let section = self.section("comes back");
        section.say("status", response.status().to_string());
        section.fields(response.headers());
        for (place, line) in String::from_utf8_lossy(response.body()).lines().enumerate() {
            section.say(if place == 0 { "body" } else { "" }, line);
        }
    }
}

impl Section {
    fn fields(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            self.say(name.as_str(), shown(name, value));
        }
    }
}

/// A field's value, without what nobody may read over somebody's shoulder.
fn shown(name: &HeaderName, value: &HeaderValue) -> String {
    let text = escaped(&String::from_utf8_lossy(value.as_bytes()));
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    };
    if *name == COOKIE {
        return text.split("; ").map(hide).collect::<Vec<_>>().join("; ");
    }
    if *name == SET_COOKIE {
        let (pair, attributes) = text.split_once(';').unwrap_or((&text, ""));
        return format!("{};{attributes}", hide(pair));
    }
    if value.is_sensitive() || *name == AUTHORIZATION { HIDDEN.to_owned() } else { text }
}

fn route((host, matched): (&HostPattern, &Matched)) -> String {
    let host = host.to_string();
    let host = if host == "*" { "" } else { host.as_str() };
    format!("{host}{} ({})", matched.pattern, matched.rules.policy)
}

fn rules(rules: &Rules) -> String {
    let missing = match (&rules.policy, &rules.on_missing) {
        (Policy::Require, OnMissing::Refuse) => ", missing: refuse".to_owned(),
        (Policy::Require, OnMissing::Issue) => ", missing: issue".to_owned(),
        (Policy::Require, OnMissing::Redirect(path)) => format!(", missing: to {path}"),
        _ => String::new(),
    };
    let failure = match (&rules.policy, &rules.on_missing, rules.on_mint_failure) {
        (Policy::Issue, _, OnMintFailure::Pass) => ", without Genesys: pass",
        (Policy::Issue, _, OnMintFailure::Refuse) | (Policy::Require, OnMissing::Issue, _) => {
            ", without Genesys: refuse"
        }
        _ => "",
    };
    format!("{}{missing}{failure}", rules.policy)
}
