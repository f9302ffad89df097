//! `guestpass check`: says everything that is wrong with a configuration, or what would run with it. Starts nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::app::Shortage;
use crate::audit::Mode;
use crate::cli::{EX_CONFIG, environment, takes_colour};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Problems};
use crate::forward::{Balance, Protocol, Upstream};
use crate::keys;
use crate::policy::{OnMissing, Policy};
use crate::routes::Route;
use crate::server::{Listener, ProxyProtocol};
use crate::store::Place;
use crate::tls::Version;

/// What `check` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Mistakes and warnings go to standard error, each with its line and what would be right;
what would run goes to standard output.

Examples:
  guestpass check
  guestpass check --config /etc/guestpass/proxy.toml

Exit codes:
  0   it could run, perhaps with warnings
  78  it could not")]
pub(super) struct Arguments {
    /// The configuration, over which the environment is laid
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let loaded = config::load(&arguments.config, &environment, SystemClock::new().now());
    report(&loaded.problems)?;
    let Some(config) = loaded.config else { return Ok(ExitCode::from(EX_CONFIG)) };
    summarize(&config, &mut io::stdout().lock()).context("standard output cannot be written")?;
    if let Some(shortage) = Shortage::of(&config.limits) {
        writeln!(io::stderr(), "warning: {shortage}").context("standard error cannot be written")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration at `path` and the process's environment for a command that only needs them. When they cannot
/// be used, it is said on standard error why, and there is `None`; warnings are for those who check or run it.
pub(super) fn load(path: &Path, clock: &dyn Clock) -> Result<Option<Config>> {
    let loaded = config::load(path, &environment, clock.now());
    if loaded.config.is_none() {
        report(&loaded.problems)?;
    }
    Ok(loaded.config)
}

/// Says problems on standard error, in colour where a terminal shows it.
pub(super) fn report(problems: &Problems) -> Result<()> {
    let mut stderr = io::stderr().lock();
    let colour = takes_colour(&stderr);
    stderr.write_all(problems.render(colour).as_bytes()).context("standard error cannot be written")
}

/// Says what would run.
fn summarize(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let sections: [(&str, Vec<[String; 2]>); 5] = [
        ("listeners", config.listeners.iter().map(|listener| listener_row(listener, config)).collect()),
        ("upstreams", config.upstreams.iter().map(|upstream| [upstream.name.clone(), servers(upstream)]).collect()),
        ("routes, of which the most particular one is met", route_rows(config)),
        ("sessions", session_rows(config)),
        ("the process", process_rows(config)),
    ];
    for (title, rows) in &sections {
        writeln!(out, "{title}")?;
        let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or(0);
        for [name, what] in rows {
            writeln!(out, "  {name:width$}  {what}")?;
        }
    }
    Ok(())
}

fn listener_row(listener: &Listener, config: &Config) -> [String; 2] {
    let what = if let Some(port) = listener.redirect_to_https {
        format!("redirects to https on port {port}")
    } else if let (true, Some(tls)) = (listener.tls, &config.tls) {
        let version = match tls.min_version {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        };
        let count = tls.certificates.len();
        format!("TLS {version} and newer, {count} certificate{}", if count == 1 { "" } else { "s" })
    } else {
        format!("in the clear, for visitors who use {}", listener.scheme.as_str())
    };
    let what = match listener.proxy_protocol {
        ProxyProtocol::Off => what,
        ProxyProtocol::Accept => format!("{what}; trusted proxies may send a PROXY header"),
        ProxyProtocol::Require => format!("{what}; trusted proxies alone, with a PROXY header"),
    };
    [listener.address.to_string(), what]
}

/// Its servers, and what is done to choose among them.
pub(super) fn servers(upstream: &Upstream) -> String {
    let addresses = upstream.servers.iter().map(|server| upstream.address(server)).collect::<Vec<_>>().join(", ");
    let balance = match upstream.balance {
        _ if upstream.servers.len() == 1 => "",
        Balance::RoundRobin => ", in turn",
        Balance::LeastConnections => ", by fewest connections",
        Balance::Session => ", by session",
    };
    let check = upstream.health_check.path.as_ref().map(|path| format!(", checked at {path}"));
    let trust = match &upstream.protocol {
        Protocol::Https(tls) if tls.insecure => ", INSECURE: any certificate is taken",
        _ => "",
    };
    format!("{addresses}{balance}{}{trust}", check.unwrap_or_default())
}

fn route_rows(config: &Config) -> Vec<[String; 2]> {
    let mut rows: Vec<_> = config.routes.iter().map(|route| route_row(route, config)).collect();
    let first = config.upstreams.first().map_or("", |upstream| upstream.name.as_str());
    rows.push(["/**".to_owned(), format!("{} -> {first} (implied)", Policy::default())]);
    rows
}

fn process_rows(config: &Config) -> Vec<[String; 2]> {
    let own = [format!("{}**", config.own.as_str()), "answered here, never forwarded".to_owned()];
    let store = match &config.store {
        Place::Folder(folder) => [
            folder.display().to_string(),
            "revocations, for this machine alone: processes on others do not share them".to_owned(),
        ],
        Place::Memory => ["memory".to_owned(), "revocations, for this process alone, until it ends".to_owned()],
    };
    let admin = config.admin.iter().map(|admin| {
        let what = if admin.token.is_some() { "the operator, who brings the token" } else { "health only: no token" };
        [admin.address.to_string(), what.to_owned()]
    });
    let audit = config.audit.iter().map(|audit| {
        let what = match audit.mode {
            Mode::BestEffort => "the audit log; what cannot be written is counted",
            Mode::Required => "the audit log; no session leaves without its line on disk",
        };
        [audit.path.display().to_string(), what.to_owned()]
    });
    let outbox = config.outbox.iter().map(|outbox| {
        // What stands behind the host may be a credential.
        let host = outbox.url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        [host.unwrap_or_default(), "told of sessions and keys, by webhook".to_owned()]
    });
    [own, store].into_iter().chain(audit).chain(outbox).chain(admin).collect()
}

fn route_row(route: &Route, config: &Config) -> [String; 2] {
    let host = route.host.to_string();
    let host = if host == "*" { "" } else { host.as_str() };
    let methods = route.methods.iter().map(|method| format!("{method} ")).collect::<String>();
    let on_missing = match &route.rules.on_missing {
        OnMissing::Refuse => String::new(),
        OnMissing::Issue => ", missing: issue".to_owned(),
        OnMissing::Redirect(path) => format!(", missing: to {path}"),
    };
    let upstream = config.upstreams.get(route.upstream).map_or("", |upstream| upstream.name.as_str());
    let shadow = if route.rules.shadow { ", IN SHADOW: nothing is refused" } else { "" };
    [format!("{methods}{host}{}", route.path), format!("{}{on_missing}{shadow} -> {upstream}", route.rules.policy)]
}

fn session_rows(config: &Config) -> Vec<[String; 2]> {
    let genesys = &config.genesys;
    let signed = match &config.keys.source {
        keys::Source::Secret { previous: None, .. } => "the secret".to_owned(),
        keys::Source::Secret { previous: Some(_), .. } => "the secret, the previous one still verifies".to_owned(),
        keys::Source::File(path) => format!("the key ring {}", path.display()),
    };
    vec![
        ["made by".to_owned(), format!("{} for the organization {}", genesys.base_url, genesys.organization_id)],
        ["kept in".to_owned(), format!("the cookie {}, signed with {signed}", config.cookie.name)],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn summary(text: &str) -> String {
        let variables = ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "HMAC_SECRET"];
        let env = |name: &str| variables.contains(&name).then(|| "x".repeat(32));
        let loaded = config::parse("proxy.toml", text, Path::new(""), &env, Timestamp::from_seconds(0));
        let mut out = Vec::new();
        summarize(&loaded.config.expect("nothing is wrong with it"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_would_run_is_said_in_a_few_lines() {
        let text = r#"
            [[listen]]
            address = "[::]:8443"
            tls = false
            [[listen]]
            address = "0.0.0.0:80"
            redirect_to_https = true
            [admin]
            token = "a-token-of-some-length"
            [genesys]
            organization_id = "organization"
            [[upstream]]
            name = "site"
            servers = ["http://[::1]:3000"]
            [[upstream]]
            name = "chat"
            servers = ["h2c://chat.internal", "h2c://[::1]:81"]
            balance = "session"
            health_check = { path = "/healthz" }
            [[route]]
            host = "shop.example"
            path = "/account/**"
            methods = ["GET", "POST"]
            session = "require"
            on_missing = "redirect:/login"
            [[route]]
            path = "/chat/**"
            upstream = "chat"
        "#;
        let expected = "\
listeners
  [::]:8443   in the clear, for visitors who use https
  0.0.0.0:80  redirects to https on port 443
upstreams
  site  http://[::1]:3000
  chat  h2c://chat.internal:80, h2c://[::1]:81, by session, checked at /healthz
routes, of which the most particular one is met
  GET POST shop.example/account/**  require, missing: to /login -> site
  /chat/**                          issue -> chat
  /**                               issue -> site (implied)
sessions
  made by  https://api.mypurecloud.com for the organization organization
  kept in  the cookie genesys_session, signed with the secret
the process
  /_guestpass/**     answered here, never forwarded
  state              revocations, for this machine alone: processes on others do not share them
  audit/session.log  the audit log; what cannot be written is counted
  127.0.0.1:9180     the operator, who brings the token
";
        assert_eq!(summary(text), expected);
    }
}
