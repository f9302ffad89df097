//! Which header names are what, however they are spelt.
//!
//! Servers that speak CGI's dialect (WSGI, Rack, PHP) turn `X-Real-IP`, `X_Real_IP` and `x.real.ip` into the same
//! variable, so every character that is no letter or digit is read as `-` here. Names are lower case already: `http`
//! keeps them so.

use http::HeaderName;

/// A name that is not for a client to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What only we write: the session's headers.
    Ours,
    /// Who asked, where, and under which name, before the last proxy: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`,
    /// `X-Request-Id`.
    Forwarded,
    /// The client's address, as the servers and the networks of some vendors have it: a trusted proxy may say it, and
    /// we do not ask for it.
    Address,
    /// What some servers take for the path or the host, in place of those that we judged.
    Misleading,
    /// `Sec-*`, which no script can say (the Fetch standard, "forbidden request-header"), in a spelling in which it can.
    Browser,
    /// Between a client and its own proxy: `Proxy-Authorization` and its like, and `Proxy`, which CGI makes the
    /// variable HTTP_PROXY of.
    Proxy,
    /// A message's framing in a spelling that HTTP does not know, or a connection's offers.
    Framing,
}

/// What `name` is, if it is not for a client to say. Ordinary names are told apart by their first letter and one
/// comparison or two.
pub(super) fn kind(name: &HeaderName) -> Option<Kind> {
    let name = name.as_str().as_bytes();
    match name.first()? {
        b'x' => {
            if is_or_begins(name, b"x-genesys-session") {
                Some(Kind::Ours)
            } else if is_one_of(name, &MISLEADING) {
                Some(Kind::Misleading)
            } else if is_one_of(name, &ADDRESSES) {
                Some(Kind::Address)
            } else if is_or_begins(name, b"x-forwarded") || is(name, b"x-real-ip") || is(name, b"x-request-id") {
                Some(Kind::Forwarded)
            } else {
                None
            }
        }
        b'f' if is(name, b"forwarded") => Some(Kind::Forwarded),
        b'p' if is_or_begins(name, b"proxy") => Some(Kind::Proxy),
        b'c' if is(name, b"content-length") && name != b"content-length" => Some(Kind::Framing),
        b't' if is(name, b"transfer-encoding") => Some(Kind::Framing),
        b's' if begins(name, b"sec-") && !spelt_plainly(name) => Some(Kind::Browser),
        b'p' | b's' | b'r' | b'f' if is_one_of(name, &MISLEADING) => Some(Kind::Misleading),
        b'c' | b'f' | b't' | b'r' | b'w' if is_one_of(name, &ADDRESSES) => Some(Kind::Address),
        b'h' if is(name, b"http2-settings") => Some(Kind::Framing),
        _ => None,
    }
}

/// IIS and Symfony (`X-Original-URL`, `X-Rewrite-URL`), ingress controllers and API gateways (`X-Original-URI`,
/// `X-Forwarded-*`), Envoy, CA SiteMinder (`X-HTTP-DestinationURL`), WSGI servers: gunicorn makes `PATH_INFO` and
/// `SCRIPT_NAME` of a local proxy's the request's own.
const MISLEADING: [&[u8]; 21] = [
    b"x-original-url",
    b"x-rewrite-url",
    b"x-override-url",
    b"x-original-uri",
    b"x-request-uri",
    b"request-uri",
    b"x-forwarded-uri",
    b"x-forwarded-path",
    b"x-forwarded-prefix",
    b"x-envoy-original-path",
    b"x-envoy-original-host",
    b"x-http-destinationurl",
    b"path-info",
    b"script-name",
    b"x-script-name",
    b"x-original-host",
    b"x-host",
    b"x-http-host-override",
    b"x-scheme",
    b"x-url-scheme",
    b"front-end-https",
];

const ADDRESSES: [&[u8]; 26] = [
    b"client-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-originating-ip",
    b"x-remote-ip",
    b"x-remote-addr",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"cf-connecting-ipv6",
    b"fastly-client-ip",
    b"remote-addr",
    b"wl-proxy-client-ip",
    b"forwarded-for",
    b"fly-client-ip",
    b"cloudfront-viewer-address",
    b"x-forward-for",
    b"x-original-forwarded-for",
    b"x-envoy-external-address",
    b"x-azure-clientip",
    b"x-azure-socketip",
    b"x-appengine-user-ip",
    b"x-vercel-forwarded-for",
    b"x-nf-client-connection-ip",
    b"x-proxyuser-ip",
    b"x-client",
    b"x-cluster-client",
];

/// Whether `name` is written as its standard writes it.
pub(super) fn is_plainly_spelt(name: &HeaderName) -> bool {
    spelt_plainly(name.as_str().as_bytes())
}

fn spelt_plainly(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Headers that are meant for every recipient, so that no `Connection` can name them away: those that HTTP and its
/// neighbours define, and those by which we judged the request.
pub(super) fn is_end_to_end(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 6] = ["accept", "access-control-", "content-", "if-", "sec-", "x-forwarded-"];
    let name = name.as_str();
    matches!(
        name,
        "age"
            | "allow"
            | "authorization"
            | "cache-control"
            | "cookie"
            | "date"
            | "etag"
            | "expires"
            | "forwarded"
            | "from"
            | "host"
            | "last-modified"
            | "location"
            | "max-forwards"
            | "origin"
            | "pragma"
            | "purpose"
            | "range"
            | "referer"
            | "retry-after"
            | "server"
            | "set-cookie"
            | "strict-transport-security"
            | "trailer"
            | "user-agent"
            | "vary"
            | "via"
            | "www-authenticate"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "x-real-ip"
            | "x-request-id"
    ) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What has no place in trailers (RFC 9110, section 6.5.1): framing, routing, modifiers, credentials, and what says how
/// the content is to be read.
pub(super) fn belongs_before_the_body(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "age"
            | "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "expect"
            | "expires"
            | "host"
            | "keep-alive"
            | "location"
            | "max-forwards"
            | "origin"
            | "pragma"
            | "range"
            | "retry-after"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "vary"
            | "www-authenticate"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
    ) || name.as_str().starts_with("if-")
        || name.as_str().starts_with("proxy-")
        || name.as_str().starts_with("sec-")
}

fn is_one_of(name: &[u8], plain: &[&[u8]]) -> bool {
    plain.iter().any(|plain| is(name, plain))
}

fn is(name: &[u8], plain: &[u8]) -> bool {
    name.len() == plain.len() && begins(name, plain)
}

/// `plain` itself, or `plain` and then a character that reads as `-`.
fn is_or_begins(name: &[u8], plain: &[u8]) -> bool {
    begins(name, plain) && name.get(plain.len()).is_none_or(|next| !next.is_ascii_alphanumeric())
}

fn begins(name: &[u8], plain: &[u8]) -> bool {
    name.len() >= plain.len()
        && name
            .iter()
            .zip(plain)
            .all(|(byte, plain)| if *plain == b'-' { !byte.is_ascii_alphanumeric() } else { byte == plain })
}
