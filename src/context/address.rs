//! Where a request was sent, and where it comes from.
//!
//! The first decides which route is met, so everything that names a host must name the same one. The second is the
//! connection's own word, unless the connection is a trusted proxy's: what a visitor claims of himself counts for
//! nothing.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Version};
use ipnet::IpNet;

use super::{Connection, RequestId, Scheme};

/// The proxies in front of us whose forwarded headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Networks in CIDR notation.
    pub proxies: Vec<IpNet>,
}

impl Trust {
    /// Whether `address` is one of them.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|network| network.contains(&address))
    }
}

/// Why a request cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misaddressed {
    /// HTTP/1.1 needs `Host`, HTTP/2 `:authority`.
    #[error("no host")]
    NoHost,
    /// RFC 9112, section 3.2: a request with several is answered with 400.
    #[error("more than one Host")]
    SeveralHosts,
    /// `Host`, `:authority` and an absolute target name the same host, or nobody can say which one is meant.
    #[error("Host and the request's target disagree")]
    HostsDisagree,
    /// No host by the rules of RFC 3986, section 3.2.2, as far as the web uses them.
    #[error("not a host")]
    BadHost,
    /// A target that is no path: `CONNECT`, `*`, or a URL of something other than the web.
    #[error("a request target that is no path")]
    BadTarget,
}

/// Where a request was sent.
#[derive(Default)]
pub(super) struct Destination {
    pub(super) authority: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Destination {
    pub(super) fn of(head: &Parts) -> Result<Self, Misaddressed> {
        let is_the_webs = matches!(head.uri.scheme_str(), None | Some("http" | "https"));
        if head.method == Method::CONNECT || !is_the_webs || !head.uri.path().starts_with('/') {
            return Err(Misaddressed::BadTarget);
        }
        let Some(authority) = authority(head)? else { return Ok(Self::default()) };
        let host = host_of(&authority)?;
        Ok(Self { port: authority.port_u16(), host, authority: authority.as_str().to_owned() })
    }
}

/// Where a request comes from.
pub(super) struct Origin {
    pub(super) is_trusted: bool,
    pub(super) client: IpAddr,
    pub(super) forwarded_agrees: bool,
    pub(super) scheme: Scheme,
    pub(super) request_id: Option<RequestId>,
}

impl Origin {
    pub(super) fn of(headers: &HeaderMap, connection: Connection, trust: &Trust) -> Self {
        let peer = connection.peer.ip().to_canonical();
        if !trust.covers(peer) {
            let (scheme, request_id) = (connection.scheme, None);
            return Self { is_trusted: false, client: peer, forwarded_agrees: false, scheme, request_id };
        }
        // `X-Forwarded-For` is what nearly every proxy writes, so that a `Forwarded` beside it may well be the visitor's
        // own, passed through: it is asked where there is nothing else, and the two are never mixed.
        let by_forwarded = claimed_client(&forwarded(headers), peer, trust);
        let client = if headers.contains_key("x-forwarded-for") {
            claimed_client(&forwarded_for(headers), peer, trust)
        } else {
            by_forwarded
        };
        Self {
            is_trusted: true,
            client,
            forwarded_agrees: client == by_forwarded,
            scheme: claimed_scheme(headers).unwrap_or(connection.scheme),
            request_id: single(headers, "x-request-id").and_then(RequestId::adopt),
        }
    }
}

/// RFC 9112, section 3.2, and RFC 9113, section 8.3.1; stricter in that an absolute target must agree with `Host`
/// rather than replace it: a cache or filter in front of us may have looked at either.
fn authority(head: &Parts) -> Result<Option<Authority>, Misaddressed> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Misaddressed::SeveralHosts);
    }
    let host =
        host.map(|value| Authority::try_from(value.as_bytes()).map_err(|_| Misaddressed::BadHost)).transpose()?;
    let target = head.uri.authority();
    match (target, host) {
        (Some(target), Some(host)) if host_of(target)? != host_of(&host)? || target.port() != host.port() => {
            Err(Misaddressed::HostsDisagree)
        }
        // HTTP/1.1 wants Host beside an absolute target too.
        (Some(_), None) if head.version == Version::HTTP_11 => Err(Misaddressed::NoHost),
        (Some(target), _) => Ok(Some(target.clone())),
        (None, Some(host)) => Ok(Some(host)),
        (None, None) if head.version < Version::HTTP_11 => Ok(None),
        (None, None) => Err(Misaddressed::NoHost),
    }
}

/// The host in the one form that is compared: lower case, no port, no trailing dot.
fn host_of(authority: &Authority) -> Result<String, Misaddressed> {
    let whole = authority.as_str();
    let host = authority.host();
    let port = whole.strip_prefix(host).ok_or(Misaddressed::BadHost)?; // What stands in front is userinfo.
    let port_is_one = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    let name = host.strip_suffix('.').unwrap_or(host);
    (port_is_one && is_host(name)).then(|| name.to_ascii_lowercase()).ok_or(Misaddressed::BadHost)
}

