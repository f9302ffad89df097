//! Where a request comes from: what a visitor claims of himself counts for nothing, whatever trusted proxies have put
//! behind it.
//!
//! The input is a header field a line, and in front of them what the visitor himself has claimed.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use guestpass::context::{Connection, Context, RequestId, Scheme, Trust};
use guestpass::random::SystemRandom;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|input: &[u8]| {
    let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()] };
    let mut lines = input.split(|byte| *byte == b'\n');
    let claim = lines.next().unwrap_or_default();
    let head = head(lines);
    let read = |head: &Parts, peer| {
        let connection =
            Connection { peer: SocketAddr::new(peer, 1), local: SocketAddr::new(PROXY, 443), scheme: Scheme::Https };
        Context::read(head, connection, &trust, &SystemRandom, Duration::ZERO)
    };

    let direct = read(&head, STRANGER);
    assert_eq!((direct.client, direct.scheme, direct.peer_is_trusted), (STRANGER, Scheme::Https, false));
    assert!(!head.headers.values().any(|value| value.as_bytes() == direct.request_id.as_str().as_bytes()));

    let forwarded = read(&head, PROXY);
    assert!(forwarded.peer_is_trusted);
    assert_eq!(forwarded.client, forwarded.client.to_canonical(), "one address has one spelling");
    assert!(RequestId::adopt(forwarded.request_id.as_str()).is_some());
    assert!(forwarded.client == PROXY || is_named(&head, forwarded.client), "{} comes from nowhere", forwarded.client);
    assert_placed(&forwarded);

    // Somebody whom no proxy vouches for cannot become somebody else by what he claims to be forwarding.
    if !trust.covers(forwarded.client) {
        for name in ["x-forwarded-for", "forwarded"] {
            let Some(first) = head.headers.get(name) else { continue };
            let both = [claim, b",", first.as_bytes()].concat();
            let Ok(both) = HeaderValue::from_bytes(&both) else { continue };
            let mut claimed = head.clone();
            claimed.headers.insert(name, both);
            for value in head.headers.get_all(name).iter().skip(1) {
                claimed.headers.append(name, value.clone());
            }
            assert_eq!(read(&claimed, PROXY).client, forwarded.client, "{:?}", claimed.headers);
        }
    }
});

fn head<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for line in lines.take(20) {
        // Without a colon it is the commonest of them, so that a fuzzer need not find its name.
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = match (parts.next(), parts.next()) {
            (Some(name), Some(value)) => (HeaderName::from_bytes(name).ok(), value),
            _ => (None, line),
        };
        let name = name.unwrap_or(HeaderName::from_static("x-forwarded-for"));
        if let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) {
            head.headers.append(name, value);
        }
    }
    head
}

/// Whether an address stands in one of the headers, in whatever spelling.
fn is_named(head: &Parts, address: IpAddr) -> bool {
    let of_an_address = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let texts: Vec<_> = head.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    texts.iter().flat_map(|text| text.split(|c| !of_an_address(c))).any(|word| {
        let bare = word.parse::<IpAddr>().ok();
        let with_port = word.parse::<SocketAddr>().ok().map(|address| address.ip());
        bare.or(with_port).is_some_and(|found| found.to_canonical() == address)
    })
}

/// A host is in the one form that is compared.
fn assert_placed(context: &Context) {
    if context.misaddressed.is_some() {
        assert!(context.host.is_empty() && context.authority.is_empty());
        return;
    }
    let host = &context.host;
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => assert!(literal.parse::<std::net::Ipv6Addr>().is_ok(), "{host}"),
        None => {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
            assert!(host.bytes().all(plain) && !host.ends_with('.') && !host.starts_with('.'), "{host}");
        }
    }
    assert!(context.authority.to_ascii_lowercase().starts_with(host.as_str()), "{} is {host}", context.authority);
}
