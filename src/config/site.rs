//! The sections on the site's side: `upstream` and `route`.

use std::time::Duration;

use http::{HeaderName, Method};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use toml::de::DeValue;

use super::raw::{Entry, Section};
use super::value::{self, Reading, Unfit};
use super::visitor::path_pattern;
use crate::forward::{HostHeader, Protocol, Server, Upstream, UpstreamTls};
use crate::policy::{OnMintFailure, OnMissing, Policy, Rules};
use crate::routes::{EncodedSeparators, HostPattern, Route};

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

/// One `[[upstream]]`.
pub(super) fn upstream(section: &mut Section<'_>) -> Option<Upstream> {
    let name = section.need("name", value::text);
    let servers = section.list("servers", server);
    let connect_timeout = section.get("connect_timeout", value::duration).unwrap_or(CONNECT_TIMEOUT);
    let response_timeout = section.get("response_timeout", value::duration).unwrap_or(RESPONSE_TIMEOUT);
    let idle_timeout = section.get("idle_timeout", value::duration).unwrap_or(IDLE_TIMEOUT);
    let stream_idle_timeout = section.get("stream_idle_timeout", value::duration).unwrap_or(STREAM_IDLE_TIMEOUT);
    let keep_headers = section.list(
        "keep_headers",
        value::parsed::<HeaderName>("a header's name", "write a name such as \"X-Forwarded-Prefix\""),
    );
    let max_idle_connections = section.get("max_idle_connections", value::number(1..=100_000));
    let host =
        section.get("host", value::one_of(&[("preserve", HostHeader::Preserve), ("upstream", HostHeader::Upstream)]));
    let forward_token = section.get("forward_token", value::flag).unwrap_or(false);
    let tls = section.table("tls", |section| {
        let tls = UpstreamTls { ca: section.path("ca"), server_name: section.optional("server_name", server_name) };
        inspect_authorities(section, &tls);
        tls
    });
    let server = single(section, servers);
    Some(Upstream {
        name: name?,
        server: with_tls(section, server?, tls),
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

/// The one server that there can be so far.
fn single(section: &mut Section<'_>, servers: Option<Vec<Server>>) -> Option<Server> {
    let spot = section.places().of("servers");
    let says = section.places().says("servers");
    let count = servers.as_ref().map_or(0, Vec::len);
    if !says || servers.is_some() && count == 0 {
        section
            .findings
            .missing(&spot, "an upstream needs a server")
            .help("write `servers = [\"http://127.0.0.1:3000\"]`");
    }
    if count > 1 {
        section
            .findings
            .error(&spot, "balancing over several servers is not there yet", format!("these are {count}"))
            .help("name one server, such as a load balancer in front of them");
    }
    servers?.into_iter().next()
}

fn with_tls(section: &mut Section<'_>, server: Server, tls: UpstreamTls) -> Server {
    if let Protocol::Https(_) = server.protocol {
        return Server { protocol: Protocol::Https(tls), ..server };
    }
    if tls != UpstreamTls::default() {
        let spot = section.places().of("tls");
        section
            .findings
            .error(&spot, "`upstream.tls` is for https:// servers", "says nothing here")
            .help("take it away, or name the server with https://");
    }
    server
}

fn server(value: &DeValue<'_>) -> Reading<Server> {
    const HELP: &str = "write \"http://127.0.0.1:3000\", \"h2c://…\" for HTTP/2 in the clear, or \"https://…\"";
    let unfit = |label: &str| Unfit::new("is not a server", label).help(HELP);
    let uri: http::Uri = value::text(value)?.parse().map_err(|_| unfit("cannot be understood"))?;
    let (protocol, port) = match uri.scheme_str() {
        Some("http") => (Protocol::Http, 80),
        Some("h2c") => (Protocol::H2c, 80),
        Some("https") => (Protocol::Https(UpstreamTls::default()), 443),
        _ => return Err(unfit("expected http://, h2c:// or https://")),
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
    Ok(Server { protocol, host, port })
}

fn server_name(value: &DeValue<'_>) -> Reading<String> {
    let name = value::text(value)?;
    match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(name),
        Err(error) => Err(Unfit::new("is no name that a certificate could bear", error.to_string())
            .help("write the host name alone: \"site.internal\"")),
    }
}

fn inspect_authorities(section: &mut Section<'_>, tls: &UpstreamTls) {
    let Some(path) = &tls.ca else { return };
    let authorities = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let trouble = match authorities {
        Ok(found) if !found.is_empty() => return,
        Ok(_) => "it holds no certificate in PEM form".to_owned(),
        Err(error) => error.to_string(),
    };
    let spot = section.places().of("ca");
    section
        .findings
        .error(&spot, format!("`{}` cannot be used: {trouble}", spot.key), "this file")
        .note(format!("it was looked for at {}", path.display()))
        .help("name a PEM file with the certificates that vouch for the upstream");
}

/// One `[[route]]`. `upstreams` are those that it can lead to.
pub(super) fn route(section: &mut Section<'_>, upstreams: &[Entry<Upstream>]) -> Option<Route> {
    let path = section.need("path", path_pattern);
    let policies = [("open", Policy::Open), ("issue", Policy::Issue), ("require", Policy::Require)];
    let policy = section.get("session", value::one_of(&policies)).unwrap_or_default();
    let host = section.get("host", host_pattern);
    let methods = section.list("methods", method).unwrap_or_default();
    let rules = rules(section, policy);
    let encoded_separators = section.get(
        "encoded_separators",
        value::one_of(&[("judge", EncodedSeparators::Judge), ("pass", EncodedSeparators::Pass)]),
    );
    let ignore_case = section.get("ignore_case", value::flag);
    let upstream = section.get("upstream", value::text);
    let upstream = upstream.map_or(Some(0), |name| place_of(section, upstreams, &name));
    Some(Route {
        host: host.unwrap_or(HostPattern::ANY),
        path: path?,
        methods,
        rules,
        upstream: upstream?,
        encoded_separators: encoded_separators.unwrap_or_default(),
        // What is protected is protected in every spelling: many servers look files up without regard to case.
        ignore_case: ignore_case.unwrap_or(policy == Policy::Require),
    })
}

fn rules(section: &mut Section<'_>, policy: Policy) -> Rules {
    let default = Rules::of(policy);
    let on_missing = section.get("on_missing", on_missing).unwrap_or(default.on_missing);
    let outcomes = [("pass", OnMintFailure::Pass), ("refuse", OnMintFailure::Refuse)];
    let on_mint_failure = section.get("on_mint_failure", value::one_of(&outcomes)).unwrap_or(default.on_mint_failure);
    let places = section.places().clone();
    if places.says("on_missing") && policy != Policy::Require {
        section
            .findings
            .error(&places.of("on_missing"), format!("`on_missing` is not asked on `{policy}`"), "says nothing here")
            .help("take it away, or write `session = \"require\"` beside it");
    }
    let mints = policy == Policy::Issue || policy == Policy::Require && on_missing == OnMissing::Issue;
    if places.says("on_mint_failure") && !mints {
        section
            .findings
            .error(
                &places.of("on_mint_failure"),
                "`on_mint_failure` is asked only where sessions are made",
                "says nothing here",
            )
            .help("take it away, or write `session = \"issue\"`, or `on_missing = \"issue\"` beside `require`");
    }
    if mints && policy == Policy::Require && on_mint_failure == OnMintFailure::Pass {
        section
            .findings
            .warning(
                &places.of("on_mint_failure"),
                "a protected route stays closed while Genesys does not answer",
                "is not heeded on `require`",
            )
            .help("write `on_mint_failure = \"refuse\"`");
    }
    Rules { policy, on_missing, on_mint_failure }
}

fn on_missing(value: &DeValue<'_>) -> Reading<OnMissing> {
    const HELP: &str = "write \"refuse\", \"issue\" or \"redirect:/path\"";
    let text = value::text(value).map_err(|unfit| unfit.help(HELP))?;
    match text.as_str() {
        "refuse" => Ok(OnMissing::Refuse),
        "issue" => Ok(OnMissing::Issue),
        other => {
            let Some(target) = other.strip_prefix("redirect:") else {
                return Err(Unfit::new("is none of its values", "there is no such value").help(HELP));
            };
            // `//host` and, as browsers read it, `/\host` lead to another site.
            let stays = target.starts_with('/') && !target[1..].starts_with(['/', '\\']);
            if !stays || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Unfit::new("does not redirect to a path", "expected a path of the same site")
                    .help("write \"redirect:/login\""));
            }
            Ok(OnMissing::Redirect(target.to_owned()))
        }
    }
}

fn host_pattern(value: &DeValue<'_>) -> Reading<HostPattern> {
    HostPattern::parse(&value::text(value)?).map_err(|error| {
        Unfit::new("is not a host pattern", error.to_string())
            .help("write \"shop.example\", \"*.shop.example\" or \"*\"")
    })
}

fn method(value: &DeValue<'_>) -> Reading<Method> {
    const HELP: &str = "write methods in capitals: [\"GET\", \"POST\"]";
    let method: Method = value::parsed("a method", HELP)(value)?;
    // Methods are case-sensitive (RFC 9110, section 9.1), so that `get` would match no request there is.
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Unfit::new("is not a method", "methods are case-sensitive").help(HELP));
    }
    Ok(method)
}

fn place_of(section: &mut Section<'_>, upstreams: &[Entry<Upstream>], name: &str) -> Option<usize> {
    let named = |entry: &Entry<Upstream>| entry.value.as_ref().is_some_and(|upstream| upstream.name == name);
    let place = upstreams.iter().position(named);
    // An upstream that could not be read is reported where it stands, and may well be the one that is meant.
    if place.is_none() && upstreams.iter().all(|entry| entry.value.is_some()) {
        let names = upstreams.iter().filter_map(|entry| entry.value.as_ref());
        let names = names.map(|upstream| format!("\"{}\"", upstream.name)).collect::<Vec<_>>().join(", ");
        let spot = section.places().of("upstream");
        section
            .findings
            .error(&spot, format!("there is no upstream \"{name}\""), "no [[upstream]] has this name")
            .help(if names.is_empty() {
                "add an [[upstream]] of this name".to_owned()
            } else {
                format!("there is {names}")
            });
    }
    place
}
