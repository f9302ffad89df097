//! The sections of the servers behind us: `upstream`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use toml::de::DeValue;

use super::raw::Section;
use super::value::{self, Reading, Unfit};
use crate::forward::{Balance, HealthCheck, HostHeader, Protocol, Server, Upstream, UpstreamTls};

/// A server in the same network answers a SYN in milliseconds; this leaves room for one lost and sent again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What other proxies wait, so that no site that works behind one breaks here.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// As above: between two bytes of a response.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A WebSocket or an event stream may well say nothing for as long as a visitor reads.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// On each core; a site that answers in 10 ms takes 6,400 requests a second over as many.
const MAX_IDLE_CONNECTIONS: usize = 64;

/// Often enough that a dead server is out after ten seconds, and no work for a site.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A page that says whether a server is well has no reason to take longer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// One failure may be a packet that was lost; the same for one answer of a server that is only starting.
const IN_A_ROW: u32 = 2;

/// One `[[upstream]]`, whose name is added to `names`, or a gap where it has none.
pub(super) fn upstream(section: &mut Section<'_>, names: &mut Vec<Option<String>>) -> Option<Upstream> {
    let name = section.need("name", value::text);
    names.push(name.clone());
    let servers = section.list("servers", value::like("^(https?://|h2c://|unix:/)", server));
    let balance = section.get(
        "balance",
        value::one_of(&[
            ("round_robin", Balance::RoundRobin),
            ("least_connections", Balance::LeastConnections),
            ("session", Balance::Session),
        ]),
    );
    let connect_timeout = section.get("connect_timeout", value::duration).unwrap_or(CONNECT_TIMEOUT);
    let response_timeout = section.get("response_timeout", value::duration).unwrap_or(RESPONSE_TIMEOUT);
    let idle_timeout = section.get("idle_timeout", value::duration).unwrap_or(IDLE_TIMEOUT);
    let stream_idle_timeout = section.get("stream_idle_timeout", value::duration).unwrap_or(STREAM_IDLE_TIMEOUT);
    let keep_headers = section.list(
        "keep_headers",
        value::like(
            "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            value::parsed::<HeaderName>("a header's name", "write a name such as \"X-Forwarded-Prefix\""),
        ),
    );
    let max_idle_connections = section.get("max_idle_connections", value::number(1..=100_000));
    let health_check = section.table("health_check", health_check);
    let host =
        section.get("host", value::one_of(&[("preserve", HostHeader::Preserve), ("upstream", HostHeader::Upstream)]));
    let forward_token = section.get("forward_token", value::flag).unwrap_or(false);
    let tls = section.table("tls", tls);
    let (protocol, servers) = alike(section, servers)?;
    Some(Upstream {
        name: name?,
        protocol: with_tls(section, protocol, tls),
        servers,
        balance: balance.unwrap_or_default(),
        health_check,
        connect_timeout,
        response_timeout,
        idle_timeout,
        stream_idle_timeout,
        keep_headers: keep_headers.unwrap_or_default(),
        max_idle_connections: max_idle_connections.unwrap_or(MAX_IDLE_CONNECTIONS),
        host: host.unwrap_or_default(),
        forward_token,
    })
}

fn health_check(section: &mut Section<'_>) -> HealthCheck {
    HealthCheck {
        path: section.optional("path", value::like("^/", check_path)),
        interval: section.get("interval", value::duration).unwrap_or(CHECK_INTERVAL),
        timeout: section.get("timeout", value::duration).unwrap_or(CHECK_TIMEOUT),
        fail_after: section.get("fail_after", value::number(1..=100)).unwrap_or(IN_A_ROW),
        pass_after: section.get("pass_after", value::number(1..=100)).unwrap_or(IN_A_ROW),
    }
}

fn check_path(value: &DeValue<'_>) -> Reading<PathAndQuery> {
    let unfit = || Unfit::new("is not a path", "expected a path").help("write \"/healthz\"");
    value::text(value)?.parse().ok().filter(|path: &PathAndQuery| path.as_str().starts_with('/')).ok_or_else(unfit)
}

fn tls(section: &mut Section<'_>) -> UpstreamTls {
    let tls = UpstreamTls {
        ca: section.path("ca"),
        server_name: section.optional("server_name", server_name),
        insecure: section.get("insecure", value::flag).unwrap_or(false),
    };
    if let Some(ca) = &tls.ca {
        section.findings.reads(ca);
        inspect_authorities(section, ca, "the upstream");
    }
    if tls.insecure {
        let (spot, ca) = (section.places().of("insecure"), section.places().of("ca"));
        if tls.ca.is_some() {
            section
                .findings
                .error(&spot, "`insecure` takes every certificate, and `ca` some", "contradicts `ca`")
                .beside(&ca, "these would vouch for it")
                .help("take `insecure` away");
        } else {
            section
                .findings
                .warning(
                    &spot,
                    "the upstream's certificate is not looked at",
                    "whoever is in between can be the upstream",
                )
                .help("name a PEM file with the certificates that vouch for it: `ca = \"upstream-ca.pem\"`");
        }
    }
    tls
}

