//! What an upstream is told beside what the client said, and what of an upstream's answer is for the client.
//!
//! What a client may not say was dropped by [`crate::hygiene`] before: the forwarded headers that are still there are
//! a trusted proxy's.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, Entry, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use super::upgrade;
use super::upload::Upload;
use crate::clock::Timestamp;
use crate::context::{Context, RequestId, Spelt, Trace};
use crate::hygiene;
use crate::session::Session;

const SESSION_ID: HeaderName = HeaderName::from_static("x-genesys-session-id");
const SESSION_EXPIRES: HeaderName = HeaderName::from_static("x-genesys-session-expires");
const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-genesys-session-token");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields that are added to a request at most, with those of the session and the host.
const ADDED: usize = 14;

/// Adds to a request what the site is told by us.
pub(super) fn tell_upstream(headers: &mut HeaderMap, version: Version, context: &Context) {
    keep_one_length(headers);
    // All that follows finds room at once, and no map that was just filled is filled anew.
    headers.reserve(ADDED);
    headers.append(VIA, via(version));
    // One buffer for all that has to be written out: five small allocations less a request.
    let mut text = Text::default();
    let peer = context.connection.peer.ip().to_canonical();
    let client = Spelt::new(context.client);
    let real_ip = text.write(|text| text.write_str(client.as_str()));
    // Mostly the same.
    let is_first = !headers.contains_key(FORWARDED_FOR);
    let chain = if is_first { real_ip.clone() } else { text.write(|text| chain(text, headers, context.client, peer)) };
    let forwarded = text.write(|text| forwarded(text, headers, context, peer));
    let host = text.write(|text| text.write_str(&context.authority));
    let port = match context.port {
        443 => HeaderValue::from_static("443"),
        80 => HeaderValue::from_static("80"),
        other => HeaderValue::from(other),
    };
    let request_id = text.write(|text| text.write_str(context.request_id.as_str()));
    let text = text.buffer.freeze();

    set(headers, REAL_IP, value(&text, real_ip));
    set(headers, FORWARDED_FOR, value(&text, chain));
    set(headers, FORWARDED, value(&text, forwarded));
    set(headers, FORWARDED_HOST, value(&text, host));
    headers.insert(FORWARDED_PORT, port);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(context.scheme.as_str()));
    // A trusted proxy's is ours by now, if it can be one. Any other must not reach the site: the access log would know
    // the request by another name.
    set(headers, RequestId::HEADER, value(&text, request_id));
    headers.insert(Trace::PARENT, context.trace.parent().clone());
    if context.trace.begins_here() {
        headers.remove(Trace::STATE);
    }
}

/// Adds who the visitor is, as the gate verified it.
pub(super) fn tell_identity(headers: &mut HeaderMap, session: &Session, with_token: bool) {
    set(headers, SESSION_ID, HeaderValue::from_str(&session.id).ok());
    // In whole seconds, as the cookie has it: a session just minted would otherwise end at another moment than the same
    // session on the next request.
    let expires_at = Timestamp::from_seconds(session.expires_at.seconds());
    set(headers, SESSION_EXPIRES, HeaderValue::from_bytes(&expires_at.to_rfc3339()).ok());
    if with_token {
        let mut token = HeaderValue::from_str(session.token.expose()).ok();
        // So that it shows in no debug output and HPACK never indexes it (RFC 7541, section 7.1.3).
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        set(headers, SESSION_TOKEN, token);
    }
}

/// Where a request goes: its target as received, and the host that the upstream is told.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: PathAndQuery,
    /// `None` where it is told its own.
    pub(super) authority: Option<HeaderValue>,
    /// Of the upstream's own connection: what HTTP/2 has as `:scheme`.
    pub(super) tls: bool,
}

