//! The rules that take two sections, or two entries of one, to see. What a section can tell by itself it tells where it
//! is read.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;

use super::draft::Draft;
use super::findings::{At, Findings, Spot};
use super::overlap;
use super::raw::{Entry, Places};
use crate::context::Scheme;
use crate::cookie::SameSite;
use crate::policy::{OnMissing, Policy};
use crate::routes::{HostPattern, PathPattern, Route, Table};
use crate::server::{Listener, ProxyProtocol};
use crate::store::Place;

/// Applies all of them.
pub(super) fn all(draft: &Draft, findings: &mut Findings) {
    something_is_served(draft, findings);
    addresses_are_different(draft, findings);
    the_operator_has_an_address(draft, findings);
    the_outbox_has_a_place(draft, findings);
    somebody_may_announce_clients(draft, findings);
    listeners_have_certificates(draft, findings);
    the_warm_pool_makes_sense(draft, findings);
    browsers_keep_the_cookie(draft, findings);
    the_cookie_reaches_its_routes(draft, findings);
    upstreams_are_different(draft, findings);
    routes_are_different(draft, findings);
    nothing_weak_hides_a_route(draft, findings);
    no_host_leads_around_a_route(draft, findings);
    redirects_arrive(draft, findings);
    no_route_is_under_the_own_prefix(draft, findings);
}

fn nowhere(key: &str) -> Spot {
    Spot { key: key.to_owned(), at: At::Nowhere }
}

/// The entries that could be read, with their places.
fn good<T>(entries: &[Entry<T>]) -> impl Iterator<Item = (&T, &Places)> + Clone {
    entries.iter().filter_map(|entry| Some((entry.value.as_ref()?, &entry.places)))
}

fn something_is_served(draft: &Draft, findings: &mut Findings) {
    const LISTEN: &str = "add a section `[[listen]]` with `address = \"0.0.0.0:8443\"`";
    let redirects = |entry: &Entry<Listener>| entry.value.as_ref().is_some_and(|it| it.redirect_to_https.is_some());
    match draft.listeners.first() {
        None if findings.speak_of("listen") => {}
        None => {
            findings.missing(&nowhere("listen"), "").help(LISTEN);
        }
        Some(first) if draft.listeners.iter().all(redirects) => {
            findings
                .error(&first.places.header(), "every listener only redirects", "nothing serves the site")
                .help(LISTEN);
        }
        Some(_) => {}
    }
    if draft.upstreams.is_empty() && !findings.speak_of("upstream") {
        findings
            .missing(&nowhere("upstream"), "")
            .help("add a section `[[upstream]]` with `name = \"site\"` and `servers = [\"http://127.0.0.1:3000\"]`");
    }
}

fn addresses_are_different(draft: &Draft, findings: &mut Findings) {
    for (index, (listener, places)) in good(&draft.listeners).enumerate() {
        let twin = good(&draft.listeners).take(index).find(|(other, _)| other.address == listener.address);
        // Port 0 takes another free port each time.
        if let Some((_, other)) = twin.filter(|_| listener.address.port() != 0) {
            findings
                .error(&places.of("address"), "two listeners have the same address", "listened on already")
                .beside(&other.of("address"), "the first one")
                .help("give one of them another port");
        }
    }
}

fn the_operator_has_an_address(draft: &Draft, findings: &mut Findings) {
    let Some((admin, places)) = draft.admin.as_ref().and_then(|entry| Some((entry.value.as_ref()?, &entry.places)))
    else {
        return;
    };
    let twin = good(&draft.listeners).find(|(listener, _)| listener.address == admin.address);
    if let Some((_, other)) = twin.filter(|_| admin.address.port() != 0) {
        findings
            .error(&places.of("address"), "the admin listener has the address of another one", "listened on already")
            .beside(&other.of("address"), "the other one")
            .help("give one of them another port");
    }
}

