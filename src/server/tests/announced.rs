//! Behind a load balancer that speaks the PROXY protocol.

use super::*;

const CLIENT: &str = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
const CLIENT_6: &str = "PROXY TCP6 2001:db8::1 2001:db8::ff 56324 443\r\n";
const FACTS: &str = "GET /facts HTTP/1.1\r\nHost: a\r\n\r\n";

/// A house that trusts 127.0.0.1 alone.
fn house(heeds: ProxyProtocol, limits: Limits, tls: bool) -> House {
    let mut house = House::build(limits, tls);
    house.server.listener.proxy_protocol = heeds;
    let trust = Trust { proxies: vec!["127.0.0.1/32".parse().unwrap()] };
    house.server.admission = Admission::new(&house.server.limits, trust);
    house.start()
}

fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, payload].concat()
}

/// What the service learns of a connection that begins with `header`.
async fn facts(house: &House, header: &[u8]) -> String {
    let mut client = Raw::tcp(house).await;
    client.send_bytes(header).await;
    client.over_tls(house).await;
    client.exchange(FACTS).await.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn the_announced_client_is_the_peer_with_and_without_tls() {
    let with_tlv = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb, 5, 0, 2, b'i', b'd'];
    for tls in [false, true] {
        for heeds in [ProxyProtocol::Accept, ProxyProtocol::Require] {
            let house = house(heeds, limits(), tls);
            for (header, expected) in [
                (CLIENT.as_bytes().to_vec(), "192.0.2.1:56324 198.51.100.1:443 "),
                (CLIENT_6.as_bytes().to_vec(), "[2001:db8::1]:56324 [2001:db8::ff]:443 "),
                (version_2(0x21, 0x11, &with_tlv), "192.0.2.1:56324 198.51.100.1:443 "),
                (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), "192.0.2.1:1 [::1]:2 "),
                (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1:"),
                (version_2(0x20, 0x11, &with_tlv), "127.0.0.1:"),
            ] {
                let facts = facts(&house, &header).await;
                assert!(facts.starts_with(expected), "{tls} {heeds:?} {header:x?}: {facts}");
            }
        }
    }
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_with_what_follows_it() {
    let house = house(ProxyProtocol::Require, limits(), false);
    let mut client = Raw::tcp(&house).await;
    for byte in CLIENT.chars() {
        client.send(&byte.to_string()).await;
    }
    assert!(client.exchange(FACTS).await.contains("192.0.2.1:56324"));

    let mut client = Raw::tcp(&house).await;
    let body = "x".repeat(2000);
    let post = format!("{CLIENT}POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n{body}");
    assert!(client.exchange(&post).await.ends_with(&body));
}

#[tokio::test]
async fn without_a_header_a_trusted_proxy_is_itself_or_goes() {
    for tls in [false, true] {
        let accepting = house(ProxyProtocol::Accept, limits(), tls);
        assert!(facts(&accepting, b"").await.starts_with("127.0.0.1:"));
        let requiring = house(ProxyProtocol::Require, limits(), tls);
        let mut client = Raw::tcp(&requiring).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        client.end_or_reset().await;
        assert!(requiring.seen().is_empty());
    }
}

#[tokio::test]
async fn a_stranger_announces_nobody() {
    let accepting = house(ProxyProtocol::Accept, limits(), false);
    let mut stranger = Raw::connect_from(&accepting, [127, 0, 0, 2]).await;
    assert!(stranger.exchange(FACTS).await.contains("127.0.0.2:"), "served as everybody");
    let mut stranger = Raw::connect_from(&accepting, [127, 0, 0, 2]).await;
    stranger.send(&format!("{CLIENT}{FACTS}")).await;
    assert!(stranger.rest().await.starts_with("HTTP/1.1 400"), "a header is no HTTP");

    let requiring = house(ProxyProtocol::Require, limits(), false);
    let mut stranger = Raw::connect_from(&requiring, [127, 0, 0, 2]).await;
    // The connection may be gone before all of it is sent.
    let _ = stranger.try_send(&format!("{CLIENT}{FACTS}")).await;
    stranger.end_or_reset().await;
    eventually("it is counted", || requiring.server.admission.refused() == 1).await;

    let ignoring = house(ProxyProtocol::Off, limits(), false);
    let mut proxy = Raw::tcp(&ignoring).await;
    proxy.send(&format!("{CLIENT}{FACTS}")).await;
    assert!(proxy.rest().await.starts_with("HTTP/1.1 400"), "nobody has asked for headers");
}

#[tokio::test]
async fn the_limit_of_an_address_is_the_announced_clients() {
    let house = house(ProxyProtocol::Require, Limits { connections_per_address: 1, ..limits() }, false);
    let mut first = Raw::tcp(&house).await;
    assert!(first.exchange(&format!("{CLIENT}{FACTS}")).await.contains("192.0.2.1"));
    let mut second = Raw::tcp(&house).await;
    second.send(&format!("{CLIENT}{FACTS}")).await;
    second.end_or_reset().await;
    assert_eq!(house.server.admission.refused(), 1);

    let mut six = Raw::tcp(&house).await;
    assert!(six.exchange(&format!("{CLIENT_6}{FACTS}")).await.contains("2001:db8::1"));
    let mut neighbour = Raw::tcp(&house).await;
    neighbour.send(&CLIENT_6.replace("2001:db8::1 ", "2001:db8::2 ")).await;
    neighbour.end_or_reset().await;
    assert_eq!(house.server.admission.refused(), 2, "a /64 is one client");

    drop(first);
    eventually("it has gone", || house.server.admission.open() == 1).await;
    let mut third = Raw::tcp(&house).await;
    assert!(third.exchange(&format!("{CLIENT}{FACTS}")).await.contains("192.0.2.1"));
}

#[tokio::test]
async fn a_header_that_is_late_or_wrong_ends_the_connection() {
    for tls in [false, true] {
        let house = house(ProxyProtocol::Accept, Limits { handshake_timeout: SOON, ..limits() }, tls);
        let too_long = version_2(0x21, 0x11, &[0; 5000]);
        for start in [&b""[..], b"PROXY TCP4 192.", b"PROXY TCP4 none of it\r\n", &too_long, b"\r\n\r\n\0"] {
            let mut client = Raw::tcp(&house).await;
            client.send_bytes(start).await;
            client.end_or_reset().await;
        }
        assert!(house.seen().is_empty());
    }
}

/// The head's own time begins with its first byte, also where that came together with the header.
#[tokio::test]
async fn a_slow_head_behind_a_header_is_cut_off() {
    let house = house(ProxyProtocol::Require, Limits { header_timeout: SOON, ..limits() }, false);
    let mut client = Raw::tcp(&house).await;
    client.send(&format!("{CLIENT}GET /facts HT")).await;
    client.end_or_reset().await;
}