/// Gives a request the form that the connection's HTTP has for it. May be applied again for a connection of the other
/// kind, or to another server. `None` when the host cannot be an HTTP/2 authority.
pub(super) fn shape(
    request: &mut Request<Upload>,
    target: &Target,
    own_host: &HeaderValue,
    over_http2: bool,
    websocket: bool,
) -> Option<()> {
    let told = target.authority.as_ref().unwrap_or(own_host);
    let body = request.body();
    let framed_by_chunks = !body.is_empty() && !request.headers().contains_key(CONTENT_LENGTH);
    let says_no_length = body.is_empty()
        && !request.headers().contains_key(CONTENT_LENGTH)
        && [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    if over_http2 {
        let authority = Authority::from_maybe_shared(Bytes::copy_from_slice(told.as_bytes())).ok()?;
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if target.tls { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(authority);
        uri.path_and_query = Some(target.path.clone());
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.version_mut() = Version::HTTP_2;
        for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
            request.headers_mut().remove(name);
        }
        return Some(());
    }
    *request.uri_mut() = Uri::from(target.path.clone());
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.insert(HOST, told.clone());
    if framed_by_chunks {
        // Said outright, since hyper would leave the body of a GET out otherwise.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if says_no_length {
        // HTTP/2 has no need to say it, but an HTTP/1.1 server may answer 411 (RFC 9110, section 8.6).
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if websocket {
        headers.insert(UPGRADE, upgrade::WEBSOCKET);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else if headers.contains_key(TE) {
        // RFC 9110, section 10.1.4: whoever sends TE names it here.
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    Some(())
}

/// Whether the framing of an HTTP/1.1 answer is such that what comes behind its head can be trusted: any coding but
/// `chunked` was not asked for, and a length beside it is how responses are split (RFC 9112, section 6.3).
pub(super) fn framing_is_sound(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match codings.next() {
        None => true,
        Some(coding) => {
            coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
                && codings.next().is_none()
                && !headers.contains_key(CONTENT_LENGTH)
        }
    }
}

/// Makes an upstream's head the client's: what was the connection's own goes, and our name comes.
pub(super) fn tell_client(headers: &mut HeaderMap, status: StatusCode, upstream_version: Version) {
    hygiene::drop_hop_by_hop(headers);
    if status == StatusCode::NO_CONTENT {
        // RFC 9110, section 8.6: it has none, and a client may wait for what it promises.
        headers.remove(CONTENT_LENGTH);
    } else {
        keep_one_length(headers);
    }
    headers.append(VIA, via(upstream_version));
}

/// The length as we would write it ourselves: one, where RFC 9112, section 6.3, lets a recipient make one of several that
/// agree (others were refused), and without zeros in front.
fn keep_one_length(headers: &mut HeaderMap) {
    let Entry::Occupied(mut lengths) = headers.entry(CONTENT_LENGTH) else { return };
    let is_plain = |length: &HeaderValue| length.len() == 1 || !length.as_bytes().starts_with(b"0");
    if is_plain(lengths.get()) && lengths.iter().nth(1).is_none() {
        return;
    }
    let one = lengths.get().to_str().ok().and_then(|length| length.parse::<u64>().ok());
    let one = one.map_or_else(|| lengths.get().clone(), HeaderValue::from);
    lengths.insert(one);
}

/// RFC 9110, section 7.6.3: the protocol that the message was received in, and a name for us.
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 guestpass",
        Version::HTTP_10 => "1.0 guestpass",
        _ => "1.1 guestpass",
    })
}

/// The visitor alone, or behind what a trusted proxy said the address that it came from.
fn chain(text: &mut BytesMut, headers: &HeaderMap, client: IpAddr, peer: IpAddr) -> std::fmt::Result {
    let last = if extend(text, headers, &FORWARDED_FOR)? { peer } else { client };
    text.write_str(Spelt::new(last).as_str())
}

/// RFC 7239, section 4. An IPv6 address and a host with a port are no tokens, so they stand in quotes.
fn forwarded(text: &mut BytesMut, headers: &HeaderMap, context: &Context, peer: IpAddr) -> std::fmt::Result {
    // One that leads to somebody else would mislead a site that reads this header alone.
    let extends = context.forwarded_agrees && extend(text, headers, &FORWARDED)?;
    let last = if extends { peer } else { context.client };
    let (before, behind) = if last.is_ipv4() { ("for=", "") } else { ("for=\"[", "]\"") };
    for piece in [before, Spelt::new(last).as_str(), behind] {
        text.write_str(piece)?;
    }
    let host = &context.authority;
    if !host.is_empty() {
        text.write_str(";host=")?;
        let is_token = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if is_token { text.write_str(host)? } else { quoted(text, host)? }
    }
    text.write_str(";proto=")?;
    text.write_str(context.scheme.as_str())
}

/// RFC 9110, section 5.6.4.
fn quoted(text: &mut BytesMut, plain: &str) -> std::fmt::Result {
    text.write_char('"')?;
    for character in plain.chars() {
        if matches!(character, '"' | '\\') {
            text.write_char('\\')?;
        }
        text.write_char(character)?;
    }
    text.write_char('"')
}

/// Writes all lines of a list header and a comma behind them; whether there were any.
fn extend(text: &mut BytesMut, headers: &HeaderMap, name: &HeaderName) -> Result<bool, std::fmt::Error> {
    let mut any = false;
    for line in headers.get_all(name).iter().filter_map(|line| line.to_str().ok()) {
        write!(text, "{line}, ")?;
        any = true;
    }
    Ok(any)
}

#[derive(Default)]
struct Text {
    buffer: BytesMut,
}

impl Text {
    fn write(&mut self, piece: impl FnOnce(&mut BytesMut) -> std::fmt::Result) -> Range<usize> {
        // As much as all of them take for a usual visitor.
        self.buffer.reserve(if self.buffer.is_empty() { 256 } else { 0 });
        let start = self.buffer.len();
        // A BytesMut grows, so that writing to it cannot fail.
        let _ = piece(&mut self.buffer);
        start..self.buffer.len()
    }
}

fn value(text: &Bytes, piece: Range<usize>) -> Option<HeaderValue> {
    if piece.is_empty() { None } else { HeaderValue::from_maybe_shared(text.slice(piece)).ok() }
}

/// What cannot be said is not said; what was said before must not stand in its place either way.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}
