//! What a client may not say is dropped here, before the gate and before anything of ours is added.
//!
//! Dropping comes first and adding later, in `forward`, so nothing that we add can be taken away by what a
//! client said. Whether a request is let in is decided elsewhere: nothing here refuses.

mod hop;
mod names;

use http::header::{COOKIE, EXPECT, Entry, HeaderName, HeaderValue, TE};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use self::names::Kind;

pub use self::hop::drop_hop_by_hop;

/// The client wishes to speak WebSocket: its `Upgrade` header, which is hop-by-hop and so gone from the request.
/// [`cleanse`] leaves this in the extensions instead. Wishes for any other protocol leave nothing behind: such a
/// request is answered in the protocol that it came in (RFC 9110, section 7.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(pub HeaderValue);

/// Takes out of a request what its client has no business to say, and leaves an [`Upgrade`] where a WebSocket was asked
/// for.
///
/// - The connection's own headers and those that `Connection` names ([`drop_hop_by_hop`]); `TE` stays as `trailers` if
///   it said so; `Expect` ends here, since hyper answers it when the body is first asked for.
/// - On every route, whatever the peer: the headers that only we write, in any spelling.
/// - The forwarded family, unless `peer_is_trusted`. A trusted proxy's stay for the upstream side to extend, but only
///   in their own spelling: a proxy that writes `X-Forwarded-For` anew may well let a client's `X_Forwarded_For` pass.
/// - The headers that some servers take for the path, the host or the client's address, but for the upstream's `keep`;
///   an address that a trusted proxy says stays.
/// - The crumbs of an HTTP/2 request's cookie become one header.
pub fn cleanse(head: &mut Parts, peer_is_trusted: bool, keep: &[HeaderName]) {
    let upgrade = websocket_wish(head);
    let headers = &mut head.headers;
    if head.version == Version::HTTP_2 {
        join_cookie_crumbs(headers);
    }
    let takes_trailers = hop::tokens(headers, &TE).any(|token| {
        token.split(';').next().is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case("trailers"))
    });
    drop_hop_by_hop(headers);
    headers.remove(EXPECT);
    drop_names(headers, |name| match names::kind(name) {
        None => false,
        Some(Kind::Forwarded) => !(peer_is_trusted && names::is_plainly_spelt(name)),
        Some(Kind::Address) => !(keep.contains(name) || (peer_is_trusted && names::is_plainly_spelt(name))),
        Some(Kind::Misleading) => !keep.contains(name),
        Some(Kind::Ours | Kind::Proxy | Kind::Framing | Kind::Browser) => true,
    });
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        head.extensions.insert(upgrade);
    }
}

/// Makes one `Cookie` header of several, as RFC 9113, section 8.2.3, asks of whoever hands an HTTP/2 request on.
fn join_cookie_crumbs(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let joined = crumbs.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    let joined = HeaderValue::from_bytes(&joined).expect("header values and `; ` make a header value");
    headers.insert(COOKIE, joined);
}

/// Takes out of a request's trailers what would have had to be said before it was judged: framing, routing, credentials,
/// conditions, and every name that [`cleanse`] drops (RFC 9110, section 6.5.1).
pub fn cleanse_request_trailers(trailers: &mut HeaderMap) {
    drop_names(trailers, |name| names::kind(name).is_some() || names::belongs_before_the_body(name));
}

/// The same for a response's: a cookie set in a trailer would pass by the gate.
pub fn cleanse_response_trailers(trailers: &mut HeaderMap) {
    drop_names(trailers, names::belongs_before_the_body);
}

/// RFC 6455, section 4.1: GET over HTTP/1.1, `websocket` among the protocols, and `Connection` says `upgrade`, without
/// which the header may stem from another hop.
fn websocket_wish(head: &Parts) -> Option<Upgrade> {
    let value = head.headers.get(http::header::UPGRADE)?;
    let asked = head.version == Version::HTTP_11
        && head.method == Method::GET
        && hop::tokens(&head.headers, &http::header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && hop::tokens(&head.headers, &http::header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"));
    asked.then(|| Upgrade(value.clone()))
}

/// Nothing is allocated unless something is dropped.
fn drop_names(headers: &mut HeaderMap, unsayable: impl Fn(&HeaderName) -> bool) {
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| unsayable(name)).cloned().collect();
    for name in dropped {
        if let Entry::Occupied(entry) = headers.entry(name) {
            entry.remove_entry_mult();
        }
    }
}

#[cfg(test)]
mod tests;
