//! `guestpass check`: says everything that is wrong with a configuration, or what would run with it. Starts nothing.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::takes_colour;
use crate::clock::Clock;
use crate::config::{self, Config, Loaded, Problems};
use crate::forward::Protocol;
use crate::policy::{OnMissing, Policy};
use crate::routes::Route;
use crate::server::Listener;
use crate::tls::Version;

/// `EX_CONFIG` of sysexits.h: something is wrong with the configuration. A service manager can be told not to try
/// again after it.
pub(super) const EX_CONFIG: u8 = 78;

/// Check a configuration: every mistake at once, and what would run
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,
}

impl Check {
    /// Prints problems to standard error and a summary to standard output. Returns the exit code: 0, or [`EX_CONFIG`]
    /// when the configuration cannot be used.
    ///
    /// # Errors
    ///
    /// When standard output or standard error cannot be written to.
    pub(super) fn run(&self, clock: &dyn Clock) -> io::Result<u8> {
        let loaded = config::load(&self.config, &|name| std::env::var(name).ok(), clock.now());
        report(&loaded.problems)?;
        summarize(&loaded, &mut io::stdout().lock())
    }
}

/// Writes problems to standard error, in colour where a terminal shows it and nobody asked for none
/// (<https://no-color.org>).
///
/// # Errors
///
/// When standard error cannot be written to.
pub(super) fn report(problems: &Problems) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    let colour = takes_colour(&stderr);
    stderr.write_all(problems.render(colour).as_bytes())
}

/// Says what would run, and returns the exit code.
fn summarize(loaded: &Loaded, out: &mut dyn Write) -> io::Result<u8> {
    let Some(config) = &loaded.config else { return Ok(EX_CONFIG) };
    let sections: [(&str, Vec<[String; 2]>); 3] = [
        ("listeners", config.listeners.iter().map(|listener| listener_row(listener, config)).collect()),
        (
            "upstreams",
            config.upstreams.iter().map(|upstream| [upstream.name.clone(), server(&upstream.server)]).collect(),
        ),
        ("routes, of which the most particular one is met", route_rows(config)),
    ];
    for (title, rows) in &sections {
        writeln!(out, "{title}")?;
        let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or(0);
        for [name, what] in rows {
            writeln!(out, "  {name:width$}  {what}")?;
        }
    }
    Ok(0)
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
    [listener.address.to_string(), what]
}

fn server(server: &crate::forward::Server) -> String {
    let scheme = match server.protocol {
        Protocol::Http => "http",
        Protocol::H2c => "h2c",
        Protocol::Https(_) => "https",
    };
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    format!("{scheme}://{host}:{}", server.port)
}

fn route_rows(config: &Config) -> Vec<[String; 2]> {
    let mut rows: Vec<_> = config.routes.iter().map(|route| route_row(route, config)).collect();
    let first = config.upstreams.first().map_or("", |upstream| upstream.name.as_str());
    rows.push(["/**".to_owned(), format!("{} -> {first} (implied)", Policy::default())]);
    rows
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
    [format!("{methods}{host}{}", route.path), format!("{}{on_missing} -> {upstream}", route.rules.policy)]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::Timestamp;

    fn summary(text: &str) -> (u8, String) {
        let variables = ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "HMAC_SECRET"];
        let env = |name: &str| variables.contains(&name).then(|| "x".repeat(32));
        let loaded = config::parse("proxy.toml", text, Path::new(""), &env, Timestamp::from_seconds(0));
        let mut out = Vec::new();
        let code = summarize(&loaded, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
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
            [genesys]
            organization_id = "organization"
            [[upstream]]
            name = "site"
            servers = ["http://[::1]:3000"]
            [[upstream]]
            name = "chat"
            servers = ["h2c://chat.internal"]
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
  chat  h2c://chat.internal:80
routes, of which the most particular one is met
  GET POST shop.example/account/**  require, missing: to /login -> site
  /chat/**                          issue -> chat
  /**                               issue -> site (implied)
";
        assert_eq!(summary(text), (0, expected.to_owned()));
    }

    #[test]
    fn nothing_would_run_with_a_mistake() {
        assert_eq!(summary("workers = -1"), (EX_CONFIG, String::new()));
    }
}