/// What all servers speak, and where they are.
fn alike(section: &mut Section<'_>, servers: Option<Vec<(Protocol, Server)>>) -> Option<(Protocol, Vec<Server>)> {
    let spot = section.places().of("servers");
    let says = section.places().says("servers");
    let count = servers.as_ref().map_or(0, Vec::len);
    if !says || servers.is_some() && count == 0 {
        section
            .findings
            .missing(&spot, "an upstream needs a server")
            .help("write `servers = [\"http://127.0.0.1:3000\"]`");
    }
    let (mut protocols, servers): (Vec<_>, Vec<_>) = servers?.into_iter().unzip();
    let protocol = protocols.pop()?;
    if protocols.iter().any(|other| *other != protocol) {
        section
            .findings
            .error(&spot, "servers of one upstream speak the same", "these begin in different ways")
            .help("write all of them with http:// or unix:, with https://, or with h2c://; or make two upstreams");
    }
    let again = servers.iter().enumerate().find(|(place, server)| servers[..*place].contains(server));
    if let Some((_, server)) = again {
        section
            .findings
            .error(&spot, format!("a server stands here twice: {server}"), "one of these")
            .help("name each server once");
    }
    if count > Upstream::MOST_SERVERS {
        let most = Upstream::MOST_SERVERS;
        section
            .findings
            .error(&spot, format!("an upstream has {most} servers at most"), format!("these are {count}"))
            .help("make several upstreams, or name load balancers in front of them");
    }
    Some((protocol, servers))
}

fn with_tls(section: &mut Section<'_>, protocol: Protocol, tls: UpstreamTls) -> Protocol {
    if let Protocol::Https(_) = protocol {
        return Protocol::Https(tls);
    }
    if tls != UpstreamTls::default() {
        let spot = section.places().of("tls");
        section
            .findings
            .error(&spot, "`upstream.tls` is for https:// servers", "says nothing here")
            .help("take it away, or name the servers with https://");
    }
    protocol
}

fn server(value: &DeValue<'_>) -> Reading<(Protocol, Server)> {
    const HELP: &str =
        "write \"http://127.0.0.1:3000\", \"https://…\", \"h2c://…\" for HTTP/2 in the clear, or \"unix:/path\"";
    let unfit = |label: &str| Unfit::new("is not a server", label).help(HELP);
    let text = value::text(value)?;
    if let Some(path) = text.strip_prefix("unix:") {
        // A relative one would be another with each folder that the program is started from.
        return if Path::new(path).is_absolute() {
            Ok((Protocol::Http, Server::Unix(PathBuf::from(path))))
        } else {
            Err(unfit("expected a path from the root, as in unix:/run/site.sock"))
        };
    }
    let uri: http::Uri = text.parse().map_err(|_| unfit("cannot be understood"))?;
    let (protocol, port) = match uri.scheme_str() {
        Some("http") => (Protocol::Http, 80),
        Some("h2c") => (Protocol::H2c, 80),
        Some("https") => (Protocol::Https(UpstreamTls::default()), 443),
        _ => return Err(unfit("expected http://, https://, h2c:// or unix:/")),
    };
    let authority = uri.authority().ok_or_else(|| unfit("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(unfit("can have no user"));
    }
    // `http` takes `host:` and `host:99999` as a host without a port.
    let port_text = authority.as_str()[authority.host().len()..].strip_prefix(':');
    let port = match port_text {
        None => port,
        Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| unfit("has no such port"))?,
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(unfit("can have no path: requests bring their own"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(unfit("has no host"));
    }
    Ok((protocol, Server::Tcp { host, port }))
}

fn server_name(value: &DeValue<'_>) -> Reading<String> {
    let name = value::text(value)?;
    match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(name),
        Err(error) => Err(Unfit::new("is no name that a certificate could bear", error.to_string())
            .help("write the host name alone: \"site.internal\"")),
    }
}

/// Whether the file at `ca` has authorities for `whom` in it.
pub(super) fn inspect_authorities(section: &mut Section<'_>, ca: &Path, whom: &str) {
    let authorities = CertificateDer::pem_file_iter(ca).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let trouble = match authorities {
        Ok(found) if !found.is_empty() => return,
        Ok(_) => "it holds no certificate in PEM form".to_owned(),
        Err(error) => error.to_string(),
    };
    let spot = section.places().of("ca");
    section
        .findings
        .error(&spot, format!("`{}` cannot be used: {trouble}", spot.key), "this file")
        .note(format!("it was looked for at {}", ca.display()))
        .help(format!("name a PEM file with the certificates that vouch for {whom}"));
}