/// Only `trust.proxies` are heeded, so that without any of them `accept` does nothing and `require` serves nobody.
fn somebody_may_announce_clients(draft: &Draft, findings: &mut Findings) {
    let heeds = |listener: &Listener| listener.proxy_protocol != ProxyProtocol::Off;
    for (_, places) in good(&draft.listeners).filter(|(listener, _)| heeds(listener)) {
        if draft.trust.proxies.is_empty() && !findings.speak_of("trust.proxies") {
            findings
                .error(&places.of("proxy_protocol"), "the PROXY protocol is heeded of nobody", "names no proxy")
                .help("name the addresses of the load balancers in `trust.proxies`: [\"10.0.0.0/8\"]");
        }
    }
}

fn the_outbox_has_a_place(draft: &Draft, findings: &mut Findings) {
    if draft.kms.places.says("webhook_url") && draft.store == Place::Memory {
        findings
            .error(&draft.kms.places.of("webhook_url"), "`kms.webhook_url` needs a folder in `store.path`", "")
            .note("what must not be lost in a crash is on disk until it is delivered")
            .help("name a folder that the process may write in, such as \"state\"");
    }
}

fn listeners_have_certificates(draft: &Draft, findings: &mut Findings) {
    let terminates = good(&draft.listeners).find(|(listener, _)| listener.tls);
    match (terminates, draft.tls.certificates.first()) {
        (Some((_, places)), None) if !findings.speak_of("tls.certificate") => {
            findings
                .error(&places.of("tls"), "a TLS listener needs a certificate", "terminates TLS unless told otherwise")
                .help(
                    "add a `[[tls.certificate]]` with `chain` and `key`; behind a TLS terminator, write `tls = false`",
                );
        }
        (None, Some(certificate)) if draft.listeners.iter().all(|entry| entry.value.is_some()) => {
            findings
                .warning(&certificate.places.header(), "no listener uses the certificates", "for nothing")
                .help("take `tls = false` out of a listener, or take the certificates away");
        }
        _ => {}
    }
}

fn the_warm_pool_makes_sense(draft: &Draft, findings: &mut Findings) {
    let pool = &draft.session.warm_pool;
    if let Some(genesys) = &draft.genesys
        && pool.size > genesys.rate_limit as usize
    {
        let label = format!("`genesys.rate_limit` is {} a second", genesys.rate_limit);
        findings
            .warning(&pool.places.of("size"), "the warm pool is larger than what can be made in a second", label)
            .help("make it smaller: filling it takes the whole budget for seconds, and what nobody fetches is lost");
    }
    if let Some(payload) = &draft.session.payload {
        let lifetime = Duration::from_secs(u64::from(payload.expiration_seconds));
        // What waited longer would be thrown away all the same: the stock hands out nothing older.
        if pool.max_age > lifetime / 4 {
            let label = format!("a session lasts {} s", lifetime.as_secs());
            let title = "`session.warm_pool.max_age` is more than a quarter of a session's life";
            findings
                .error(&pool.places.of("max_age"), title, label)
                .help(format!("write at most \"{}s\"", lifetime.as_secs() / 4));
        }
    }
}

/// The cookie is always Secure: RFC 6265bis, section 5.7, has browsers drop it where the page came in the clear.
fn browsers_keep_the_cookie(draft: &Draft, findings: &mut Findings) {
    let in_the_clear = good(&draft.listeners)
        .find(|(listener, _)| listener.scheme == Scheme::Http && listener.redirect_to_https.is_none());
    if let Some((_, places)) = in_the_clear {
        let scheme = places.of("scheme");
        if draft.cookie.same_site == SameSite::None {
            findings
                .error(
                    &draft.cookie_places.of("same_site"),
                    "SameSite=None needs https everywhere",
                    "browsers drop the cookie",
                )
                .beside(&scheme, "the listener for http")
                .help("take `scheme = \"http\"` out of the listener, or write `same_site = \"lax\"`");
        } else {
            findings
                .warning(&scheme, "browsers drop the session cookie here: it is Secure", "the site is in the clear")
                .help("take `scheme` away: behind a TLS terminator visitors use https, though we do not");
        }
    }
    if let Some(payload) = &draft.session.payload {
        let lifetime = Duration::from_secs(u64::from(payload.expiration_seconds));
        if draft.cookie.expiry_margin >= lifetime {
            let label = format!("a session lasts {} s", lifetime.as_secs());
            findings
                .error(&draft.cookie_places.of("expiry_margin"), "the cookie ends before it begins", label)
                .help("make the margin shorter than `session.expiration_seconds`");
        }
    }
}