/// A registered name or an IPv4 address as the web has them, or an IPv6 address in brackets. No percent-encoding, no
/// sub-delims: no browser sends them, and a log or an upstream may read them as something else.
fn is_host(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.split('.').all(|label| !label.is_empty())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    }
}

/// From the right: each trusted hop vouches for the one that it names, and the first that is not trusted is the
/// visitor. Something illegible ends the walk, since whoever wrote it vouches for nothing.
fn claimed_client(claims: &[Option<IpAddr>], peer: IpAddr, trust: &Trust) -> IpAddr {
    let mut client = peer;
    for claim in claims.iter().rev() {
        let Some(address) = *claim else { break };
        client = address;
        if !trust.covers(client) {
            break;
        }
    }
    client
}

/// The chain of `X-Forwarded-For` in the order it was written, `None` for what is no address.
fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    elements(headers, "x-forwarded-for", |line| line.split(|byte| *byte == b',').collect())
        .into_iter()
        .map(address)
        .collect()
}

/// The same of `Forwarded` (RFC 7239, section 4): `for` is one of an element's pairs, in quotes where it has a colon.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let of_element = |element: &str| {
        let mut claims = split(element.as_bytes(), b';').into_iter().filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
        });
        let (Some(claim), None) = (claims.next(), claims.next()) else { return None };
        address(claim.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(claim))
    };
    elements(headers, FORWARDED.as_str(), |line| split(line, b',')).into_iter().map(of_element).collect()
}

/// The members of a list over all lines of a header, empty ones left out, which say nothing (RFC 9110, section 5.6.1).
/// Each is read by itself: a visitor's own bytes at the left of a line must not make what a proxy has put behind them
/// illegible.
fn elements<'h>(headers: &'h HeaderMap, name: &str, split: impl Fn(&'h [u8]) -> Vec<&'h [u8]>) -> Vec<&'h str> {
    let lines = headers.get_all(name).iter();
    let elements = lines.flat_map(|line| split(line.as_bytes())).map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty()).map(|element| std::str::from_utf8(element).unwrap_or("?")).collect()
}

/// Splits at `separator`, but not within quotes: a host that a visitor made up may stand there, with another `for=`.
/// From the right, where the proxy wrote: a quote that a visitor left open at the left must not swallow it.
fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut parts, mut end, mut quoted) = (Vec::new(), text.len(), false);
    for (at, byte) in text.iter().enumerate().rev() {
        let escaped = quoted && at > 0 && text[at - 1] == b'\\';
        if *byte == b'"' && !escaped {
            quoted = !quoted;
        } else if *byte == separator && !quoted {
            parts.push(&text[at + 1..end]);
            end = at;
        }
    }
    parts.push(&text[..end]);
    parts.reverse();
    parts
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