fn the_cookie_reaches_its_routes(draft: &Draft, findings: &mut Findings) {
    for (route, places) in good(&draft.routes) {
        let host = route.host.to_string();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        if let Some(domain) = &draft.cookie.domain
            && route.host != HostPattern::ANY
            && name.strip_suffix(domain.as_str()).is_none_or(|rest| !rest.is_empty() && !rest.ends_with('.'))
        {
            findings
                .warning(
                    &places.of("host"),
                    format!("this host is not under the cookie's domain {domain}"),
                    "gets a cookie of its own",
                )
                .beside(&draft.cookie_places.of("domain"), "the domain")
                .help("take `cookie.domain` away, or run a guestpass of its own for this host");
        }
        let below = format!("{}/**", draft.cookie.path.trim_end_matches('/'));
        let below = PathPattern::parse(&below).ok();
        if route.rules.policy == Policy::Require && below.is_some_and(|below| !overlap::meet(&below, &route.path)) {
            findings
                .warning(&places.of("path"), "the session cookie never reaches this route", "everybody is refused")
                .beside(&draft.cookie_places.of("path"), "the cookie's path")
                .help("write `path = \"/\"` in `[cookie]`");
        }
    }
}

fn upstreams_are_different(draft: &Draft, findings: &mut Findings) {
    for (index, (upstream, places)) in good(&draft.upstreams).enumerate() {
        if let Some((_, other)) = good(&draft.upstreams).take(index).find(|(other, _)| other.name == upstream.name) {
            findings
                .error(&places.of("name"), "two upstreams have the same name", "taken already")
                .beside(&other.of("name"), "the first one")
                .help("give one of them another name");
        }
    }
}

fn routes_are_different(draft: &Draft, findings: &mut Findings) {
    for (index, (route, places)) in good(&draft.routes).enumerate() {
        if let Some((_, other)) = good(&draft.routes).take(index).find(|(other, _)| route.repeats(other)) {
            findings
                .error(&places.of("path"), "two routes say the same thing", "the same host, path and method")
                .beside(&other.of("path"), "the first one")
                .help("take one of them away");
        }
    }
}

/// Hosts come before paths, so that a route for one host hides every route for all hosts that it meets, also one that
/// asks for more.
fn nothing_weak_hides_a_route(draft: &Draft, findings: &mut Findings) {
    for (weak, places) in good(&draft.routes) {
        let example = an_example_of(&weak.host);
        let hidden = good(&draft.routes).find(|(strong, _)| {
            strong.rules.strictness() > weak.rules.strictness()
                && host_rank(&strong.host) < host_rank(&weak.host)
                && strong.host.matches(&example)
                && share_a_method(weak, strong)
                && overlap::meet(&weak.path, &strong.path)
                && !is_made_up_for(draft, strong, &weak.host)
        });
        if let Some((strong, other)) = hidden {
            let (policy, path, host) = (strong.rules.policy, &strong.path, &weak.host);
            findings
                .warning(
                    &places.of("host"),
                    format!("this route hides a stricter one: {path} is no `{policy}` on {host}"),
                    "goes before every host's route",
                )
                .beside(&other.of("path"), "the stricter route")
                .help(format!(
                    "add a route with `host = \"{host}\"`, `path = \"{path}\"` and `session = \"{policy}\"`"
                ));
        }
    }
}

/// Whoever asks chooses the host. Where a route for any host leads to the same upstream, a stricter one for a single host
/// protects nothing, unless the upstream tells hosts apart, which cannot be seen from here.
fn no_host_leads_around_a_route(draft: &Draft, findings: &mut Findings) {
    for (strong, places) in good(&draft.routes).filter(|(route, _)| route.rules.policy == Policy::Require) {
        let example = an_example_of(&strong.host);
        let around = good(&draft.routes).find(|(weak, _)| {
            weak.rules.strictness() < strong.rules.strictness()
                && weak.upstream == strong.upstream
                && host_rank(&weak.host) < host_rank(&strong.host)
                && weak.host.matches(&example)
                && share_a_method(weak, strong)
                && overlap::meet(&weak.path, &strong.path)
                && !is_made_up_for(draft, strong, &weak.host)
        });
        if let Some((weak, other)) = around {
            let (path, host) = (&strong.path, &weak.host);
            findings
                .warning(
                    &places.of("host"),
                    format!("another host leads around this route: {path} is no `require` on {host}"),
                    "protects this host alone",
                )
                .beside(&other.of("path"), "the route around it")
                .help(format!("write `host = \"{host}\"`, so that nobody gets past by asking for another host"));
        }
    }
}

/// Whether `host` has a route of its own that protects at least what `strong` does.
fn is_made_up_for(draft: &Draft, strong: &Route, host: &HostPattern) -> bool {
    let has_its_methods = |other: &Route| {
        let each = strong.methods.iter().all(|method| other.methods.contains(method));
        other.methods.is_empty() || each && !strong.methods.is_empty()
    };
    good(&draft.routes).any(|(other, _)| {
        other.host == *host
            && other.rules.strictness() >= strong.rules.strictness()
            && overlap::covers(&other.path, &strong.path)
            && has_its_methods(other)
    })
}

fn redirects_arrive(draft: &Draft, findings: &mut Findings) {
    let table = Table::new(good(&draft.routes).map(|(route, _)| route.clone()).collect());
    for (route, places) in good(&draft.routes) {
        let OnMissing::Redirect(target) = &route.rules.on_missing else { continue };
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let spot = places.of("on_missing");
        match table.find(&an_example_of(&route.host), path, &Method::GET, &[]) {
            Ok(met) if met.rules.policy == Policy::Require && met.rules.on_missing != OnMissing::Issue => {
                findings
                    .warning(&spot, "the redirect leads to a route that needs a session itself", "nobody arrives")
                    .note(format!("{path} meets the route {}", met.pattern))
                    .help(format!("add a route with `path = \"{path}\"` and `session = \"issue\"`"));
            }
            Ok(_) => {}
            Err(refused) => {
                findings
                    .warning(&spot, "the redirect leads to a path that is refused", "nobody arrives")
                    .note(refused.to_string())
                    .help("write a plain path, such as \"redirect:/login\"");
            }
        }
    }
}

fn no_route_is_under_the_own_prefix(draft: &Draft, findings: &mut Findings) {
    for (route, places) in good(&draft.routes).filter(|(route, _)| draft.own.covers(route.path.as_str())) {
        let title = format!("this route is never met: {} is answered by guestpass itself", route.path);
        findings
            .warning(&places.of("path"), title, "under `own.prefix`")
            .help("take the route away, or write another `prefix` in `[own]`");
    }
}

/// A host that the pattern is for.
fn an_example_of(host: &HostPattern) -> String {
    host.to_string().replacen('*', "any", 1)
}

/// Exact before `*.host` before `*`, and of two `*.host` the longer one.
fn host_rank(host: &HostPattern) -> (u8, usize) {
    let text = host.to_string();
    match text.strip_prefix("*.") {
        None if *host == HostPattern::ANY => (0, 0),
        Some(name) => (1, name.len()),
        None => (2, 0),
    }
}

fn share_a_method(a: &Route, b: &Route) -> bool {
    let ours: HashSet<&Method> = a.methods.iter().collect();
    a.methods.is_empty() || b.methods.is_empty() || b.methods.iter().any(|method| ours.contains(method))
}