fn claimed_scheme(headers: &HeaderMap) -> Option<Scheme> {
    match single(headers, "x-forwarded-proto")? {
        "https" => Some(Scheme::Https),
        "http" => Some(Scheme::Http),
        _ => None,
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn connection(peer: &str) -> Connection {
        Connection {
            peer: SocketAddr::new(peer.parse().unwrap(), 5000),
            local: "203.0.113.1:443".parse().unwrap(),
            scheme: Scheme::Https,
        }
    }

    fn head(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn everything_that_names_a_host_names_the_same_one() {
        use Misaddressed::*;
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        #[rustfmt::skip]
        let table: &[(Version, &str, &[&str], Result<&str, Misaddressed>)] = &[
            (v11, "/",                       &["Shop.Example"],         Ok("shop.example")),
            (v11, "/",                       &["shop.example.:8443"],   Ok("shop.example")),
            (v11, "/",                       &["127.0.0.1:8443"],       Ok("127.0.0.1")),
            (v11, "/",                       &["[::1]:8443"],           Ok("[::1]")),
            (v11, "/",                       &[],                       Err(NoHost)),
            (v11, "/",                       &["a", "a"],               Err(SeveralHosts)),
            (v11, "/",                       &[""],                     Err(BadHost)),
            (v11, "/",                       &["a b"],                  Err(BadHost)),
            (v11, "/",                       &["user@shop.example"],    Err(BadHost)),
            (v11, "/",                       &["shop.example:x"],       Err(BadHost)),
            (v11, "/",                       &["shop.example:"],        Err(BadHost)),
            (v11, "/",                       &["shop.example:99999"],   Err(BadHost)),
            (v11, "/",                       &["shop..example"],        Err(BadHost)),
            (v11, "/",                       &["shop%2eexample"],       Err(BadHost)),
            (v11, "/",                       &["."],                    Err(BadHost)),
            (v11, "http://shop.example/",    &["shop.example"],         Ok("shop.example")),
            (v11, "http://shop.example/",    &["other.example"],        Err(HostsDisagree)),
            (v11, "http://shop.example:81/", &["shop.example"],         Err(HostsDisagree)),
            (v11, "http://shop.example/",    &[],                       Err(NoHost)),
            (v10, "/",                       &[],                       Ok("")),
            (v2,  "https://shop.example/",   &[],                       Ok("shop.example")),
            (v2,  "https://shop.example/",   &["SHOP.example"],         Ok("shop.example")),
            (v2,  "https://shop.example/",   &["other.example"],        Err(HostsDisagree)),
            (v2,  "/",                       &[],                       Err(NoHost)),
            (v11, "*",                       &["shop.example"],         Err(BadTarget)),
            (v11, "shop.example:80",         &["shop.example"],         Err(BadTarget)),
            (v11, "ftp://shop.example/",     &["shop.example"],         Err(BadTarget)),
            (v11, "HTTP://shop.example/",    &["shop.example"],         Ok("shop.example")),
            (v2,  "ws://shop.example/",      &[],                       Err(BadTarget)),
        ];
        for (version, target, hosts, expected) in table {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let found = Destination::of(&head(*version, target, &headers)).map(|destination| destination.host);
            assert_eq!(found.as_deref().map_err(|error| *error), *expected, "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()] };
        #[rustfmt::skip]
        let table: &[(&str, &[(&str, &str)], &str)] = &[
            ("192.0.2.9", &[("x-forwarded-for", "198.51.100.1")],                     "192.0.2.9"),
            ("10.0.0.1",  &[],                                                        "10.0.0.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1")],                     "198.51.100.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "6.6.6.6, 198.51.100.1, 10.0.0.2")],  "198.51.100.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1, nonsense")],           "10.0.0.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "2001:db8::1")],                      "2001:db8::1"),
            ("10.0.0.1",  &[("x-forwarded-for", "[2001:db8::1]:4711")],               "2001:db8::1"),
            ("10.0.0.1",  &[("x-forwarded-for", "::ffff:198.51.100.1")],              "198.51.100.1"),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.1")],               "198.51.100.1"),
            ("fd00::1",   &[("forwarded", "for=\"[2001:db8::1]:80\";proto=https")],   "2001:db8::1"),
            ("fd00::1",   &[("forwarded", "for=6.6.6.6, proto=http;For=198.51.100.1")], "198.51.100.1"),
            ("fd00::1",   &[("forwarded", "for=unknown")],                            "fd00::1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1:4711, [fd00::2]:80, fd00::3")], "198.51.100.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1,, ,")],                 "198.51.100.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1, unknown, 10.0.0.2")],  "10.0.0.2"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1, [2001:db8::1")],       "10.0.0.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1, 2001:db8::1]:80")],    "10.0.0.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "198.51.100.1, 010.0.0.2")],          "10.0.0.1"),
            ("10.0.0.1",  &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")],               "10.0.0.3"),
            ("10.0.0.1",  &[("x-forwarded-for", "::ffff:198.51.100.1, ::ffff:10.0.0.2")], "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=198.51.100.1"), ("forwarded", "for=\"[fd00::9]\";by=_x")], "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=198.51.100.1, for=_hidden")],          "10.0.0.1"),
            ("10.0.0.1",  &[("forwarded", "for=198.51.100.1, proto=https")],          "10.0.0.1"),
            ("10.0.0.1",  &[("forwarded", "for=198.51.100.1;for=6.6.6.6")],           "10.0.0.1"),
            ("10.0.0.1",  &[("forwarded", "for=198.51.100.1;host=\"x, for=6.6.6.6\"")], "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=198.51.100.1;host=\"\\\", for=6.6.6.6\"")], "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=\"6.6.6.6, for=198.51.100.1")],         "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=6.6.6.6;host=\"x, for=198.51.100.1;host=\"a, b\"")], "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1",  &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "unknown")], "10.0.0.1"),
        ];
        for (peer, headers, expected) in table {
            let mut all = vec![("host", "shop.example")];
            all.extend_from_slice(headers);
            let origin = Origin::of(&head(Version::HTTP_11, "/", &all).headers, connection(peer), &trust);
            assert_eq!(origin.client, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
        }
    }

    #[test]
    fn a_claim_that_is_no_text_does_not_make_illegible_what_a_proxy_has_put_behind_it() {
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()] };
        for (name, value) in [("x-forwarded-for", &b"\xcb, 198.51.100.1"[..]), ("forwarded", b"\xcb, for=198.51.100.1")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_bytes(value).unwrap());
            let origin = Origin::of(&headers, connection("10.0.0.1"), &trust);
            assert_eq!(origin.client, "198.51.100.1".parse::<IpAddr>().unwrap(), "{name}");
        }
    }

    #[test]
    fn scheme_and_request_id_are_believed_of_trusted_proxies_alone() {
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()] };
        let headers = [("host", "a"), ("x-forwarded-proto", "http"), ("x-request-id", "abc-1")];
        let head = head(Version::HTTP_11, "/", &headers);
        let trusted = Origin::of(&head.headers, connection("10.0.0.1"), &trust);
        assert_eq!(trusted.scheme, Scheme::Http);
        assert_eq!(trusted.request_id.unwrap().as_str(), "abc-1");
        let stranger = Origin::of(&head.headers, connection("192.0.2.9"), &trust);
        assert_eq!(stranger.scheme, Scheme::Https);
        assert!(stranger.request_id.is_none());
    }
}
